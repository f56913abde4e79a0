"""Simulated studies through the rule itself: few false sentences, and an effect that is there is found.

The table of all worlds, 500 studies each, is in the docs; here a few studies of the worlds that broke earlier rules.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from negspace.significance import Contrast, Dissociation
from negspace.significance.calibration import CASES, Rate, calibrate, findings, study
from negspace.significance.worlds import World, draw

STUDIES = 60


def _any_false(case: str, studies: int = STUDIES) -> Rate:
    return next(rate for rate in calibrate(case, studies) if rate.claim == "any false sentence")


@pytest.mark.parametrize("case", ["phenomena, sd 0.3", "floors", "two shares"])
def test_false_sentences_are_at_most_nominal(case: str) -> None:
    rate = _any_false(case)
    assert rate.studies == STUDIES
    assert stats.binomtest(rate.said, STUDIES, 0.05, alternative="greater").pvalue > 0.01, rate


@pytest.mark.parametrize("case", ["doses differ", "harsher top, tasks at chance", "one side only"])
def test_what_broke_raw_points_is_never_established(case: str) -> None:
    assert _any_false(case, 40).said <= 1


def test_an_effect_is_found() -> None:
    rates = calibrate("effect of the paper's size, real model", 20)
    assert [rate.kind for rate in rates] == ["power"]
    assert rates[0].rate > 0.4


def test_a_study_makes_every_headline_claim_once() -> None:
    world = World(tse=(3, 3, 2), shares=2, sets=19)
    claims = study(draw(world, np.random.default_rng(0)))
    assert {name for share, name in claims if share == 1} == {name for share, name in claims if share == 0}
    assert len(claims) == 2 * (1 + 2 * 5)
    assert all(isinstance(claim, Dissociation) == ("dissociation" in name) for (_, name), claim in claims.items())
    contrasts = [claim for claim in claims.values() if isinstance(claim, Contrast)]
    assert all(claim.p_adjusted >= claim.p for claim in contrasts if claim.finding != "cannot be judged")
    assert set(findings(claims)) == {name for _, name in claims}


def test_worlds_are_what_they_say() -> None:
    rng = np.random.default_rng(1)
    one, two = draw(World(guessed=3, pairs=400, items=2000, phenomenon_sd=0.3, sets=1, shares=2), rng)
    tasks = one.tasks
    accuracy = np.bincount(tasks.nesting.group, weights=np.asarray(tasks.plain)) / tasks.nesting.sizes
    assert accuracy[5:] == pytest.approx(np.full(3, 0.25), abs=0.04)
    assert accuracy[:5].min() > 0.35
    assert np.array_equal(one.margins["blimp"][0], two.margins["blimp"][0])
    assert not np.array_equal(one.margins["blimp"][1], two.margins["blimp"][1])
    assert one.doses.equal
    assert not draw(World(mismatch=0.5), rng)[0].doses.equal
    harsh = draw(World(harsher=0.6, pairs=400, items=2000), rng)[0]
    pairs = harsh.suites["blimp"]
    drops = [float(np.mean(np.asarray(pairs.plain) - np.asarray(v))) for v in (pairs.top, pairs.control)]
    assert drops[0] > drops[1] + 0.1
    assert {case for case in CASES if CASES[case].true} == {case for case in CASES if "paper" in case}


def test_rates_have_intervals_and_repeat() -> None:
    fine, high = Rate("c", "x", "false", 30, 500, 0.05), Rate("c", "x", "false", 50, 500, 0.05)
    assert (fine.rate, fine.too_often, high.too_often) == (0.06, False, True)
    assert not Rate("c", "x", "power", 500, 500, 0.05).too_often
    assert fine.interval[0] < 0.06 < fine.interval[1]
    assert calibrate("nothing differs", 3) == calibrate("nothing differs", 3)

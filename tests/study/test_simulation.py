"""Simulated studies through the rule itself: few false sentences, and an effect that is there is found.

The table of all worlds, 500 studies each, is in the docs; here a few studies of the worlds that broke earlier rules.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from negspace.analyses.ablation.contrasts import PLAIN, compared
from negspace.significance import Contrast, Dissociation
from negspace.study.simulation import ANY, CASES, Rate, calibrate, false_sentences, said, study, too_often
from negspace.study.worlds import World, draw

STUDIES = 60


def _any_false(case: str, studies: int = STUDIES) -> Rate:
    return next(rate for rate in calibrate(case, studies) if rate.claim == ANY)


@pytest.mark.parametrize("case", ["phenomena, sd 0.3", "floors", "two shares"])
def test_false_sentences_are_at_most_nominal(case: str) -> None:
    rate = _any_false(case)
    assert rate.studies == STUDIES
    assert stats.binomtest(rate.said, STUDIES, 0.05, alternative="greater").pvalue > 0.01, rate


@pytest.mark.parametrize("case", ["doses differ", "harsher top, tasks at chance", "one side only"])
def test_what_broke_raw_points_is_never_established(case: str) -> None:
    rates = {rate.claim: rate.said for rate in calibrate(case, 40) if rate.kind == "false"}
    assert rates["blimp dissociation"] <= 1


def test_an_effect_is_found() -> None:
    power = {r.claim: r.rate for r in calibrate("effect of the paper's size, real model", 20) if r.kind == "power"}
    assert power.keys() == {
        "blimp dissociation",
        *(f"blimp{scale} top vs {other}" for scale in ("", " margins") for other in ("random", "matched")),
    }
    assert power["blimp dissociation"] > 0.1
    assert power["blimp margins top vs matched"] > 0.4


@pytest.mark.parametrize(("world", "each"), [(World(), 15), (World(tse=(3, 3, 2), shares=2, sets=19), 26)])
def test_a_study_says_all_that_the_main_study_does_and_each_has_its_truth(world: World, each: int) -> None:
    drawn = draw(world, np.random.default_rng(0))
    claims = study(drawn)
    assert len(claims) == world.shares * each
    for share, own in enumerate(drawn):
        assert {name for at, name in claims if at == share} == set(false_sentences(world, own))
    assert all(isinstance(claim, Dissociation) == ("dissociation" in name) for (_, name), claim in claims.items())
    contrasts = {name: claim for (_, name), claim in claims.items() if isinstance(claim, Contrast)}
    assert all(claim.p_adjusted >= claim.p for claim in contrasts.values() if claim.finding != "cannot be judged")
    assert all(said(claim) == {claim.finding} for claim in contrasts.values())
    text = contrasts["perplexity top vs random"].sets
    assert text is not None
    assert text.sets == 20
    assert {name for name, claim in contrasts.items() if not np.isnan(claim.margin)} == {
        f"{score} {under} vs plain"
        for suite in drawn[0].suites
        for score in (suite, f"{suite} margins")
        for under in ("matched", "random")
    }


def test_a_study_without_controls_compares_its_top_sets_with_the_plain_model() -> None:
    assert compared("perplexity", ["top", PLAIN]) == compared("blimp", ["top", PLAIN]) == [("top", PLAIN)]
    random = [("top", PLAIN), ("top", "random"), ("random", PLAIN)]
    assert compared("blimp", ["top", PLAIN, "random"]) == random
    matched = [("top", PLAIN), ("top", "matched"), ("matched", PLAIN)]
    assert compared("blimp", ["top", PLAIN, "matched"]) == matched
    # On perplexity the two were made alike.
    assert compared("perplexity", ["top", PLAIN, "matched"]) == [matched[0], matched[2]]


def test_a_control_of_another_dose_is_no_matched_set() -> None:
    world = World(mismatch=0.5)
    drawn = draw(world, np.random.default_rng(0))
    claims = study(drawn)
    assert not any("matched" in name for _, name in claims)
    assert said(claims[0, "blimp dissociation"]) >= {"not testable: the doses differ"}
    assert {"established", "interaction only", "reversed"} <= false_sentences(world, drawn[0])["blimp dissociation"]


@pytest.mark.parametrize(
    ("world", "under", "points", "margins"),
    [
        (World(), "matched", True, True),
        # A fifth of the top set's loss of margins, but more than a point of accuracy.
        (World(dose=0.1, dose_sd=0, grammar_top=0.4), "random", True, False),
        (World(dose=0.02, dose_sd=0, grammar_top=0.4, own_sd=0.05, noise=0.1), "matched", False, False),
        *(
            (replace(CASES["some effects nil, some at the margin"], dose_sd=0), name, True, True)
            for name in ("matched", "random")
        ),
    ],
)
def test_intact_is_false_at_the_margin_and_beyond(world: World, under: str, points: bool, margins: bool) -> None:
    false = false_sentences(world, draw(world, np.random.default_rng(0))[0])
    assert ("equivalent" in false[f"blimp {under} vs plain"]) == points
    assert ("equivalent" in false[f"blimp margins {under} vs plain"]) == margins


@pytest.mark.parametrize("case", ["floors", "harsher top, tasks at chance", "some effects nil, some at the margin"])
def test_losses_are_what_the_world_says(case: str) -> None:
    own = CASES[case]
    world = replace(own, blimp=(1,) * 800, pairs=40, flat=own.flat * 30, sets=40, shares=1)
    drawn = draw(world, np.random.default_rng(0))[0]
    margins, right = drawn.margins["blimp"], drawn.margins["blimp"] > 0
    for place, lost in enumerate(drawn.taken, start=1):
        assert margins[0].mean() - margins[place].mean() == pytest.approx(lost, abs=0.03)
        assert right[0].mean() - right[place].mean() == pytest.approx(world.points_lost(lost, 0, 800), abs=0.01)
    of_random = world.points_lost(world.dose, world.dose_sd, 800)
    assert right[0].mean() - right[3:].mean() == pytest.approx(of_random, abs=0.006)


def test_what_is_false_of_a_dissociation() -> None:
    def false(**of: float) -> frozenset[str]:
        world = World(**of)  # type: ignore[arg-type]
        return false_sentences(world, draw(world, np.random.default_rng(0))[0])["blimp dissociation"]

    assert false() >= {"established", "reversed", "interaction only", "carried by both"}
    one = false(grammar_top=0.3)
    assert one >= {"established", "against the claim", "carried by other", "carried by both"}
    assert one.isdisjoint({"interaction only", "carried by grammar"})
    assert false(grammar_top=0.3, other_control=0.3) == {"reversed", "against the claim"}
    assert false(harsher=0.6) == {"established", "reversed"}


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


def test_rates_have_intervals_and_repeat() -> None:
    fine = Rate("c", "x", "false", 30, 500, 0.05)
    assert fine.rate == 0.06
    assert fine.interval[0] < 0.06 < fine.interval[1]
    assert calibrate("nothing differs", 3) == calibrate("nothing differs", 3)


def test_worlds_are_said_to_exceed_the_level_after_correction_over_all_of_them() -> None:
    # 36 of 500 have p = 0.019.
    once = Rate("a", ANY, "false", 36, 500, 0.05)
    assert too_often([once]) == [once]
    others = [Rate(name, ANY, "false", 25, 500, 0.05) for name in "bcd"]
    assert too_often([once, *others]) == []
    high = Rate("e", ANY, "false", 50, 500, 0.05)
    assert too_often([once, *others, high]) == [high]
    assert too_often([Rate("a", "x", "power", 500, 500, 0.05)]) == []

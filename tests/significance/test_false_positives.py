"""False positives in simulated studies in which there is nothing to find: at most as many as the level allows.

`negspace calibrate --simulations 500` does the same for all tests in all worlds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from negspace.significance import interaction
from negspace.significance.simulation import FAST, WORLDS, Rate, family, rates

STUDIES = 500
ALONE = "accuracy: McNemar alone"


@pytest.mark.parametrize("world", ["paradigms and tasks differ", "items share words", "three tasks"])
def test_verdicts_of_the_dissociation_are_at_most_nominal(world: str) -> None:
    found = rates(world, STUDIES, procedures=[0])
    assert {one.studies for one in found} == {STUDIES}
    assert all(one.rate <= one.nominal for one in found), [(one.test, one.rate) for one in found]
    crossover = next(one for one in found if one.test.endswith("crossover"))
    assert crossover.rate <= 0.005  # it asks for three findings at once


def test_paired_tests_are_at_most_nominal() -> None:
    found = rates("near ceiling and near chance", STUDIES, procedures=[3, 4])
    assert not any(one.too_often for one in found), found
    both = next(one for one in found if one.test == "accuracy: interval and McNemar")
    assert both.rate <= both.nominal


def test_mcnemar_alone_rejects_too_often_where_paradigms_differ() -> None:
    """Why no outcome is called a drop or a rise by McNemar's test alone."""
    found = {one.test: one for one in rates("paradigms and tasks differ", 200, seed=1, procedures=[3])}
    assert found[ALONE].interval[0] > 0.05
    assert not found[ALONE].allowed
    both = found["accuracy: interval and McNemar"]
    assert both.allowed
    assert not both.too_often
    assert rates("alike", 2, procedures=[3])[2].allowed


def test_a_world_is_what_it_says() -> None:
    world = replace(WORLDS["paradigms and tasks differ"], paradigms=400, tasks=400, effect=0.4)
    rng = np.random.default_rng(0)
    for grammar, accuracy in ((True, world.grammar), (False, world.other)):
        made = family(world, grammar, rng)
        baseline, ablation, control = (np.asarray(v) for v in (made.baseline, made.ablation, made.control))
        assert baseline.mean() == pytest.approx(accuracy, abs=0.03)
        # Both take the same from every family, up to chance, and what they take depends on the baseline.
        assert baseline.mean() - ablation.mean() > 0.05
        assert ablation.mean() == pytest.approx(control.mean(), abs=0.01)
        assert not np.array_equal(ablation, control)
    words = family(replace(world, words=5, between=0.0), True, rng)
    margins = np.asarray(words.baseline).reshape(-1, 5)
    assert np.corrcoef(margins[:, 0], margins[:, 1])[0, 1] > 0.2
    alone = np.asarray(family(replace(world, between=0.0), True, rng).baseline).reshape(-1, 5)
    assert abs(np.corrcoef(alone[:, 0], alone[:, 1])[0, 1]) < 0.05


def test_the_simulation_would_show_an_effect() -> None:
    """The rates are low because nothing is there, not because nothing could be found."""
    world, rng, found = WORLDS["paradigms and tasks differ"], np.random.default_rng(0), 0
    for n in range(40):
        grammar, other = family(world, True, rng), family(world, False, rng)
        hurt = np.asarray(grammar.ablation) * (rng.random(np.asarray(grammar.ablation).size) > 0.3)
        found += interaction(replace(grammar, ablation=hurt), other, seed=n, **FAST).verdict == "established"
    assert found >= 38


def test_a_rate_has_an_interval_and_says_when_it_is_too_high() -> None:
    fine, high = Rate("t", "w", 0.05, 30, 500), Rate("t", "w", 0.05, 50, 500)
    assert fine.rate == 0.06
    assert fine.interval[0] < 0.05 < fine.interval[1]
    assert not fine.too_often
    assert high.too_often
    assert not replace(high, allowed=False).too_often
    assert rates("alike", 5, procedures=[0]) == rates("alike", 5, procedures=[0])

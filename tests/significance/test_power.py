"""Detectable effects against simulation, statsmodels and the components that a world has."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from negspace.significance import Nesting, compare, compare_with_sets
from negspace.significance.estimate import Estimate, grouped, mean, total
from negspace.significance.nesting import Shortfall
from negspace.significance.power import (
    TYPICAL,
    Components,
    Sizes,
    components,
    detectable,
    planned,
    planned_with_sets,
    power_of,
)

WORLD = Components(items=4.0, groups=0.3, clusters=0.2)


def _draw(rng: np.random.Generator, sizes: Sizes, about: Components) -> tuple[np.ndarray, Nesting]:
    group = np.repeat(np.arange(sizes.groups), sizes.items)
    cluster = np.arange(sizes.groups) % sizes.clusters
    own = np.sqrt(about.clusters) * rng.standard_normal(sizes.clusters)[cluster]
    own += np.sqrt(about.groups) * rng.standard_normal(sizes.groups)
    values = own[group] + np.sqrt(about.items) * rng.standard_normal(group.size)
    return values, Nesting.pairs(group, cluster[group])


def _planned(about: Components, sizes: Sizes) -> Estimate:
    error = planned(about, sizes)
    assert isinstance(error, Estimate), error
    return error


def test_the_plan_is_what_the_rule_finds_on_average() -> None:
    rng, sizes = np.random.default_rng(0), Sizes(24, 10, 12)
    found = []
    for _ in range(400):
        estimate = mean(grouped(*_draw(rng, sizes, WORLD)))
        assert isinstance(estimate, Estimate)
        found.append(estimate)
    plan = _planned(WORLD, sizes)
    assert np.mean([one.variance for one in found]) == pytest.approx(plan.variance, rel=0.12)
    assert np.var([one.value for one in found]) == pytest.approx(plan.variance, rel=0.2)
    assert (plan.degrees, plan.units) == (11, "phenomena")
    assert found[0].degrees == pytest.approx(11)


def test_an_effect_of_the_detectable_size_is_found_four_times_in_five() -> None:
    rng, sizes = np.random.default_rng(1), Sizes(24, 10, 12)
    effect = detectable(_planned(WORLD, sizes))
    found = 0
    for _ in range(400):
        values, nest = _draw(rng, sizes, WORLD)
        found += compare(values + effect, np.zeros(values.size), nest, scale="nats").finding == "gain"
    assert found / 400 == pytest.approx(0.8, abs=0.07)


def test_t_test_power_is_statsmodels() -> None:
    error = _planned(Components(0.0, 0.04, 0.0), Sizes(30, names=(None, "windows", None)))
    expected = TTestPower().solve_power(nobs=30, alpha=0.05 / 4, power=0.8) * 0.2
    assert detectable(error, tests=4) == pytest.approx(float(expected), rel=1e-3)
    assert power_of(float(expected), error, tests=4) == pytest.approx(0.8, abs=1e-3)
    assert detectable(error, power=0.9) > detectable(error)


def test_components_are_found_again() -> None:
    rng, found = np.random.default_rng(2), []
    for _ in range(60):
        values, nest = _draw(rng, Sizes(67, 20, 12), WORLD)
        found.append(components(values, nest))
    assert np.mean([one.items for one in found]) == pytest.approx(4.0, rel=0.03)
    assert np.mean([one.groups for one in found]) == pytest.approx(0.3, rel=0.15)
    assert np.mean([one.clusters for one in found]) == pytest.approx(0.2, rel=0.3)
    values, nest = _draw(rng, Sizes(67, 20, 12), WORLD)
    sets = 0.7 * rng.standard_normal((200, 1)) + rng.standard_normal((200, values.size))
    assert components(values, nest, sets=sets).sets == pytest.approx(0.49, rel=0.25)
    with pytest.raises(ValueError, match="two sets or more"):
        components(values, nest, sets=sets[:1])


def test_more_of_what_dominates_helps() -> None:
    few, many = Sizes(12, 10, 12), Sizes(12, 1000, 12)
    assert detectable(_planned(WORLD, many)) < 0.85 * detectable(_planned(WORLD, few))
    assert detectable(_planned(WORLD, Sizes(12, 100_000, 12))) > 0.9 * detectable(_planned(WORLD, many))
    items = Sizes.of(Nesting.tasks(np.repeat([0, 1, 2], [10, 40, 40])))
    assert (items.groups, items.items, items.clusters) == (3, 20, 0)


def test_an_interaction_has_the_errors_of_both_sides() -> None:
    grammar, tasks = _planned(WORLD, Sizes(24, 40, 12)), _planned(WORLD, Sizes(8, 60, names=(None, "tasks", "items")))
    both = total([tasks, grammar], [1, -1])
    assert both.variance == pytest.approx(grammar.variance + tasks.variance)
    assert detectable(both) > detectable(tasks)


def test_too_small_a_study_detects_nothing() -> None:
    for sizes in (Sizes(4, 100, 1), Sizes(20, 100, 1), Sizes(2, 60, names=(None, "tasks", "items"))):
        short = planned(WORLD, sizes)
        assert isinstance(short, Shortfall)
        assert "plan at least" in str(short)
        assert np.isnan([detectable(short), power_of(1.0, short)]).all()


def test_one_unit_is_said_to_be_one() -> None:
    assert str(planned(WORLD, Sizes(1, 60, names=(None, "tasks", "items")))).startswith("only 1 task; plan at least")


def test_random_sets_come_into_the_plan() -> None:
    error = _planned(TYPICAL["log ratio", "windows"], Sizes(64, names=(None, "windows", None)))
    twenty, fifty = (planned_with_sets(error, 0.0005, sets, "log ratio") for sets in (20, 50))
    assert isinstance(twenty, Estimate)
    assert detectable(twenty) > detectable(fifty)
    short = planned_with_sets(error, 0.0005, 5, "log ratio")
    assert str(short) == "only 5 random sets, whose differing makes 86% of the error; plan 19"
    pairs = _planned(TYPICAL["points", "paradigms"], Sizes(67, 100, 12))
    assert isinstance(planned_with_sets(pairs, 0.0, 5, "points"), Estimate)
    for scale, needed in (("points", 5), ("log ratio", 19)):
        assert str(planned_with_sets(error, 0.0, 2, scale)) == f"only 2 random sets; plan {needed}"


@pytest.mark.parametrize(("units", "sets", "differ"), [(3, 50, 0.0), (12, 6, 0.3), (12, 40, 0.0), (30, 20, 0.1)])
def test_the_plan_with_sets_is_what_the_rule_finds(units: int, sets: int, differ: float) -> None:
    """Error and degrees of freedom: of many sets on few tasks those of the tasks, else those of the sets."""
    rng, sizes = np.random.default_rng(4), Sizes(units, 40, names=(None, "tasks", "items"))
    nest, found = Nesting.tasks(np.repeat(np.arange(units), 40)), []
    for _ in range(120):
        values = np.repeat(rng.standard_normal((sets + 1, units)), 40, axis=1)
        values += rng.standard_normal(values.shape)
        values[1:] += differ * rng.standard_normal((sets, 1))
        found.append(compare_with_sets(values[0], values[1:], nest, scale="nats", alpha=0.5))
    about = Components(items=2.0, groups=2.0, clusters=0.0)  # of the difference of two such conditions
    plan = planned_with_sets(_planned(about, sizes), differ**2, sets, "nats", alpha=0.5)
    assert isinstance(plan, Estimate)
    widths = [one.high - one.estimate for one in found]
    low, high = plan.interval(0.5)
    assert (high - low) / 2 == pytest.approx(np.mean(widths), rel=0.2)
    assert plan.degrees == (units - 1 if sets > units else sets - 1)

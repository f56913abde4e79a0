"""Intervals against closed forms, brute-force resampling, and their nominal coverage in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from negspace.significance import grouped_interval, mean_interval, wilson
from negspace.significance.interval import hierarchical_means


@pytest.mark.parametrize(("right", "items"), [(0, 10), (3, 10), (10, 10), (712, 1000), (1, 1)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_equals_statsmodels(right: int, items: int, level: float) -> None:
    low, high = proportion_confint(right, items, alpha=1 - level, method="wilson")
    interval = wilson(right, items, level=level)
    assert interval.low == pytest.approx(low, abs=1e-12)
    assert interval.high == pytest.approx(high, abs=1e-12)


@pytest.mark.parametrize(("right", "items"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(right: int, items: int) -> None:
    with pytest.raises(ValueError, match="right <= items"):
        wilson(right, items)


def test_hierarchical_draws_follow_brute_force_resampling() -> None:
    """The multinomial shortcut has the distribution of resampling groups and items one by one."""
    rng = np.random.default_rng(1)
    samples = [rng.choice([-1.0, 0.0, 0.5, 1.0], size=n) for n in (3, 8, 20, 5)]
    grid = np.array([-1.0, 0.0, 0.5, 1.0])
    counts = np.array([[np.count_nonzero(sample == value) for value in grid] for sample in samples])
    fast = hierarchical_means(counts, grid, 20_000, np.random.default_rng(2))
    brute = np.array(
        [
            np.mean([rng.choice(samples[g], size=samples[g].size).mean() for g in rng.integers(4, size=4)])
            for _ in range(4_000)
        ]
    )
    assert fast.mean() == pytest.approx(brute.mean(), abs=4 * brute.std() / np.sqrt(4_000))
    assert fast.std() == pytest.approx(brute.std(), rel=0.06)
    assert np.quantile(fast, [0.05, 0.95]) == pytest.approx(np.quantile(brute, [0.05, 0.95]), abs=0.03)


def test_estimate_is_the_mean_over_paradigms_of_their_means() -> None:
    values = [1, 1, 1, 0, 0, 0, 0, 0, 0, 1]
    groups = ["a", "a", "a", "a", "b", "b", "b", "b", "b", "b"]
    assert grouped_interval(values, groups).estimate == pytest.approx((3 / 4 + 1 / 6) / 2)


@pytest.mark.parametrize(("groups", "known"), [(1, True), (2, False), (4, False), (5, True)])
def test_two_to_four_groups_allow_no_interval(groups: int, known: bool) -> None:
    """Of two groups that differ, the mean of both lies between their means in half of cases."""
    right = np.random.default_rng(0).random(10 * groups) < 0.5
    made = grouped_interval(right, np.repeat(np.arange(groups), 10))
    assert made.estimate == pytest.approx(right.mean())
    assert np.isfinite([made.low, made.high]).all() == known
    assert np.isnan([made.low, made.high]).any() != known


def test_an_end_that_is_zero_is_zero_without_dust() -> None:
    """Means of thirds and sevenths leave 1e-18 where the end is 0; the interval must still span zero."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(3, 8, size=7)
        values = rng.choice([-1.0, 0.0, 0.0, 1.0], size=sizes.sum())
        interval = grouped_interval(values, np.repeat(np.arange(7), sizes), draws=200, seed=seed)
        assert all(end == 0 or abs(end) > 1e-9 for end in (interval.low, interval.high))


def test_same_seed_same_interval_and_global_state_untouched() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    rng = np.random.default_rng(0)
    right, paradigm = rng.random(200) < 0.7, np.repeat(np.arange(10), 20)
    assert grouped_interval(right, paradigm, seed=5) == grouped_interval(right, paradigm, seed=5)
    assert grouped_interval(right, paradigm, seed=5) != grouped_interval(right, paradigm, seed=6)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [[1.0]]])
def test_empty_or_non_finite_values_are_refused(bad: list) -> None:
    with pytest.raises(ValueError, match=r"non-empty|finite"):
        mean_interval(bad)


@pytest.mark.parametrize("values", [[3.0], [2.0, 4.0], [2.0, 3.0, 3.0, 4.0]])
def test_few_units_allow_no_interval(values: list[float]) -> None:
    interval = mean_interval(values)
    assert interval.estimate == 3.0
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)
    assert interval.spans_zero
    assert "fewer than 5 units" in interval.method


def test_accuracy_interval_covers_at_least_its_level() -> None:
    """Paradigms that differ: the interval covers the mean over all paradigms at about the nominal rate."""
    rng = np.random.default_rng(3)
    covered = 0
    for run in range(300):
        chance = rng.beta(7, 3, size=30)
        right = (rng.random((30, 40)) < chance[:, None]).astype(float)
        interval = grouped_interval(right.ravel(), np.repeat(np.arange(30), 40), draws=400, seed=run)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.91 <= covered / 300 <= 0.995


def test_mean_interval_covers_in_small_samples() -> None:
    """Eight windows: the expanded percentile interval holds its level, where the plain one would give about 0.90."""
    rng = np.random.default_rng(4)
    covered = 0
    for run in range(400):
        interval = mean_interval(rng.normal(size=8), draws=1000, seed=run)
        covered += interval.low <= 0 <= interval.high
    assert 0.92 <= covered / 400 <= 0.985

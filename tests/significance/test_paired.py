"""Paired tests against scipy and statsmodels, brute force, and their false-positive rates in simulations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from negspace.significance import (
    compare_accuracy,
    compare_perplexity,
    mcnemar,
    perplexity_interval,
    sign_flip,
    wilson,
)


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (3, 9), (10, 10), (120, 80), (0, 40)])
def test_mcnemar_equals_statsmodels(gained: int, lost: int) -> None:
    table = [[50, gained], [lost, 50]]
    assert mcnemar(gained, lost) == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)


def test_mcnemar_without_discordant_items_is_one() -> None:
    assert mcnemar(0, 0) == 1.0


def test_sign_flip_enumerates_small_samples() -> None:
    data = np.array([0.3, 1.2, -0.4, 2.0, 0.7])
    brute = [abs(np.dot(signs, data)) >= abs(data.sum()) - 1e-12 for signs in itertools.product([1, -1], repeat=5)]
    assert sign_flip(data) == np.mean(brute)


def test_sign_flip_agrees_with_scipy_in_larger_samples() -> None:
    data = np.random.default_rng(0).normal(0.25, 1, size=60)
    reference = stats.permutation_test(
        (data,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    assert sign_flip(data) == pytest.approx(reference, abs=0.015)


def test_sign_flip_never_gives_zero_and_one_unit_gives_no_p() -> None:
    assert sign_flip(np.full(100, 5.0), flips=999) == pytest.approx(1 / 1000)
    assert np.isnan(sign_flip([2.0]))
    assert sign_flip(np.zeros(30)) == 1.0


@pytest.mark.parametrize("bad", [[], [np.inf, 1.0]])
def test_sign_flip_refuses_what_it_cannot_test(bad: list) -> None:
    with pytest.raises(ValueError, match="finite"):
        sign_flip(bad)


def test_change_counts_and_means() -> None:
    first = np.array([1, 1, 0, 0, 1, 0])
    second = np.array([1, 0, 1, 0, 0, 0])
    change = compare_accuracy(first, second, ["a", "a", "a", "a", "b", "b"])
    assert (change.gained, change.lost, change.items, change.paradigms) == (1, 2, 6, 2)
    assert change.baseline == pytest.approx((2 / 4 + 1 / 2) / 2)
    assert change.change.estimate == pytest.approx(change.treated - change.baseline)
    assert change.p == mcnemar(1, 2)


def test_nothing_changed_is_bounded_and_not_certain() -> None:
    right = np.random.default_rng(0).random(100) < 0.5
    change = compare_accuracy(right, right, np.repeat([0, 1], 50))
    bound = wilson(0, 100).high
    assert change.change.estimate == 0
    assert (change.change.low, change.change.high) == (-bound, bound)
    assert change.p == 1.0
    assert change.change.spans_zero


def test_everything_lost_is_bounded_and_not_certain() -> None:
    change = compare_accuracy(np.ones(50), np.zeros(50), np.repeat([0, 1], 25)).change
    assert change.estimate == change.low == -1
    assert change.high == pytest.approx(-1 + wilson(0, 50).high)


def test_fractional_outcomes_are_compared_without_mcnemar() -> None:
    first = np.array([1 / 3, 2 / 3, 1.0, 0.0])
    change = compare_accuracy(first, [1, 1, 0, 1], ["a", "a", "b", "b"])
    assert np.isnan(change.p)
    assert change.change.estimate == pytest.approx((0.5 + 0.0) / 2)


@pytest.mark.parametrize(
    ("first", "second"), [([1, 0], [1]), ([], []), ([2, 0], [0, 0]), ([0, 0], [-1, 0]), ([np.nan, 0], [0, 0])]
)
def test_unpaired_or_impossible_outcomes_are_refused(first: list, second: list) -> None:
    with pytest.raises(ValueError, match=r"conditions|outcomes"):
        compare_accuracy(first, second, ["a"] * len(first))


def test_false_positives_of_the_paired_tests_stay_at_their_level() -> None:
    """Two noisy conditions of equal accuracy within every paradigm."""
    rng = np.random.default_rng(7)
    runs, by_interval, by_mcnemar, by_paradigm = 300, 0, 0, 0
    for run in range(runs):
        chance = rng.uniform(0.4, 0.9, size=(12, 1))
        first, second = rng.random((12, 40)) < chance, rng.random((12, 40)) < chance
        change = compare_accuracy(first.ravel(), second.ravel(), np.repeat(np.arange(12), 40), draws=400, seed=run)
        by_interval += not change.change.spans_zero
        by_mcnemar += change.p < 0.05
        by_paradigm += change.p_paradigms < 0.05
    assert by_interval / runs <= 0.07
    assert by_mcnemar / runs <= 0.08
    assert by_paradigm / runs <= 0.08


def test_paired_interval_finds_a_real_drop() -> None:
    rng = np.random.default_rng(8)
    first = rng.random(2000) < 0.8
    second = first & (rng.random(2000) > 0.1)
    change = compare_accuracy(first, second, np.repeat(np.arange(20), 100))
    assert change.change.high < 0
    assert change.p < 1e-6


def test_perplexity_ratio_is_that_of_the_means() -> None:
    rng = np.random.default_rng(9)
    first = rng.normal(3, 0.3, size=40)
    second = first + rng.normal(0.1, 0.02, size=40)
    change = compare_perplexity(first, second)
    assert change.ratio.estimate == pytest.approx(np.exp(second.mean()) / np.exp(first.mean()))
    assert change.ratio.low < change.ratio.estimate < change.ratio.high
    # Pairing removes the spread between windows: the paired interval is far narrower than either perplexity's own.
    own = perplexity_interval(first)
    assert (change.ratio.high - change.ratio.low) < 0.3 * (own.high - own.low) / own.estimate
    assert change.p < 0.001


def test_perplexity_p_keeps_its_level() -> None:
    rng = np.random.default_rng(10)
    runs = 300
    hits = sum(
        compare_perplexity(first := rng.normal(3, 0.3, 12), first + rng.normal(0, 0.1, 12), draws=50).p < 0.05
        for _ in range(runs)
    )
    assert hits / runs <= 0.08


def test_windows_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="same windows"):
        compare_perplexity([1.0, 2.0], [1.0])

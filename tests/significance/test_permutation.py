"""Permutation tests: exact for few units, at their level for many."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from negspace.significance.permutation import permutation_p, sign_flip


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_the_smallest_p_of_few_units(n: int) -> None:
    assert permutation_p(np.arange(n), np.exp(np.arange(n))) == pytest.approx(2 / math.factorial(n))
    assert permutation_p(np.arange(n), -np.arange(n)) == pytest.approx(2 / math.factorial(n))


def test_equals_counting_over_all_orders_with_ties() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        x, y = rng.integers(4, size=6), rng.normal(size=6)
        every = [stats.spearmanr(x[list(order)], y).statistic for order in itertools.permutations(range(6))]
        as_large = np.abs(every) >= abs(stats.spearmanr(x, y).statistic) - 1e-12
        assert permutation_p(x, y) == pytest.approx(as_large.mean())


def test_more_units_are_shuffled_at_random_from_a_seed() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=20), rng.normal(size=20)
    p = permutation_p(x, y, seed=3)
    assert p == permutation_p(x, y, seed=3)
    assert p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.03)
    assert permutation_p(np.arange(20), np.arange(20)) == pytest.approx(1 / 10_001)


def test_keeps_its_level() -> None:
    rng = np.random.default_rng(5)
    p = [permutation_p(*rng.normal(size=(2, 6))) for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) < 0.09


def test_no_test_without_variation_or_units() -> None:
    assert math.isnan(permutation_p([1, 1, 1, 1], [1, 2, 3, 4]))
    assert math.isnan(permutation_p([1, 2], [1, 2]))
    with pytest.raises(ValueError, match="same units"):
        permutation_p([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="finite"):
        permutation_p([1, 2, 3], [1, 2, np.nan])


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

"""Permutation tests: of a rank correlation over few units, and of a mean paired difference."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

PERMUTATIONS = 10_000
FLIPS = 10_000
_EXACT_UNITS = 8
_EXACT_FLIPS = 13


def permutation_p(x: ArrayLike, y: ArrayLike, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p-value of Spearman's rank correlation: how often as large a one comes from shuffling one variable.

    With at most 8 units all orders are enumerated, and p is the share of them at least as large in magnitude as the
    observed one; with more, `permutations` random orders give p = (1 + as large) / (1 + permutations). With n units,
    no two alike, p is at least 2 / n! (0.083 for 4, 0.017 for 5). It takes the units as exchangeable, which those of a
    series in time are not: two variables with a trend are correlated by it, and only their changes can say more.

    Returns:
        NaN with fewer than 3 units, or where a variable does not vary.

    Raises:
        ValueError: lengths differ, or values are not finite.
    """
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"need the same units in both variables, got {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("values must be finite")
    n = first.size
    if n < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    # Rho is the dot product of the centred ranks, up to a factor that shuffling leaves alone.
    one, other = (ranks - ranks.mean() for ranks in (stats.rankdata(first), stats.rankdata(second)))
    observed = abs(one @ other) - 1e-9
    if n <= _EXACT_UNITS:
        orders = np.array(list(itertools.permutations(range(n))))
        return float(np.mean(np.abs(other[orders] @ one) >= observed))
    rng = np.random.default_rng(seed)
    larger = 0
    block = max(1, 4_000_000 // n)
    for start in range(0, permutations, block):
        orders = rng.permuted(np.tile(np.arange(n), (min(block, permutations - start), 1)), axis=1)
        larger += int(np.count_nonzero(np.abs(other[orders] @ one) >= observed))
    return (1 + larger) / (1 + permutations)


def sign_flip(differences: ArrayLike, *, flips: int = FLIPS, seed: int = 0) -> float:
    """Two-sided permutation p-value of a mean paired difference, each unit's sign being a fair coin under no effect.

    The statistic is |sum of differences|. With at most 13 units all sign patterns are enumerated and p is the share at
    least as large as observed; with more, `flips` random patterns give p = (1 + as large) / (1 + flips), which is never
    0 and keeps the test's level. NaN for a single unit, whose p-value could only be 1.

    Raises:
        ValueError: there are no differences, or some are not finite.
    """
    data = np.asarray(differences, dtype=np.float64)
    if data.ndim != 1 or data.size == 0 or not np.isfinite(data).all():
        raise ValueError("need a non-empty list of finite differences")
    if data.size == 1:
        return float("nan")
    # Sums in another order differ in the last bits; a pattern equal to the observed one must count as such.
    observed = abs(data.sum()) - 1e-12 * np.abs(data).sum()
    if data.size <= _EXACT_FLIPS:
        patterns = 1 - 2 * ((np.arange(2**data.size)[:, None] >> np.arange(data.size)) & 1)
        return float(np.mean(np.abs(patterns @ data) >= observed))
    rng = np.random.default_rng(seed)
    larger = 0
    block = max(1, 4_000_000 // data.size)
    for start in range(0, flips, block):
        signs = 1 - 2 * rng.integers(2, size=(min(block, flips - start), data.size), dtype=np.int8)
        larger += int(np.count_nonzero(np.abs(signs @ data) >= observed))
    return (1 + larger) / (1 + flips)

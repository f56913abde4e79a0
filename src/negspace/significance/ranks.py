"""Rank correlations with intervals, plain and partial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from negspace.significance.interval import LEVEL, Interval


def spearman(x: ArrayLike, y: ArrayLike, *, given: Sequence[ArrayLike] = (), level: float = LEVEL) -> Interval:
    """Spearman's rank correlation, ties at their mean rank; partial where other variables are given.

    The partial correlation is Pearson's between what is left of the two variables' ranks after a linear regression on
    the given ones' ranks. The interval is Fisher's z with the standard error of Bonett and Wright (2000),
    sqrt((1 + rho^2 / 2) / (n - k - 3)), where k variables are given. It takes the items as independent.

    Args:
        x: [items] numbers; an item with a NaN in any variable is left out.
        y: [items] the same items.
        given: variables to hold constant, [items] each.

    Returns:
        NaN throughout where fewer than 3 items are left or one of the two does not vary (beyond the given ones); NaN
        ends where n - k - 3 is not positive. `method` names n.

    Raises:
        ValueError: lengths differ.
    """
    data = [np.asarray(values, dtype=np.float64) for values in (x, y, *given)]
    if any(values.shape != data[0].shape or values.ndim != 1 for values in data):
        raise ValueError(f"need the same items in every variable, got {[values.shape for values in data]}")
    kept = ~np.isnan(data).any(axis=0)
    n, k = int(kept.sum()), len(given)
    method = f"Fisher's z, Bonett and Wright's standard error, n = {n:,}" + (f", {k} held constant" if k else "")
    missing = Interval(float("nan"), float("nan"), float("nan"), level, method)
    if n < 3:
        return missing
    ranks = [stats.rankdata(values[kept]) for values in data]
    first, second = (_residual(rank, ranks[2:]) for rank in ranks[:2])
    rest = n - k - 3
    # What is left of ranks that the given ones determine is rounding error, at most.
    if min(first.std(), second.std()) <= 1e-9 * n:
        return missing
    rho = float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))
    if rest <= 0 or abs(rho) > 1 - 1e-12:
        return Interval(rho, float("nan"), float("nan"), level, method)
    half = float(stats.norm.ppf(0.5 + level / 2)) * np.sqrt((1 + rho**2 / 2) / rest)
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return Interval(rho, float(low), float(high), level, method)


def explained(x: ArrayLike, given: Sequence[ArrayLike]) -> float:
    """Share of the variance of x's ranks that a linear regression on the given variables' ranks explains (R^2).

    NaN where fewer than 3 items have every variable, or x does not vary.
    """
    data = [np.asarray(values, dtype=np.float64) for values in (x, *given)]
    kept = ~np.isnan(data).any(axis=0)
    ranks = [stats.rankdata(values[kept]) for values in data]
    if kept.sum() < 3 or ranks[0].std() == 0:
        return float("nan")
    return float(1 - _residual(ranks[0], ranks[1:]).var() / ranks[0].var())


def residual(x: ArrayLike, given: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return the residuals of x's ranks after a linear regression on the given variables' ranks, [items].

    NaN for items that lack a variable, and for all where fewer than 3 have every one.
    """
    data = [np.asarray(values, dtype=np.float64) for values in (x, *given)]
    kept = ~np.isnan(data).any(axis=0)
    found = np.full(data[0].shape, np.nan)
    if kept.sum() >= 3:
        ranks = [stats.rankdata(values[kept]) for values in data]
        found[kept] = _residual(ranks[0], ranks[1:])
    return found


def _residual(rank: NDArray[np.float64], given: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    design = np.column_stack([np.ones(len(rank)), *given])
    coefficients, *_ = np.linalg.lstsq(design, rank, rcond=None)
    return rank - design @ coefficients

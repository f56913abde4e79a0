"""Confidence intervals: Wilson's for a share, the bootstrap for means of units and of units nested in groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

DRAWS = 2000
LEVEL = 0.95
FEWEST = 5
"""Units that an interval for their mean needs."""


@dataclass(frozen=True)
class Interval:
    """An estimate with a confidence interval around it."""

    estimate: float
    """The quantity as measured."""
    low: float
    """Lower end, NaN where the data allow no interval."""
    high: float
    """Upper end, NaN where the data allow no interval."""
    level: float
    """Nominal coverage, 0.95 for a 95% interval."""
    method: str
    """Method of the interval."""

    @property
    def spans_zero(self) -> bool:
        """True if zero lies inside, or no interval could be made: the data do not show a direction."""
        return not (self.low > 0 or self.high < 0)


def wilson(right: int, items: int, *, level: float = LEVEL) -> Interval:
    """Wilson's score interval for a share of `items` independent items (Wilson 1927, without continuity correction).

    Raises:
        ValueError: there are no items, or more right ones than items.
    """
    if not 0 <= right <= items or items == 0:
        raise ValueError(f"need 0 <= right <= items and items > 0, got right={right}, items={items}")
    z2 = float(stats.norm.ppf(0.5 + level / 2)) ** 2
    share = right / items
    middle = (share + z2 / (2 * items)) / (1 + z2 / items)
    half = np.sqrt(z2 * (share * (1 - share) / items + z2 / (4 * items**2))) / (1 + z2 / items)
    # At the ends the formula gives 0 or 1 exactly, but for rounding.
    low = 0.0 if right == 0 else float(middle - half)
    high = 1.0 if right == items else float(middle + half)
    return Interval(share, low, high, level, "Wilson")


def mean_interval(values: ArrayLike, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Bootstrap interval for the mean of independent units, by the expanded percentile method.

    The units are resampled with replacement `draws` times; the ends are the a and 1 - a quantiles of the resampled
    means, where z(a) = -sqrt(n / (n - 1)) * t(n - 1; (1 + level) / 2), which repairs the narrowness of the percentile
    interval in small samples (Hesterberg 2015, "What teachers should know about the bootstrap"). Fewer than five units
    allow no interval, since it could not reach beyond the least and the largest of them: the ends are NaN.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    data = _finite(values)
    estimate = float(data.mean())
    if data.size < FEWEST:
        return Interval(estimate, float("nan"), float("nan"), level, f"none: fewer than {FEWEST} units")
    means = _resampled_means(data, draws, np.random.default_rng(seed))
    n = data.size
    tail = float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + level / 2, n - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), level, f"bootstrap over {n} units, expanded percentile")


def grouped_interval(
    values: ArrayLike, groups: ArrayLike, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Hierarchical bootstrap interval for the mean over groups of the mean over a group's items.

    A draw takes as many groups as there are, with replacement, and in each taken group as many items as it has, with
    replacement; the interval is between the (1 - level) / 2 and (1 + level) / 2 quantiles of the draws. With one group
    only its items are drawn; two to four allow no interval (see `mean_interval`): the ends are NaN. Item noise enters
    at both stages, so the interval errs on the wide side when groups do not differ; with fewer than about eight groups
    that do differ it is too narrow, as any bootstrap over so few is.

    Resampling n items of which c_k have the value v_k gives multinomial counts, so a draw costs a few binomial variates
    a group whatever the number of items. Values should therefore be few and distinct, as outcomes of items are.

    Args:
        values: [items] any finite numbers, for example 1 for right and 0 for not.
        groups: [items] the group of each item.

    Raises:
        ValueError: no items, lengths that differ, or values that are not finite.
    """
    data = _finite(values)
    labels = np.asarray(groups)
    if labels.shape != data.shape:
        raise ValueError(f"need one group an item, got {labels.shape} groups for {data.shape} values")
    _, group = np.unique(labels, return_inverse=True)
    grid, value = np.unique(data, return_inverse=True)
    counts = np.zeros((int(group.max()) + 1, grid.size), dtype=np.int64)
    np.add.at(counts, (group, value), 1)
    sizes = counts.sum(axis=1)
    estimate = float((counts @ grid / sizes).mean())
    if 1 < sizes.size < FEWEST:
        return Interval(estimate, float("nan"), float("nan"), level, f"none: fewer than {FEWEST} groups")
    means = hierarchical_means(counts, grid, draws, np.random.default_rng(seed))
    # An end that is zero but for rounding must be zero: whether an interval spans it decides what is called null.
    low, high = np.round(np.quantile(means, [(1 - level) / 2, (1 + level) / 2]), 12)
    over = f"{sizes.size} paradigms and the items within" if sizes.size > 1 else "items"
    return Interval(estimate, float(low), float(high), level, f"bootstrap over {over}, percentile")


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise ValueError(f"need a non-empty list of numbers, got shape {data.shape}")
    if not np.isfinite(data).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(data))} of {data.size} values are not finite")
    return data


def _resampled_means(data: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of `draws` resamples, in blocks of at most four million indices."""
    means = np.empty(draws)
    block = max(1, 4_000_000 // data.size)
    for start in range(0, draws, block):
        stop = min(draws, start + block)
        means[start:stop] = data[rng.integers(data.size, size=(stop - start, data.size))].mean(axis=1)
    return means


def hierarchical_means(
    counts: NDArray[np.int64], grid: NDArray[np.float64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Hierarchically resampled means over groups, float64 [draws]; see `grouped_interval`.

    Args:
        counts: [groups, values] how often each value occurs in a group.
        grid: [values] the values.
    """
    groups = counts.shape[0]
    taken = rng.integers(groups, size=(draws, groups))
    sizes = counts.sum(axis=1)[taken]
    left = sizes.copy()
    rest = sizes.copy()
    total = np.zeros(taken.shape)
    for k in range(grid.size - 1):
        here = counts[taken, k]
        # Conditional binomials: value k among the items that have none of the values before it.
        drawn = rng.binomial(left, np.divide(here, rest, out=np.zeros(taken.shape), where=rest > 0))
        total += grid[k] * drawn
        left -= drawn
        rest -= here
    total += grid[-1] * left
    return (total / sizes).mean(axis=1)

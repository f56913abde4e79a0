"""A mean over nested items with its standard error: the one estimate that every contrast is made from.

The mean is that over groups of the groups' means (`Nesting.weights`). Its variance is taken from the units of the
highest level with enough of them, each unit carried whole with all that is nested in it: the limit, for endlessly many
draws, of a bootstrap over these units. A unit's sum already holds the noise of the levels below. To resample these once
more inside each drawn unit would count pairs three times and cost half of the power (shown in the calibration); but the
variance is never taken to be less than what the levels below give by themselves, so that units that happen to agree do
not promise more than their items can bear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from negspace.significance.interval import Interval, wilson
from negspace.significance.nesting import Nesting, Shortfall

_DUST = 1e-12
"""Difference of means that rounding can make of outcomes that are alike."""


@dataclass(frozen=True)
class Estimate:
    """A mean, or a sum of independent ones, with what is needed to test it."""

    value: float
    """The estimate."""
    variance: float
    """Variance of its error, at least that of the items alone."""
    degrees: float
    """Degrees of freedom of the t distribution of value / sqrt(variance)."""
    units: str
    """Level that the variance rests on: phenomena, tasks, windows, ...; joined by "and" where several do."""
    count: int
    """Number of units; of the scarcer kind if there are two."""
    scope: str
    """Scope, if limited to these units: "these 3 families"; else empty."""
    items_variance: float
    """Part of the variance that more items in the same groups would take away."""

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)

    def p(self, null: float = 0.0) -> float:
        """Two-sided p-value of the t-test against a value; 1 where nothing varies and it is that value."""
        if self.variance == 0:
            return float(self.value == null)
        return float(2 * special.stdtr(self.degrees, -abs(self.value - null) / self.se))

    def p_above(self, bound: float) -> float:
        """One-sided p-value for lying above a bound."""
        if self.variance == 0:
            return float(not self.value > bound)
        return float(special.stdtr(self.degrees, -(self.value - bound) / self.se))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Both ends of the interval of level 1 - alpha."""
        half = float(special.stdtrit(self.degrees, 1 - alpha / 2)) * self.se
        return self.value - half, self.value + half


@dataclass(frozen=True, eq=False)
class Grouped:
    """Values of items, summed up by group: all that a mean and its variance need."""

    nesting: Nesting
    """The items' nesting."""
    means: NDArray[np.float64]
    """[groups] mean of each group."""
    noise: NDArray[np.float64]
    """[groups] variance of each mean from the items within: s^2 / n; pooled s^2 for groups of one item."""
    outcomes: bool
    """Whether the values are differences of outcomes in [0, 1]."""

    def keep(self, groups: NDArray[np.bool_]) -> Grouped:
        """The same without some groups; `groups` [groups] is True for those to keep."""
        return replace(self, nesting=self.nesting.only(groups)[0], means=self.means[groups], noise=self.noise[groups])

    @property
    def floor(self) -> float:
        """Least variance of the mean: outcomes that all came out alike say nothing of how rare others are, and get
        Wilson's bound on the share of others in place of a variance of zero."""
        if not self.outcomes or np.ptp(self.means) > _DUST or self.noise.max() > _DUST**2:
            return 0.0
        return (wilson(0, self.nesting.group.size).high / float(special.ndtri(0.975))) ** 2

    @property
    def mean(self) -> float:
        """Mean over groups."""
        return float(self.nesting.weights @ self.means)


def grouped(values: ArrayLike, nesting: Nesting, *, outcomes: bool = False) -> Grouped:
    """Sum values up by group.

    Args:
        values: [items] finite numbers: differences between two conditions, say.
        outcomes: whether they are differences of outcomes in [0, 1]; see `Grouped.floor`.

    Raises:
        ValueError: not one value per item, or values that are not finite.
    """
    data = np.asarray(values, np.float64)
    if data.shape != nesting.group.shape:
        raise ValueError(f"need one value for each of {nesting.group.size} items, got shape {data.shape}")
    if not np.isfinite(data).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(data))} of {data.size} values are not finite")
    sizes = nesting.sizes
    means = np.bincount(nesting.group, weights=data, minlength=sizes.size) / sizes
    squares = np.bincount(nesting.group, weights=(data - means[nesting.group]) ** 2, minlength=sizes.size)
    spare = int(sizes.sum()) - sizes.size
    pooled = float(squares.sum()) / spare if spare else 0.0
    s2 = np.divide(squares, sizes - 1, out=np.full(sizes.size, pooled), where=sizes > 1)
    return Grouped(nesting, means, s2 / sizes, outcomes)


def mean(values: Grouped, *, within: bool = False) -> Estimate | Shortfall:
    """The mean with its variance and degrees of freedom, or why none can be given.

    Of units k with weights h_k (the sum of their groups' weights) and T_k = sum of w_g (m_g - mean), the variance is
    the sum of T_k^2 / (1 - h_k): s^2 / K for K units of one size, and the CR2 estimate of Bell and McCaffrey (2002) for
    units that differ in size. Degrees of freedom are Satterthwaite's for that estimate, with the units' own effects as
    the source of error: K - 1 for units of one size, fewer otherwise. The variance is the largest of that and those of
    the levels below; the degrees of freedom stay those of the units.

    Args:
        within: see `Nesting.level`.
    """
    nesting = values.nesting
    level = nesting.level(within=within)
    if isinstance(level, Shortfall):
        return level
    items = float(nesting.weights**2 @ values.noise)
    if level.unit is None:
        degrees = float(nesting.sizes.sum() - nesting.sizes.size)
        return Estimate(values.mean, max(items, values.floor), degrees, level.name, level.count, level.scope, items)
    h, variance = _between(values, level.unit)
    if level.name == nesting.names[0]:
        variance = max(variance, _between(values, np.arange(len(nesting.labels)))[1])
    return Estimate(
        values.mean,
        max(variance, items, values.floor),
        satterthwaite(h),
        level.name,
        level.count,
        level.scope,
        items,
    )


def _between(values: Grouped, unit: NDArray[np.intp]) -> tuple[NDArray[np.float64], float]:
    """Weights of the units, and the variance of the mean from them."""
    weights = values.nesting.weights
    h = np.bincount(unit, weights=weights).astype(np.float64)
    total = np.bincount(unit, weights=weights * (values.means - values.mean))
    return h, float((total**2 / (1 - h)).sum())


def satterthwaite(h: NDArray[np.float64]) -> float:
    """Degrees of freedom of the CR2 variance of a mean over units of weights h, which have independent effects.

    (tr M)^2 / tr(M^2) with M_kl = a_k a_l (delta_kl - h_k - h_l + sum h^2), the covariance of the summands
    a_k (u_k - mean), a_k = h_k / sqrt(1 - h_k).

    Args:
        h: [units] weights, summing to 1.
    """
    a2, s = h**2 / (1 - h), float((h**2).sum())
    one, two, three = float(a2.sum()), float((a2 * h).sum()), float((a2 * h**2).sum())
    trace = one * (1 + s) - 2 * two
    square = s**2 * one**2 - 4 * s * one * two + 2 * one * three + 2 * two**2
    square += float((a2**2 * (1 + 2 * (s - 2 * h))).sum())
    return trace**2 / square


def total(parts: Sequence[Estimate], factors: Sequence[float]) -> Estimate:
    """A weighted sum of independent estimates, with Welch and Satterthwaite's degrees of freedom."""
    variances = [factor**2 * part.variance for part, factor in zip(parts, factors, strict=True)]
    variance = sum(variances)
    lost = sum(v**2 / part.degrees for v, part in zip(variances, parts, strict=True))
    scarcer = min(parts, key=lambda part: part.count)
    return Estimate(
        sum(factor * part.value for part, factor in zip(parts, factors, strict=True)),
        variance,
        variance**2 / lost if lost > 0 else min(part.degrees for part in parts),
        " and ".join(dict.fromkeys(part.units for part in parts)),
        scarcer.count,
        " and ".join(dict.fromkeys(part.scope for part in parts if part.scope)),
        sum(factor**2 * part.items_variance for part, factor in zip(parts, factors, strict=True)),
    )


def describe(values: ArrayLike, nesting: Nesting, *, outcomes: bool = False, alpha: float = 0.05) -> Interval:
    """A level with its interval: a description of these items, and no judgement of anything.

    Args:
        values: [items] finite numbers.
        nesting: their nesting. Units are those of `mean`, these very groups where there are too few.
        outcomes: whether they are outcomes in [0, 1]; the ends then stay there.
        alpha: the interval has level 1 - alpha. Its ends are NaN where there are too few units.
    """
    by_group = grouped(values, nesting, outcomes=outcomes)
    found = mean(by_group, within=True)
    if isinstance(found, Shortfall):
        return Interval(by_group.mean, math.nan, math.nan, 1 - alpha, f"none: {found.found}")
    low, high = found.interval(alpha)
    if outcomes:
        low, high = max(0.0, low), min(1.0, high)
    return Interval(by_group.mean, low, high, 1 - alpha, f"t over {found.count} {found.units}")

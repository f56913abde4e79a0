"""Two groups of different units: the difference of their means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from negspace.significance.interval import LEVEL, Interval


@dataclass(frozen=True)
class GroupDifference:
    """The difference between the means of two groups."""

    difference: Interval
    """Mean of the first group minus mean of the second."""
    p: float
    """Two-sided p-value of Welch's test; NaN where no interval can be made."""


def compare_groups(first: ArrayLike, second: ArrayLike, *, level: float = LEVEL) -> GroupDifference:
    """Difference of the means of two groups of independent units, which may vary and number differently.

    Interval and test are Welch's (1947), with Satterthwaite's degrees of freedom. A group of one unit, or two groups
    that do not vary at all, allow neither.

    Raises:
        ValueError: a group is empty, or values are not finite.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    for data in (one, other):
        if data.ndim != 1 or data.size == 0 or not np.isfinite(data).all():
            raise ValueError("need two non-empty lists of finite numbers")
    estimate, nothing = float(one.mean() - other.mean()), float("nan")
    if min(one.size, other.size) < 2 or np.ptp(one) == np.ptp(other) == 0:
        return GroupDifference(Interval(estimate, nothing, nothing, level, "none: no variation to judge by"), nothing)
    made = stats.ttest_ind(one, other, equal_var=False)
    ends = made.confidence_interval(level)
    interval = Interval(estimate, float(ends.low), float(ends.high), level, f"Welch, {one.size} and {other.size} units")
    return GroupDifference(interval, float(made.pvalue))

"""An ablation against a baseline on the same items: paired intervals and tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from negspace.significance.interval import DRAWS, LEVEL, Interval, grouped_interval, mean_interval, wilson

FLIPS = 10_000
_EXACT_UNITS = 13


@dataclass(frozen=True)
class AccuracyChange:
    """How an accuracy changed between two conditions on the same items."""

    baseline: float
    """Accuracy of the first condition (mean over paradigms)."""
    treated: float
    """Accuracy of the second."""
    change: Interval
    """treated - baseline, with its paired interval."""
    gained: int
    """Items that only the second condition has right."""
    lost: int
    """Items that only the first has right."""
    items: int
    """Items compared."""
    paradigms: int
    """Paradigms they fall into."""
    p: float
    """Exact McNemar p-value over items (two-sided)."""
    p_paradigms: float
    """Sign-flip p-value with paradigms as units (two-sided); NaN for a single paradigm."""


@dataclass(frozen=True)
class PerplexityChange:
    """How perplexity changed between two conditions on the same windows."""

    baseline: float
    """Perplexity of the first condition."""
    treated: float
    """Perplexity of the second."""
    ratio: Interval
    """treated / baseline, with its paired interval over windows."""
    windows: int
    """Windows compared."""
    p: float
    """Sign-flip p-value over windows (two-sided); NaN for a single window."""


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p-value: the discordant items split like a fair coin under no effect.

    p = min(1, 2 * P[Binomial(gained + lost, 1/2) <= min(gained, lost)]); 1 when no item changed.
    """
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(min(gained, lost), gained + lost, 0.5).pvalue)


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
    if data.size <= _EXACT_UNITS:
        patterns = 1 - 2 * ((np.arange(2**data.size)[:, None] >> np.arange(data.size)) & 1)
        return float(np.mean(np.abs(patterns @ data) >= observed))
    rng = np.random.default_rng(seed)
    larger = 0
    block = max(1, 4_000_000 // data.size)
    for start in range(0, flips, block):
        signs = 1 - 2 * rng.integers(2, size=(min(block, flips - start), data.size), dtype=np.int8)
        larger += int(np.count_nonzero(np.abs(signs @ data) >= observed))
    return (1 + larger) / (1 + flips)


def compare_accuracy(
    baseline: ArrayLike,
    treated: ArrayLike,
    paradigms: ArrayLike,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> AccuracyChange:
    """Compare two conditions item by item.

    The change is the mean over paradigms of the mean item difference, its interval the hierarchical bootstrap of
    `grouped_interval` over those differences: an item is drawn with both its outcomes. Where all differences are alike
    (nothing changed, say) a bootstrap would claim certainty; the ends then come from Wilson's bound on a share of 0 or
    1 over all items. McNemar's test takes items as independent; the sign-flip test takes paradigms as the units.

    Args:
        baseline: [items] 1 where the item is right in the first condition, else 0. Fractions are allowed (an item's
            share of right outcomes over several random sets); McNemar's p is then NaN.
        treated: [items] the same items, in the same order, in the second.
        paradigms: [items] the paradigm of each item.

    Raises:
        ValueError: lengths differ, there are no items, or outcomes lie outside [0, 1].
    """
    first = np.asarray(baseline, dtype=np.float64)
    second = np.asarray(treated, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise ValueError(f"need the same items in both conditions, got {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()) or min(first.min(), second.min()) < 0:
        raise ValueError("outcomes must be finite and in [0, 1]")
    if max(first.max(), second.max()) > 1:
        raise ValueError("outcomes must be finite and in [0, 1]")
    labels, group = np.unique(np.asarray(paradigms), return_inverse=True)
    # Fractions such as 1 - 2/3 and 1/3 must meet on one value, or the bootstrap's grid of values grows without need.
    differences = np.round(second - first, 12)
    if differences.min() == differences.max():
        change = _uniform_change(float(differences[0]), differences.size, level)
    else:
        change = grouped_interval(differences, group, level=level, draws=draws, seed=seed)
    plain = bool(np.isin(first, (0.0, 1.0)).all() and np.isin(second, (0.0, 1.0)).all())
    gained, lost = int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0))
    return AccuracyChange(
        baseline=float(_group_means(first, group).mean()),
        treated=float(_group_means(second, group).mean()),
        change=change,
        gained=gained,
        lost=lost,
        items=first.size,
        paradigms=labels.size,
        p=mcnemar(gained, lost) if plain else float("nan"),
        p_paradigms=sign_flip(_group_means(differences, group), seed=seed),
    )


def perplexity_interval(nll: ArrayLike, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Perplexity with an interval: exp of `mean_interval` over the windows' mean negative log-likelihoods.

    Windows are the units: tokens within a window depend on each other. All windows must hold equally many tokens.

    Args:
        nll: [windows] mean negative log-likelihood of a window's predicted tokens, in nats.
    """
    return _exponential(mean_interval(nll, level=level, draws=draws, seed=seed))


def compare_perplexity(
    baseline: ArrayLike, treated: ArrayLike, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> PerplexityChange:
    """Compare two conditions window by window.

    The ratio of perplexities is exp(mean difference of the windows' negative log-likelihoods); its interval is exp of
    the paired bootstrap of `mean_interval` over those differences, and p the sign-flip test on them.

    Args:
        baseline: [windows] mean negative log-likelihood per predicted token in the first condition, in nats.
        treated: [windows] the same windows in the second.

    Raises:
        ValueError: lengths differ, there are no windows, or values are not finite.
    """
    first = np.asarray(baseline, dtype=np.float64)
    second = np.asarray(treated, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"need the same windows in both conditions, got {first.shape} and {second.shape}")
    differences = second - first
    return PerplexityChange(
        baseline=float(np.exp(first.mean())),
        treated=float(np.exp(second.mean())),
        ratio=_exponential(mean_interval(differences, level=level, draws=draws, seed=seed)),
        windows=first.size,
        p=sign_flip(differences, seed=seed),
    )


def _uniform_change(value: float, items: int, level: float) -> Interval:
    """Interval for a change that was the same on every item, from the bound on the share of items that differ."""
    if value in (-1.0, 0.0, 1.0):
        slack = wilson(0, items, level=level).high
        low, high = max(-1.0, value - slack), min(1.0, value + slack)
        return Interval(value, low, high, level, "Wilson's bound, all items alike")
    return Interval(value, float("nan"), float("nan"), level, "none: all items alike")


def _group_means(values: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.bincount(group, weights=values) / np.bincount(group)


def _exponential(interval: Interval) -> Interval:
    low, high = np.exp([interval.low, interval.high])
    return Interval(float(np.exp(interval.estimate)), float(low), float(high), interval.level, interval.method)

"""Means over tokens that come in windows: windows are the independent units, tokens within one are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from negspace.significance.interval import DRAWS, FEWEST, LEVEL, Interval
from negspace.significance.permutation import sign_flip


@dataclass(frozen=True)
class ClusteredMean:
    """Mean of a difference over items that come in clusters."""

    mean: Interval
    """Mean over all items, with an interval clustered by cluster."""
    items: int
    """Items."""
    clusters: int
    """Clusters that hold any."""
    p: float
    """Sign-flip p-value with clusters as units (two-sided); NaN without an interval, and where so few clusters could
    never reach the level."""


def clustered_mean(
    differences: ArrayLike, clusters: ArrayLike, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> ClusteredMean:
    """Mean of paired differences over items in clusters, its interval, and a test of no effect.

    The mean is sum(S_c) / sum(n_c) over clusters c with sums S_c and sizes n_c, so that every item weighs the same.
    Interval: clusters are drawn with replacement, sums and sizes together (a ratio estimate), and the ends are taken by
    the expanded percentile method. Fewer than five clusters allow no interval (see `mean_interval`): the ends are NaN.
    Test: under no effect S_c is as likely to be -S_c, so the signs of the clusters' sums are flipped. With m clusters
    the smallest p-value is 2^(1 - m); where that exceeds 1 - level, or there is no interval, no test is made and p is
    NaN, so that what cannot be found does not cost the rest in a correction.

    Args:
        differences: [items] finite numbers.
        clusters: [items] the cluster of each.

    Raises:
        ValueError: there are no items, lengths that differ, or values that are not finite.
    """
    data, labels = np.asarray(differences, np.float64), np.asarray(clusters)
    if data.ndim != 1 or data.size == 0 or data.shape != labels.shape:
        raise ValueError(f"need one cluster an item, got {labels.shape} clusters for {data.shape} differences")
    if not np.isfinite(data).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(data))} of {data.size} differences are not finite")
    _, cluster = np.unique(labels, return_inverse=True)
    sizes = np.bincount(cluster).astype(np.float64)
    sums = np.bincount(cluster, weights=data).astype(np.float64)
    estimate, m = float(sums.sum() / sizes.sum()), sizes.size
    if m < FEWEST:
        nothing = Interval(estimate, float("nan"), float("nan"), level, f"none: fewer than {FEWEST} clusters")
        return ClusteredMean(nothing, data.size, m, float("nan"))
    means = _resampled(sums, sizes, draws, np.random.default_rng(seed))
    tail = float(stats.norm.cdf(-np.sqrt(m / (m - 1)) * stats.t.ppf(0.5 + level / 2, m - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    interval = Interval(estimate, float(low), float(high), level, f"bootstrap over {m} clusters, expanded percentile")
    testable = 2.0 ** (1 - m) <= 1 - level
    return ClusteredMean(interval, data.size, m, sign_flip(sums, seed=seed) if testable else float("nan"))


def _resampled(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Ratios of `draws` resamples, in blocks of at most four million indices."""
    ratios = np.empty(draws)
    block = max(1, 4_000_000 // sums.size)
    for start in range(0, draws, block):
        stop = min(draws, start + block)
        taken = rng.integers(sums.size, size=(stop - start, sums.size))
        ratios[start:stop] = sums[taken].sum(axis=1) / sizes[taken].sum(axis=1)
    return ratios

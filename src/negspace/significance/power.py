"""Power of a study of given size: the smallest effect that it finds with a given probability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from negspace.significance.contrast import Scale
from negspace.significance.estimate import Estimate, grouped
from negspace.significance.nesting import ENOUGH, Level, Nesting, Shortfall, number_of
from negspace.significance.sets import FEWEST, fewest_sets, join

POWER = 0.8


@dataclass(frozen=True)
class Components:
    """Variances of the difference of two conditions, by level of the nest."""

    items: float
    """Over items of one group."""
    groups: float
    """Over groups (paradigms, constructions, tasks, windows) of one cluster, the items' noise taken off."""
    clusters: float
    """Over clusters (phenomena, families, documents), the groups' taken off; 0 without clusters."""
    sets: float = 0.0
    """Over random sets, the items' noise taken off."""


@dataclass(frozen=True)
class Sizes:
    """The size of a study."""

    groups: int
    """Paradigms, constructions, tasks or windows in all."""
    items: int = 1
    """Pairs or items in each; 1 for windows."""
    clusters: int = 0
    """Phenomena, families or documents; 0 where there are none."""
    names: tuple[str | None, str, str | None] = ("phenomena", "paradigms", "pairs")
    """Plural names of the levels, as in `Nesting.names`."""

    @classmethod
    def of(cls, nesting: Nesting) -> Sizes:
        """The sizes that a nesting has; items are the harmonic mean over groups, which is what noise depends on."""
        items = round(len(nesting.sizes) / float((1 / nesting.sizes).sum()))
        return cls(len(nesting.labels), items, len(nesting.cluster_labels), nesting.names)


TYPICAL: Mapping[tuple[Scale, str], Components] = {
    ("points", "paradigms"): Components(items=0.15, groups=0.002, clusters=0.001, sets=0.0001),
    ("points", "constructions"): Components(items=0.15, groups=0.004, clusters=0.0, sets=0.0001),
    ("points", "tasks"): Components(items=0.15, groups=0.001, clusters=0.0, sets=0.0001),
    ("nats", "paradigms"): Components(items=1.0, groups=0.05, clusters=0.02, sets=0.005),
    ("log ratio", "windows"): Components(items=0.0, groups=0.01, clusters=0.0, sets=0.0005),
}
"""Scale and groups -> components to plan with where nothing has been measured yet. Measured ones (`components`) are
better: how much conditions differ over phenomena is a matter of the model."""


def components(values: ArrayLike, nesting: Nesting, *, sets: ArrayLike | None = None) -> Components:
    """Components of variance, from the difference of two conditions.

    Method of moments of the nested analysis of variance, unbalanced, on group means (Searle, Casella and McCulloch
    1992, chapter 5); negative components are taken as zero.

    Args:
        values: [items] condition minus reference.
        nesting: the items' nesting.
        sets: [R, items] values under R random sets, for the component over sets.

    Raises:
        ValueError: values that do not fit, or a single set.
    """
    by_group = grouped(values, nesting)
    sizes, means = nesting.sizes, by_group.means
    spare = int(sizes.sum()) - sizes.size
    items = float((by_group.noise * sizes * (sizes - 1)).sum() / spare) if spare else 0.0
    noise = items * float((1 / sizes).mean()) if spare else 0.0
    cluster = nesting.cluster
    n = np.bincount(cluster).astype(np.float64)
    middle = np.bincount(cluster, weights=means) / n
    free = means.size - n.size
    within = float(((means - middle[cluster]) ** 2).sum() / free) if free else noise
    clusters = 0.0
    if nesting.names[0] and n.size > 1:
        between = float((n * (middle - means.mean()) ** 2).sum() / (n.size - 1))
        n0 = (means.size - float((n**2).sum()) / means.size) / (n.size - 1)
        clusters = max(0.0, (between - within) / n0)
    among = 0.0
    if sets is not None:
        drawn = np.asarray(sets, np.float64)
        if drawn.ndim != 2 or len(drawn) < 2:
            raise ValueError(f"need values [sets, items] of two sets or more, got shape {drawn.shape}")
        common = drawn.mean(axis=0)
        each = [grouped(row - common, nesting) for row in drawn]
        level = Level("", means.size, np.arange(means.size), "")
        from_items = sum(_variance(variance.means, level) for variance in each) / (len(each) - 1)
        among = max(0.0, float(np.var([variance.mean for variance in each], ddof=1)) - from_items)
    return Components(items, max(0.0, within - noise), clusters, among)


def _variance(means: np.ndarray, level: Level) -> float:
    return float(means.var(ddof=1) / level.count) if level.count > 1 else 0.0


def planned(about: Components, sizes: Sizes) -> Estimate | Shortfall:
    """The error that a contrast will have: what `estimate.mean` finds on average in a balanced study of that size.

    Add them up with `estimate.total` for an interaction, which has two sides.
    """
    clusters, groups, _ = sizes.names
    items = about.items / (sizes.groups * sizes.items)
    lower = about.groups / sizes.groups + items
    if clusters and sizes.clusters >= ENOUGH[clusters]:
        variance = about.clusters / sizes.clusters + lower
        return Estimate(0.0, variance, sizes.clusters - 1, clusters, sizes.clusters, "", items)
    if sizes.groups < ENOUGH[groups] or (clusters and clusters != "documents" and sizes.clusters == 1):
        need = f"{ENOUGH[groups]} {groups}" + (f" of 2 {clusters}, better {ENOUGH[clusters]}" if clusters else "")
        return Shortfall(f"only {number_of(sizes.groups, groups)}", f"plan at least {need}")
    # Clusters that are too few to be units are taken as they are: their effects are part of what is estimated.
    scope = f"these {sizes.clusters} {clusters}" if clusters and sizes.clusters else ""
    variance = (about.clusters + about.groups) / sizes.groups + items
    return Estimate(0.0, variance, sizes.groups - 1, groups, sizes.groups, scope, items)


def planned_with_sets(
    error: Estimate, sets_variance: float, sets: int, scale: Scale, *, alpha: float = 0.05
) -> Estimate | Shortfall:
    """The error that a contrast with random sets will have: what `compare_with_sets` finds on average.

    Args:
        error: that over items of one condition's difference from another (`planned`); a random set's own noise over
            items is taken to be half of its variance.
        sets_variance: variance over random sets (`Components.sets`).
        sets: random sets.
        scale: of the contrast.
        alpha: its level, which says how many sets are needed where their differing dominates.
    """
    if sets < FEWEST:
        return Shortfall(f"only {number_of(sets, 'random sets')}", f"plan {fewest_sets(scale, alpha)}")
    noise, factor = error.variance / 2, 1 + 1 / sets
    found = replace(error, variance=noise * factor)
    joined, between = join(found, sets_variance + noise, noise, sets, factor)
    share = between / joined.variance if joined.variance else 0.0
    needed = fewest_sets(scale, alpha, share)
    if sets < needed:
        return Shortfall(
            f"only {number_of(sets, 'random sets')}, whose differing makes {share:.0%} of the error", f"plan {needed}"
        )
    return joined


def detectable(error: Estimate | Shortfall, *, alpha: float = 0.05, tests: int = 1, power: float = POWER) -> float:
    """Smallest true effect that is found with probability `power`; NaN where nothing can be judged.

    Exact for a t-test at level alpha / tests (the first and hardest step of Holm's correction): the noncentral t.

    Args:
        error: `planned`, or the `Estimate` of a study that was run.
        tests: contrasts judged together.
        power: wanted.
    """
    if isinstance(error, Shortfall):
        return float("nan")
    if error.variance == 0:
        return 0.0
    critical = float(stats.t.ppf(1 - alpha / tests / 2, error.degrees))

    def missed(shift: float) -> float:
        return power - float(stats.nct.sf(critical, error.degrees, shift))

    top = critical + 5.0
    while missed(top) > 0:
        top *= 2
    return float(optimize.brentq(missed, 0.0, top)) * error.se


def power_of(effect: float, error: Estimate | Shortfall, *, alpha: float = 0.05, tests: int = 1) -> float:
    """Probability of finding a true effect, on its own side of zero; NaN where nothing can be judged."""
    if isinstance(error, Shortfall) or error.variance == 0:
        return float("nan") if isinstance(error, Shortfall) else float(effect != 0)
    critical = float(stats.t.ppf(1 - alpha / tests / 2, error.degrees))
    return float(stats.nct.sf(critical, error.degrees, abs(effect) / math.sqrt(error.variance)))

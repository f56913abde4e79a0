"""Double dissociation: does one ablation cost grammar more than it costs other abilities, compared with its control?

Every item was scored three times: on the plain model, under the ablation in question and under the matched control. The
drops of a family of items are its accuracy lost under each (accuracy is the mean over groups, which are paradigms or
tasks, of the mean over a group's items). The interaction contrast is

    (grammar drop - other drop) under the ablation  -  (grammar drop - other drop) under the control.

The baseline cancels: what remains is the mean of d = control outcome - ablation outcome over grammar items, minus the
same over the other items. An effect that is merely larger overall cancels too. What does not cancel is the scale: an
ability near chance, or near its ceiling, has little to lose, so baselines are reported beside every contrast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from negspace.significance.correction import correct
from negspace.significance.interval import DRAWS, Interval, hierarchical_means, wilson
from negspace.significance.paired import FLIPS
from negspace.significance.reference import Reference, stand

Verdict = Literal["established", "not established", "reversed"]
POWER = 0.8


@dataclass(frozen=True, eq=False)
class Outcomes:
    """One family's items under each condition, the same items in the same order throughout."""

    groups: ArrayLike
    """[items] paradigm or task of each item."""
    baseline: ArrayLike
    """[items] outcome on the plain model: 1 right, 0 not; any value in [0, 1]."""
    ablation: ArrayLike
    """[items] outcome under the ablation in question."""
    control: ArrayLike
    """[items] outcome under the matched control."""
    random: Sequence[ArrayLike] = ()
    """For each random set, [items] outcomes under its ablation."""

    def __post_init__(self) -> None:
        size = np.asarray(self.groups).size
        if size == 0:
            raise ValueError("need items")
        for values in (self.baseline, self.ablation, self.control, *self.random):
            data = np.asarray(values, np.float64)
            if data.shape != (size,):
                raise ValueError(f"need the same {size} items in every condition, got {data.shape}")
            if not np.isfinite(data).all() or data.min() < 0 or data.max() > 1:
                raise ValueError("outcomes must be finite and in [0, 1]")


@dataclass(frozen=True)
class Family:
    """One family of items: what it loses under each ablation."""

    groups: int
    """Paradigms or tasks."""
    items: int
    """Items in them."""
    baseline: float
    """Accuracy of the plain model: the mean over groups."""
    ablation_drop: float
    """Accuracy lost under the ablation in question."""
    control_drop: float
    """Accuracy lost under the control."""
    difference: Interval
    """ablation_drop - control_drop, with its interval."""
    p: float
    """p-value of the difference, made as that of the contrast."""


@dataclass(frozen=True)
class Interaction:
    """An interaction contrast and what it allows to say."""

    contrast: Interval
    """The contrast (in accuracy, so 0.01 is one point), with its interval at level 1 - alpha."""
    p: float
    """The larger of the two p-values: both nulls must be rejected."""
    p_swap: float
    """Permutation p-value: the two ablations swapped within items."""
    p_bootstrap: float
    """p-value that belongs to the interval."""
    p_adjusted: float
    """p, Holm-corrected over the contrasts tested together; p itself for a single one."""
    verdict: Verdict
    """By the sign of the contrast where p_adjusted is at most alpha (the interval then excludes zero)."""
    crossover: bool
    """Whether the verdict is "established" and each family by itself goes its way: grammar loses more under the
    ablation, the others more under the control, both at level alpha. This is the double dissociation proper; without
    it the interaction may come from one side alone."""
    grammar: Family
    """Grammar."""
    other: Family
    """The other abilities."""
    se: float
    """Standard error of the contrast."""
    degrees: float
    """Degrees of freedom of its t distribution."""
    detectable: float
    """Smallest true contrast that items and groups like these show with probability 0.8."""
    alpha: float
    """Level of the test."""
    reference: Reference | None
    """The contrast among those of random sets in the ablation's place; None without random sets."""
    detectable_among_sets: float
    """Smallest distance from the random sets' mean that stands out from this many sets with probability 0.8; NaN for
    fewer than two sets."""


def interaction(
    grammar: Outcomes,
    other: Outcomes,
    *,
    alpha: float = 0.05,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> Interaction:
    """The interaction contrast of two families, with interval, p-value, verdict and power.

    Interval. Each family's mean difference is resampled hierarchically: as many groups as there are, with replacement,
    and in each as many items as it has; the families independently. That takes in that other paradigms and other tasks
    might have been chosen. The standard error of a family of G groups is the standard deviation of its draws times
    sqrt(G / (G - 1)), and the interval is contrast +- t * SE with Welch and Satterthwaite's degrees of freedom,
    (sum of SE_f^2)^2 / sum of (SE_f^4 / (G_f - 1)), so that few tasks give a wide interval. A family of one group has
    its items resampled instead (G is then the number of items), and the result holds for that group only. A family
    whose differences are all alike gets the bound of Wilson's interval in place of a standard error of zero.

    Permutation. If it makes no difference to an item which of the two ablations it met, its two outcomes are
    exchangeable: swapping them (d becomes -d), for any subset of items, is as probable as what was observed. p_swap is
    (1 + swaps whose |contrast| is at least as large) / (1 + flips). This null implies a contrast of zero but says more:
    with a difference common to both families the swapped contrasts spread wider than they need, and the test is
    conservative. It takes these groups as given and knows nothing of differences between them; the interval does. The
    verdict asks for both, so p is the larger of the two.

    Power. A true contrast C is shown with probability 0.8 at level alpha if |C| = (t[1 - alpha/2] + t[0.8]) * SE (t:
    quantiles of the t distribution with the interval's degrees of freedom). Random sets, R of them with standard
    deviation s among their contrasts, allow (t[1 - alpha/2] + t[0.8]) * s * sqrt(1 + 1/R) with R - 1 degrees.

    Args:
        alpha: level of the test; the interval has level 1 - alpha.
        draws: bootstrap resamples.
        flips: random swaps.

    Raises:
        ValueError: alpha out of (0, 1), or another number of random sets in one family than in the other.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"need 0 < alpha < 1, got {alpha}")
    if len(grammar.random) != len(other.random):
        raise ValueError(f"need the same random sets, got {len(grammar.random)} and {len(other.random)}")
    rng = np.random.default_rng(seed)
    one = _Differences(grammar, alpha, draws, flips, rng)
    two = _Differences(other, alpha, draws, flips, rng)
    contrast = one.mean - two.mean
    se = math.hypot(one.se, two.se)
    degrees = _degrees((one.se, one.free), (two.se, two.free))
    p_swap = _share(one.swapped - two.swapped, contrast)
    p_bootstrap = _p_of_t(contrast, se, degrees)
    reference = None
    if grammar.random:
        each = [one.mean_under(a) - two.mean_under(b) for a, b in zip(grammar.random, other.random, strict=True)]
        reference = stand(contrast, each)
    made = Interaction(
        contrast=_interval(contrast, se, degrees, alpha, f"{one.over} against {two.over}"),
        p=max(p_swap, p_bootstrap),
        p_swap=p_swap,
        p_bootstrap=p_bootstrap,
        p_adjusted=float("nan"),
        verdict="not established",
        crossover=False,
        grammar=one.family(alpha),
        other=two.family(alpha),
        se=se,
        degrees=degrees,
        detectable=_detectable(se, degrees, alpha),
        alpha=alpha,
        reference=reference,
        detectable_among_sets=_detectable_among(reference, alpha),
    )
    return _judge(made, made.p)


def interactions(
    grammar: Outcomes,
    others: Mapping[str, Outcomes],
    *,
    alpha: float = 0.05,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> dict[str, Interaction]:
    """The contrast of grammar with each of several other families (each task by itself, say), Holm-corrected.

    Args and errors: as for `interaction`. The verdicts hold together at level alpha; intervals are not widened.
    """
    made = {
        name: interaction(grammar, other, alpha=alpha, draws=draws, flips=flips, seed=seed)
        for name, other in others.items()
    }
    return together(made)


def together(made: Mapping[str, Interaction]) -> dict[str, Interaction]:
    """The same contrasts judged as one family of tests, their p-values Holm-corrected."""
    adjusted = correct([one.p for one in made.values()], "holm").p
    return {name: _judge(one, float(p)) for (name, one), p in zip(made.items(), adjusted, strict=True)}


class _Differences:
    """One family's d = control - ablation, its resampled means and its means under random swaps."""

    def __init__(self, given: Outcomes, alpha: float, draws: int, flips: int, rng: np.random.Generator) -> None:
        labels, self.group = np.unique(np.asarray(given.groups), return_inverse=True)
        self.count = np.bincount(self.group)
        self.baseline, self.ablation, self.control = (
            np.asarray(values, np.float64) for values in (given.baseline, given.ablation, given.control)
        )
        # Fractions such as 1 - 2/3 and 1/3 must meet on one value: the resampling works on distinct values.
        d = np.round(self.control - self.ablation, 12)
        grid, value = np.unique(d, return_inverse=True)
        counts = np.zeros((labels.size, grid.size), np.int64)
        np.add.at(counts, (self.group, value), 1)
        self.mean = float((counts @ grid / self.count).mean())
        several = labels.size > 1
        units = labels.size if several else d.size
        self.over = f"{labels.size} groups and the items within" if several else f"{d.size} items of one group"
        self.free = max(1, units - 1)
        if grid.size == 1 or units == 1:
            # Items all alike say that others are rare, not that there are none.
            slack = wilson(0, d.size, level=1 - alpha).high
            self.se = slack / float(stats.norm.ppf(1 - alpha / 2))
        else:
            spread = hierarchical_means(counts, grid, draws, rng).std(ddof=1)
            self.se = float(spread) * math.sqrt(units / (units - 1))
        self.swapped = _swapped(counts, grid, flips, rng)

    def mean_under(self, outcomes: ArrayLike) -> float:
        """The family's mean difference with another ablation in place of the one in question."""
        return self._average(self.control - np.asarray(outcomes, np.float64))

    def family(self, alpha: float) -> Family:
        return Family(
            groups=self.count.size,
            items=self.group.size,
            baseline=self._average(self.baseline),
            ablation_drop=self._average(self.baseline - self.ablation),
            control_drop=self._average(self.baseline - self.control),
            difference=_interval(self.mean, self.se, self.free, alpha, self.over),
            p=max(_share(self.swapped, self.mean), _p_of_t(self.mean, self.se, self.free)),
        )

    def _average(self, values: NDArray[np.float64]) -> float:
        return float((np.bincount(self.group, weights=values) / self.count).mean())


def _swapped(
    counts: NDArray[np.int64], grid: NDArray[np.float64], flips: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means over groups when every item's sign is a fair coin, [flips].

    Of k items with |d| = v, a binomial number keep their sign: one variate a group and value, however many items.
    """
    sizes, total = counts.sum(axis=1), np.zeros(flips)
    for magnitude in np.unique(np.abs(grid[grid != 0])):
        items = counts[:, np.abs(grid) == magnitude].sum(axis=1)
        for k, size in zip(items[items > 0], sizes[items > 0], strict=True):
            total += magnitude * (2 * rng.binomial(k, 0.5, size=flips) - k) / size
    return total / sizes.size


def _share(swapped: NDArray[np.float64], observed: float) -> float:
    """Two-sided permutation p-value; sums in another order differ in their last bits and must count as equal."""
    larger = int(np.count_nonzero(np.abs(swapped) >= abs(observed) - 1e-12))
    return (1 + larger) / (1 + swapped.size)


def _degrees(*families: tuple[float, float]) -> float:
    """Welch and Satterthwaite's degrees of freedom of a sum of independent means."""
    variance = sum(se**2 for se, _ in families)
    return variance**2 / sum(se**4 / free for se, free in families)


def _p_of_t(value: float, se: float, degrees: float) -> float:
    return float(2 * stats.t.sf(abs(value) / se, degrees))


def _interval(value: float, se: float, degrees: float, alpha: float, over: str) -> Interval:
    half = float(stats.t.ppf(1 - alpha / 2, degrees)) * se
    return Interval(value, value - half, value + half, 1 - alpha, f"bootstrap over {over}, t({degrees:.3g})")


def _detectable(se: float, degrees: float, alpha: float) -> float:
    return float(stats.t.ppf(1 - alpha / 2, degrees) + stats.t.ppf(POWER, degrees)) * se


def _detectable_among(reference: Reference | None, alpha: float) -> float:
    if reference is None or reference.sets < 2:
        return float("nan")
    return _detectable(reference.sd * math.sqrt(1 + 1 / reference.sets), reference.sets - 1, alpha)


def _judge(made: Interaction, p_adjusted: float) -> Interaction:
    verdict: Verdict = "not established"
    if p_adjusted <= made.alpha:
        verdict = "established" if made.contrast.estimate > 0 else "reversed"
    grammar, other = made.grammar, made.other
    both = grammar.difference.estimate > 0 > other.difference.estimate and max(grammar.p, other.p) <= made.alpha
    return replace(made, p_adjusted=p_adjusted, verdict=verdict, crossover=verdict == "established" and both)

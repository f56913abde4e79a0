"""Floors: what the plain model does no better than by guessing can lose nothing; what it does worse can but gain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from negspace.significance.contrast import Contrast, conclude, subtract
from negspace.significance.estimate import Grouped, grouped, mean
from negspace.significance.nesting import Nesting, Shortfall

Why = Literal["below chance", "cannot be told from chance", "chance unknown"]


@dataclass(frozen=True)
class Floor:
    """A group that is left out because it has nothing to lose."""

    group: str
    """Paradigm, construction or task."""
    accuracy: float
    """The plain model's accuracy on it."""
    chance: float
    """Accuracy of guessing; NaN where it is unknown."""
    items: int
    """Its items."""
    p: float
    """One-sided p-value for being above chance."""
    why: Why
    """Why it is left out."""


@dataclass(frozen=True, eq=False)
class Floors:
    """The groups above chance."""

    above: NDArray[np.bool_]
    """[groups] True for those that are, in the nesting's order."""
    chance: NDArray[np.float64]
    """[groups] accuracy of guessing."""
    left_out: tuple[Floor, ...]
    """The others."""


def floors(plain: ArrayLike, nesting: Nesting, chance: float | ArrayLike, *, alpha: float = 0.05) -> Floors:
    """Tell groups above chance from those that guessing would do as well.

    A one-sided exact binomial test of each group at alpha, uncorrected: that a few groups at chance are kept does
    little harm, that many above it are left out does. Outcomes between 0 and 1 (graded tasks) are tested by t.

    Args:
        plain: [items] the plain model's outcomes.
        nesting: their nesting.
        chance: accuracy of guessing, for all items or [items]: 0.5 for minimal pairs, 1 / choices for a task's item,
            0 for an answer that is written out; NaN where nobody knows.

    Raises:
        ValueError: values that do not fit the nesting, or a chance outside [0, 1).
    """
    data = np.asarray(plain, np.float64)
    by_group = grouped(data, nesting)
    level = np.broadcast_to(np.asarray(chance, np.float64), data.shape)
    if ((level < 0) | (level >= 1)).any():
        raise ValueError("chance must lie in [0, 1)")
    sizes = nesting.sizes
    guess = np.bincount(nesting.group, weights=level, minlength=sizes.size) / sizes
    p = np.asarray(stats.binom.sf(np.round(by_group.means * sizes) - 1, sizes, guess), np.float64)
    graded = np.bincount(nesting.group[(data != 0) & (data != 1)], minlength=sizes.size) > 0
    if graded.any():
        se = np.sqrt(by_group.noise)
        t = np.divide(by_group.means - guess, se, out=np.where(by_group.means > guess, np.inf, -np.inf), where=se > 0)
        p = np.where(graded, stats.t.sf(t, np.maximum(sizes - 1, 1)), p)
    above = np.asarray(p <= alpha)
    left_out = []
    for k in np.flatnonzero(~above):
        why: Why = "cannot be told from chance"
        if np.isnan(guess[k]):
            why = "chance unknown"
        elif stats.binom.cdf(np.round(by_group.means[k] * sizes[k]), sizes[k], guess[k]) <= alpha:
            why = "below chance"
        left_out.append(
            Floor(nesting.labels[k], float(by_group.means[k]), float(guess[k]), int(sizes[k]), float(p[k]), why)
        )
    return Floors(above, guess, tuple(left_out))


def above(
    values: ArrayLike, nesting: Nesting, chance: float | ArrayLike, *, alpha: float = 0.05, within: bool = False
) -> bool:
    """True if a mean accuracy can be told from that of guessing, in a one-sided test at alpha.

    A single group is tested as in `floors`. The mean over several is tested on the units that a contrast of theirs
    rests on (`estimate.mean`): pairs of one template are not independent guesses.

    Args:
        values: [items] outcomes, or their means over several sets.
        nesting: their nesting.
        chance, alpha: as for `floors`.
        within: see `Nesting.level`.

    Returns:
        True also where there are too few units to tell: the contrast then says so.
    """
    if len(nesting.labels) == 1:
        return bool(floors(values, nesting, chance, alpha=alpha).above[0])
    found = mean(
        grouped(np.asarray(values, np.float64) - np.asarray(chance, np.float64), nesting, outcomes=True), within=within
    )
    return isinstance(found, Shortfall) or found.p_above(0.0) <= alpha


@dataclass(frozen=True)
class AboveChance:
    """Accuracy over the paradigms in which the plain model is above chance."""

    contrast: Contrast
    """Change over these paradigms."""
    plain: float
    """The plain model's accuracy over them; NaN where there are none."""
    paradigms: tuple[str, ...]
    """Paradigms chosen on both halves of their pairs."""
    half: tuple[str, ...]
    """Paradigms chosen on one half alone, which weigh half."""
    of: int
    """Paradigms in all."""


def above_chance(
    condition: ArrayLike,
    plain: ArrayLike,
    nesting: Nesting,
    *,
    chance: float | ArrayLike = 0.5,
    alpha: float = 0.05,
    seed: int = 0,
) -> AboveChance:
    """Change of accuracy over paradigms above chance, without the bias of choosing and scoring on the same pairs.

    A paradigm chosen because the plain model did well on some pairs did well on these by luck as well, and would seem
    to lose under anything. So each paradigm's pairs are split at random; paradigms are chosen on one half (`floors`)
    and scored on the other, and both ways are averaged.

    Args:
        condition: [items] outcomes under the condition.
        plain: [items] the plain model's outcomes on the same items.
        nesting: `Nesting.pairs` or `constructions` (weights are not used: every chosen paradigm weighs the same).
        chance: as for `floors`.
        alpha: level of the test, of the interval and of the choice.
        seed: of the split.

    Returns:
        "cannot be judged" where no paradigm, or too few, are above chance.
    """
    difference = subtract(condition, plain, "points")
    before = np.asarray(plain, np.float64)
    level = np.broadcast_to(np.asarray(chance, np.float64), before.shape)
    groups, first = len(nesting.labels), _halves(nesting, seed)
    weight, value, noise, accuracy = (np.zeros(groups) for _ in range(4))
    chosen = []
    if nesting.sizes.min() < 2:
        few = Shortfall("a paradigm of a single pair cannot be split into halves", "add pairs to each paradigm")
        return _no_paradigms(few, alpha, groups)
    for choose in (first, ~first):
        above = floors(before[choose], _part(nesting, choose), level[choose], alpha=alpha).above
        chosen.append(above)
        if not above.any():
            few = Shortfall(
                "no paradigm can be told from chance by half of its pairs",
                "use more pairs of each, pairs that the plain model can tell, or a larger model",
            )
            return _no_paradigms(few, alpha, groups)
        part = _part(nesting, ~choose)
        scored = grouped(difference[~choose], part)
        own = above / (2 * above.sum())
        weight += own
        value += own * scored.means
        noise += own**2 * scored.noise
        accuracy += own * grouped(before[~choose], part).means
    keep = weight > 0
    # Of a paradigm that is chosen on one half alone, the other half is scored.
    used = np.where(first, chosen[1][nesting.group], chosen[0][nesting.group])
    nest = replace(nesting, group=nesting.group[used], weights=weight).only(keep)[0]
    mixed = Grouped(nest, value[keep] / weight[keep], noise[keep] / weight[keep] ** 2, outcomes=True)
    both, either = chosen[0] & chosen[1], chosen[0] ^ chosen[1]
    return AboveChance(
        conclude(mean(mixed), "points", alpha),
        float(accuracy.sum()),
        tuple(name for name, own in zip(nesting.labels, both, strict=True) if own),
        tuple(name for name, own in zip(nesting.labels, either, strict=True) if own),
        groups,
    )


def _halves(nesting: Nesting, seed: int) -> NDArray[np.bool_]:
    """[items] True for a random half of each group's items."""
    order = np.lexsort((np.random.default_rng(seed).random(nesting.group.size), nesting.group))
    first = np.empty(nesting.group.size, np.bool_)
    starts = np.repeat(np.cumsum(nesting.sizes) - nesting.sizes, nesting.sizes)
    first[order] = (np.arange(nesting.group.size) - starts) % 2 == 0
    return first


def _part(nesting: Nesting, items: NDArray[np.bool_]) -> Nesting:
    """The nesting of some items of every group."""
    return replace(nesting, group=nesting.group[items], weights=np.full(len(nesting.labels), 1 / len(nesting.labels)))


def _no_paradigms(few: Shortfall, alpha: float, groups: int) -> AboveChance:
    return AboveChance(conclude(few, "points", alpha), float("nan"), (), (), groups)

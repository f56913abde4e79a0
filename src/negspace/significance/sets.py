"""Random sets as a random effect: "more than random sets do" speaks of sets that were not drawn.

The sets are a sample. Under no effect the set in question is one more of them, so that its distance from their mean has
variance s^2 (1 + 1/R), s^2 the variance among the means of R sets, and is judged by t with R - 1 degrees of freedom: a
prediction interval, not one for the sets' mean. s^2 holds what the sets truly differ by and the noise that each set has
over the items. Where the set in question is noisier over the items than random sets are, the excess is added; and the
variance is never taken to be less than that over the items.

What random sets do to perplexity is skewed, and t is then too bold far out: of 20 sets that are exponential, a further
one is beyond t's 1% point in 3.5% of draws. So where the sets' differing makes most of the error, ranks must bear a
finding as well (`rank_p`): they hold whatever the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from negspace.significance.contrast import Contrast, Margin, Scale, Sets, adjusted, conclude, equivalence, subtract
from negspace.significance.estimate import Estimate, grouped, mean
from negspace.significance.nesting import Nesting, Shortfall
from negspace.wording import counted

FEWEST = 5
"""Random sets that any judgement needs: with 3 or 4, up to 6.3% of true nulls are rejected at 5%, and a difference must
be 3 to 5 standard deviations to show (by simulation)."""


_ROUNDING = 1e-9
"""Distance, in standard deviations or a contrast's own unit, below which values are taken for one."""


def fewest_sets(scale: Scale, alpha: float, sets_share: float = 0.0, conditions: int = 1) -> int:
    """Random sets that a contrast with them needs.

    Where the sets' differing makes most of the error, a finding needs ranks as well as t (`rank_p`). Of R sets and the
    condition each is the one that stands out most with probability 1 / (R + 1), and that is asked not to exceed alpha:
    19 sets at 0.05, however many contrasts are judged together. In perplexity the sets' differing is taken to dominate
    always (windows are many and all change alike): to look first would be to judge just where the sets drawn happen to
    agree, and then most findings would be false.

    Args:
        scale: of the contrast.
        alpha: its level.
        sets_share: measured share of the error that comes from the sets' differing.
        conditions: compared with the same sets.
    """
    return max(FEWEST, sets_for(alpha, conditions)) if _dominate(scale, sets_share) else FEWEST


def sets_for(alpha: float, conditions: int = 1) -> int:
    """Random sets with which ranks can show something of several conditions that are compared with the same sets."""
    return math.ceil(round(conditions / alpha, 9)) - 1


def _dominate(scale: Scale, sets_share: float) -> bool:
    return scale == "log ratio" or sets_share > 0.5


def rank_p(estimates: ArrayLike, means: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """p-values by ranks of contrasts with random sets [contrasts], corrected for all of them; no shape is assumed.

    Under no effect, the condition and the sets are R + 1 draws that can be exchanged. Each contrast's values are taken
    as distances from their mean, in standard deviations (all R + 1 at once), and the condition's is ranked among the
    largest that each set has in any contrast: step-down max-T by Westfall and Young (1993). A single contrast gives
    (1 + sets as far out) / (1 + R). Sets of one place are one draw: contrasts with more sets than others are judged by
    as many as all have.

    Args:
        estimates: [contrasts] the condition's value, relative to the sets' mean.
        means: [contrasts][R] the sets' values, relative to their mean.
    """
    count = min(len(drawn) for drawn in means)
    values = np.array([drawn[:count] for drawn in means])
    values = np.column_stack([np.asarray(estimates, np.float64), values])
    far = np.abs(values - values.mean(axis=1, keepdims=True))
    spread = values.std(axis=1, keepdims=True)
    # The condition's value and the sets' come by different sums: what differs by rounding alone is a tie.
    far = np.divide(far, spread, out=np.zeros_like(far), where=spread > _ROUNDING)
    order = np.argsort(-far[:, 0], kind="stable")
    largest = np.maximum.accumulate(far[order[::-1], 1:], axis=0)[::-1]
    beyond = np.count_nonzero(largest >= far[order, :1] - _ROUNDING, axis=1)
    p = np.empty(len(values))
    p[order] = np.maximum.accumulate((1 + beyond) / (1 + count))
    return p


def compare_with_sets(
    condition: ArrayLike,
    sets: ArrayLike,
    nesting: Nesting,
    *,
    scale: Scale,
    alpha: float = 0.05,
    within: bool = False,
    conditions: int = 1,
) -> Contrast:
    """The contrast of a condition with what random sets do: condition minus the sets' mean, with a prediction interval.

    Where any set is as far out, or where the sets' differing makes most of the error, p is (1 + sets as far out) /
    (1 + sets) at least. Distances are from the mean of the condition and all sets together, on either side.

    Args:
        condition: [items] values under the condition (see `compare`).
        sets: [R, items] values of the same items under each random set.
        nesting, scale, alpha, within: as for `compare`.
        conditions: how many are compared with these same sets and judged together.

    Returns:
        "cannot be judged" with fewer than `fewest_sets`; `sets` says how much of the error comes from the sets.

    Raises:
        ValueError: as for `compare`.
    """
    drawn = _drawn(sets)
    difference = subtract(condition, drawn.mean(axis=0), scale)
    if (few := too_few(len(drawn), fewest_sets(scale, alpha, conditions=conditions), conditions)) is not None:
        return conclude(few, scale, alpha)
    found = mean(grouped(difference, nesting, outcomes=scale == "points"), within=within)
    if isinstance(found, Shortfall):
        return conclude(found, scale, alpha)
    values, noise = set_means(drawn, nesting, within)
    return conclude_with_sets(found, values, noise, scale, alpha, conditions)


def compare_sets(
    sets: ArrayLike,
    reference: ArrayLike,
    nesting: Nesting,
    *,
    scale: Scale,
    alpha: float = 0.05,
    margin: Margin | None = None,
    within: bool = False,
) -> Contrast:
    """Return the mean effect of random sets, drawn or not: their mean minus a reference (the plain model).

    Args:
        sets: [R, items] values under each random set.
        reference: [items] values under the reference; or [R, items], those of the same sets under another intervention,
            in the same order: the difference is then taken set by set.
        nesting, scale, alpha, margin, within: as for `compare`.

    Returns:
        "cannot be judged" with fewer than `FEWEST` sets.

    Raises:
        ValueError: as for `compare`; also for a reference of other than R sets.
    """
    drawn, other = _drawn(sets), np.asarray(reference, np.float64)
    if other.ndim > 1 and other.shape != drawn.shape:
        raise ValueError(f"need the same sets in both conditions, got {drawn.shape} and {other.shape}")
    each = subtract(drawn, other, scale)
    difference = each.mean(axis=0)
    if (few := too_few(len(drawn), FEWEST)) is not None:
        return conclude(few, scale, alpha)
    found = mean(grouped(difference, nesting, outcomes=scale == "points"), within=within)
    if isinstance(found, Shortfall):
        return conclude(found, scale, alpha)
    values, noise = set_means(each, nesting, within)
    joined, _ = join(found, float(values.var(ddof=1)), noise, len(values), 1 / len(values))
    more = max(0.0, joined.variance - found.variance)
    return conclude(joined, scale, alpha, equivalence(margin, difference, nesting, scale, joined, within, more))


def conclude_with_sets(
    found: Estimate, values: NDArray[np.float64], noise: float, scale: Scale, alpha: float, conditions: int = 1
) -> Contrast:
    """The contrast with random sets, from the estimate over items and the sets' own values.

    Args:
        found: condition minus mean of the sets, with its variance over items.
        values: [R] each set's mean (or interaction contrast), any common constant added.
        noise: variance that each has from the items, not shared with the other sets.
        conditions: as for `compare_with_sets`.
    """
    count = len(values)
    joined, between = join(found, float(values.var(ddof=1)), noise, count, 1 + 1 / count)
    share = between / joined.variance if joined.variance > 0 else 0.0
    means = tuple((values - values.mean()).tolist())
    p, needed = joined.p(), fewest_sets(scale, alpha, share, conditions)
    ranked = float(rank_p([found.value], [means])[0])
    sets = Sets(means, round(ranked * (count + 1)) - 1, share, _dominate(scale, share), p)
    if count < needed:
        few = f"their differing makes {share:.0%} of the error; draw {needed} or more"
        reason = f"cannot be judged with {count} random sets: {few}"
        return conclude(joined, scale, alpha, sets=sets, reason=reason)
    contrast = conclude(joined, scale, alpha, sets=sets)
    if sets.beyond or sets.dominant:
        p = max(p, ranked)
    return adjusted(replace(contrast, p=p), p, contrast.p_equivalent)


def too_few(count: int, needed: int, conditions: int = 1) -> Shortfall | None:
    """Why a number of random sets is too small for a judgement; None where it is not.

    Args:
        conditions: compared with the same sets.
    """
    if count >= needed:
        return None
    sets = counted(count, "random set")
    several = f", with which {conditions} sets are compared" if conditions > 1 and needed > FEWEST else ""
    return Shortfall(f"cannot be judged with {sets}{several}", f"draw {needed} or more")


def set_means(sets: NDArray[np.float64], nesting: Nesting, within: bool = False) -> tuple[NDArray[np.float64], float]:
    """[R] mean of each random set, and the variance of one from the items that the sets do not share."""
    common = sets.mean(axis=0)
    values, variance = np.empty(len(sets)), 0.0
    for place, drawn in enumerate(sets):
        own = grouped(drawn - common, nesting)
        values[place] = own.mean
        estimate = mean(own, within=within)
        assert isinstance(estimate, Estimate)  # the caller has made one with the same nesting
        variance += estimate.variance
    return values, variance / (len(sets) - 1)


def join(found: Estimate, s2: float, noise: float, sets: int, factor: float) -> tuple[Estimate, float]:
    """The estimate with the sets' error joined, and the part of its variance that is the sets' true differing.

    Sets that happen to agree do not make the error less than what the items give: outcomes are few, and five sets can
    have one mean by chance. Of the two errors, sets and items or items alone, the one with the wider interval stands.
    Each test keeps its level where its error is the true one, and so does one that asks for both.

    Args:
        found: with its variance over items.
        s2: variance among the sets' values.
        noise: as for `conclude_with_sets`.
        sets: their number.
        factor: what s2 counts: 1 / sets for their mean, 1 + 1 / sets for a further set against it.
    """
    degrees = float(sets - 1)
    among, excess = s2 * factor, max(0.0, found.variance - noise * factor)
    variance = among + excess
    lost = among**2 / degrees + excess**2 / found.degrees
    both = (variance, variance**2 / lost if lost > 0 else degrees)
    variance, degrees = max(both, (found.variance, found.degrees), key=_half_width)
    return replace(found, variance=variance, degrees=degrees), max(0.0, s2 - noise) * factor


def _half_width(error: tuple[float, float]) -> float:
    """Half the width of a 95% interval, from a variance and its degrees of freedom."""
    variance, degrees = error
    return math.sqrt(variance) * float(stats.t.ppf(0.975, degrees))


def _drawn(sets: ArrayLike) -> NDArray[np.float64]:
    drawn = np.asarray(sets, np.float64)
    if drawn.ndim != 2 or len(drawn) == 0:
        raise ValueError(f"need values [sets, items], got shape {drawn.shape}")
    return drawn

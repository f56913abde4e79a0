"""One contrast, one rule: two conditions on the same items become an estimate, an interval, a p-value and a finding.

Every analysis, the terminal, the report and the docs say what a `Contrast` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from negspace.errors import JudgementError
from negspace.significance.estimate import Estimate, grouped, mean
from negspace.significance.nesting import Nesting, Shortfall

Scale = Literal["points", "nats", "sd", "log ratio", "interaction"]
"""Accuracy (0.01 is one point); margin log p(good) - log p(bad) in nats; the same in standard deviations of the plain
model's margins; ln of a ratio of perplexities (the mean over windows of their change in nats per token); accuracy that
grammar loses beyond what other abilities lose (made by `dissociate`)."""
Finding = Literal["harm", "gain", "equivalent", "undecided", "cannot be judged"]

HARM: Mapping[str, int] = {"points": -1, "nats": -1, "sd": -1, "log ratio": 1, "interaction": 1}
"""Scale -> sign of a change for the worse."""
NAN = float("nan")
SHARE = 0.25
"""The margin of equivalence by default: this share of what the top set loses."""


@dataclass(frozen=True, eq=False)
class Margin:
    """The margin of equivalence: what counts as no change. It is stated before anything is scored.

    With both given, a change must lie within both.
    """

    size: float | None = None
    """In the contrast's scale: 0.01 is one point of accuracy. None: `share` alone."""
    share: float | None = None
    """As a share of what the top set loses, for example `SHARE`; needs `of`. The top set's loss is itself uncertain,
    and the test allows for that: it is made on change + share * loss, item by item. None: `size` alone."""
    of: ArrayLike | None = None
    """[items] change under the top set (top - plain) on the same items, in the same order."""

    def __post_init__(self) -> None:
        if self.size is None and self.share is None:
            raise ValueError("a margin needs a size, a share of the top set's loss, or both")
        for name, value in (("size", self.size), ("share", self.share)):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise JudgementError(
                    f"equivalence within a margin, {name} {value:g}",
                    "a margin that is not above zero, within which no change can lie",
                    "state a margin above zero before the run: 0.01 for one point, or a quarter of the top set's loss",
                )
        if self.share is not None and self.of is None:
            raise ValueError("a share needs the change under the top set, item by item")


@dataclass(frozen=True)
class Sets:
    """The role of the random sets in a contrast with them."""

    means: tuple[float, ...]
    """[R] their means, in the contrast's scale and relative to its zero, which is the mean of these."""
    beyond: int
    """Number of sets that stand out from all, the condition among them, as much as the condition does."""
    sets_share: float
    """Share of the contrast's variance that comes from the sets' differing; the rest comes from the items."""
    dominant: bool
    """Whether that is most of it, or is taken to be (perplexity): then the t-test is not trusted alone."""
    p: float
    """p-value of the t-test alone, which Holm's method corrects; ranks are corrected otherwise (`judge_together`)."""

    @property
    def sets(self) -> int:
        """R, their number."""
        return len(self.means)

    @property
    def sd(self) -> float:
        """Standard deviation of their means."""
        return float(np.std(self.means, ddof=1))


@dataclass(frozen=True)
class Contrast:
    """A contrast and what may be said of it. Where nothing can be judged, every number is NaN and `reason` says why."""

    scale: Scale
    """Scale of the numbers."""
    estimate: float
    """First condition minus second."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""
    p: float
    """Two-sided p-value against no difference."""
    p_adjusted: float
    """p, corrected over the claims judged together (`judge_together`); p itself for a single one."""
    alpha: float
    """Level of the test; the interval has level 1 - alpha, and is not widened for other contrasts."""
    se: float
    """Standard error."""
    degrees: float
    """Degrees of freedom of the t distribution."""
    units: str
    """Units that the interval rests on: phenomena, paradigms, tasks, windows, ..."""
    count: int
    """Number of units that the interval rests on, of the scarcer kind if there are two; 0 if it cannot be judged."""
    scope: str
    """Scope of the finding if there are too few units of the level above: "these 3 families"; else empty."""
    finding: Finding
    """equivalent: the change lies within the margin (p_equivalent_adjusted <= alpha). Else harm or gain, by the sign
    and scale: p_adjusted <= alpha. Else undecided: neither a change nor its absence is shown."""
    margin: float
    """Margin of equivalence in the scale, the smaller one where two were stated; NaN without one."""
    p_equivalent: float
    """p-value of the two one-sided tests, the larger; NaN without a margin."""
    p_equivalent_adjusted: float
    """The same, corrected."""
    sets: Sets | None
    """Role of the random sets; None without."""
    reason: str
    """Why it cannot be judged, and what to add; empty otherwise."""

    @classmethod
    def told(cls, scale: Scale, estimate: float, se: float, finding: Finding, reason: str, alpha: float) -> Contrast:
        """A contrast that was judged before and is read from a table: what pooling needs of it, the rest NaN.

        Args:
            estimate: in the scale; for "log ratio" the logarithm.
        """
        return Contrast(
            scale, estimate, NAN, NAN, NAN, NAN, alpha, se, NAN, "", 0, "", finding, NAN, NAN, NAN, None, reason
        )

    @property
    def error(self) -> Estimate | Shortfall:
        """The estimate with its error, for `power.detectable`; of what cannot be judged, why."""
        if self.reason:
            return Shortfall(self.reason, "")
        return Estimate(self.estimate, self.se**2, self.degrees, self.units, self.count, self.scope, NAN)


def compare(
    condition: ArrayLike,
    reference: ArrayLike,
    nesting: Nesting,
    *,
    scale: Scale,
    alpha: float = 0.05,
    margin: Margin | None = None,
    within: bool = False,
) -> Contrast:
    """The contrast of two conditions on the same items: condition minus reference.

    Args:
        condition: [items] values under the condition: 1 right and 0 not; a margin; a window's mean negative
            log-likelihood in nats per token (scale "log ratio", for windows of equally many tokens).
        reference: [items] values of the same items, in the same order, under the other condition (the plain model, the
            matched control).
        nesting: what the items are nested in: `Nesting.pairs`, `constructions`, `tasks` or `windows`.
        scale: what the values are in. For "sd", divide the margins by `plain_sd` of the plain model's first.
        alpha: level of the tests.
        margin: test equivalence, too.
        within: see `Nesting.level`: for the row of a single phenomenon or task.

    Raises:
        ValueError: values that do not fit the nesting, are not finite, or for "points" lie outside [0, 1].
        JudgementError: a margin not above zero.
    """
    difference = subtract(condition, reference, scale)
    found = mean(grouped(difference, nesting, outcomes=scale == "points"), within=within)
    return conclude(found, scale, alpha, equivalence(margin, difference, nesting, scale, found, within))


def plain_sd(margins: ArrayLike) -> float:
    """Standard deviation of the plain model's margins over a suite's pairs: the unit of scale "sd".

    Raises:
        JudgementError: margins that do not vary.
    """
    sd = float(np.std(np.asarray(margins, np.float64), ddof=1)) if np.size(margins) > 1 else 0.0
    if not sd > 0:
        raise JudgementError(
            "changes in standard deviations of the plain margins",
            "margins that do not vary",
            "use more pairs, or report nats",
        )
    return sd


def subtract(condition: ArrayLike, reference: ArrayLike, scale: Scale) -> NDArray[np.float64]:
    """condition - reference, item by item, checked."""
    if scale not in get_args(Scale):
        raise ValueError(f"unknown scale {scale!r}; one of {', '.join(get_args(Scale))}")
    first, second = np.asarray(condition, np.float64), np.asarray(reference, np.float64)
    if first.shape[-1:] != second.shape[-1:]:
        raise ValueError(f"need the same items in both conditions, got {first.shape} and {second.shape}")
    if scale == "points":
        for values in (first, second):
            # `not` so that values that are not numbers are refused as well.
            if not (values.min() >= 0 and values.max() <= 1):
                raise ValueError("outcomes must be finite and in [0, 1]")
    return first - second


def equivalence(
    margin: Margin | None,
    difference: NDArray[np.float64],
    nesting: Nesting,
    scale: Scale,
    found: Estimate | Shortfall,
    within: bool,
    more: float = 0.0,
) -> tuple[float, float]:
    """The margin in the scale and the p-value of equivalence (two one-sided tests); NaN without a margin.

    Within a size: the mean lies above -size, and below size (Schuirmann 1987). Within a share of the top set's loss,
    with s the sign of harm and t the top set's change: the mean of difference + share * s * t lies above zero, and that
    of difference - share * s * t below. Neither can hold for long where the top set loses nothing.

    Args:
        found: the estimate of the contrast, all errors joined.
        more: variance that `found` has beside that over the items (random sets), with its degrees of freedom.
    """
    if margin is None or isinstance(found, Shortfall):
        return NAN, NAN
    sizes, ps = [], []
    if margin.size is not None:
        sizes.append(margin.size)
        ps += _within(found, margin.size)
    if margin.share is not None and margin.of is not None:
        top = np.asarray(margin.of, np.float64)
        if top.shape != difference.shape:
            raise ValueError(f"need the top set's change on the same items, got {top.shape} and {difference.shape}")
        loss = HARM[scale] * top
        lost = grouped(loss, nesting).mean
        sizes.append(margin.share * max(lost, 0.0))
        for sign in (1, -1):
            bound = mean(grouped(sign * difference + margin.share * loss, nesting), within=within)
            assert isinstance(bound, Estimate)  # the same nesting as `found`
            degrees = min(bound.degrees, found.degrees)
            ps.append(replace(bound, variance=bound.variance + more, degrees=degrees).p_above(0.0))
    return min(sizes), max(ps)


def _within(found: Estimate, size: float) -> list[float]:
    return [found.p_above(-size), replace(found, value=-found.value).p_above(-size)]


def conclude(
    found: Estimate | Shortfall,
    scale: Scale,
    alpha: float,
    equivalent: tuple[float, float] = (NAN, NAN),
    sets: Sets | None = None,
    reason: str = "",
) -> Contrast:
    """The contrast that an estimate makes: the only place where an estimate becomes a finding.

    Args:
        equivalent: margin and p-value of equivalence.
        sets: how random sets enter.
        reason: why it cannot be judged although there is an estimate.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"need 0 < alpha < 1, got {alpha}")
    if isinstance(found, Shortfall) or reason:
        return Contrast(
            scale=scale,
            estimate=NAN,
            low=NAN,
            high=NAN,
            p=NAN,
            p_adjusted=NAN,
            alpha=alpha,
            se=NAN,
            degrees=NAN,
            units="",
            count=0,
            scope="",
            finding="cannot be judged",
            margin=NAN,
            p_equivalent=NAN,
            p_equivalent_adjusted=NAN,
            sets=sets,
            reason=reason or str(found),
        )
    low, high = found.interval(alpha)
    p = found.p()
    margin, p_equivalent = equivalent
    contrast = Contrast(
        scale=scale,
        estimate=found.value,
        low=low,
        high=high,
        p=p,
        p_adjusted=p,
        alpha=alpha,
        se=found.se,
        degrees=found.degrees,
        units=found.units,
        count=found.count,
        scope=found.scope,
        finding="undecided",
        margin=margin,
        p_equivalent=p_equivalent,
        p_equivalent_adjusted=p_equivalent,
        sets=sets,
        reason="",
    )
    return adjusted(contrast, p, p_equivalent)


def adjusted(contrast: Contrast, p: float, p_equivalent: float) -> Contrast:
    """The same contrast with corrected p-values, and the finding that they bear."""
    if contrast.finding == "cannot be judged":
        return contrast
    finding: Finding = "undecided"
    if p_equivalent <= contrast.alpha:
        finding = "equivalent"
    elif p <= contrast.alpha:
        finding = "harm" if contrast.estimate * HARM[contrast.scale] > 0 else "gain"
    return replace(contrast, p_adjusted=p, p_equivalent_adjusted=p_equivalent, finding=finding)

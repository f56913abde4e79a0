"""The double dissociation: grammar loses more under the top set, other abilities more under the matched control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from negspace.significance.contrast import NAN, Contrast, adjusted, conclude
from negspace.significance.estimate import Estimate, grouped, mean, total
from negspace.significance.floor import Floor
from negspace.significance.nesting import Shortfall
from negspace.significance.sets import conclude_with_sets, fewest_sets, set_means, too_few
from negspace.significance.sides import OnScales, Part, Sides, Suite, difference, sides_of

Verdict = Literal[
    "established",
    "interaction only",
    "not established",
    "reversed",
    "not testable: the doses differ",
    "not testable: no control",
    "not testable: too few units",
]
Side = Literal["grammar", "other", "both", "neither", ""]
SCALES = ("points", "chance-corrected", "log-odds")


@dataclass(frozen=True)
class Doses:
    """The doses of control and top set, and whether they are equal."""

    top: float
    """ln of the perplexity ratio (ablated / plain) under the top set."""
    control: float
    """The same under the control."""
    tolerance: float
    """Largest mismatch of the two perplexities that counts as equal, as a share of the top set's."""
    matched: bool = True
    """False where the search for the control, which also compares the rises, says that it found none of equal dose."""

    @property
    def equal(self) -> bool:
        """True if the control is matched, its perplexity the top set's within the tolerance."""
        return self.matched and abs(float(np.expm1(self.control - self.top))) <= self.tolerance


@dataclass(frozen=True)
class Without:
    """The dissociation without one phenomenon or task."""

    left_out: str
    """Which."""
    interaction: float
    """The contrast without it."""
    verdict: Verdict
    """The verdict without it, at the same corrected level."""
    sides: Sides | None
    """Its estimates; None where too few units are left."""


@dataclass(frozen=True)
class Dissociation:
    """The interaction contrast with both of its sides, and the verdict."""

    verdict: Verdict
    """established: crossed over, both sides corrected. reversed: crossed over the other way. interaction only: the
    contrast is not zero, and no more is shown. not established: not even that."""
    direction: Literal["as claimed", "against the claim", ""]
    """Sign of the interaction where there is one."""
    carried_by: Side
    """Side on which an interaction without crossover is shown by itself: one, both (same direction), or neither."""
    interaction: Contrast
    """(other - grammar) of top minus control, in accuracy: what grammar loses more than the others, compared with the
    control. Positive as claimed. Scale "interaction"; its finding is harm where grammar is harmed beyond the others."""
    grammar: Contrast
    """Top minus control on grammar, in accuracy: negative where grammar loses more under the top set."""
    other: Contrast
    """Top minus control on the other abilities: positive where they lose more under the control."""
    p_cross: float
    """p-value of the crossover: the larger of both sides' (an intersection-union test); 1 where both go one way."""
    p_cross_adjusted: float
    """The same, corrected over the claims judged together."""
    scales: Mapping[str, OnScales]
    """grammar, other and interaction on three scales: no verdict without one sign of the interaction in all three, and
    no crossover without one of either side. Empty if not testable."""
    scales_agree: bool
    """True if the interaction has one sign in all three."""
    among_random: Contrast
    """The interaction contrast against that of random sets in the top set's place."""
    left_out: tuple[Floor, ...]
    """Paradigms and tasks that are left out because the plain model is not shown to be above chance in them."""
    groups: tuple[int, int]
    """Paradigms (constructions) and tasks that are left."""
    grammar_levels: tuple[float, float, float]
    """Accuracy on them, plain, under the top set and under the control; NaN where it is not testable."""
    other_levels: tuple[float, float, float]
    """The same of the tasks that are left."""
    without: tuple[Without, ...]
    """The verdict without each phenomenon (family; paradigm, where there are none above) and without each task."""
    doses: Doses | None
    """The two doses; None without a control."""
    reason: str
    """Why it is not testable, and what to add; else empty."""
    sides: Sides | None
    """Estimates, for judging anew."""

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the phenomena and tasks without which the verdict is another, where there still is one."""
        testable = (left for left in self.without if not left.verdict.startswith("not testable"))
        return tuple(left.left_out for left in testable if left.verdict != self.verdict)

    @property
    def p(self) -> float:
        """p-value of the interaction; NaN where it is not testable."""
        return self.interaction.p


def dissociate(grammar: Suite, other: Suite, doses: Doses | None, *, alpha: float = 0.05) -> Dissociation:
    """Test a double dissociation of grammar and other abilities, top set against matched control.

    Groups at their floor are left out (`floors`). Each side is the mean of top - control over the groups left, judged
    by the rule of `mean`; the interaction is the difference of the sides, which are independent. Several (shares,
    suites) are judged by `judge_together` with all else that the study tests.

    Args:
        grammar: minimal pairs under every condition.
        other: tasks under every condition.
        doses: perplexities under top set and control; None where there is no control.
        alpha: level of the tests.

    Raises:
        ValueError: outcomes that do not fit their nesting or lie outside [0, 1], or other random sets in one suite than
            in the other.
    """
    suites = (grammar, other)
    if doses is None or any(suite.control is None for suite in suites):
        reason = "there is no matched control; ask for one (`matched`), or see table `matching` for why none was found"
        return _untestable("not testable: no control", reason, alpha, doses)
    if not doses.equal:
        rises = "" if doses.matched else " and within a tenth of the rise"
        reason = (
            f"the control multiplies perplexity by {np.exp(doses.control):.5g}, the top set by {np.exp(doses.top):.5g} "
            f"(equal means within {doses.tolerance * 100:.3g}% of each other{rises}); search with more evaluations, if "
            "table `matching` says that they ran out"
        )
        return _untestable("not testable: the doses differ", reason, alpha, doses)
    parts = [Part(suite, alpha) for suite in suites]
    left_out = tuple(floor for part in parts for floor in part.left_out)
    sides = sides_of(*parts)
    if isinstance(sides, Shortfall):
        reason = str(sides) + (f" ({len(left_out)} not shown to be above chance are left out)" if left_out else "")
        return _untestable("not testable: too few units", reason, alpha, doses, left_out)
    scales = {name: part.scales() for name, part in zip(("grammar", "other"), parts, strict=True)}
    scales["interaction"] = difference(scales["other"], scales["grammar"])
    without = []
    for place, part in enumerate(parts):
        for name, rest in part.without():
            less = sides_of(*(rest if k == place else own for k, own in enumerate(parts)))
            found = None if isinstance(less, Shortfall) else less
            value = found.interaction.value if found else NAN
            without.append(Without(name, value, "not established", found))
    made = Dissociation(
        verdict="not established",
        direction="",
        carried_by="",
        interaction=conclude(sides.interaction, "interaction", alpha),
        grammar=conclude(sides.grammar, "points", alpha),
        other=conclude(sides.other, "points", alpha),
        p_cross=sides.p_cross,
        p_cross_adjusted=NAN,
        scales=scales,
        scales_agree=sides.agree,
        among_random=_among_random(parts, alpha),
        left_out=left_out,
        groups=(len(parts[0].nesting.labels), len(parts[1].nesting.labels)),
        grammar_levels=parts[0].levels,
        other_levels=parts[1].levels,
        without=tuple(without),
        doses=doses,
        reason="",
        sides=sides,
    )
    return judged(made, made.interaction.p, made.p_cross, 1)


def judged(dissociation: Dissociation, p: float, p_cross: float, tests: int) -> Dissociation:
    """The same dissociation with corrected p-values and the verdict that they bear.

    Args:
        p: corrected p-value of the interaction.
        p_cross: corrected p-value of the crossover.
        tests: claims judged together: what a side's own p-value is multiplied by before it is said to carry an
            interaction.
    """
    if dissociation.sides is None:
        return dissociation
    alpha = dissociation.interaction.alpha
    factor, factor_cross = (_factor(*pair, tests) for pair in ((p, dissociation.p), (p_cross, dissociation.p_cross)))
    verdict, carried_by = _verdict(dissociation.sides, p, p_cross, tests, alpha)
    without = tuple(
        replace(w, verdict="not testable: too few units")
        if w.sides is None
        else replace(
            w,
            verdict=_verdict(w.sides, w.sides.p * factor, w.sides.p_cross * factor_cross, tests, alpha)[0],
        )
        for w in dissociation.without
    )
    shown = verdict != "not established"
    direction = ("as claimed" if dissociation.sides.interaction.value > 0 else "against the claim") if shown else ""
    return replace(
        dissociation,
        verdict=verdict,
        direction=direction,
        carried_by=carried_by,
        interaction=adjusted(dissociation.interaction, p, NAN),
        p_cross_adjusted=p_cross,
        without=without,
    )


def _verdict(sides: Sides, p: float, p_cross: float, tests: int, alpha: float) -> tuple[Verdict, Side]:
    if p > alpha or not sides.agree:
        return "not established", ""
    if p_cross <= alpha and sides.each_agrees:
        return ("established" if sides.interaction.value > 0 else "reversed"), ""
    grammar, other = (side.p() * tests <= alpha for side in (sides.grammar, sides.other))
    carried: Side = "both" if grammar and other else "grammar" if grammar else "other" if other else "neither"
    return "interaction only", carried


def _factor(p_adjusted: float, p: float, tests: int) -> float:
    """Return the factor by which the correction multiplied a p-value."""
    return max(1.0, p_adjusted / p) if p > 0 and p_adjusted < 1 else float(tests)


def _among_random(parts: list[Part], alpha: float) -> Contrast:
    sets = [part.random for part in parts]
    if any(drawn is None for drawn in sets):
        return conclude(Shortfall("there are no random sets", "draw some"), "interaction", alpha)
    grammar, other = (np.asarray(drawn) for drawn in sets)
    if len(grammar) != len(other):
        raise ValueError(f"need the same random sets in both suites, got {len(grammar)} and {len(other)}")
    if (few := too_few(len(grammar), fewest_sets("interaction", alpha))) is not None:
        return conclude(few, "interaction", alpha)
    found, values, noise = [], np.zeros(len(grammar)), 0.0
    for part, drawn, sign in zip(parts, (grammar, other), (-1, 1), strict=True):
        own = mean(grouped(part.top - drawn.mean(axis=0), part.nesting, outcomes=True))
        assert isinstance(own, Estimate)  # the sides were estimated on the same nesting
        found.append(own)
        # Each set's mean relative to all sets' mean: what is common to them cancels in every use.
        each, more = set_means(drawn, part.nesting)
        values += sign * each
        noise += more
    return conclude_with_sets(total(found, [-1, 1]), values, noise, "interaction", alpha)


def _untestable(
    verdict: Verdict, reason: str, alpha: float, doses: Doses | None, left_out: tuple[Floor, ...] = ()
) -> Dissociation:
    def none(scale: Literal["points", "interaction"]) -> Contrast:
        return conclude(Shortfall("not testable", reason), scale, alpha)

    return Dissociation(
        verdict=verdict,
        direction="",
        carried_by="",
        interaction=none("interaction"),
        grammar=none("points"),
        other=none("points"),
        p_cross=NAN,
        p_cross_adjusted=NAN,
        scales={},
        scales_agree=False,
        among_random=none("interaction"),
        left_out=left_out,
        groups=(0, 0),
        grammar_levels=(NAN, NAN, NAN),
        other_levels=(NAN, NAN, NAN),
        without=(),
        doses=doses,
        reason=reason,
        sides=None,
    )

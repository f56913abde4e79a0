"""The sides of a double dissociation: of a suite, the groups above chance, top set minus matched control."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from negspace.significance.estimate import Estimate, grouped, mean, total
from negspace.significance.floor import floors
from negspace.significance.nesting import Nesting, Shortfall


@dataclass(frozen=True, eq=False)
class Suite:
    """Items of one kind (minimal pairs, or the items of tasks) under every condition, in one order throughout."""

    nesting: Nesting
    """`Nesting.pairs`, `constructions` or `tasks`."""
    chance: float | ArrayLike
    """Accuracy of guessing, for all items or [items]: 0.5 for minimal pairs, 1 / choices for a task's item, 0 for an
    answer that is written out, NaN where it is unknown (the task is then left out)."""
    plain: ArrayLike
    """[items] outcomes of the plain model: 1 right, 0 not, or in between for graded tasks."""
    top: ArrayLike
    """[items] outcomes under the top set."""
    control: ArrayLike | None
    """[items] outcomes under the matched control; None: there is no control."""
    random: ArrayLike | None = None
    """[R, items] outcomes under random sets; None: there are none."""


@dataclass(frozen=True)
class OnScales:
    """A contrast on three scales, none of which is the right one where levels of chance and baselines differ."""

    points: float
    """Accuracy."""
    chance_corrected: float
    """(accuracy - chance) / (1 - chance)."""
    log_odds: float
    """ln of the odds of being right, half an item added to right and wrong each."""

    @property
    def agree(self) -> bool:
        """True if all three have one sign."""
        return len({float(np.sign(x)) for x in (self.points, self.chance_corrected, self.log_odds)}) == 1


@dataclass(frozen=True)
class Sides:
    """Both sides and their contrast as estimates."""

    grammar: Estimate
    """Top minus control on grammar."""
    other: Estimate
    """Top minus control on the other abilities."""
    interaction: Estimate
    """other - grammar."""
    agree: bool
    """True if the interaction has one sign on all scales."""
    each_agrees: bool
    """True if either side has."""

    @cached_property
    def p(self) -> float:
        """p-value of the interaction."""
        return self.interaction.p()

    @cached_property
    def p_cross(self) -> float:
        """p-value of the crossover."""
        crossed = self.grammar.value * self.other.value < 0
        return max(self.grammar.p(), self.other.p()) if crossed else 1.0


class Part:
    """One suite's groups above chance: top minus control, by group and on three scales."""

    def __init__(self, suite: Suite, alpha: float) -> None:
        plain, top, control = (_outcomes(values, suite) for values in (suite.plain, suite.top, suite.control))
        found = floors(plain, suite.nesting, suite.chance, alpha=alpha)
        self.left_out = found.left_out
        self.random: NDArray[np.float64] | None = None
        if found.above.any():
            self.nesting, self.items = suite.nesting.only(found.above)
        else:
            self.nesting, self.items = suite.nesting, np.zeros(plain.size, np.bool_)
        self.none = not found.above.any()
        if self.none:
            return
        self.top, self.control = top[self.items], control[self.items]
        self.grouped = grouped(self.top - self.control, self.nesting, outcomes=True)
        each = (plain[self.items], self.top, self.control)
        before, after, other = (grouped(values, self.nesting).mean for values in each)
        self.levels = (before, after, other)
        self.chance = found.chance[found.above]
        self.odds = _logit(self.top, self.nesting) - _logit(self.control, self.nesting)
        if suite.random is not None:
            self.random = np.stack([_outcomes(outcomes, suite) for outcomes in np.atleast_2d(np.asarray(suite.random))])
            self.random = self.random[:, self.items]

    def estimate(self, keep: NDArray[np.bool_] | None = None) -> Estimate | Shortfall:
        """Top minus control, over all groups or those to keep."""
        if self.none:
            return Shortfall(
                f"the plain model is shown to be above chance in none of the {self.nesting.names[1]}",
                f"score more items of each, add {self.nesting.names[1]} that it can do, or use a larger model",
            )
        return mean(self.grouped if keep is None else self.grouped.keep(keep))

    def scales(self, keep: NDArray[np.bool_] | None = None) -> OnScales:
        """The same on three scales."""
        kept = np.ones(len(self.nesting.labels), np.bool_) if keep is None else keep
        weights = self.nesting.weights[kept] / self.nesting.weights[kept].sum()
        points, chance = self.grouped.means[kept], self.chance[kept]
        return OnScales(
            float(weights @ points), float(weights @ (points / (1 - chance))), float(weights @ self.odds[kept])
        )

    def without(self) -> list[tuple[str, _Rest]]:
        """Every phenomenon (or group, where there are none above) with what is left without it."""
        nest = self.nesting
        kinds, unit = (
            (nest.cluster_labels, nest.cluster) if nest.names[0] else (nest.labels, np.arange(len(nest.labels)))
        )
        if len(kinds) < 2:
            return []
        return [(name, _Rest(self, unit != k)) for k, name in enumerate(kinds)]


@dataclass(frozen=True, eq=False)
class _Rest:
    """A part without some of its groups."""

    part: Part
    keep: NDArray[np.bool_]

    def estimate(self) -> Estimate | Shortfall:
        return self.part.estimate(self.keep)

    def scales(self) -> OnScales:
        return self.part.scales(self.keep)


def sides_of(grammar: Part | _Rest, other: Part | _Rest) -> Sides | Shortfall:
    """Both sides and their contrast, or what one of them lacks."""
    one, two = grammar.estimate(), other.estimate()
    if isinstance(one, Shortfall):
        return one
    if isinstance(two, Shortfall):
        return two
    on = (grammar.scales(), other.scales())
    return Sides(one, two, total([two, one], [1, -1]), difference(on[1], on[0]).agree, all(own.agree for own in on))


def difference(first: OnScales, second: OnScales) -> OnScales:
    """The first minus the second, on each scale."""
    return OnScales(
        first.points - second.points, first.chance_corrected - second.chance_corrected, first.log_odds - second.log_odds
    )


def _outcomes(values: ArrayLike | None, suite: Suite) -> NDArray[np.float64]:
    data = np.asarray(values, np.float64)
    if data.shape != suite.nesting.group.shape:
        raise ValueError(f"need one outcome for each of {suite.nesting.group.size} items, got {data.shape}")
    if not (data.min() >= 0 and data.max() <= 1):
        raise ValueError("outcomes must be finite and in [0, 1]")
    return data


def _logit(outcomes: NDArray[np.float64], nesting: Nesting) -> NDArray[np.float64]:
    right = np.bincount(nesting.group, weights=outcomes, minlength=len(nesting.labels))
    return np.log((right + 0.5) / (nesting.sizes - right + 0.5))

"""Internal: one score under one condition, item by item: what a record holds, as the statistics take it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from negspace.runs.cell import Record
from negspace.score.pairs import GUESS
from negspace.significance import Nesting, Scale
from negspace.text.suites import SUITES


@dataclass(frozen=True, eq=False)
class Scored:
    """One score under one condition, or the mean over several conditions, item by item."""

    score: str
    """"perplexity", or a suite of minimal pairs."""
    values: NDArray[np.float64]
    """[items] a window's mean negative log-likelihood in nats; for a pair 1 where it is right, else 0 (in a mean over
    conditions, the share of them that have it right). Pairs of identical sentences are left out."""
    margins: NDArray[np.float64] | None
    """[items] log p(good) - log p(bad) of each pair, nats; None for perplexity."""
    nesting: Nesting
    """Nesting of the items."""
    groups: NDArray[Any]
    """[items] BLiMP's phenomenon or TSE's construction; empty for perplexity."""
    chance: float | NDArray[np.float64] = math.nan
    """Accuracy of guessing, for all items or [items]; NaN where it is unknown, and for perplexity."""

    @property
    def level(self) -> float:
        """Perplexity, or accuracy as the mean over paradigms."""
        mean = self.mean(self.values)
        return float(np.exp(mean)) if self.score == "perplexity" else mean

    def mean(self, values: NDArray[np.float64]) -> float:
        """The mean over paradigms (windows) of each one's mean of values [items]."""
        return float(self.nesting.weights @ (np.bincount(self.nesting.group, values) / self.nesting.sizes))

    def part(self, group: str) -> Scored:
        """The items of one phenomenon or construction."""
        here = self.groups == group
        kept = np.zeros(len(self.nesting.labels), bool)
        kept[self.nesting.group[here]] = True
        margins = None if self.margins is None else self.margins[here]
        return replace(
            self,
            values=self.values[here],
            margins=margins,
            nesting=self.nesting.only(kept)[0],
            groups=self.groups[here],
            chance=np.broadcast_to(self.chance, here.shape)[here],
        )

    def on(self, scale: Scale) -> NDArray[np.float64] | None:
        """[items] the values on a scale: "points" or "log ratio", or "nats"."""
        return self.margins if scale == "nats" else self.values


def nesting_of(suite: str, paradigm: ArrayLike, phenomenon: ArrayLike) -> Nesting:
    """The units of a suite's pairs.

    Args:
        paradigm, phenomenon: [pairs] of TSE the construction and its family.
    """
    return (Nesting.constructions if suite == "tse" else Nesting.pairs)(paradigm, phenomenon)


def scored(score: str, record: Record, like: Scored | None = None) -> Scored:
    """The items of a record of "perplexity" or of a suite of minimal pairs.

    Args:
        like: the same score under another condition; its nesting is taken over, the items being the same.
    """
    items = record.items
    if score == "perplexity":
        nesting = like.nesting if like is not None else Nesting.windows(len(items))
        return Scored(score, items["nll"].to_numpy(np.float64), None, nesting, np.empty(0, dtype=object))
    kept = items[items["outcome"] != "identical"]
    right = np.asarray(kept["outcome"] == "right", dtype=np.float64)
    margins = kept["good"].to_numpy(np.float64) - kept["bad"].to_numpy(np.float64)
    if like is not None:
        return replace(like, values=right, margins=margins)
    paradigm, phenomenon = (kept[name].to_numpy(object) for name in ("paradigm", "phenomenon"))
    chance = kept["chance"].to_numpy(np.float64) if "chance" in kept else GUESS
    groups = kept[SUITES[score].column].to_numpy(object)
    return Scored(score, right, margins, nesting_of(score, paradigm, phenomenon), groups, chance)

"""Internal: a change and what may be said of it as columns of a table: declared once, filled from contrasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from negspace.experiment.schema import Column
from negspace.significance import Contrast, Scale

FINDING = (
    "harm or gain if p_holm is at most alpha; equivalent if the change is shown to lie within the margin; undecided if "
    "neither is shown; cannot be judged (for the given reason), as accuracy where the plain model is not shown to be "
    "above chance"
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Changes:
    """Names of the columns of a change, its test and what it rests on: declared here, filled by `Effects.change`."""

    name: str = "change"
    """The column of the estimate; that of margins is NAME_nats."""
    prefix: str = ""
    """Before the names of p, p_holm, finding, nats_finding, units and reason, where a row holds two changes."""
    ends: tuple[str, str] | None = None
    """The columns of the interval's ends; NAME_low and NAME_high."""

    @property
    def interval(self) -> tuple[str, str]:
        """The columns of both ends."""
        return self.ends or (f"{self.name}_low", f"{self.name}_high")

    @property
    def claims(self) -> str:
        """The key under which a row keeps its contrasts until they are judged; not a column of a table."""
        return f"({self.prefix}claims)"

    def columns(self, meaning: str, *, margins: bool = True, sets: bool = False) -> tuple[Column, ...]:
        """The columns in order.

        Args:
            meaning: of the estimate.
            margins: whether the change of pairs' margins stands beside.
            sets: whether random sets enter, with columns of their own.
        """
        low, high = self.interval
        own = (
            Column(self.name, float, meaning),
            Column(low, float, "lower end of its interval"),
            Column(high, float, "upper end of its interval"),
            Column(f"{self.prefix}se", float, "standard error of the estimate; for perplexity, of its logarithm"),
            Column(
                f"{self.prefix}p",
                float,
                "two-sided p-value against no difference, by t over the units; by ranks as well, where most of the "
                "error is what random sets differ by",
            ),
            Column(f"{self.prefix}p_holm", float, "the same, corrected (family: see the table)"),
            Column(f"{self.prefix}finding", str, FINDING),
            *(self._margins if margins else ()),
            Column(
                f"{self.prefix}units",
                str,
                "units of the interval: the highest level with enough units among phenomena, paradigms and pairs "
                "(families, constructions; windows)",
            ),
            Column(f"{self.prefix}reason", str, "why it cannot be judged, and what to add"),
        )
        if not sets:
            return own
        return (
            *own,
            Column(
                f"{self.prefix}sets",
                int,
                "number of random sets; the interval is a prediction interval for one further set",
            ),
            Column(
                f"{self.prefix}sets_sd", float, "standard deviation of the sets' means (perplexity: of its logarithm)"
            ),
            Column(
                f"{self.prefix}sets_share",
                float,
                "share of the error variance that is due to differences among the sets",
            ),
            Column(f"{self.prefix}below", int, "number of random sets with a lower score"),
            Column(f"{self.prefix}above", int, "number of random sets with a higher score"),
        )

    @property
    def equivalence(self) -> tuple[Column, ...]:
        """Columns of the test of equivalence, for tables that state a margin."""
        return (
            Column(
                f"{self.prefix}margin", float, "equivalence margin in accuracy: the smaller of the two stated margins"
            ),
            Column(
                f"{self.prefix}equivalent_p_holm",
                float,
                "p-value of equivalence (two one-sided tests), corrected over all claims of the family",
            ),
        )

    @property
    def _margins(self) -> tuple[Column, ...]:
        return (
            Column(
                f"{self.name}_nats",
                float,
                "the same difference in the pairs' margin, log p(good) - log p(bad), mean over paradigms, in nats "
                "(TSE: nats per token)",
            ),
            Column(f"{self.name}_nats_low", float, "lower end of its interval"),
            Column(f"{self.name}_nats_high", float, "upper end of its interval"),
            Column(f"{self.prefix}nats_se", float, "its standard error"),
            Column(f"{self.prefix}nats_p", float, "its p-value; p_holm's family includes it"),
            Column(f"{self.prefix}nats_finding", str, "finding on margins, corrected in the same family"),
            Column(f"{self.prefix}nats_reason", str, "why margins cannot be judged, and what to add"),
        )

    def row(self, claim: Contrast) -> Row:
        """A contrast in these columns; ratios of perplexity as ratios."""
        low, high = self.interval
        numbers = np.array([claim.estimate, claim.low, claim.high])
        numbers = np.exp(numbers) if claim.scale == "log ratio" else numbers
        return {
            **dict(zip((self.name, low, high), numbers, strict=True)),
            f"{self.prefix}se": claim.se,
            f"{self.prefix}p": claim.p,
            f"{self.prefix}units": rests_on(claim),
            f"{self.prefix}reason": claim.reason,
        }

    def said(self, claim: Contrast, scale: Scale | None = None) -> Row:
        """Return the entries that judging a contrast adds to its row.

        Args:
            scale: "nats" where it is that of the margins, beside another.
        """
        if scale == "nats":
            return {f"{self.prefix}nats_finding": claim.finding}
        said = {f"{self.prefix}p_holm": claim.p_adjusted, f"{self.prefix}finding": claim.finding}
        if claim.scale == "points":
            p = claim.p_equivalent_adjusted
            said |= {f"{self.prefix}margin": claim.margin, f"{self.prefix}equivalent_p_holm": p}
        return said


SCORE = Column("score", str, "perplexity, blimp, tse or pairs")
"""The column that names a score."""


def value(ends: tuple[str, str] = ("value_low", "value_high")) -> tuple[Column, ...]:
    """The columns of a score's value and its interval, filled by `Effects.value`.

    Args:
        ends: the columns of the interval's ends.
    """
    meaning = "perplexity, or accuracy as the mean over paradigms (ties not right, identical pairs left out)"
    return (
        Column("value", float, meaning),
        Column(ends[0], float, "lower end of its interval"),
        Column(ends[1], float, "upper end of its interval"),
    )


CHANGE = Changes()
"""A change against the plain model: change, change_low, change_high, p, ..."""
GROUP = Changes(ends=("low", "high"))
"""The same in tables by phenomenon or construction: change, low, high, p, ..."""
DIFFERENCE = Changes("difference", ends=("low", "high"))
"""A difference from another condition: difference, low, high, p, ..."""


def rests_on(claim: Contrast) -> str:
    """The units of a contrast in words: "12 phenomena", "8 constructions, these 3 families"; empty where none."""
    if not claim.count:
        return ""
    return f"{claim.count} {claim.units}{f', {claim.scope}' if claim.scope else ''}"

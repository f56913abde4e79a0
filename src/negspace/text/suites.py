"""The suites of minimal pairs that a study can have: what to call each, and how its pairs are grouped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["nats", "nats per token"]
"""What margins of pairs are in."""


@dataclass(frozen=True)
class SuiteKind:
    """A suite of minimal pairs."""

    title: str
    """Its name in a sentence."""
    group: str
    """The grouping of its pairs, in the singular: "phenomenon"."""
    column: str
    """Column of a record's items that holds the group."""
    unit: Unit = "nats"
    """Unit of its margins: the sentences of TSE are scored by means per token, all others by sums."""


SUITES: Mapping[str, SuiteKind] = {
    "blimp": SuiteKind("BLiMP", "phenomenon", "phenomenon"),
    "tse": SuiteKind("TSE", "construction", "paradigm", "nats per token"),
    "pairs": SuiteKind("Pairs", "phenomenon", "phenomenon"),
}
"""Name in studies, records and tables -> suite, in the order in which they are scored and shown."""
TITLES: Mapping[str, str] = {name: suite.title for name, suite in SUITES.items()}
"""Suite -> what to call it."""


def by_group(suite: str) -> str:
    """Name of the main study's table of a suite by group: "blimp_by_phenomenon"."""
    return f"{suite}_by_{SUITES[suite].group}"

"""A finished run as figures and reports need it: manifest, tables, scan, chosen sets, and what its log says of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from negspace.errors import RecordError
from negspace.experiment.claim import Claim
from negspace.experiment.schema import Schema
from negspace.experiment.words import percent
from negspace.given import checked
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan


@dataclass(frozen=True, eq=False)
class Part:
    """One analysis of a run."""

    name: str
    """Its key in study files."""
    title: str
    """Its name."""
    tables: Mapping[str, pd.DataFrame]
    """Its tables."""
    schema: Schema = field(default_factory=dict)
    """Their columns, and over what p-values are corrected."""
    sentences: Sequence[str] = ()
    """Its findings in plain sentences."""


@dataclass(frozen=True)
class History:
    """When and where a run was computed: from its log, on which no result depends."""

    started: str = ""
    """Time of the first start, ISO 8601."""
    ended: str = ""
    """Time at which it was last finished."""
    seconds: float = 0.0
    """Time spent computing cells, over all starts."""
    cells: int = 0
    """Cells computed."""
    starts: int = 0
    """Number of starts, including each time it resumed."""
    surroundings: Mapping[str, Any] = field(default_factory=dict)
    """Machine and software of the last start: what its log entry holds beside time and model."""


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that a report shows of one run."""

    label: str
    """Label that distinguishes it from the other runs of a report."""
    manifest: Mapping[str, Any]
    """Its parts."""
    parts: Mapping[str, Part]
    """Analyses by name, in the order in which they ran."""
    scan: Scan | None = None
    """Statistics of every neuron."""
    sets: Mapping[str, NeuronSet] = field(default_factory=dict)
    """Chosen neurons, by their origin in words: "top 1% by wd"."""
    history: History = field(default_factory=History)
    """When and where."""
    claims: Sequence[Claim] = ()
    """Its answers to the paper's claims."""
    examples: pd.DataFrame | None = None
    """Example tokens of neurons (`examples.EXAMPLES`); None in a run that an earlier version finished."""

    @property
    def study(self) -> Mapping[str, Any]:
        """Its configuration."""
        return self.manifest["study"]

    @property
    def level(self) -> str:
        """Level of its intervals: "95%"."""
        return percent(1 - self.study["alpha"])

    def table(self, name: str) -> pd.DataFrame | None:
        """A table with at least one row, by name; None if no analysis has it."""
        found = next((part.tables[name] for part in self.parts.values() if name in part.tables), None)
        return found if found is not None and len(found) else None


def check_runs(given: Any, asked: str) -> list[Run]:
    """The runs that were given, if they are runs and there is one.

    Raises:
        RecordError: there is none, or something else.
    """
    todo = "give the runs that negspace.read_runs returns"
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    runs = [checked(run, Run, RecordError, asked, todo) for run in several]
    if not runs:
        raise RecordError(asked, "no run", todo)
    return runs

"""Taking stock: which cells of a study are recorded already, found out without computing or writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from negspace.experiment.analysis import Analysis
from negspace.experiment.lab import Lab
from negspace.experiment.plan import Load
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.cell import Cell, Record
from negspace.runs.engine import Engine, kind_of
from negspace.runs.store import Store


class _Missing(Exception):
    """A record that an analysis needs to go on is not there."""


class _Reading(Store):
    """A run folder that is read only."""

    def write_file(self, name: str, data: bytes) -> None: ...

    def discard(self, kinds: Collection[str]) -> None: ...

    def keep_only(self, folder: str, names: Collection[str]) -> None: ...


class _Counting(Engine):
    """Hands out what is recorded, and stops at the first cells that are not all there."""

    def __init__(self, store: Store, width: int) -> None:
        super().__init__(store)
        self.width = width
        self.recorded: dict[str, Cell] = {}

    def run(self, cells: Sequence[Cell]) -> list[Record]:
        records = [self._store.find(cell) for cell in cells]
        there = [record for record in records if record is not None]
        self.recorded |= {cell.key: cell for cell, record in zip(cells, records, strict=True) if record is not None}
        if len(there) < len(cells):
            raise _Missing
        return there

    def ensure(self, cells: Sequence[Cell]) -> None:
        self.run(cells)

    def _make(self, cells: Sequence[Cell], written: Callable[[Cell, float], None]) -> NoReturn:
        raise AssertionError("this engine computes nothing")


class _Looking(Lab):
    """A lab on which analyses run as far as records reach, and leave no trace."""

    def __init__(self, lab: Lab) -> None:
        store = _Reading(lab.store.folder)
        self.counting = _Counting(store, lab.engine.width)
        super().__init__(lab.study, lab.facts, store, self.counting)

    def save_set(self, name: str, neurons: NeuronSet) -> None: ...


@dataclass(frozen=True)
class Stock:
    """The recorded part of a study, and the work left."""

    recorded: Sequence[Cell]
    """Cells that are recorded."""
    left: Mapping[str, Load]
    """Analysis, "scan" or "examples" -> what is left of its plan."""


def take_stock(lab: Lab, loads: Mapping[str, Load], make: Callable[[Lab], Mapping[str, Analysis[Any]]]) -> Stock:
    """Find what is recorded of a study.

    Each analysis is run until it asks for a record that is not there. What it would ask for after that cannot be known
    without computing; of a run that was stopped there is mostly no record of it either.

    Args:
        lab: the study's.
        loads: analysis, "scan" or "examples" -> what it takes beyond those before it.
        make: makes the analyses on another lab, by name.

    Raises:
        NegspaceError: what an analysis raises on records that are there.
    """
    looking = _Looking(lab)
    left = dict(loads)
    if not lab.store.cells.is_dir():
        return Stock((), left)
    steps: dict[str, Callable[[], object]] = {"scan": lambda: looking.scan, "examples": lambda: looking.examples}
    steps |= {name: planned.run for name, planned in make(looking).items()}
    recorded = looking.counting.recorded
    for name, step in steps.items():
        known = set(recorded)
        try:
            step()
            left[name] = Load({}, loads[name].detail)
        except _Missing:
            left[name] = loads[name].less(Counter(kind_of(cell) for key, cell in recorded.items() if key not in known))
    return Stock(tuple(recorded.values()), left)

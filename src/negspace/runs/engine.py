"""Computing cells: what is recorded is read, what is missing or damaged is computed and recorded."""

from __future__ import annotations

import importlib.metadata
import platform
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self, TypeVar

import pandas as pd

from negspace.runs.cell import Cell, Record
from negspace.runs.store import Damaged, Store

T = TypeVar("T")
Step = Callable[[int, int, str], None]
"""Progress within a cell: (done, total, what)."""
Compute = Callable[[Cell, Step], tuple[Mapping[str, Any], pd.DataFrame]]
"""Computes the results and items of a cell; must depend on nothing but the cell."""


class Interrupted(Exception):
    """The user asked to stop (SIGINT); cells that were being computed were finished, and everything is recorded."""

    def __init__(self, computed: int, left: int) -> None:
        super().__init__(f"stopped; what was begun is finished: {computed} computed and saved, about {left} left")
        self.computed = computed
        self.left = left


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    computed: int
    """Cells computed by this run."""
    reused: int
    """Cells that were recorded already."""
    left: int
    """Cells that remain, as far as they are known."""
    done: float
    """Cost of what this run has computed, the known part of a cell that is being computed included."""
    total: float
    """Cost of what it has computed and will have to, as far as that is known."""
    label: str
    """The cell that is being computed, or that was just recorded; of a cluster's cells the latter only is told."""


class Engine(ABC):
    """Computes cells: reads what is recorded, has the rest computed and recorded, and counts.

    While it is entered as a context, SIGINT (Ctrl-C) or SIGTERM lets what is being computed finish and then raises
    `Interrupted`; a second one stops at once, which loses the cells at hand only.

    Args:
        store: where records are; held by this process, which alone writes.
        progress: called after each cell is recorded; in this process also as it begins and goes on.
        note: called with one sentence for what the user should know at once.
    """

    width = 1
    """Cells that are computed at a time."""
    _waits_for = "the current cell"

    def __init__(
        self,
        store: Store,
        progress: Callable[[Progress], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._progress = progress
        self._note = note or (lambda _: None)
        self._stop = False
        self._computed = self._reused = self._expected = self._left = 0
        self._done = self._expected_cost = self._cost = 0.0

    def expect(self, cells: int, cost: float) -> None:
        """Say how many cells, and of what cost, will come beyond those handed in so far; for estimates only."""
        self._expected, self._expected_cost = cells, cost

    def run(self, cells: Sequence[Cell]) -> list[Record]:
        """Records of the cells, in their order; those not recorded yet are computed, once each.

        Raises:
            Interrupted: SIGINT came; all that was computed is recorded.
            RecordError: a record cannot be written.
        """
        found = self._found(cells, lambda record: record)
        return [found[cell.key] for cell in cells]

    def ensure(self, cells: Sequence[Cell]) -> None:
        """As `run`, but what the records hold is let go, where all of them together might not fit into memory."""
        self._found(cells, lambda record: record.key)

    def _found(self, cells: Sequence[Cell], keep: Callable[[Record], T]) -> dict[str, T]:
        """Key -> what is kept of its record, for all cells."""

        def there(cell: Cell) -> T | None:
            record = recorded(self._store, cell, self._note)
            return None if record is None else keep(record)

        found = {cell.key: there(cell) for cell in cells}
        missing = list({cell.key: cell for cell in cells if found[cell.key] is None}.values())
        self._reused += len(found) - len(missing)
        self._left, self._cost = len(missing), sum(cell.cost for cell in missing)

        def written(cell: Cell, **how: Any) -> None:
            # Read back what counts: the caller sees what a resumed run would, NaN as None and all.
            found[cell.key] = keep(self._store.require(cell.key))
            self._store.log("computed", key=cell.key, kind=cell.kind, cell=cell.label, **how)
            self._computed += 1
            self._left -= 1
            self._done += cell.cost
            self._cost -= cell.cost
            self._report(cell)

        if missing:
            self._make(missing, written)
        if self._stop:
            raise Interrupted(self._computed, self._left + self._expected)
        return {key: kept for key, kept in found.items() if kept is not None}

    @abstractmethod
    def _make(self, cells: Sequence[Cell], written: Callable[..., None]) -> None:
        """Compute cells, write a record of each and then call written(cell, **what the log should say beside); no
        further one once `_stop` is set."""

    def _report(self, cell: Cell, part: float = 0.0) -> None:
        """Tell the progress, with a part of a cell done."""
        if self._progress:
            done = self._done + part * cell.cost
            total = self._done + self._cost + self._expected_cost
            waiting = self._left + self._expected
            self._progress(Progress(self._computed, self._reused, waiting, done, total, cell.label))

    def __enter__(self) -> Self:
        self._signals = on_sigint(self._ask_to_stop)
        self._signals.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._signals.__exit__(None, None, None)

    def _ask_to_stop(self) -> None:
        self._stop = True
        self._note(f"stopping after {self._waits_for}; press Ctrl-C again to stop at once")


class LocalEngine(Engine):
    """Computes cells one after the other in this process."""

    def __init__(
        self,
        store: Store,
        compute: Compute,
        progress: Callable[[Progress], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(store, progress, note)
        self._compute = compute

    def _make(self, cells: Sequence[Cell], written: Callable[..., None]) -> None:
        for cell in cells:
            if self._stop:
                return
            self._report(cell)
            began = time.perf_counter()

            def step(done: int, total: int, _: str, cell: Cell = cell) -> None:
                self._report(cell, done / max(1, total))

            results, items = self._compute(cell, step)
            self._store.write(Record(cell.key, cell.kind, cell.spec, results, items, versions()))
            written(cell, seconds=round(time.perf_counter() - began, 3))


def recorded(store: Store, cell: Cell, note: Callable[[str], None]) -> Record | None:
    """The record of a cell; None, and a note, where it is damaged; None where there is none."""
    try:
        return store.read(cell)
    except Damaged as error:
        store.log("damaged", key=cell.key, kind=cell.kind, why=str(error))
        note(f"the record of {cell.label or cell.kind} is damaged ({error}); it is computed again")
        return None


def versions() -> dict[str, str]:
    """Versions of the software that results may depend on."""
    packages = ("negspace", "numpy", "pandas", "torch", "transformers")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}


@contextmanager
def on_sigint(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` on the first SIGINT or SIGTERM (a scheduler's warning); the next is handled as before.

    Only the main thread can; in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            # None: a handler that was not set from Python, which cannot be set again from it.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def handle(_number: int, _frame: FrameType | None) -> None:
        restore()
        ask()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()

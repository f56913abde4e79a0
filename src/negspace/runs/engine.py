"""Computing cells: what is recorded is read, what is missing or damaged is computed and recorded."""

from __future__ import annotations

import importlib.metadata
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import pandas as pd

from negspace.runs.cell import Cell, Record
from negspace.runs.store import Damaged, Store

Step = Callable[[int, int, str], None]
"""Progress within a cell: (done, total, what)."""
Compute = Callable[[Cell, Step], tuple[Mapping[str, Any], pd.DataFrame]]
"""Computes the results and items of a cell; must depend on nothing but the cell."""


class Interrupted(Exception):
    """The user asked to stop (SIGINT); the cell at hand was finished and everything is recorded."""

    def __init__(self, computed: int, left: int) -> None:
        super().__init__(f"stopped after the current cell; {computed} computed and saved, about {left} left")
        self.computed = computed
        self.left = left


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    computed: int
    """Cells computed by this process."""
    reused: int
    """Cells that were recorded already."""
    left: int
    """Cells that remain, as far as they are known."""
    done: float
    """Cost of what this process has computed, the part of the cell at hand included."""
    total: float
    """Cost of what it has computed and will have to, as far as that is known."""
    label: str
    """The cell at hand."""


class Engine(Protocol):
    """Whatever can compute cells: this process, or a cluster."""

    width: int
    """Cells that are computed at a time."""

    def expect(self, cells: int, cost: float) -> None:
        """Say how many cells, and of what cost, will come beyond those handed in so far; for estimates only."""
        ...

    def run(self, cells: Sequence[Cell]) -> list[Record]:
        """Records of the cells, in their order."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc: object) -> None: ...


class LocalEngine:
    """Computes cells one after the other in this process.

    While it is entered as a context, SIGINT (Ctrl-C) or SIGTERM lets the current cell finish and then raises
    `Interrupted`; a second one stops at once, which loses the current cell only.
    """

    width = 1

    def __init__(
        self,
        store: Store,
        compute: Compute,
        progress: Callable[[Progress], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._compute = compute
        self._progress = progress
        self._note = note
        self._stop = False
        self._computed = self._reused = self._expected = 0
        self._done = self._expected_cost = 0.0

    def expect(self, cells: int, cost: float) -> None:
        """Say how many cells, and of what cost, will come beyond those handed in so far; for estimates only."""
        self._expected, self._expected_cost = cells, cost

    def run(self, cells: Sequence[Cell]) -> list[Record]:
        """Records of the cells, in their order; those not recorded yet are computed and recorded one by one.

        Raises:
            Interrupted: SIGINT came; all that was computed is recorded.
            RecordError: a record cannot be written.
        """
        found = {cell.key: recorded(self._store, cell, self._note) for cell in cells}
        missing = [cell for key, cell in {cell.key: cell for cell in cells}.items() if found[key] is None]
        left, cost = len(missing), sum(cell.cost for cell in missing)
        self._reused += len(found) - left
        for cell in missing:
            if self._stop:
                raise Interrupted(self._computed, left + self._expected)
            found[cell.key] = self._make(cell, left, cost)
            left, cost = left - 1, cost - cell.cost
        if self._stop:
            raise Interrupted(self._computed, self._expected)
        return [record for cell in cells if (record := found[cell.key]) is not None]

    def __enter__(self) -> LocalEngine:
        self._signals = on_sigint(self._ask_to_stop)
        self._signals.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._signals.__exit__(None, None, None)

    def _make(self, cell: Cell, left: int, cost: float) -> Record:
        def report(part: float) -> None:
            if self._progress:
                done = self._done + part * cell.cost
                total = self._done + cost + self._expected_cost
                waiting = left + self._expected
                self._progress(Progress(self._computed, self._reused, waiting, done, total, cell.label))

        report(0.0)
        began = time.perf_counter()
        results, items = self._compute(cell, lambda done, total, _: report(done / max(1, total)))
        record = Record(cell.key, cell.kind, cell.spec, results, items, versions())
        self._store.write(record)
        # Read back what counts: the caller sees what a resumed run would, NaN as None and all.
        written = self._store.require(cell.key)
        self._store.log(
            "computed", key=cell.key, kind=cell.kind, cell=cell.label, seconds=round(time.perf_counter() - began, 3)
        )
        self._computed += 1
        self._done += cell.cost
        return written

    def _ask_to_stop(self) -> None:
        self._stop = True
        if self._note:
            self._note("stopping after the current cell; press Ctrl-C again to stop at once")


def recorded(store: Store, cell: Cell, note: Callable[[str], None] | None = None) -> Record | None:
    """The record of a cell; None, and a note, where it is damaged; None where there is none."""
    try:
        return store.read(cell)
    except Damaged as error:
        store.log("damaged", key=cell.key, kind=cell.kind, why=str(error))
        if note:
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

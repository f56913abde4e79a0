"""Computing cells: what is recorded is read, what is missing or damaged is computed and recorded."""

from __future__ import annotations

import importlib.metadata
import math
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
from negspace.runs.forecast import Forecast, Work
from negspace.runs.packing import Damaged
from negspace.runs.store import Store

T = TypeVar("T")
SELDOM, SOON = 600.0, 90.0
"""Seconds after which it is tried anew how work is done best: in any case, and where it has become slower."""
SLOWER = 1.3
"""Slowdown at which work counts as slower than before."""
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
    """The state of a run."""

    computed: int
    """Cells computed by this run."""
    reused: int
    """Cells that were recorded already."""
    left: int
    """Cells that remain, as far as they are known."""
    spent: float
    """Seconds that this run has computed."""
    ahead: float
    """Seconds that it will still take, by what is known of it; NaN while nothing is."""
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
        self.forecast = Forecast()
        """Times of cells."""
        self.tuner: Callable[[], float] | None = None
        """Makes the work go as fast as it can now, without changing what comes of it, and returns units of it a second.
        Called before the first cell; in this process again between cells: every ten minutes, and where cells have
        become slower."""
        self._tuned, self._worked = -math.inf, 0.0
        self._computed = self._reused = 0
        self._here: dict[str, tuple[int, float]] = {}
        self._later: Work = {}
        self._missing: dict[str, Cell] = {}
        self._began = time.perf_counter()
        self._times: dict[str, float] | None = None
        self._weighed: set[str] = set()
        self._told: set[str] = set()
        """Keys of cells that are counted: an analysis reads many that another had computed."""

    def expect(self, here: Work, later: Work) -> None:
        """Say what work will come; for estimates only.

        Args:
            here: of what is at hand; the cells that are handed in from now on are taken off it.
            later: of what comes after that.
        """
        self._here, self._later = dict(here), later

    def tune(self) -> float:
        """Call the tuner; units of work a second, NaN without one."""
        self._tuned, self._worked = time.perf_counter(), self.forecast.spent
        if self.tuner is None:
            return math.nan
        rate = self.tuner()
        self.forecast.tried(self.width / rate)
        return rate

    def recall(self, cells: Sequence[Cell]) -> None:
        """Learn from the log what recorded cells took; for estimates only."""
        for cell in cells:
            if cell.key not in self._weighed:
                self._weighed.add(cell.key)
                self.forecast.recall(kind_of(cell), cell.cost, self._took(cell))

    def run(self, cells: Sequence[Cell]) -> list[Record]:
        """Records of the cells, in their order; those not recorded yet are computed, once each.

        Raises:
            Interrupted: SIGINT came; all that was computed is recorded.
            RecordError: a record cannot be written.
        """
        found = self._found(cells, lambda record: record)
        return [found[cell.key] for cell in cells]

    def ensure(self, cells: Sequence[Cell]) -> None:
        """Like `run`, but drops the records' contents, which might not fit into memory together."""
        self._found(cells, lambda record: record.key)

    def _found(self, cells: Sequence[Cell], keep: Callable[[Record], T]) -> dict[str, T]:
        """Key -> what is kept of its record, for all cells."""

        def there(cell: Cell) -> T | None:
            record = self._recorded(cell)
            return None if record is None else keep(record)

        found = {cell.key: there(cell) for cell in cells}
        self._missing = {cell.key: cell for cell in cells if found[cell.key] is None}
        self._reused += len({key for key, kept in found.items() if kept is not None} - self._told)
        self._told |= found.keys()
        self.recall([cell for cell in cells if found[cell.key] is not None])
        for cell in self._missing.values():
            count, units = self._here.get(kind_of(cell), (0, 0.0))
            self._here[kind_of(cell)] = (count - 1, max(0.0, units - cell.cost)) if count > 1 else (0, 0.0)

        def written(cell: Cell, seconds: float) -> None:
            # Read back what counts: the caller sees what a resumed run would, NaN as None and all.
            found[cell.key] = keep(self._store.require(cell.key))
            self._store.log("computed", key=cell.key, kind=cell.kind, cell=cell.label, seconds=round(seconds, 3))
            self.forecast.learn(kind_of(cell), cell.cost, seconds)
            self._weighed.add(cell.key)
            self._computed += 1
            del self._missing[cell.key]
            self._report(cell)

        if self._missing:
            self._make(list(self._missing.values()), written)
        if self._stop:
            raise Interrupted(self._computed, self._waiting)
        return {key: kept for key, kept in found.items() if kept is not None}

    def _recorded(self, cell: Cell) -> Record | None:
        """The record of a cell; None, and a note, where it is damaged; None where there is none."""
        try:
            return self._store.read(cell)
        except Damaged as error:
            self._store.log("damaged", key=cell.key, kind=cell.kind, why=str(error))
            self._note(f"the record of {cell.label or cell.kind} is damaged ({error}); it is computed again")
            return None

    @abstractmethod
    def _make(self, cells: Sequence[Cell], written: Callable[[Cell, float], None]) -> None:
        """Compute cells, write a record of each and then call written(cell, seconds that it took); no further one once
        `_stop` is set."""

    def _report(self, cell: Cell, part: float = 0.0, elapsed: float = 0.0) -> None:
        """Tell the progress, with a part of a cell done in some seconds."""
        if self._progress is None:
            return
        f = self.forecast
        ahead = f.whole(self._here) + f.whole(self._later)
        for missing in self._missing.values():
            if missing.key == cell.key:
                ahead += f.cell(kind_of(missing), missing.cost, part, elapsed)
            elif missing.cost:
                ahead += f.seconds(kind_of(missing), missing.cost)
        spent = time.perf_counter() - self._began
        progress = Progress(self._computed, self._reused, self._waiting, spent, ahead / self.width, cell.label)
        self._progress(progress)

    @property
    def _waiting(self) -> int:
        """Cells that remain, as far as they are known."""
        return len(self._missing) + sum(cells for work in (self._here, self._later) for cells, _ in work.values())

    def _took(self, cell: Cell) -> float:
        """Seconds that a recorded cell took, by the log; 0 where it does not tell."""
        if self._times is None:
            self._times = self._store.times()
        return self._times.get(cell.key, 0.0)

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
    """Computes cells one after the other in this process.

    Args:
        compute: computes one.
        store, progress, note: as of every engine.
    """

    def __init__(
        self,
        store: Store,
        compute: Compute,
        progress: Callable[[Progress], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(store, progress, note)
        self._compute = compute

    def _make(self, cells: Sequence[Cell], written: Callable[[Cell, float], None]) -> None:
        for cell in cells:
            if self._stop:
                return
            since = time.perf_counter() - self._tuned
            if since > SELDOM or (since > SOON and self.forecast.slower(self._worked) > SLOWER):
                self.tune()
            self._report(cell)
            began = time.perf_counter()

            def step(done: int, total: int, _: str, cell: Cell = cell, began: float = began) -> None:
                self._report(cell, done / max(1, total), time.perf_counter() - began)

            results, items = self._compute(cell, step)
            self._store.write(Record(cell.key, cell.kind, cell.spec, results, items, versions()))
            written(cell, time.perf_counter() - began)


def kind_of(cell: Cell) -> str:
    """The kind of work that a cell is."""
    return cell.work or cell.kind


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
        for number, handler in previous.items():
            # A shell's job in the background ignores SIGINT from its start; the next one is meant all the same.
            if handler is signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        ask()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()

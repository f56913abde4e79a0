"""The engine of a cluster: what is recorded is read, the rest is computed by workers and recorded here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from negspace.runs.cell import Cell
from negspace.runs.engine import Engine, Progress
from negspace.runs.store import Store

Work = Callable[[Sequence[Cell], Callable[[Cell, bytes, float], None], Callable[[], bool], Callable[[str], None]], None]
"""work(cells, accept, stopping, note): accept(cell, packed record, seconds) for each as it is done; stopping() -> hand
out no more; note(sentence) for what a worker has to say."""


class ClusterEngine(Engine):
    """Has cells computed elsewhere. This process alone writes; what is recorded is never computed again.

    Args:
        work: has cells computed, calls back with each one's packed record, and stops handing them out when asked.
        store, progress, note: as of every engine.
        width: cells that are computed at a time.
    """

    _waits_for = "the cells at hand"

    def __init__(
        self,
        work: Work,
        store: Store,
        progress: Callable[[Progress], None] | None = None,
        note: Callable[[str], None] | None = None,
        width: int = 1,
    ) -> None:
        super().__init__(store, progress, note)
        self._work = work
        self.width = width

    def _make(self, cells: Sequence[Cell], written: Callable[[Cell, float], None]) -> None:
        def accept(cell: Cell, data: bytes, seconds: float) -> None:
            self._store.accept(cell.key, data)
            written(cell, seconds)

        self._work(cells, accept, lambda: self._stop, self._note)

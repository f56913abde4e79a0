"""The engine of a cluster: what is recorded is read, the rest is computed by workers and recorded here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from negspace.runs.cell import Cell, Record
from negspace.runs.engine import Interrupted, Progress, on_sigint, recorded
from negspace.runs.store import Store

Work = Callable[[Sequence[Cell], Callable[[Cell, bytes], None], Callable[[], bool], Callable[[str], None]], None]
"""work(cells, accept, stopping, note): accept(cell, packed record) for each as it is done; stopping() -> hand out no
more; note(sentence) for what a worker has to say."""


class ClusterEngine:
    """Has cells computed elsewhere. This process alone writes; what is recorded is never computed again.

    Args:
        work: has cells computed, calls back with each one's packed record, and stops handing them out when asked.
        store: where records are; held by this process.
        progress: called after each cell.
        note: called with one sentence for what the user should know at once.
        width: cells that are computed at a time.
    """

    def __init__(
        self,
        work: Work,
        store: Store,
        progress: Callable[[Progress], None] | None = None,
        note: Callable[[str], None] | None = None,
        width: int = 1,
    ) -> None:
        self._work, self._store, self._progress, self._note = work, store, progress, note
        self.width = width
        self._stop = False
        self._computed = self._reused = self._expected = 0
        self._done = self._expected_cost = 0.0

    def expect(self, cells: int, cost: float) -> None:
        """Say how many cells, and of what cost, will come beyond those handed in so far; for estimates only."""
        self._expected, self._expected_cost = cells, cost

    def run(self, cells: Sequence[Cell]) -> list[Record]:
        """Records of the cells, in their order; those not recorded yet are computed by the workers.

        Raises:
            Interrupted: SIGINT came; all that was computed is recorded.
            ClusterError, RecordError: no workers, or a record cannot be written.
        """
        found = {cell.key: recorded(self._store, cell, self._note) for cell in cells}
        missing = list({cell.key: cell for cell in cells if found[cell.key] is None}.values())
        self._reused += len(found) - len(missing)
        cost, left = sum(cell.cost for cell in missing), len(missing)

        def accept(cell: Cell, data: bytes) -> None:
            nonlocal cost, left
            self._store.accept(cell.key, data)
            found[cell.key] = self._store.require(cell.key)
            self._store.log("computed", key=cell.key, kind=cell.kind, cell=cell.label)
            self._computed += 1
            self._done += cell.cost
            cost, left = cost - cell.cost, left - 1
            if self._progress:
                total = self._done + cost + self._expected_cost
                self._progress(
                    Progress(self._computed, self._reused, left + self._expected, self._done, total, cell.label)
                )

        if missing:
            self._work(missing, accept, lambda: self._stop, self._note or (lambda _: None))
        if self._stop:
            raise Interrupted(self._computed, left + self._expected)
        return [record for cell in cells if (record := found[cell.key]) is not None]

    def __enter__(self) -> ClusterEngine:
        self._signals = on_sigint(self._ask_to_stop)
        self._signals.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._signals.__exit__(None, None, None)

    def _ask_to_stop(self) -> None:
        self._stop = True
        if self._note:
            self._note("stopping after the cells at hand; press Ctrl-C again to stop at once")

"""Cells on a Ray cluster: a driver that hands them out, alone writes records, and replaces workers that are lost."""

from __future__ import annotations

import importlib
import re
import socket
import textwrap
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from negspace.errors import ClusterError
from negspace.runs.cell import Cell
from negspace.runs.cluster_engine import ClusterEngine
from negspace.runs.engine import Progress, versions
from negspace.runs.places import choose
from negspace.runs.ray_worker import REPORT, STARTING, Bench, Worker, opened
from negspace.runs.store import Store

ATTEMPTS = 3
"""Number of times that a cell may crash its worker, or that workers may die at their start, before the run gives up."""
PATIENCE = 600.0
"""Seconds to wait for a worker while there is none."""


class Resources(Protocol):
    """Resources of each worker; `Study.resources` documents the fields."""

    workers: int | None
    cpus: float
    gpus: float
    memory: int | None


@dataclass
class _Worker:
    """A worker as the driver sees it."""

    actor: Any
    after: int = 0
    """Failed starts in a row before this worker was asked for."""
    ready: bool = False
    pid: int = 0
    place: str = ""
    busy: Cell | None = None
    since: float = 0.0
    refs: list[Any] = field(default_factory=list)


class RayCluster:
    """Workers on a Ray cluster. Use as a context: they go when it closes, or when this process dies.

    Args:
        make_bench: makes what a worker holds; pickled and called there.
        resources: what each worker needs.
        address: of a running cluster ("auto", "host:6379", "ray://host:10001"); None: a cluster of this machine alone,
            for as long as the context is open.

    Raises:
        ClusterError: Ray is not installed, no such cluster, no room on it, or workers with other software.
    """

    def __init__(self, make_bench: Callable[[], Bench], resources: Resources, address: str | None = None) -> None:
        self._make_bench = make_bench
        self._resources = resources
        self._address = address
        self._workers: list[_Worker] = []
        self._alone_since = 0.0
        """Time at which the last worker that was up was lost, or the cluster was opened."""
        self._failed_starts = 0
        """Failed starts in a row: since a worker last came up."""
        self._notes: list[str] = []
        """Sentences for the user, until there is somebody to tell them."""

    @property
    def busy(self) -> dict[int, str]:
        """Process number of each worker that computes a cell now -> the cell's label."""
        return {worker.pid: worker.busy.label for worker in self._workers if worker.busy}

    def __enter__(self) -> RayCluster:
        self._ray = _ray()
        asked = f"the Ray cluster at {self._address}" if self._address else "a Ray cluster on this machine"
        # Only a cluster of our own takes the option; its dashboard would open a port for nobody.
        own = {"include_dashboard": False} if self._address is None else {}
        try:
            _knock(self._address)
            # "local", since without an address Ray would join what RAY_ADDRESS names, or whatever runs on this machine.
            self._ray.init(address=self._address or "local", log_to_driver=False, logging_level="ERROR", **own)
        except (OSError, RuntimeError, ValueError, OverflowError) as error:
            raise ClusterError(
                asked, str(error).splitlines()[0], "start one with `ray start --head`, or correct --ray-address"
            ) from error
        self._alone_since = time.monotonic()
        try:
            self._grow(self._room(asked))
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._workers.clear()
        self._ray.shutdown()

    def survey(self) -> Any:
        """Return the result of `Bench.survey` on a worker.

        Raises:
            NegspaceError: what it raised there.
            ClusterError: any other exception that it raised there, or no worker.
        """
        return self._ask("survey")

    def rate(self) -> float:
        """Return the result of `Bench.rate` on a worker, times the number of workers."""
        return self._ask("rate") * len(self._workers)

    def engine(
        self,
        store: Store,
        progress: Callable[[Progress], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> ClusterEngine:
        """An engine that computes on these workers and records in a store of this process."""
        return ClusterEngine(self.work, store, progress, note, width=len(self._workers))

    def work(
        self,
        cells: Sequence[Cell],
        accept: Callable[[Cell, bytes, float], None],
        stopping: Callable[[], bool],
        note: Callable[[str], None],
    ) -> None:
        """Compute cells on whatever workers there are; a cell whose worker is lost is given to another.

        Args:
            cells: what to compute, each once.
            accept: called with each cell's record as bytes and its seconds, in the order in which they are done.
            stopping: whether to hand out no more.
            note: called with what a worker has to say to the user.

        Raises:
            ClusterError: no worker for ten minutes; workers that die at their start, or a cell that takes down worker
                after worker; or any exception but a NegspaceError that a cell raised.
            NegspaceError: what a cell raised.
        """
        waiting, lost = deque(cells), dict.fromkeys((cell.key for cell in cells), 0)
        try:
            self._compute(waiting, lost, accept, stopping, note)
        except BaseException:
            for worker in self._workers:
                if worker.busy:  # what it still computes is nobody's: another call may ask it for other cells
                    worker.busy = None
                    worker.refs.clear()
            raise

    def _compute(
        self,
        waiting: deque[Cell],
        lost: dict[str, int],
        accept: Callable[[Cell, bytes, float], None],
        stopping: Callable[[], bool],
        note: Callable[[str], None],
    ) -> None:
        """`work`, with the cells that wait and how often each one's worker was lost."""
        while (waiting and not stopping()) or any(worker.busy for worker in self._workers):
            if not stopping():
                self._hand_out(waiting)
            refs = {ref: worker for worker in self._workers for ref in worker.refs}
            done, _ = self._ray.wait(list(refs), num_returns=1, timeout=1.0)
            for ref in done:
                worker = refs[ref]
                cell = worker.busy
                if cell is None:
                    self._greet(worker, ref)
                    continue
                try:
                    answer = self._get(ref, _computing(cell))
                except self._ray.exceptions.RayError as error:
                    self._replace(worker, error)
                    lost[cell.key] += 1
                    if lost[cell.key] >= ATTEMPTS:
                        raise _gone(_computing(cell), error) from error
                    waiting.appendleft(cell)
                    continue
                worker.refs.remove(ref)
                worker.busy, seconds = None, time.monotonic() - worker.since
                if not stopping():
                    self._hand_out(waiting)  # so that no worker waits for the disk of this process
                made, notes = answer
                for sentence in notes:
                    note(f"worker {worker.pid}: {sentence}")
                accept(cell, opened(made, _computing(cell)), seconds)
            while self._notes:
                note(self._notes.pop(0))
            self._check_alive()

    def _hand_out(self, waiting: deque[Cell]) -> None:
        """Give idle workers cells: first to those that have the model for one, then to the others."""
        here = {cell.place for cell in waiting}
        ready = [worker for worker in self._workers if worker.ready]
        for worker in sorted(ready, key=lambda worker: worker.place not in here):
            if worker.busy is None:
                cell = choose(worker.place, waiting, Counter(reference.place for reference in ready))
                if cell is not None:
                    waiting.remove(cell)
                    worker.busy, worker.place, worker.since = cell, cell.place, time.monotonic()
                    worker.refs.append(worker.actor.compute.remote(cell))

    def _room(self, asked: str) -> int:
        """Return the number of workers to start."""
        r, total = self._resources, self._ray.cluster_resources()
        rooms = [int(total.get("CPU", 0) // r.cpus)] if r.cpus else []
        rooms += [int(total.get("GPU", 0) // r.gpus)] if r.gpus else []
        rooms += [int(total.get("memory", 0) // r.memory)] if r.memory else []
        room = min(rooms, default=1)
        if room < 1:
            needs = f"{r.cpus:g} CPUs, {r.gpus:g} GPUs" + (f", {r.memory:,} bytes" if r.memory else "")
            has = ", ".join(f"{total.get(name, 0):g} {name}" for name in ("CPU", "GPU", "memory"))
            raise ClusterError(f"a worker of {needs} on {asked}", f"{has} in all", "ask for less, or add nodes")
        return min(room, r.workers or room)

    def _grow(self, count: int) -> None:
        r = self._resources
        options: dict[str, Any] = {"num_cpus": r.cpus, "num_gpus": r.gpus, "max_restarts": 0}
        if r.memory:
            options["memory"] = r.memory
        # Each node's worker has the threads that it has reserved; Ray's own default is the same for whole CPUs only.
        options["runtime_env"] = {"env_vars": {"OMP_NUM_THREADS": str(max(1, int(r.cpus)))}}
        kind = self._ray.remote(**options)(Worker)
        for _ in range(count):
            worker = _Worker(kind.remote(self._make_bench), self._failed_starts)
            worker.refs.append(worker.actor.hello.remote())
            self._workers.append(worker)

    def _replace(self, worker: _Worker, error: Exception) -> None:
        """Forget a worker that died, and ask for another: it comes when the cluster has room for it.

        Raises:
            ClusterError: it died at its start, and so did those before it.
        """
        if worker.ready:
            self._alone_since = time.monotonic()
        elif worker.after >= self._failed_starts:
            # Those asked for together count once: a node that goes takes all of its workers.
            self._failed_starts += 1
            if self._failed_starts >= ATTEMPTS:
                found = f"{ATTEMPTS} in a row died at their start; the last: {_told(error)}"
                raise ClusterError("workers on the Ray cluster", found, _MEMORY) from error
            if self._failed_starts == 1:
                why = textwrap.shorten(_told(error).splitlines()[-1], 200, placeholder=" ...")
                self._notes.append(f"a worker died at its start, and another is started: {why}")
        self._workers.remove(worker)
        self._grow(1)

    def _get(self, answer: Any, asked: str) -> Any:
        """A worker's answer.

        Raises:
            RayError: the worker died, or is out of reach.
            ClusterError: it is well, but could not read what it was asked, or send its answer.
        """
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            raise ClusterError(asked, _told(error), REPORT) from error

    def _greet(self, worker: _Worker, hello: Any) -> None:
        """Take up a worker that has come up, or replace one that died before it did."""
        try:
            answer = self._get(hello, STARTING)
        except self._ray.exceptions.RayError as error:
            self._replace(worker, error)
            return
        worker.refs.remove(hello)
        self._welcome(worker, opened(answer, STARTING))

    def _welcome(self, worker: _Worker, hello: tuple[int, str, Mapping[str, str]]) -> None:
        """Records name the software that made them; workers of other versions would make others."""
        worker.pid, host, theirs = hello
        ours = versions()
        differ = [name for name in ours if theirs.get(name) != ours[name]]
        if differ:
            found = ", ".join(f"{name} {theirs.get(name)} instead of {ours[name]}" for name in differ)
            raise ClusterError(
                "workers with the driver's software", f"{found} on {host}", "install the same everywhere"
            )
        worker.ready, self._failed_starts = True, 0

    def _check_alive(self) -> None:
        none = not any(worker.ready for worker in self._workers)
        if none and time.monotonic() - self._alone_since > PATIENCE:
            raise ClusterError(
                "a worker of the Ray cluster",
                f"none for {PATIENCE:.0f} seconds",
                "look at `ray status`; then give the same command again, what is recorded is kept",
            )

    def _ask(self, what: str) -> Any:
        """Call a method of the bench on the first worker that comes up."""
        asked, lost = f"a worker's {what}", 0
        while True:
            worker = self._first()
            try:
                answer = self._get(worker.actor.ask.remote(what), asked)
                break
            except self._ray.exceptions.RayError as error:
                self._replace(worker, error)
                lost += 1
                if lost >= ATTEMPTS:
                    raise _gone(asked, error) from error
        return opened(answer, asked)

    def _first(self) -> _Worker:
        """A worker that is up, waited for."""
        while True:
            for worker in self._workers:
                if worker.ready:
                    return worker
            hellos = {ref: worker for worker in self._workers for ref in worker.refs}
            done, _ = self._ray.wait(list(hellos), num_returns=1, timeout=1.0)
            for hello in done:
                self._greet(hellos[hello], hello)
            self._check_alive()


_MEMORY = (
    "look at `ray logs` for why; if memory ran out, state what a worker needs under `resources:` in the study file"
)
_NEITHER = re.compile(r"\x1b\[[0-9;]*m|^The actor never ran.*$", re.MULTILINE)
"""Ray's colours, and a sentence that it says of each worker that died at its start, though it ran."""


def _computing(cell: Cell) -> str:
    return f"to compute {cell.label or cell.kind}"


def _told(error: Exception) -> str:
    """The text of an exception of Ray's, or its class."""
    return _NEITHER.sub("", str(error)).strip() or type(error).__name__


def _knock(address: str | None) -> None:
    """Ray waits for minutes at an address where nobody listens; a port that refuses is known at once.

    Raises:
        OSError: nobody listens there.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _gone(asked: str, error: Exception) -> ClusterError:
    return ClusterError(asked, f"{ATTEMPTS} workers were lost over it; the last: {_told(error)}", _MEMORY)


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ClusterError("the engine ray", "Ray is not installed", "pip install 'negspace[ray]'") from error

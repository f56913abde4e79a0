"""Cells on a Ray cluster: workers that each hold the model, a driver that alone writes records, and what may fail."""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from negspace import errors
from negspace.errors import ClusterError, NegspaceError
from negspace.runs.cell import Cell, Record
from negspace.runs.cluster_engine import ClusterEngine
from negspace.runs.engine import Progress, Step, versions
from negspace.runs.places import choose
from negspace.runs.store import Store, pack

ATTEMPTS = 3
"""Number of times that a cell may crash its worker before the run gives up."""
PATIENCE = 600.0
"""Seconds to wait for a worker while there is none."""


class Bench(Protocol):
    """A worker's bench: computes cells, and tells the driver about model and data."""

    def compute(self, cell: Cell, step: Step) -> tuple[Mapping[str, Any], Any]: ...

    def survey(self) -> Any: ...

    def rate(self) -> float: ...

    def listen(self, note: Callable[[str], None]) -> None: ...


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
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(
                asked, str(error).splitlines()[0], "start one with `ray start --head`, or correct --ray-address"
            ) from error
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
            ClusterError: no worker for ten minutes, or a cell that takes down worker after worker.
            NegspaceError: what a cell raised.
        """
        waiting, lost = deque(cells), dict.fromkeys((cell.key for cell in cells), 0)
        while (waiting and not stopping()) or any(worker.busy for worker in self._workers):
            if not stopping():
                self._hand_out(waiting)
            refs = {ref: worker for worker in self._workers for ref in worker.refs}
            done, _ = self._ray.wait(list(refs), num_returns=1, timeout=1.0)
            for ref in done:
                worker = refs[ref]
                cell = worker.busy
                try:
                    answer = self._ray.get(ref)
                except self._ray.exceptions.RayError as error:
                    self._replace(worker)
                    if cell is not None:
                        lost[cell.key] += 1
                        if lost[cell.key] >= ATTEMPTS:
                            raise _gone(cell, error) from error
                        waiting.appendleft(cell)
                    continue
                worker.refs.remove(ref)
                if cell is None:
                    self._welcome(worker, answer)
                    continue
                worker.busy, seconds = None, time.monotonic() - worker.since
                if not stopping():
                    self._hand_out(waiting)  # so that no worker waits for the disk of this process
                made, notes = answer
                for sentence in notes:
                    note(f"worker {worker.pid}: {sentence}")
                accept(cell, _open(made), seconds)
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
            worker = _Worker(kind.remote(self._make_bench))
            worker.refs.append(worker.actor.hello.remote())
            self._workers.append(worker)
        self._alone_since = time.monotonic()

    def _replace(self, worker: _Worker) -> None:
        """Forget a worker that died, and ask for another: it comes when the cluster has room for it."""
        self._workers.remove(worker)
        self._grow(1)

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
        worker.ready = True

    def _check_alive(self) -> None:
        if any(worker.ready for worker in self._workers):
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > PATIENCE:
            raise ClusterError(
                "a worker of the Ray cluster",
                f"none for {PATIENCE:.0f} seconds",
                "look at `ray status`; then give the same command again, what is recorded is kept",
            )

    def _ask(self, what: str) -> Any:
        """Call a method of the bench on the first worker that comes up."""
        last: Exception | None = None
        for _ in range(ATTEMPTS):
            refs = {ref: worker for worker in self._workers for ref in worker.refs}
            idle = next((worker for worker in self._workers if worker.ready), None)
            try:
                if idle is None:
                    done, _pending = self._ray.wait(list(refs), num_returns=1, timeout=PATIENCE)
                    if not done:
                        self._check_alive()
                        continue
                    idle = refs[done[0]]
                    answer = self._ray.get(done[0])
                    idle.refs.remove(done[0])
                    self._welcome(idle, answer)
                return _open(self._ray.get(idle.actor.ask.remote(what)))
            except self._ray.exceptions.RayError as error:
                last = error
                if idle is not None:
                    self._replace(idle)
        raise ClusterError(f"a worker's {what}", f"{ATTEMPTS} workers were lost over it", _MEMORY) from last


class Worker:
    """The actor: holds a bench, which loads its model when the first cell comes."""

    def __init__(self, make_bench: Callable[[], Bench]) -> None:
        self._bench = make_bench()
        self._notes: list[str] = []
        self._bench.listen(self._notes.append)

    def hello(self) -> tuple[int, str, dict[str, str]]:
        """This process's number, its host and the versions of its software; the answer means that the worker is up."""
        return os.getpid(), socket.gethostname(), versions()

    def ask(self, what: str) -> tuple[str, Any]:
        """Return the result of a method of the bench, or the exception that it raised."""
        return _guarded(lambda: getattr(self._bench, what)())

    def compute(self, cell: Cell) -> tuple[tuple[str, Any], list[str]]:
        """The packed record of a cell, or what computing it raised; and what the user should know of it, and of what
        this worker was asked before."""

        def made() -> bytes:
            results, items = self._bench.compute(cell, lambda *_: None)
            return pack(Record(cell.key, cell.kind, cell.spec, results, items, versions()))

        answer = _guarded(made)
        notes = list(self._notes)
        self._notes.clear()
        return answer, notes


def _guarded(call: Callable[[], Any]) -> tuple[str, Any]:
    # Ray wraps exceptions in its own classes; the user's message must arrive as it was written.
    try:
        return "made", call()
    except NegspaceError as error:
        return "raised", (type(error).__name__, error.asked, error.found, error.todo)


def _open(answer: tuple[str, Any]) -> Any:
    how, value = answer
    if how == "made":
        return value
    kind, *message = value
    # An error with more to it than a message arrives as its base.
    chosen = NegspaceError if kind == "NonFiniteScore" else getattr(errors, kind, NegspaceError)
    raise chosen(*message)


_MEMORY = (
    "look at `ray logs` for why; if memory ran out, state what a worker needs under `resources:` in the study file"
)


def _knock(address: str | None) -> None:
    """Ray waits for minutes at an address where nobody listens; a port that refuses is known at once.

    Raises:
        OSError: nobody listens there.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _gone(cell: Cell, error: Exception) -> ClusterError:
    return ClusterError(
        f"to compute {cell.label or cell.kind}",
        f"{ATTEMPTS} workers were lost over it ({type(error).__name__})",
        _MEMORY,
    )


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ClusterError("the engine ray", "Ray is not installed", "pip install 'negspace[ray]'") from error

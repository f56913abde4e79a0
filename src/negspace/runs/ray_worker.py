"""What runs on a Ray worker: an actor that holds a bench, and how what it raises comes home."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from negspace import errors
from negspace.errors import ClusterError, NegspaceError
from negspace.memory import is_out_of_memory
from negspace.runs.cell import Cell, Record
from negspace.runs.engine import Step, versions
from negspace.runs.packing import pack

_SMALLER = "give each worker more memory (`resources:` in the study file), or load the model with a smaller dtype"
REPORT = (
    "mend what it names on that machine and give the same command again, what is recorded is kept; or report it with "
    "this traceback"
)
STARTING = "to start a worker"


class Bench(Protocol):
    """A worker's bench: computes cells, and tells the driver about model and data."""

    def compute(self, cell: Cell, step: Step) -> tuple[Mapping[str, Any], Any]: ...

    def survey(self) -> Any: ...

    def rate(self) -> float: ...

    def listen(self, note: Callable[[str], None]) -> None: ...


class Worker:
    """The actor: holds a bench, which loads its model when the first cell comes."""

    def __init__(self, make_bench: Callable[[], Bench]) -> None:
        self._notes: list[str] = []

        def made() -> Bench:
            bench = make_bench()
            bench.listen(self._notes.append)
            return bench

        # An exception here would kill this process, and what it says with it; `hello` tells it.
        self._made = _guarded(made)

    @property
    def _bench(self) -> Bench:
        return opened(self._made, STARTING)

    def hello(self) -> tuple[str, Any]:
        """This process's number, its host and the versions of its software, or what its start raised; the answer means
        that the worker is up."""
        if self._made[0] != "made":
            return self._made
        return _guarded(lambda: (os.getpid(), socket.gethostname(), versions()))

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
    # Ray wraps exceptions in its own classes, as it does the death of a worker; and a class that only a worker has, or
    # an exception that cannot be pickled, would not arrive.
    try:
        return "made", call()
    except NegspaceError as error:
        # The user's message must arrive as it was written.
        return "raised", (type(error).__name__, error.asked, error.found, error.todo)
    except Exception as error:
        where = f"in process {os.getpid()} on {socket.gethostname()}"
        trace = "".join(traceback.format_exception(error)).strip()
        return "failed", (type(error).__name__, str(error), where, trace, is_out_of_memory(error))


def opened(answer: tuple[str, Any], asked: str) -> Any:
    """The value in an answer of `_guarded`.

    Raises:
        NegspaceError: what was raised instead.
        ClusterError: any other exception that was, with its traceback; a second try would end alike.
    """
    how, value = answer
    if how == "made":
        return value
    if how == "failed":
        kind, text, where, trace, memory = value
        todo = _SMALLER if memory else REPORT
        raise ClusterError(asked, f"{kind} {where}: {text}\n{trace}", todo)
    kind, *message = value
    # An error with more to it than a message arrives as its base.
    chosen = NegspaceError if kind == "NonFiniteScore" else getattr(errors, kind, NegspaceError)
    raise chosen(*message)

"""Commands of negspace as processes of their own that start at once: forked off one that has imported everything.

A cold start takes seconds, almost all of them imports; tests that kill a study twenty times cannot pay that each time.
What is forked is an ordinary process: it runs the command line as a shell would, and dies as any other.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = ("half", "whole", "renamed")
"""Moments within a write: half of the bytes are out; all are, under the temporary name; the file has its name."""


@dataclass(frozen=True)
class Death:
    """When a process is to kill itself, as if from outside."""

    write: int
    """In which of its writes of a whole file, from 1."""
    stage: str
    """One of `STAGES`."""


class Driver:
    """A running command.

    Args:
        ask: puts a question to the nursery, whose child the process is.
        words: arguments of the command.
        folder: where its output goes.
        death: when it is to kill itself; None: it is not.
    """

    def __init__(self, ask: Callable[..., Any], words: list[str], folder: Path, death: Death | None) -> None:
        self._ask = ask
        self._status: int | None = None
        dies = None if death is None else [death.write, death.stage]
        self.pid: int = ask("start", words, str(folder), dies)
        self._out = folder / f"{self.pid}.out"
        self._err = folder / f"{self.pid}.err"

    def poll(self) -> int | None:
        """Exit status, minus the signal's number after a signal; None while it runs."""
        if self._status is None:
            self._status = self._ask("poll", self.pid)
        return self._status

    def wait(self, seconds: float = 120.0) -> int:
        """The exit status, once there is one."""
        deadline = time.monotonic() + seconds
        while (status := self.poll()) is None:
            assert time.monotonic() < deadline, f"the command does not end; so far: {self.err}"
            time.sleep(0.005)
        return status

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """SIGKILL it; whether that is what ended it."""
        self.send(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    @property
    def out(self) -> str:
        """What it has printed on standard output."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has printed on standard error."""
        return self._err.read_text()


class Nursery:
    """The process that the drivers are forked off; as a context it ends with all of them.

    Args:
        folder: for the output of the drivers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # No threads in what is forked: a lock held by one at that moment would stay held for ever.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self, *words: object, death: Death | None = None) -> Driver:
        """Start a command: start("run", "study.yaml", "--out", "run")."""
        return Driver(self._ask, [str(word) for word in words], self._folder, death)

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()

    def _ask(self, *question: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())


def _serve() -> None:
    """Answer questions from standard input, one a line, until it closes; then end what still runs."""
    from negspace.cli import main
    from negspace.study import run as study  # noqa: F401 - what the commands import when they are called
    from negspace.study.registry import OWN, analysis

    for name in OWN:
        analysis(name)
    ended: dict[int, int | None] = {}
    for line in sys.stdin:
        what, *given = json.loads(line)
        if what == "start":
            answer = os.fork()
            if not answer:
                _become(main, *given)
            ended[answer] = None
        else:
            (pid,) = given
            if ended[pid] is None:
                found, how = os.waitpid(pid, os.WNOHANG)
                ended[pid] = os.waitstatus_to_exitcode(how) if found else None
            answer = ended[pid]
        print(json.dumps(answer), flush=True)
    for pid in [pid for pid, status in ended.items() if status is None]:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become(main: Callable[[], Any], words: list[str], folder: str, dies: list[Any] | None) -> None:
    """Run a command in this process, which is a fork, and end it."""
    status = 1
    try:
        for name, number in (("out", 1), ("err", 2)):
            handle = os.open(Path(folder) / f"{os.getpid()}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["negspace", *words]
        if dies:
            _die(*dies)
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _die(number: int, stage: str) -> None:
    """Have this process killed within one of its writes of a whole file."""
    from negspace import files

    begun = 0
    replace = os.replace

    def at(now: str) -> None:
        if begun == number and stage == now:
            os.kill(os.getpid(), signal.SIGKILL)

    class Halved:
        def __init__(self, path: Path, mode: str) -> None:
            nonlocal begun
            begun += 1
            self._file = open(path, mode, buffering=0)  # noqa: SIM115 - closed in __exit__

        def __enter__(self) -> Halved:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: bytes) -> None:
            self._file.write(data[: len(data) // 2])
            at("half")
            self._file.write(data[len(data) // 2 :])

        def flush(self) -> None:
            pass

        def fileno(self) -> int:
            return self._file.fileno()

    def replaced(source: Path, target: Path) -> None:
        at("whole")
        replace(source, target)
        at("renamed")

    files.open = Halved  # type: ignore[attr-defined]
    os.replace = replaced  # type: ignore[assignment]


if __name__ == "__main__":
    _serve()

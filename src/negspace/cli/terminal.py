"""Progress on stderr: a bar with the time left on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import rich.console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from negspace.wording import duration

if TYPE_CHECKING:
    from negspace.runs.engine import Progress as RunProgress

_EVERY = 30.0
WIDTH = 118


class Console(rich.console.Console):
    """A console whose reader may go (`| head`): the guard ends the command then, as after a plain print."""

    def on_broken_pipe(self) -> None:
        """Raise the error again; rich itself would exit with status 1."""
        raise BrokenPipeError


def output() -> Console:
    """Return the console for results: as wide as the terminal, or wide enough for the tables if there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH, no_color=True)


def messages() -> Console:
    """Return the console for everything but results, on stderr."""
    return Console(stderr=True, highlight=False)


def note(text: str, console: Console | None = None) -> None:
    """Print a sentence as a note, on stderr unless told otherwise; names in it cannot act on the terminal."""
    from negspace.report.tables import plain

    (console or messages()).print(plain(f"note: {text}"), soft_wrap=True)


class Bar:
    """One bar for a whole command. Use as a context."""

    def __init__(self) -> None:
        self._console = messages()
        self._live = self._console.is_terminal
        self._said = self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            # In a narrow terminal the bar gives way, not the time.
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task("preparing", total=None, count="", left="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def run(self, now: RunProgress) -> None:
        """Show where a run of cells stands."""
        cells = now.computed + now.reused + now.left
        count = f"{min(now.computed + now.reused + 1, cells)} of ~{cells} cells"
        self._show(now.spent, now.ahead, now.label, count)

    def steps(self, done: int, total: int, what: str) -> None:
        """Show where a single computation stands."""
        spent = time.monotonic() - self._began
        self._show(spent, spent * (total - done) / done if done else math.nan, what, f"{done:,} of {total:,}")

    def note(self, text: str) -> None:
        """Print a sentence above the bar."""
        note(text, self._console)

    def _show(self, spent: float, ahead: float, what: str, count: str) -> None:
        """Show seconds spent and seconds still to come; NaN: nobody knows how many."""
        from negspace.report.tables import plain

        what = plain(what).plain
        left = f"~{duration(ahead)} left"
        if self._live:
            known = not math.isnan(ahead)
            total = spent + ahead if known else None
            self._bar.update(
                self._task, completed=spent if known else 0, total=total, description=what, count=count, left=left
            )
            return
        now = time.monotonic()
        if now - self._said >= _EVERY:
            self._said = now
            print(f"{what}: {count}, {left}", file=sys.stderr, flush=True)

"""Calling the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from negspace.cli import app


@dataclass(frozen=True)
class Called:
    """What a call of the command line gave."""

    status: int
    out: str
    err: str


Call = Callable[..., Called]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """call("scan", "MODEL", ...) -> exit status, stdout, stderr."""

    def called(*arguments: object) -> Called:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr("sys.argv", ["negspace", *words])
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        return Called(result.exit_code, result.stdout, result.stderr)

    return called

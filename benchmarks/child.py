"""A function called in a process of its own: what it allocates, patches or breaks does not touch the others."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]


def call(target: str, *arguments: Any, settings: Mapping[str, str] | None = None) -> Any:
    """The result of a function in a fresh process; arguments and result travel as JSON.

    Args:
        target: "module:function".
        arguments: what json can write.
        settings: environment variables of the process, beside this one's own.

    Raises:
        RuntimeError: the function raised, or the process did not end well; it says what happened.
    """
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.child", target, json.dumps(arguments), str(result)]
        surroundings = {**os.environ, **(settings or {})}
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=surroundings)
        if not result.exists():
            last = ["", *filter(None, map(str.strip, run.stderr.splitlines()))][-1]
            raise RuntimeError(f"{target}: ended with status {run.returncode}. {last}")
        made = json.loads(result.read_text(encoding="utf-8"))
    if "error" in made:
        raise RuntimeError(f"{target}: {made['error']}")
    return made["value"]


def function(target: str) -> Any:
    """The function that "module:function" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def main(target: str, arguments: str, result: str) -> None:
    """What the fresh process does."""
    try:
        made = {"value": function(target)(*json.loads(arguments))}
    except Exception as error:
        made = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    Path(result).write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A study killed at several moments and resumed by the same command ends in the bytes of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from negspace.studies.tables import Tables

COMMAND = [sys.executable, "-c", "from negspace.cli import main; main()"]


def _snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "run.log.jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _wait_for_cells(run: subprocess.Popen[bytes], folder: Path, cells: int) -> None:
    """Until so many records are there, or the run has ended."""
    deadline = time.monotonic() + 120
    while run.poll() is None and len(list((folder / "cells").glob("*.parquet"))) < cells:
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_anywhere_and_resumed_ends_in_equal_bytes(
    tiny_run: tuple[Path, Tables], tiny_fields: dict[str, Any], tmp_path: Path
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(tiny_fields))
    folder = tmp_path / "run"
    command = [*COMMAND, "run", str(study), "--out", str(folder)]
    total = len(list((tiny_run[0] / "cells").glob("*.parquet")))
    killed = 0
    # Moments: before the first record, amid the first cells, amid the search for matched sets, at the very end.
    for cells, delay in ((1, 0.0), (total // 3, 0.007), (total - 5, 0.013), (total, 0.0)):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            _wait_for_cells(run, folder, cells)
            time.sleep(delay)
            run.send_signal(signal.SIGKILL)
            killed += run.wait() == -signal.SIGKILL
    assert killed >= 3
    # What a process leaves when it dies amid a write.
    (folder / "cells" / f".{'0' * 64}.parquet.{os.getpid()}.tmp").write_bytes(b"part of a record")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "top 30%" in done.stdout
    assert _snapshot(folder) == _snapshot(tiny_run[0])


@pytest.mark.slow
def test_ctrl_c_saves_the_cell_and_says_how_to_go_on(tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({**tiny_fields, "shares": [0.05, 0.1, 0.2, 0.3, 0.4]}))
    folder = tmp_path / "run"
    command = [*COMMAND, "run", str(study), "--out", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        _wait_for_cells(run, folder, 2)  # type: ignore[arg-type]
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "stopping after the current cell" in errors
    assert f"to go on: negspace run {study} --out {folder}" in errors
    assert "Traceback" not in errors
    assert not list((folder / "cells").glob(".*"))

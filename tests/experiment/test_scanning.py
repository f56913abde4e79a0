"""A study whose scan is made in parts: the same scan, record by record, and nothing made twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negspace.errors import StudyError
from negspace.experiment import cells as kinds
from negspace.experiment import handlers
from negspace.experiment.config import Study, configure
from negspace.runs.engine import Interrupted, LocalEngine
from negspace.runs.packing import pack
from negspace.runs.store import Store
from negspace.stats.sketch import Grid
from negspace.study.run import run_study

PARTS = 3


@pytest.fixture(scope="module")
def fields(tiny_model_path: Path, tiny_text_path: Path) -> dict[str, Any]:
    """A scan of four forward passes, and nothing but perplexity beside it."""
    small = {"window": 64, "stride": 16, "windows": 180, "perplexity_windows": 4, "shares": [0.1], "random": 1}
    return {"model": str(tiny_model_path), "text": str(tiny_text_path), "matched": False, "md_pairs": 64, **small}


@pytest.fixture(scope="module")
def whole(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan") / "whole"
    run_study(configure(fields), folder)
    return folder


@pytest.fixture(scope="module")
def in_parts(fields: dict[str, Any]) -> Study:
    return configure({**fields, "scan_parts": PARTS})


def computed(folder: Path) -> Counter[str]:
    """How often a cell of each label was computed."""
    lines = (json.loads(line) for line in (folder / "run.log.jsonl").read_text().splitlines())
    return Counter(line["cell"] for line in lines if line["event"] == "computed")


def records(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "cells").iterdir()}


def test_the_records_are_those_of_a_scan_at_once(in_parts: Study, whole: Path, tmp_path: Path) -> None:
    run_study(in_parts, tmp_path / "run")
    done = computed(tmp_path / "run")
    assert [label for label in done if label.startswith("scan")] == [
        "scan: the first windows",
        *(f"scan, part {number} of {PARTS}" for number in (1, 2, 3)),
        "scan",
    ]
    assert set(done.values()) == {1}
    assert records(tmp_path / "run") == records(whole)  # the parts' own are gone
    assert (tmp_path / "run" / "scan.parquet").read_bytes() == (whole / "scan.parquet").read_bytes()


def test_a_scan_that_was_stopped_goes_on_from_its_last_part(in_parts: Study, whole: Path, tmp_path: Path) -> None:
    class Stops(LocalEngine):
        """Asked to stop while the second part is computed."""

        def _report(self, cell: Any, part: float = 0.0, elapsed: float = 0.0) -> None:
            if cell.label.startswith("scan, part 2"):
                self._stop = True

    with pytest.raises(Interrupted):
        run_study(in_parts, tmp_path / "run", make_engine=Stops)
    assert set(computed(tmp_path / "run")) == {
        "scan: the first windows", "scan, part 1 of 3", "scan, part 2 of 3",
    }  # fmt: skip
    run_study(in_parts, tmp_path / "run")
    assert set(computed(tmp_path / "run").values()) == {1}
    assert records(tmp_path / "run") == records(whole)


def test_a_recorded_scan_needs_no_parts(in_parts: Study, fields: dict[str, Any], tmp_path: Path) -> None:
    run_study(configure(fields), tmp_path / "run")
    run_study(in_parts, tmp_path / "run")
    assert not any(label.startswith(("scan,", "scan:")) for label in computed(tmp_path / "run"))


def test_parts_that_were_left_behind_are_removed(in_parts: Study, whole: Path, tmp_path: Path) -> None:
    """A process that dies once the scan is recorded leaves the parts' records; the next run removes them."""
    held: dict[str, bytes] = {}

    class Keeps(LocalEngine):
        def _found(self, cells: Any, keep: Any) -> Any:
            made = super()._found(cells, keep)
            passing = [cell for cell in cells if cell.kind in kinds.PASSING]
            held.update({cell.key: pack(self._store.require(cell.key)) for cell in passing})
            return made

    run_study(in_parts, tmp_path / "run", make_engine=Keeps)
    store = Store(tmp_path / "run")
    assert len(held) == PARTS + 1
    for key, data in held.items():
        store.accept(key, data)
    assert len(records(tmp_path / "run")) == len(records(whole)) + PARTS + 1
    run_study(in_parts, tmp_path / "run")
    assert records(tmp_path / "run") == records(whole)


def test_a_damaged_part_is_made_again(in_parts: Study, whole: Path, tmp_path: Path) -> None:
    class Stops(LocalEngine):
        """Stopped before the scan itself, with all parts made."""

        def _report(self, cell: Any, part: float = 0.0, elapsed: float = 0.0) -> None:
            self._stop |= cell.label.startswith("scan, part 3")

    with pytest.raises(Interrupted):
        run_study(in_parts, tmp_path / "run", make_engine=Stops)
    lines = [json.loads(line) for line in (tmp_path / "run" / "run.log.jsonl").read_text().splitlines()]
    (key,) = (line["key"] for line in lines if line.get("cell") == "scan, part 2 of 3")
    path = tmp_path / "run" / "cells" / f"{key}.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    told: list[str] = []
    run_study(in_parts, tmp_path / "run", note=told.append)
    assert any("scan, part 2 of 3 is damaged" in sentence for sentence in told)
    assert computed(tmp_path / "run")["scan, part 2 of 3"] == 2
    assert computed(tmp_path / "run")["scan, part 1 of 3"] == 1
    assert records(tmp_path / "run") == records(whole)


class Stops(LocalEngine):
    """Asked to stop as soon as a part is begun, which it finishes."""

    def _report(self, cell: Any, part: float = 0.0, elapsed: float = 0.0) -> None:
        self._stop |= cell.label.startswith("scan, part")


def test_grids_that_come_out_otherwise_make_all_parts_anew(
    in_parts: Study, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that rounds in another way: its grids must not be put under the parts of this one."""
    real = handlers.pilot

    def elsewhere(*arguments: Any) -> dict[str, Grid]:
        found = real(*arguments)
        return {path: Grid(g.origin, g.scale, g.pivot, 2 * g.unit) for path, g in found.items()}

    with monkeypatch.context() as patched:
        patched.setattr(handlers, "pilot", elsewhere)
        with pytest.raises(Interrupted):
            run_study(in_parts, tmp_path / "run", make_engine=Stops)
    lines = [json.loads(line) for line in (tmp_path / "run" / "run.log.jsonl").read_text().splitlines()]
    (key,) = (line["key"] for line in lines if line.get("kind") == "scan_grids")
    (tmp_path / "run" / "cells" / f"{key}.parquet").unlink()
    run_study(in_parts, tmp_path / "run")
    assert computed(tmp_path / "run")["scan, part 1 of 3"] == 2
    assert records(tmp_path / "run") == records(whole)


@pytest.mark.parametrize("then", [1, 2])
def test_parts_of_another_number_are_removed_too(
    in_parts: Study, fields: dict[str, Any], whole: Path, tmp_path: Path, then: int
) -> None:
    with pytest.raises(Interrupted):
        run_study(in_parts, tmp_path / "run", make_engine=Stops)
    run_study(configure({**fields, "scan_parts": then}), tmp_path / "run")
    assert records(tmp_path / "run") == records(whole)


KILLED = """
import json, os, signal, sys
from negspace.experiment.config import configure
from negspace.runs.engine import LocalEngine
from negspace.study.run import run_study


class Killed(LocalEngine):
    # Once a cell's record is on disk, and before its line is in the log.
    def _make(self, cells, written):
        def dies(cell, seconds):
            if cell.label == sys.argv[3]:
                os.kill(os.getpid(), signal.SIGKILL)
            written(cell, seconds)

        super()._make(cells, dies)


run_study(configure(json.loads(sys.argv[1])), sys.argv[2], make_engine=Killed)
"""


@pytest.fixture(scope="module", params=["scan: the first windows", "scan, part 2 of 3"])
def killed(request: pytest.FixtureRequest, fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed with a record that its log does not know, and with a line of the log half written."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    given = json.dumps({**fields, "scan_parts": PARTS})
    command = [sys.executable, "-c", KILLED, given, str(folder), request.param]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(records(folder)) == len(computed(folder)) + 1
    with (folder / "run.log.jsonl").open("a") as log:
        log.write('{"time": "2026-01-01T00:00:00+0000", "event": "comp')
    return folder


@pytest.mark.parametrize("then", [PARTS, 1, 2])
def test_a_killed_scan_resumes_and_leaves_no_part(
    killed: Path, fields: dict[str, Any], whole: Path, tmp_path: Path, then: int
) -> None:
    shutil.copytree(killed, tmp_path / "run")
    run_study(configure({**fields, "scan_parts": then}), tmp_path / "run")
    assert records(tmp_path / "run") == records(whole)
    assert (tmp_path / "run" / "scan.parquet").read_bytes() == (whole / "scan.parquet").read_bytes()
    # The line that was cut short is all that cannot be read.
    lines = (tmp_path / "run" / "run.log.jsonl").read_text().splitlines()
    assert sum(not line.endswith("}") for line in lines) == 1
    events = [json.loads(line)["event"] for line in lines if line.endswith("}")]
    assert (events.count("start"), events.count("end")) == (2, 1)


def test_a_text_is_cut_once_for_all_parts(in_parts: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, cuts = handlers.make_windows, []
    monkeypatch.setattr(handlers, "make_windows", lambda *a, **k: cuts.append(1) or real(*a, **k))
    run_study(in_parts, tmp_path / "run")
    assert len(cuts) == 1


def test_more_parts_than_forward_passes(fields: dict[str, Any], whole: Path, tmp_path: Path) -> None:
    run_study(configure({**fields, "scan_parts": 9}), tmp_path / "run")
    assert records(tmp_path / "run") == records(whole)


def test_exact_statistics_are_not_split(fields: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="scan_parts must be 1"):
        configure({**fields, "exact": True, "scan_parts": 2})

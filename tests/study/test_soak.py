"""Studies that are killed at random moments, within writes, and beside each other: what is left is always whole."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from nursery import STAGES, Death, Driver, Nursery

pytestmark = pytest.mark.slow
KILLS = 20
SEED = 2026


def whole_files(folder: Path) -> list[Path]:
    """Files of a run, but for the log, the lock and what is being written."""
    apart = (".lock", "run.log.jsonl")
    return [path for path in folder.rglob("*") if path.name not in apart and path.suffix != ".tmp" and path.is_file()]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything in a run folder but the log and the lock, leftovers of dead processes included."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "run.log.jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def computed(folder: Path) -> Counter[str]:
    """How often each cell was computed, as the log says."""
    lines = (json.loads(line) for line in (folder / "run.log.jsonl").read_text().splitlines())
    return Counter(line["key"] for line in lines if line["event"] == "computed")


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed."""

    folder: Path
    """Its folder."""
    files: dict[str, bytes]
    """What it left."""
    moments: list[float]
    """When each of its files was written, seconds after its start, ascending."""
    seconds: float
    """How long it took."""

    def split(self, moment: float) -> tuple[int, float]:
        """A moment as the number of files written before it, and the seconds since the last of these."""
        before = [0.0, *(one for one in self.moments if one <= moment)]
        return len(before) - 1, moment - before[-1]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as made:
        yield made


@pytest.fixture(scope="module")
def study(tiny_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two analyses, with searches, on few items."""
    analyses = {"ablation": {}, "dose": {"shares": [0.1, 0.5], "random": 1, "interventions": ["zero_negative"]}}
    small = {"windows": 6, "limit": 2, "random": 2, "random_perplexity": 3, "draws": 100, "shares": [0.1]}
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(yaml.safe_dump({**tiny_fields, **small, "analyses": analyses}))
    return path


@pytest.fixture(scope="module")
def whole(nursery: Nursery, study: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert nursery.start("--help").wait() == 0  # by then it has imported everything
    began = time.time()
    driver = nursery.start("run", study, "--out", out)
    assert driver.wait() == 0, driver.err
    seconds = time.time() - began
    moments = sorted(path.stat().st_mtime - began for path in whole_files(out))
    return Whole(out, snapshot(out), moments, seconds)


def starts(folder: Path) -> int:
    """How often the study in a folder was taken up."""
    log = folder / "run.log.jsonl"
    return log.read_text().count('"event": "start"') if log.exists() else 0


def reach(driver: Driver, folder: Path, begun: int, files: int) -> None:
    """Wait until the study was taken up so often and so many files are there, or until the driver has ended."""
    deadline = time.monotonic() + 60
    while driver.poll() is None and (starts(folder) < begun or len(whole_files(folder)) < files):
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.001)


def test_killed_at_twenty_random_moments(nursery: Nursery, study: Path, whole: Whole, tmp_path: Path) -> None:
    """One moment in each twentieth of a study's time, whatever is done then: loading, computing, writing, tables."""
    moments = random.Random(SEED)
    out = tmp_path / "run"
    reached = []
    for number in range(KILLS):
        files, delay = whole.split((number + moments.random()) / KILLS * whole.seconds)
        for _ in range(10):  # a life that is done before it is killed does not count
            begun = starts(out) + 1 if files else 0
            driver = nursery.start("run", study, "--out", out)
            reach(driver, out, begun, files)
            time.sleep(delay)
            if driver.kill():
                break
            delay *= moments.random()
        else:
            pytest.fail("no life could be ended")
        reached.append(len(whole_files(out)) if out.exists() else 0)
    assert reached == sorted(reached)
    assert reached[0] == 0
    assert len(whole.moments) // 2 < reached[-1]
    assert (out / "run.json").exists()  # so that the last kills came while tables were made
    final = nursery.start("run", study, "--out", out)
    assert final.wait() == 0, final.err
    assert snapshot(out) == whole.files
    assert set(computed(out).values()) == {1}


def test_killed_within_writes(nursery: Nursery, study: Path, whole: Whole, tmp_path: Path) -> None:
    """Half of a file is out, or all of it under another name, or it has just got its name."""
    draw = random.Random(SEED)
    out = tmp_path / "run"
    met: Counter[str] = Counter()
    for life in range(200):
        stage = STAGES[life % len(STAGES)]
        driver = nursery.start("run", study, "--out", out, death=Death(draw.randint(1, 9), stage))
        if driver.wait() != -signal.SIGKILL:
            break
        met[stage] += 1
        assert len(list(out.rglob(f".*.{driver.pid}.tmp"))) == (stage != "renamed")
        for path in (out / "cells").glob("*.parquet"):
            assert path.read_bytes() == whole.files[f"cells/{path.name}"]
    assert driver.wait() == 0, driver.err
    assert set(met) == set(STAGES)
    assert snapshot(out) == whole.files
    assert set(computed(out).values()) == {1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_the_cell_and_says_how_to_go_on(
    nursery: Nursery, study: Path, whole: Whole, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    first = nursery.start("run", study, "--out", out)
    reach(first, out, 1, 3)
    first.send(number)
    assert first.wait() == 130
    assert "stopping after the current cell" in first.err
    assert f"to resume: negspace run {study} --out {out}" in first.err
    assert "Traceback" not in first.err
    assert not list(out.rglob(".*.tmp"))
    assert not (out / "run.json").exists()
    second = nursery.start("run", study, "--out", out)
    assert second.wait() == 0, second.err
    assert snapshot(out) == whole.files
    assert set(computed(out).values()) == {1}


def test_damaged_records_are_found_and_computed_again(
    nursery: Nursery, study: Path, whole: Whole, tmp_path: Path
) -> None:
    draw = random.Random(SEED)
    out = tmp_path / "run"
    shutil.copytree(whole.folder, out)
    records = draw.sample(sorted((out / "cells").iterdir()), 5)
    for path, damage in zip(records, ("truncated", "flipped", "flipped", "empty", "another's"), strict=True):
        data = path.read_bytes()
        at = draw.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
        changed = {"truncated": data[:at], "flipped": flipped, "empty": b"", "another's": records[0].read_bytes()}
        path.write_bytes(changed[damage])
    for name in ("run.json", "scan.parquet", "tables/summary.csv", "tables/summary.parquet"):
        (out / name).write_bytes((out / name).read_bytes()[:-9])
    (out / "run.log.jsonl").unlink()
    driver = nursery.start("run", study, "--out", out)
    assert driver.wait() == 0, driver.err
    assert driver.err.count("is damaged") == 5
    assert computed(out) == dict.fromkeys((path.stem for path in records), 1)
    assert snapshot(out) == whole.files


def test_a_second_driver_is_refused_and_the_first_goes_on(
    nursery: Nursery, study: Path, whole: Whole, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = nursery.start("run", study, "--out", out)
    reach(first, out, 1, 5)
    first.send(signal.SIGSTOP)
    before = snapshot(out)
    second = nursery.start("run", study, "--out", out)
    assert second.wait() == 2
    assert f"process {first.pid} on" in second.err
    assert "is working in it" in second.err
    assert "another folder with --out" in second.err
    assert "Traceback" not in second.err
    assert snapshot(out) == before
    first.send(signal.SIGCONT)
    assert first.wait() == 0, first.err
    assert snapshot(out) == whole.files
    assert set(computed(out).values()) == {1}


def test_the_lock_of_a_driver_that_died_is_free(nursery: Nursery, study: Path, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = nursery.start("run", study, "--out", out)
    reach(first, out, 1, 5)
    assert first.kill()
    assert str(first.pid) in (out / ".lock").read_text()
    second = nursery.start("run", study, "--out", out)
    assert second.wait() == 0, second.err
    assert snapshot(out) == whole.files


def test_of_drivers_that_start_together_one_gets_the_folder(
    nursery: Nursery, study: Path, whole: Whole, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    drivers = [nursery.start("run", study, "--out", out) for _ in range(3)]
    assert sorted(driver.wait() for driver in drivers) == [0, 2, 2]
    assert snapshot(out) == whole.files
    assert set(computed(out).values()) == {1}

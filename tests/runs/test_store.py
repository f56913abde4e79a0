"""Records on disk: the same bytes for the same record, whole or absent, and every damaged byte found."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from negspace import files
from negspace.errors import RecordError, StudyError
from negspace.runs.cell import Cell, Record
from negspace.runs.packing import Damaged, pack, unpack
from negspace.runs.store import MANIFEST_FORMAT, Store

CELL = Cell("perplexity", {"model": "abc", "p": 0.01})


def _record(cell: Cell = CELL) -> Record:
    items = pd.DataFrame(
        {
            "window": np.arange(4),
            "nll": np.array([1.5, 2.5, np.pi, 1e-300]),
            "paradigm": ["a", "b", "[bold]", "é\n"],
            "outcome": pd.Categorical(["right", "wrong", "tie", "right"]),
            "flag": np.array([True, False, True, True]),
        }
    )
    return Record(cell.key, cell.kind, cell.spec, {"value": 2.25, "none": float("nan")}, items, {"negspace": "0"})


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "run")
    with store.hold():
        yield store


def test_a_record_comes_back_as_it_was(store: Store) -> None:
    record = _record()
    store.write(record)
    back = store.read(CELL)
    assert back is not None
    assert (back.key, back.kind, back.spec, back.status) == (record.key, record.kind, record.spec, "complete")
    assert back.results == {"value": 2.25, "none": None}
    pd.testing.assert_frame_equal(back.items, record.items, check_dtype=False, check_categorical=False)
    assert back.items["nll"].dtype == np.float64


def test_the_same_record_gives_the_same_bytes_and_pandas_reads_it(store: Store) -> None:
    assert pack(_record()) == pack(_record())
    store.write(_record())
    assert pd.read_parquet(store.cells / f"{CELL.key}.parquet")["nll"].iloc[2] == np.pi


def test_every_flipped_byte_and_every_truncation_is_found() -> None:
    data = pack(_record())
    for at in range(len(data)):
        with pytest.raises(Damaged):
            unpack(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
    for size in range(0, len(data), 7):
        with pytest.raises(Damaged):
            unpack(data[:size])


def test_a_record_under_another_key_is_found(store: Store) -> None:
    store.write(_record())
    other = Cell("perplexity", {"model": "other"})
    (store.cells / f"{CELL.key}.parquet").rename(store.cells / f"{other.key}.parquet")
    with pytest.raises(Damaged, match="holds the record"):
        store.read(other)
    assert store.read(CELL) is None


def test_a_missing_or_damaged_record_says_what_to_do(store: Store) -> None:
    with pytest.raises(RecordError, match="no such file"):
        store.require(CELL.key)
    store.write(_record())
    path = store.cells / f"{CELL.key}.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordError, match=r"(?s)damaged.*run the same study again"):
        store.require(CELL.key)


def test_a_content_that_holds_the_mark_is_refused() -> None:
    record = _record(Cell("x", {"name": "negspace-file-sha256:" + "0" * 64}))
    with pytest.raises(ValueError, match="mark"):
        pack(record)


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_nothing_half_written(store: Store, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    store.write(_record())
    path = store.cells / f"{CELL.key}.parquet"
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if stage == "write":

        class Full:
            def __init__(self, name: Path, mode: str) -> None:
                self.file = open(name, mode)  # noqa: SIM115 - closed in __exit__

            def __enter__(self) -> Full:
                return self

            def write(self, data: bytes) -> None:
                self.file.write(data[:10])
                full()

            def __exit__(self, *_: object) -> None:
                self.file.close()

        monkeypatch.setattr(files, "open", Full, raising=False)
    else:
        monkeypatch.setattr(files.os, stage, full)
    with pytest.raises(RecordError, match=r"(?s)No space left.*free some space"):
        store.write(_record(Cell("perplexity", {"another": 1})))
    with pytest.raises(RecordError, match="No space left"):
        store.write(_record())
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(store.cells.iterdir()) == [path]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a small file system")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        store = Store(mount)
        with store.hold():
            (mount / "cells" / "ballast").write_bytes(b"0" * 48_000)
            records = [_record(Cell("x", {"n": number})) for number in range(20)]
            with pytest.raises(RecordError, match="No space left"):
                list(map(store.write, records))
            kept = [path for path in store.cells.glob("*") if path.name != "ballast"]
            assert all(unpack(path.read_bytes()) for path in kept)
            assert not list(store.cells.glob(".*"))
    finally:
        subprocess.run(["umount", mount], check=True)


def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="Not a directory"), Store(tmp_path / "file" / "run").hold():
        pass


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StudyError, match="other files"), Store(tmp_path).hold():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "name",
    ["cells/stem-1.png", "cells/notes.parquet", "cells/.hidden", "run.json", ".lock", "cells/run.json"],
)
def test_a_project_that_looks_like_a_run_is_left_alone(tmp_path: Path, name: str) -> None:
    """A folder of cells, a `run.json` or a lock make no run: what is in `tables` would be removed."""
    contents = ["{}", json.dumps({"format": MANIFEST_FORMAT - 1}), "[" * 100_000] if name == "run.json" else ["{}"]
    for path in (tmp_path / name, tmp_path / "tables" / "results.csv"):
        path.parent.mkdir(exist_ok=True)
    (tmp_path / "tables" / "results.csv").write_text("a year of work")
    for content in contents:
        (tmp_path / name).write_text(content)
        with pytest.raises(StudyError, match="other files"), Store(tmp_path).hold():
            pass


def test_a_project_with_an_empty_folder_of_cells_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    with pytest.raises(StudyError, match="other files"):
        Store(tmp_path).check()


def test_a_run_is_known_wherever_it_was_killed(tmp_path: Path) -> None:
    def left(name: str) -> Store:
        """Return the folder of a run that has made its lock only."""
        store = Store(tmp_path / name)
        store.folder.mkdir()
        (store.folder / ".lock").write_text("")
        return store

    left("locked").check()
    started = left("started")
    with started.hold():
        started.write_file("study.yaml", b"model: m\n")
        started.log("start")
    started.check()
    with pytest.raises(RecordError, match="has not finished"):
        started.read_manifest()
    for name in (f"{CELL.key}.parquet", f".{CELL.key}.parquet.123.tmp"):
        store = left(name)
        (store.folder / ".lock").unlink()  # as a copy without hidden files
        store.cells.mkdir()
        (store.cells / name).write_bytes(b"")
        (store.folder / "run.json").write_text("{")
        store.check()
    finished = Store(tmp_path / "finished")
    with finished.hold():
        finished.write_manifest({"analyses": {}})
    (finished.folder / ".lock").unlink()
    finished.check()


@pytest.mark.parametrize("name", ["tables", "neurons", "cells", "run.json", "tables/summary.csv", ".lock", "atlas"])
@pytest.mark.parametrize("there", [True, False])
def test_a_run_with_a_link_in_it_is_refused_before_anything_is_written(tmp_path: Path, name: str, there: bool) -> None:
    """A run folder that was received may hold a link to any folder or file of its reader."""
    mine, store = tmp_path / "mine", Store(tmp_path / "run")
    with store.hold():
        store.write(_record())
    if there and name in ("tables", "neurons", "cells", "atlas"):
        mine.mkdir()
        (mine / "letter.json").write_text("a letter")
    elif there:
        mine.write_text("a letter")
    if name == "cells":
        store.write_manifest({"analyses": {}})
    path = store.folder / name
    path.parent.mkdir(exist_ok=True)
    for old in path.iterdir() if path.is_dir() else ():
        old.unlink()
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(mine)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RecordError, match=r"(?s): a link.*remove it, or put"), store.hold():
        pass
    assert sorted(tmp_path.rglob("*")) == before
    assert [file.read_text() for file in (mine, mine / "letter.json") if file.is_file()] == ["a letter"] * there


def test_a_folder_may_be_reached_by_a_link_that_leads_somewhere(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with pytest.raises(RecordError, match="a link that leads nowhere"):
        Store(tmp_path / "out").check()
    (tmp_path / "disk").mkdir()
    for _ in range(2):
        with Store(tmp_path / "out").hold():
            pass
    assert (tmp_path / "disk" / "cells").is_dir()


def test_a_second_driver_is_told_who_holds_the_folder(store: Store) -> None:
    code = f"from negspace.runs.store import Store\nwith Store({str(store.folder)!r}).hold(): print('in')"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert second.returncode != 0
    assert f"process {os.getpid()} on" in second.stderr
    assert "StudyError" in second.stderr


def test_the_lock_is_free_after_the_holder(tmp_path: Path) -> None:
    for _ in range(2):
        with Store(tmp_path / "run").hold():
            pass


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    with store.hold():
        pass
    leftover = store.cells / f".{CELL.key}.parquet.123.tmp"
    leftover.write_bytes(b"part")
    with store.hold():
        assert not leftover.exists()


def test_keys_in_a_log_from_elsewhere_name_no_file_outside(store: Store, tmp_path: Path) -> None:
    """A run folder may come from anybody: its log must not have other files removed."""
    outside, inside = tmp_path / "data.parquet", store.cells / "notes.parquet"
    for path in (outside, inside):
        path.write_bytes(b"mine")
    for key in (str(tmp_path / "data"), "../../data", "notes", CELL.key.upper(), ["data"], None):
        store.log("computed", key=key, kind="perplexity")
    store.write(_record())
    store.log("computed", key=CELL.key, kind="perplexity")
    store.discard(("perplexity",))
    assert outside.read_bytes() == inside.read_bytes() == b"mine"
    assert [path.name for path in store.cells.iterdir()] == ["notes.parquet"]


@pytest.mark.parametrize("key", ["../../data", "/tmp/data", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_name_that_is_no_key_is_refused(store: Store, tmp_path: Path, key: str) -> None:
    (tmp_path / "data.parquet").write_bytes(pack(_record()))
    for use in (store.read, store.require):
        with pytest.raises(RecordError, match=r"(?s)other than 64 lower-case hex digits.*run the same study again"):
            use(key)
    with pytest.raises(RecordError, match="64 lower-case hex digits"):
        store.write(replace(_record(), key=key))


def test_a_record_that_the_log_does_not_know_is_discarded_by_its_own_head(store: Store) -> None:
    """As a process leaves it that is killed between the record and its line."""
    other = Cell("pairs", {"model": "abc"})
    for cell in (CELL, other):
        store.write(_record(cell))
    data = pack(_record())
    as_another, damaged = Cell("x", {"n": 1}), Cell("x", {"n": 2})
    (store.cells / f"{as_another.key}.parquet").write_bytes(data)
    (store.cells / f"{damaged.key}.parquet").write_bytes(data[:-9])
    store.discard(("perplexity", "scan"))
    assert {path.stem for path in store.cells.iterdir()} == {other.key, as_another.key, damaged.key}


@pytest.mark.parametrize("cut", [1, 9, 60])
def test_a_line_of_the_log_that_a_kill_cut_short_takes_no_other_with_it(store: Store, cut: int) -> None:
    log = store.folder / "run.log.jsonl"
    store.log("start")
    store.log("computed", key="a" * 64, kind="pairs", seconds=1.0)
    log.write_bytes(log.read_bytes()[:-cut])
    store.log("computed", key="b" * 64, kind="pairs", seconds=2.0)
    store.log("computed", key="c" * 64, kind="pairs", seconds=3.0)
    # Cut by its end alone, the line is whole.
    first = {"a" * 64: 1.0} if cut == 1 else {}
    assert store.times() == {**first, "b" * 64: 2.0, "c" * 64: 3.0}
    lines = log.read_text().splitlines()
    assert len(lines) == 4
    assert [json.loads(line)["event"] for line in (lines[0], *lines[2:])] == ["start", "computed", "computed"]


def test_a_log_with_bytes_that_are_no_text_is_read_as_far_as_it_is_whole(store: Store) -> None:
    store.log("computed", key="a" * 64, kind="pairs", seconds=1.0)
    with (store.folder / "run.log.jsonl").open("ab") as log:
        log.write(b"\xff\x00\xff\n[1]\n")
    store.log("computed", seconds=2.0)
    assert [event["event"] for event in store.events()] == ["computed", "computed"]
    assert store.times() == {"a" * 64: 1.0}


def test_finding_a_record_takes_a_damaged_one_for_none(store: Store) -> None:
    assert store.find(CELL) is None
    store.write(_record())
    found = store.find(CELL)
    assert found is not None
    assert found.key == CELL.key
    path = store.cells / f"{CELL.key}.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.find(CELL) is None


def test_manifest_round_trip_and_same_bytes(store: Store) -> None:
    store.write_manifest({"b": 1, "a": {"y": [1, 2.5], "x": None}})
    first = (store.folder / "run.json").read_bytes()
    store.write_manifest({"a": {"x": None, "y": [1, 2.5]}, "b": 1})
    assert (store.folder / "run.json").read_bytes() == first
    assert store.read_manifest() == {"format": MANIFEST_FORMAT, "b": 1, "a": {"y": [1, 2.5], "x": None}}


def test_a_folder_without_a_finished_run(tmp_path: Path, store: Store) -> None:
    with pytest.raises(RecordError, match="no such folder"):
        Store(tmp_path / "absent").read_manifest()
    with pytest.raises(RecordError, match="has not finished"):
        store.read_manifest()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match=r"no run\.json"):
        Store(tmp_path / "empty").read_manifest()


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}', "{}", "[" * 100_000])
def test_a_manifest_that_cannot_be_read(store: Store, content: str) -> None:
    (store.folder / "run.json").write_text(content)
    with pytest.raises(RecordError, match=r"damaged run\.json|format 99"):
        store.read_manifest()

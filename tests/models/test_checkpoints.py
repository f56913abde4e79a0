"""One checkpoint in memory; the next one's files are read meanwhile."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from negspace.errors import ModelError
from negspace.models import checkpoints as room
from negspace.models.checkpoints import Checkpoint, Checkpoints
from negspace.models.load import load
from negspace.models.model import Model
from negspace.models.series import Contents, Place


class Alive:
    """Loads the tiny model, and counts how many such models are in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[weakref.ref[Any]] = []
        self.before: list[int] = []

    def __call__(self, _: Checkpoint) -> Model:
        self.before.append(sum(ref() is not None for ref in self.modules))
        model = load(str(self.folder), device="cpu")
        self.modules.append(weakref.ref(model.module))
        return model


def made(folder: Path, step: int, commit: str | None = None) -> Checkpoint:
    place = Place(name=f"step{step}", step=step, model=str(folder), revision=None if commit is None else f"step{step}")
    return Checkpoint(place, Contents(weights={"model.safetensors": f"hash {step}"}, rest="", commit=commit))


def test_never_two_at_a_time(tiny_model_path: Path) -> None:
    alive = Alive(tiny_model_path)
    opened = Checkpoints(alive)
    series = [made(tiny_model_path, step) for step in range(3)]
    for checkpoint in series:
        first = opened.open(checkpoint)
        assert opened.open(checkpoint) is first
        del first
    assert alive.before == [0, 0, 0]
    assert opened.loaded == ["step0", "step1", "step2"]
    opened.close()
    assert sum(ref() is not None for ref in alive.modules) == 0


def test_the_files_of_the_next_are_read_while_this_one_is_open(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[list[Path], bool]] = []
    done = threading.Event()

    def note(_: Any, files: list[Path]) -> None:
        read.append((files, threading.current_thread() is threading.main_thread()))
        done.set()

    monkeypatch.setattr(room._Ahead, "_read_through", note)
    opened = Checkpoints(Alive(tiny_model_path))
    one, two = made(tiny_model_path, 1), made(tiny_model_path, 2)
    opened.open(one, two)
    assert done.wait(10)
    assert read == [([tiny_model_path / "model.safetensors"], False)]
    opened.open(two, two)  # nothing follows
    assert len(read) == 1


def test_all_bytes_of_all_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"a": 3 * 7 + 2, "b": 1, "empty": 0}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    monkeypatch.setattr(room, "_BLOCK", 7)
    counted: dict[str, int] = {}

    class Counting:
        def __init__(self, path: Path, *_: Any, **__: Any) -> None:
            self.name, self.file = path.name, path.open("rb", buffering=0)
            counted[self.name] = 0

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def readinto(self, buffer: bytearray) -> int:
            got = self.file.readinto(buffer)
            counted[self.name] += got
            return got

    monkeypatch.setattr(room, "open", Counting, raising=False)
    contents = Contents(weights=dict.fromkeys(sizes, "hash"), rest="")
    ahead = room._Ahead(Checkpoint(Place(name="step1", step=1, model=str(tmp_path)), contents))
    ahead._thread.join(10)
    assert counted == sizes


def test_of_the_hub_the_next_commit_s_files_are_downloaded_and_waited_for(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    go_on = threading.Event()

    def download(name: str, **options: Any) -> None:
        go_on.wait(10)
        asked.append((name, options["revision"], options["allow_patterns"]))

    monkeypatch.setattr(room, "snapshot_download", download)
    alive = Alive(tiny_model_path)
    opened = Checkpoints(alive)
    one, two = made(tiny_model_path, 1, "commit 1"), made(tiny_model_path, 2, "commit 2")
    opened.open(one, two)
    assert asked == []
    threading.Timer(0.2, go_on.set).start()
    opened.open(two)
    assert asked == [(str(tiny_model_path), "commit 2", [*room.SMALL, "model.safetensors"])]
    assert alive.before == [0, 0]


def test_a_failure_ahead_is_left_to_loading(tiny_model_path: Path, tmp_path: Path) -> None:
    def missing(checkpoint: Checkpoint) -> Model:
        if checkpoint.place.step == 2:
            raise ModelError("step2", "no such file", "look")
        return load(str(tiny_model_path), device="cpu")

    opened = Checkpoints(missing)
    one, gone = made(tiny_model_path, 1), made(tmp_path / "gone", 2)
    opened.open(one, gone)
    assert opened._ahead is not None
    opened._ahead._thread.join(10)
    assert opened.open(one) is not None
    with pytest.raises(ModelError, match="no such file"):
        opened.open(gone)
    assert opened.loaded == ["step1"]

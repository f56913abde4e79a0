"""Converted weights are kept whole or not at all: two processes, a kill, damage, another file of the same name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import ggufs
from negspace.errors import ModelError
from negspace.models.gguf import cache as caching
from negspace.models.gguf import convert
from negspace.models.gguf.cache import cache_folder, converted
from negspace.models.load import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEGSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is converted and hashed while the test runs."""
    done: list[str] = []
    real_convert, real_hash = caching.convert, caching._hash

    def counting_convert(*args: object) -> tuple[str, ...]:
        done.append("convert")
        return real_convert(*args)  # type: ignore[arg-type]

    def counting_hash(path: Path) -> str:
        done.append("hash")
        return real_hash(path)

    monkeypatch.setattr(caching, "convert", counting_convert)
    monkeypatch.setattr(caching, "_hash", counting_hash)
    return done


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "hashes" and not path.name.endswith(".lock"))


def aged(path: Path) -> Path:
    """As if it had not changed for a while, so that its hash is kept."""
    old = time.time_ns() - 10**10
    os.utime(path, ns=(old, old))
    return path


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEGSPACE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == cache_folder(True) == tmp_path / "negspace"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "negspace"
    monkeypatch.setenv("NEGSPACE_CACHE", "~/other")
    assert cache_folder() == tmp_path / "other"
    assert cache_folder(tmp_path / "third") == tmp_path / "third"
    assert cache_folder(False) is None
    monkeypatch.setenv("NEGSPACE_CACHE", "off")
    assert cache_folder() is None


def test_the_second_load_converts_and_hashes_nothing(tmp_path: Path, folder: Path, counted: list[str]) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    aged(tmp_path / "tiny.gguf")
    load(tmp_path / "tiny.gguf", device="cpu")
    assert counted == ["hash", "convert"]
    load(tmp_path / "tiny.gguf", device="cpu")
    load(tmp_path, device="cpu")
    assert counted == ["hash", "convert"]
    load(tmp_path / "tiny.gguf", device="cpu", dtype="bfloat16")
    assert counted == ["hash", "convert", "convert"]
    assert len(kept(folder)) == 2


def test_a_file_that_changed_is_another(tmp_path: Path, folder: Path, counted: list[str]) -> None:
    """Also when its size and time are as before, since a new file has another inode; and right after it was written."""
    path = tmp_path / "tiny.gguf"
    ggufs.write(path)
    stat = aged(path).stat()
    first = load(path, device="cpu")
    ggufs.write(tmp_path / "other.gguf", seed=1)
    os.utime(tmp_path / "other.gguf", ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    os.replace(tmp_path / "other.gguf", path)
    assert path.stat().st_size == stat.st_size
    second = load(path, device="cpu")
    assert second.fingerprint != first.fingerprint
    assert second.source.gguf != first.source.gguf
    counted.clear()
    ggufs.write(path, seed=2)
    assert load(path, device="cpu").fingerprint not in (first.fingerprint, second.fingerprint)
    load(path, device="cpu")
    assert counted == ["hash", "convert", "hash"]


def test_another_name_shares_the_weights_and_keeps_its_name(tmp_path: Path, folder: Path, counted: list[str]) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    load(tmp_path / "tiny.gguf", device="cpu")
    (tmp_path / "same.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes())
    source = load(tmp_path / "same.gguf", device="cpu").source.gguf
    assert source is not None
    assert source.file == "same.gguf"
    assert counted.count("convert") == 1


@pytest.mark.parametrize("damage", ["shorter", "absent", "no marker", "bad marker"])
def test_a_damaged_folder_is_made_again(tmp_path: Path, folder: Path, counted: list[str], damage: str) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    before = load(tmp_path / "tiny.gguf", device="cpu").fingerprint
    (name,) = kept(folder)
    weights, marker = folder / name / "model.safetensors", folder / name / "negspace.json"
    if damage == "shorter":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "absent":
        weights.unlink()
    elif damage == "no marker":
        marker.unlink()
    else:
        marker.write_text("{")
    assert load(tmp_path / "tiny.gguf", device="cpu").fingerprint == before
    assert counted.count("convert") == 2
    assert kept(folder) == [name]


_CHILD = """
import os, sys, time
from pathlib import Path
import torch
from negspace.models.gguf import cache
real = cache.convert
def slow(*args):
    made = real(*args)
    print("converting", flush=True)
    time.sleep(float(sys.argv[2]))
    return made
cache.convert = slow
with cache.converted(Path(sys.argv[1]), torch.float32, cache.cache_folder()) as (folder, source):
    print("have", folder.name, flush=True)
"""


def child(path: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _CHILD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_make_it_once(tmp_path: Path, folder: Path) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    both = [child(tmp_path / "tiny.gguf", 2) for _ in range(2)]
    said = sorted(one.communicate(timeout=300)[0] for one in both)
    (name,) = kept(folder)
    assert said == [f"converting\nhave {name}\n", f"have {name}\n"]


@pytest.mark.slow
def test_a_kill_leaves_nothing_that_is_taken_for_whole(tmp_path: Path, folder: Path, counted: list[str]) -> None:
    """Killed when all is written but the marker; the next to come clears up and makes it."""
    ggufs.write(tmp_path / "tiny.gguf")
    doomed = child(tmp_path / "tiny.gguf", 300)
    assert doomed.stdout is not None
    assert doomed.stdout.readline() == "converting\n"
    doomed.send_signal(signal.SIGKILL)
    doomed.wait(timeout=60)
    doomed.stdout.close()
    (left,) = kept(folder)
    assert left.endswith(".tmp")
    load(tmp_path / "tiny.gguf", device="cpu")
    assert counted.count("convert") == 1
    (name,) = kept(folder)
    assert left.startswith(f".{name}.")


def test_an_error_half_way_leaves_nothing(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ggufs.write(tmp_path / "tiny.gguf")

    def fails(*_: object) -> None:
        raise ModelError("half way", "an error", "nothing")

    monkeypatch.setattr(convert.hyperparameters, "check_weights", fails)
    with pytest.raises(ModelError, match="half way"):
        load(tmp_path / "tiny.gguf", device="cpu")
    assert kept(folder) == []


def test_no_room_and_no_permission(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    with monkeypatch.context() as patch:
        patch.setattr(caching.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(ModelError, match=r"(?s)0\.0 GB free for 0\.0 GB.*NEGSPACE_CACHE=off"):
            load(tmp_path / "tiny.gguf", device="cpu")
    assert kept(folder) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"(?s)to keep converted weights in .*file.*NEGSPACE_CACHE=off"):
        load(tmp_path / "tiny.gguf", device="cpu", gguf_cache=tmp_path / "file")


def test_without_a_cache_the_weights_outlive_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(caching.tempfile, "tempdir", None)
    (tmp_path / "temporary").mkdir()
    whole = ggufs.write(tmp_path / "tiny.gguf")
    model = load(tmp_path / "tiny.gguf", device="cpu", gguf_cache=False)
    assert list((tmp_path / "temporary").iterdir()) == []
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(model.module(ids).logits, whole(ids).logits)


def test_the_folder_is_one_that_transformers_reads(tmp_path: Path, folder: Path) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    with converted(tmp_path / "tiny.gguf", torch.float32, cache_folder()) as (there, source):
        assert load(there, device="cpu").source.gguf is None
        assert (source.sha256, source.mended) == (caching._hash(tmp_path / "tiny.gguf"), source.mended)
        assert there.parent == folder

"""Converted weights are kept whole or not at all: two processes, a kill, damage, another file of the same name."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import pytest
import torch
from transformers import PreTrainedTokenizerFast

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


@pytest.mark.parametrize("after", ["_hash", "convert"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Between its hash and its conversion, the folder would hold the new weights under the hash of the old."""
    path, real = tmp_path / "tiny.gguf", getattr(caching, after)
    ggufs.write(path)
    aged(path)

    def changing(*arguments: Any) -> Any:
        made = real(*arguments)
        ggufs.write(tmp_path / "new.gguf", seed=1)
        os.replace(tmp_path / "new.gguf", path)
        return made

    for cache in (None, False):
        with monkeypatch.context() as patch:
            patch.setattr(caching, after, changing)
            with pytest.raises(ModelError, match="found: a file that changed while it was read\nto do: load it again"):
                load(path, device="cpu", gguf_cache=cache)
    assert kept(folder) == []
    now = load(path, device="cpu")
    assert now.source.gguf is not None
    assert now.source.gguf.sha256 == caching._hash(path)


def test_a_change_that_spoils_the_conversion_is_the_cause_that_is_named(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ggufs.write(tmp_path / "tiny.gguf")

    def fails(*_: object) -> None:
        ggufs.write(tmp_path / "tiny.gguf", seed=1)
        raise ModelError("the weights", "numbers that do not fit", "nothing")

    monkeypatch.setattr(convert.hyperparameters, "check_weights", fails)
    with pytest.raises(ModelError, match="changed while it was read"):
        load(tmp_path / "tiny.gguf", device="cpu")
    assert kept(folder) == []


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"architecture": "clip"}, "the vision part"),
        ({"metadata": {"split.count": 3, "split.no": 1}}, "part 2 of a file"),
        (None, "cut short"),
    ],
)
def test_a_file_that_cannot_be_converted_is_not_read_for_its_hash(
    tmp_path: Path, folder: Path, counted: list[str], options: dict[str, Any] | None, found: str
) -> None:
    path = tmp_path / "tiny.gguf"
    ggufs.write(path, **(options or {}))
    if options is None:
        path.write_bytes(path.read_bytes()[:-100_000])
    for cache in (None, False):
        with pytest.raises(ModelError, match=found):
            load(path, device="cpu", gguf_cache=cache)
    assert counted == []


def test_a_file_that_may_not_be_read() -> None:
    """As nobody, where this user is root, who may read everything."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    ggufs.write(place / "tiny.gguf")
    (place / "tiny.gguf").chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        for cache in (place / "cache", None):
            with (
                pytest.raises(ModelError, match=r"(?s)the model in .*Permission denied.*its permissions"),
                converted(place / "tiny.gguf", torch.float32, cache),
            ):
                pass
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(place)


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


@contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [4_000, 100_000], ids=["tokenizer", "weights"])
def test_a_disk_that_fills_up_meanwhile(tmp_path: Path, folder: Path, size: int) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    with no_larger_than(size), pytest.raises(ModelError, match=r"(?s)File too large.*NEGSPACE_CACHE=off") as caught:
        load(tmp_path / "tiny.gguf", device="cpu")
    assert caught.value.asked == f"to keep converted weights in {folder}"
    assert kept(folder) == []
    with no_larger_than(size), pytest.raises(ModelError, match=r"(?s)File too large.*set TMPDIR") as caught:
        load(tmp_path / "tiny.gguf", device="cpu", gguf_cache=False)
    assert caught.value.asked == "to convert weights in a temporary folder"
    assert "off" not in caught.value.todo


def test_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    with monkeypatch.context() as patch:
        patch.setattr(caching.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(ModelError, match=r"(?s)temporary folder.*0\.0 GB free for .*set TMPDIR"):
            load(tmp_path / "tiny.gguf", device="cpu", gguf_cache=False)
    monkeypatch.setattr(caching.tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(ModelError, match=r"(?s)temporary folder.*No such file or directory.*set TMPDIR"):
        load(tmp_path / "tiny.gguf", device="cpu", gguf_cache=False)


def _spoilt(self: Any, folder: Any, **options: Any) -> Any:
    made = _SAVE(self, folder, **options)
    (Path(folder) / "tokenizer.json").write_text("{")
    return made


_SAVE = PreTrainedTokenizerFast.save_pretrained


def _gone(*_: object, **__: object) -> None:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "tiny.gguf")


def _failing(*_: object, **__: object) -> None:
    raise LookupError("no such piece")


def _too_large(*_: object, **__: object) -> None:
    torch.empty(1 << 46)


@pytest.mark.parametrize(
    ("owner", "name", "fails", "found"),
    [
        (PreTrainedTokenizerFast, "save_pretrained", _spoilt, r"the tokenizer of .*transformers .* cannot convert"),
        (convert.AutoModelForCausalLM, "from_pretrained", _gone, r"the weights of .*No such file.*its permissions"),
        (convert.hyperparameters, "_bytes", _gone, r"the model in .*No such file.*its permissions"),
        (convert.tokenizer, "_check_special", _failing, r"the tokenizer of .*compared \(LookupError: .*piece"),
        (convert.tokenizer, "_check_special", _too_large, r"the tokenizer of .*not enough memory .*smaller dtype"),
        (convert.AutoTokenizer, "from_pretrained", _too_large, r"the tokenizer of .*not enough memory .*smaller dtype"),
        (gguf, "dequantize", _too_large, r"the weights of .*not enough memory .*smaller dtype"),
    ],
    ids=["reload", "file", "file again", "proof", "proof's memory", "tokenizer's memory", "weights' memory"],
)
def test_what_is_no_fault_of_the_cache_is_not_blamed_on_it(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    fails: Callable[..., Any],
    found: str,
) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(ModelError, match=f"(?s){found}") as caught:
        load(tmp_path / "tiny.gguf", device="cpu")
    assert "make room" not in caught.value.todo
    assert kept(folder) == []


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

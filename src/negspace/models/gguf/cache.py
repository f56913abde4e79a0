"""Folders of converted weights, kept: the first load of a GGUF file converts it, the second reads safetensors.

    <cache>/gguf/<sha256 of the file>-<dtype>-<versions>/   what save_pretrained writes, and negspace.json, the marker
    <cache>/gguf/hashes/                                    sha256 of files by path, size, time and inode

A folder is written under another name, synced, and renamed: it is whole or absent, whenever a process dies. Two
processes that want the same one take turns. A file is read twice, for its hash and for its weights; one that changes
in between is refused, since its new weights would be kept under the hash of the old ones.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from filelock import FileLock
from safetensors import SafetensorError

from negspace.errors import ModelError
from negspace.memory import is_out_of_memory, shortage
from negspace.models.gguf.convert import VERSION, check, convert
from negspace.models.gguf.header import Header
from negspace.models.gguf.source import GGUFSource

VARIABLE = "NEGSPACE_CACHE"
"""Environment variable: the cache folder, or "off"."""
_MARKER = "negspace.json"
_RECENT = 2.0
"""Seconds after a file's last change in which its hash is not kept: another change might leave no trace in them."""


@dataclass(frozen=True)
class _File:
    """A GGUF file, as it was when its hash was made."""

    header: Header
    digest: str
    """sha256 (hex)."""
    state: dict[str, int]


def cache_folder(given: str | os.PathLike[str] | bool | None = None) -> Path | None:
    """The folder of the cache; None where nothing is to be kept.

    Args:
        given: a folder; False for none; None or True for that of the environment (NEGSPACE_CACHE, where "off" means
            none), else ~/.cache/negspace (or under XDG_CACHE_HOME).
    """
    if given is False:
        return None
    if given is not None and given is not True:
        return Path(given).expanduser().absolute()
    if (said := os.environ.get(VARIABLE)) == "off":
        return None
    if said:
        return Path(said).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "negspace"


@contextlib.contextmanager
def converted(path: Path, dtype: torch.dtype, cache: Path | None) -> Iterator[tuple[Path, GGUFSource]]:
    """A folder with the model of a GGUF file, and where it came from.

    Args:
        path: the file.
        dtype: of the weights.
        cache: where the folder is kept; without one it is temporary, and gone when the context is left.

    Raises:
        ModelError: the file cannot be read, is damaged, of another kind, cannot be converted, or changes meanwhile; or
            the cache cannot be written.
    """
    state = _state(path)
    if cache is None:
        header = check(path)
        with _writing(None):
            temporary = tempfile.TemporaryDirectory(prefix="negspace-gguf-")
        with temporary as made:
            yield Path(made), _fill(Path(made), _File(header, _hash(path), state), dtype, None)
        return
    root = cache / "gguf"
    with _writing(root):
        (root / "hashes").mkdir(parents=True, exist_ok=True)
    digest, known = _known_hash(path, state, root / "hashes"), None
    if digest is None:
        known = check(path)  # before a file of many gigabytes is read to its end for its hash
        digest = _new_hash(path, state, root / "hashes")
    kind = str(dtype).removeprefix("torch.")
    folder = root / f"{digest}-{kind}-v{VERSION}-transformers{transformers.__version__}-gguf{version('gguf')}"
    held = _read(folder)
    if held is None:
        with _writing(root):
            lock = FileLock(root / f".{folder.name}.lock")
            lock.acquire()
        try:
            held = _read(folder)  # another process may have made it meanwhile
            if held is None:
                held = _make(folder, _File(known or check(path), digest, state), dtype)
        finally:
            lock.release()
    # The file may have another name than when it was converted.
    yield folder, held.model_copy(update={"file": path.name})


def _make(folder: Path, file: _File, dtype: torch.dtype) -> GGUFSource:
    """Convert a file into a folder of the cache; for the holder of its lock only."""
    with _writing(folder.parent):
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        temporary.chmod(0o755)
    try:
        source = _fill(temporary, file, dtype, folder.parent)
        with _writing(folder.parent):
            sizes = {part.name: part.stat().st_size for part in sorted(temporary.iterdir())}
            for name in sizes:
                os.chmod(temporary / name, 0o644)
                _sync(temporary / name)
            content = {"source": source.model_dump(mode="json"), "files": sizes}
            (temporary / _MARKER).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
            _sync(temporary / _MARKER)
            _sync(temporary)
            if folder.exists():  # damaged, or it would have been read
                shutil.rmtree(folder)
            os.replace(temporary, folder)
            _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return source


def _fill(folder: Path, file: _File, dtype: torch.dtype, root: Path | None) -> GGUFSource:
    """Convert a file into a folder.

    Args:
        folder: to write to.
        file: the file.
        dtype: of the weights.
        root: of the cache; None where nothing is kept.
    """
    header = file.header
    needed = sum(tensor.size for tensor in header.tensors) * dtype.itemsize
    if (free := shutil.disk_usage(folder).free) < needed * 1.05:
        raise _cannot_write(root, f"{free / 1e9:.1f} GB free for {needed / 1e9:.1f} GB of converted weights")
    try:
        with _reading(header.path):
            mended = convert(header, dtype, folder, lambda: _writing(root))
    except Exception:
        _check_unchanged(header.path, file.state)  # the true cause of whatever two halves of two files led to
        raise
    _check_unchanged(header.path, file.state)
    return GGUFSource(
        file=header.path.name,
        sha256=file.digest,
        architecture=header.architecture,
        quantisation=header.quantisation,
        tensors=header.kinds,
        gguf=version("gguf"),
        mended=mended,
    )


def _read(folder: Path) -> GGUFSource | None:
    """Return the content of a folder's marker; None unless all its files are there with their recorded sizes."""
    try:
        content = json.loads((folder / _MARKER).read_text("utf-8"))
        if all((folder / name).stat().st_size == size for name, size in content["files"].items()):
            return GGUFSource.model_validate(content["source"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _known_hash(path: Path, state: dict[str, int], folder: Path) -> str | None:
    """SHA-256 of a file that was read before, and whose size, time and inode are as they were; None for any other."""
    try:
        content = json.loads(_note_of(path, folder).read_text("utf-8"))
        return str(content["sha256"]) if content["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _new_hash(path: Path, state: dict[str, int], folder: Path) -> str:
    """SHA-256 of a file, noted for the next time.

    Raises:
        ModelError: the file is not in this state any more, or cannot be read.
    """
    digest = _hash(path)
    _check_unchanged(path, state)
    if time.time() - state["mtime_ns"] / 1e9 > _RECENT:
        content = {"path": str(path.absolute()), "state": state, "sha256": digest}
        with _writing(folder):
            handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
            os.replace(temporary, _note_of(path, folder))
    return digest


def _note_of(path: Path, folder: Path) -> Path:
    return folder / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]}.json"


def _state(path: Path) -> dict[str, int]:
    with _reading(path):
        stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino, "device": stat.st_dev}


def _check_unchanged(path: Path, before: dict[str, int]) -> None:
    if _state(path) != before:
        raise ModelError(
            f"the model in {path}",
            "a file that changed while it was read",
            "load it again once whatever writes it (a download, a conversion) is done",
        )


def _hash(path: Path) -> str:
    with _reading(path), open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever the file system says against reading a file becomes a ModelError."""
    try:
        yield
    except OSError as error:
        if is_out_of_memory(error):
            raise ModelError(f"the model in {path}", *shortage(error)) from error
        found = error.strerror or str(error)
        raise ModelError(f"the model in {path}", found, "check the path and its permissions") from error


@contextlib.contextmanager
def _writing(folder: Path | None) -> Iterator[None]:
    """Whatever the file system says against writing becomes a ModelError.

    Args:
        folder: of the cache; None for a temporary one.
    """
    try:
        yield
    except Exception as error:
        # tokenizers raises a plain Exception, known by its words alone.
        if not isinstance(error, OSError | SafetensorError) and "(os error" not in str(error):
            raise
        if is_out_of_memory(error):
            raise ModelError("to write converted weights", *shortage(error)) from error
        raise _cannot_write(folder, getattr(error, "strerror", None) or str(error)) from error


def _cannot_write(folder: Path | None, found: str) -> ModelError:
    if folder is None:
        return ModelError(
            "to convert weights in a temporary folder",
            found,
            "make room, or set TMPDIR to another folder; or have the weights kept in a folder with room "
            f"({VARIABLE}, or gguf_cache=)",
        )
    return ModelError(
        f"to keep converted weights in {folder}",
        found,
        f"make room, or name another folder ({VARIABLE}, or gguf_cache=); {VARIABLE}=off converts at every load and "
        "keeps nothing",
    )

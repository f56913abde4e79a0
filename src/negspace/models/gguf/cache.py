"""Folders of converted weights, kept: the first load of a GGUF file converts it, the second reads safetensors.

    <cache>/gguf/<sha256 of the file>-<dtype>-<versions>/   what save_pretrained writes, and negspace.json, the marker
    <cache>/gguf/hashes/                                    sha256 of files by path, size, time and inode

A folder is written under another name, synced, and renamed: it is whole or absent, whenever a process dies. Two
processes that want the same one take turns.
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
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from filelock import FileLock
from safetensors import SafetensorError

from negspace.errors import ModelError
from negspace.models.gguf.convert import VERSION, check, convert
from negspace.models.gguf.source import GGUFSource

VARIABLE = "NEGSPACE_CACHE"
"""Environment variable: the cache folder, or "off"."""
_MARKER = "negspace.json"
_RECENT = 2.0
"""Seconds after a file's last change in which its hash is not kept: another change might leave no trace in them."""


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
        ModelError: the file is damaged, of another kind, or cannot be converted; or the cache cannot be written.
    """
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="negspace-gguf-") as folder:
            yield Path(folder), _fill(Path(folder), path, dtype, _hash(path))
        return
    root = cache / "gguf"
    with _writing(root):
        (root / "hashes").mkdir(parents=True, exist_ok=True)
    digest = _known_hash(path, root / "hashes")
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
                held = _make(folder, path, dtype, digest)
        finally:
            lock.release()
    # The file may have another name than when it was converted.
    yield folder, held.model_copy(update={"file": path.name})


def _make(folder: Path, path: Path, dtype: torch.dtype, digest: str) -> GGUFSource:
    """Convert a file into a folder of the cache; for the holder of its lock only."""
    with _writing(folder.parent):
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        temporary.chmod(0o755)
    try:
        source = _fill(temporary, path, dtype, digest)
        with _writing(folder.parent):
            sizes = {file.name: file.stat().st_size for file in sorted(temporary.iterdir())}
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


def _fill(folder: Path, path: Path, dtype: torch.dtype, digest: str) -> GGUFSource:
    header = check(path)
    needed = sum(tensor.size for tensor in header.tensors) * dtype.itemsize
    if (free := shutil.disk_usage(folder).free) < needed * 1.05:
        raise _cannot_write(folder.parent, f"{free / 1e9:.1f} GB free for {needed / 1e9:.1f} GB of converted weights")
    with _writing(folder.parent):
        mended = convert(header, dtype, folder)
    return GGUFSource(
        file=path.name,
        sha256=digest,
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


def _known_hash(path: Path, folder: Path) -> str:
    """SHA-256 of a file, read again only if its size, time or inode have changed."""
    kept = folder / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]}.json"
    before = _state(path)
    try:
        content = json.loads(kept.read_text("utf-8"))
        if content["state"] == before:
            return str(content["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = _hash(path)
    if _state(path) == before and time.time() - before["mtime_ns"] / 1e9 > _RECENT:
        content = {"path": str(path.absolute()), "state": before, "sha256": digest}
        with _writing(folder):
            handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
            os.replace(temporary, kept)
    return digest


def _state(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino, "device": stat.st_dev}


def _hash(path: Path) -> str:
    with open(path, "rb", buffering=0) as file:
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
def _writing(folder: Path) -> Iterator[None]:
    """Whatever the file system says against writing becomes a ModelError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise _cannot_write(folder, getattr(error, "strerror", None) or str(error)) from error


def _cannot_write(folder: Path, found: str) -> ModelError:
    return ModelError(
        f"to keep converted weights in {folder}",
        found,
        f"make room, or name another folder ({VARIABLE}, or gguf_cache=); {VARIABLE}=off converts at every load and "
        "keeps nothing",
    )

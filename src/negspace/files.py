"""Internal: files that are either whole or absent, and a lock that keeps two drivers apart."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import yaml

from negspace.errors import RecordError, StudyError

NOT_YAML = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading YAML raises: its loader lets errors of Python through, on an impossible date, "!!bool maybe", deep
nesting."""
LOCK = ".lock"
"""File of a run folder that its process holds."""
_TODO = {
    errno.ENOSPC: "free some space, or give another folder with --out; what is recorded already is kept",
    errno.EDQUOT: "free some of your quota, or give another folder with --out; what is recorded already is kept",
    errno.EACCES: "give a folder that you may write to with --out",
    errno.EPERM: "give a folder that you may write to with --out",
    errno.EROFS: "give a folder on a file system that can be written to with --out",
    errno.ENOENT: "give a path in an existing folder",
    errno.ENOTDIR: "give a path whose parents are folders",
    errno.EISDIR: "give a path that is not a folder",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "give a path whose links lead to a file or folder",
}


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file atomically: to a temporary file beside it, synced to disk, then renamed over it.

    Whatever goes wrong, and whenever the process dies, the path holds the old content or the new, never a part. A
    symbolic link keeps leading to the file that is written.

    Raises:
        RecordError: the file system refuses (no space, no permission, no such folder), or the path is no file.
    """
    path = _regular(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def make_folder(path: Path) -> None:
    """Make a folder and its parents, if they are not there.

    Raises:
        RecordError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def check_writable(path: Path) -> None:
    """Make sure that a file can be written at a path, before the work for it starts; nothing is left behind.

    Raises:
        RecordError: it cannot.
    """
    path = _regular(path)
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)  # whoever holds the folder may have taken it for a leftover
    except OSError as error:
        raise cannot_write(path, error) from error


def check_folder(path: Path, file: str) -> None:
    """Make sure that a file can be written into a folder that is there, or is to be made; nothing is left behind.

    Raises:
        RecordError: it cannot.
    """
    try:
        there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists() or one.is_symlink())
        leads = there.exists()
    except OSError as error:
        raise cannot_write(path, error) from error
    if not leads:
        todo = "make the folder that it names, or give another path"
        raise RecordError(f"to write into {path}", f"{there}: a link that leads nowhere", todo)
    check_writable(there / file)


def _regular(path: Path) -> Path:
    """The file that a path leads to: one that is there, or is to be made. Renaming over a device would destroy it."""
    try:
        target = path.resolve()
        # The mode, since `exists` and `is_dir` take a folder that may not be read for one that is not there.
        mode = target.stat().st_mode
    except FileNotFoundError:
        return path.resolve()
    except RuntimeError as error:  # what Python 3.11 makes of a loop
        raise cannot_write(path, OSError(errno.ELOOP, os.strerror(errno.ELOOP))) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    if stat.S_ISDIR(mode):
        raise cannot_write(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not stat.S_ISREG(mode):
        raise RecordError(f"to write {path}", "a device, pipe or socket", "give the path of an ordinary file")
    return target


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that died while writing in a folder; only the holder of its lock may."""
    for leftover in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; the operating system frees it when the process ends, however it ends.

    Raises:
        StudyError: another process holds it, and the message says which; or the file system has no locks. Two drivers
            in one folder remove each other's half-written files and the records that only the other wants.
        RecordError: the lock file cannot be made, or is a link.
    """
    path = folder / LOCK
    try:
        # What a link leads to would be emptied. A folder that was received may hold one to any file of its reader.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise linked(path) from error
        raise cannot_write(path, error) from error
    try:
        if not _try_lock(handle, folder):
            holder = os.read(handle, 200).decode("utf-8", "replace").strip() or "another process"
            raise StudyError(
                f"to work in the run folder {folder}",
                f"{holder} is working in it",
                "wait until it has finished, stop it, or give another folder with --out",
            )
        with contextlib.suppress(OSError):  # the name is a courtesy to the second process; the lock is what counts
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def linked(path: Path) -> RecordError:
    """The error for a link in a run folder: a run that writes through it changes files elsewhere."""
    todo = "remove it, or put what it leads to in its place"
    return RecordError(f"to write a run into {path.parent}", f"{path}: a link", todo)


def cannot_write(path: Path, error: OSError) -> RecordError:
    """The error for a path that the file system refuses to write."""
    found = error.strerror or str(error)
    return RecordError(f"to write {path}", found, _TODO.get(error.errno or 0, "check the path and the disk"))


def read_bytes(path: Path, what: str) -> bytes:
    """Content of a file.

    Raises:
        RecordError: it is not there or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RecordError(f"{what} at {path}", "no such file", "check the path") from error
    except OSError as error:
        raise RecordError(f"{what} at {path}", f"{error.strerror}", "check the path and its permissions") from error


def _try_lock(handle: int, folder: Path) -> bool:
    asked = f"to lock the run folder {folder}"
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise StudyError(asked, "a system without POSIX file locks", "use Linux, macOS or WSL") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StudyError(
            asked,
            f"a file system that gives no lock ({error.strerror or error}), as Lustre and NFS without their lock "
            "services; without one, two runs there could destroy each other's records",
            "give a folder on another file system with --out, such as a local disk, and copy it when the run is done; "
            "or ask the administrator for locks (Lustre: the mount option flock; NFS: the lock daemon)",
        ) from error
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder; the rename itself is done.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)

"""What lies at a path, and which files of a folder are meant."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from negspace.text.content import Request, unpacked

_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
"""Errors of names that are the name of nothing; a whole text is too long for one."""


def kind_of(path: Path, request: Request) -> Literal["file", "folder", ""]:
    """Return what lies at a path, "" for nothing. Pipes, devices and what may not be looked at are refused."""
    try:
        mode = os.stat(path).st_mode
    except ValueError:  # a NUL character
        return ""
    except OSError as error:
        if error.errno in _NOTHING:
            return ""
        raise request.refusal(error.strerror or str(error), "check the path and its permissions") from error
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    # A text is read more than once: for each role, by each worker, and again when a run is continued.
    found = "a pipe, which can be read only once" if stat.S_ISFIFO(mode) else "a device or socket, not a file"
    raise request.refusal(found, "write its content to a file, and give that")


def visible_files(folder: Path, request: Request) -> list[Path]:
    """The files in a folder by name, but not hidden ones (`._a.txt` holds what macOS notes about `a.txt`)."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise request.refusal(error.strerror or str(error), "check the folder and its permissions") from error


def refuse_doubles(files: Iterable[Path], request: Request) -> None:
    """Refuse a file beside itself compressed: the same would be read twice."""
    first: dict[Path, Path] = {}
    for file in files:
        other = first.setdefault(unpacked(file), file)
        if other is not file:
            raise request.refusal(
                f"{other.name} and {file.name}, by their names the same twice", "leave one of them in the folder"
            )

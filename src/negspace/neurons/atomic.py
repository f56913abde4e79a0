"""Writing a file as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from negspace.errors import RecordError


def write(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file through a temporary one beside it, so that no reader ever sees half of it.

    Raises:
        RecordError: the folder is missing or may not be written, or the disk is full; nothing is left behind.
    """
    target = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # as an ordinary new file; mkstemp's are for the owner alone
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise RecordError(
            f"write {target}",
            f"{error.strerror or error}",
            "give a path in an existing folder that has room and may be written",
        ) from error
    return target


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

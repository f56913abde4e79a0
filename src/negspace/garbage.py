"""Internal: no search for garbage while much is made that is kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Put off Python's search for unreachable cycles.

    It looks at everything in memory again each time that the objects have become a quarter more. Where a few hundred
    thousand are made and kept (modules imported, rows read), that is a large part of the time, and finds nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

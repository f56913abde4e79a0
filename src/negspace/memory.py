"""Internal: out of memory, halve the batch and try again; and give back what is free. Results depend on neither."""

from __future__ import annotations

import ctypes
import errno
import gc
import math
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

T = TypeVar("T")


@dataclass
class _Attempt:
    """One try to do some work."""

    divisor: int = 1
    """Batches are divided by this."""
    largest: int = 1
    """The largest batch that came of it."""


_ATTEMPT: ContextVar[_Attempt | None] = ContextVar("attempt", default=None)
_APART = 1 << 12
"""Bytes from which on an array gets memory of its own: a page."""
_MMAP_THRESHOLD = -3
"""mallopt's number for the size from which on a block is mapped by itself."""
_APART_FROM = 1 << 20
_LARGEST_BLOCK = 1 << 25
"""The largest threshold that glibc comes to by itself."""
_WORDS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Triton Error [CUDA]: out of memory",
    "MPS backend out of memory",
)
"""Words that say that memory ran out where the kind of exception does not: torch raises a plain RuntimeError for its
allocator on the CPU, for mapped files and on a Mac's GPU, safetensors an OSError without a number, and CUDA, cuBLAS and
Triton, on a GPU that is full, errors like any others of their own."""
_SMALLER = (
    "use a smaller dtype (bfloat16), another device, device_map='auto', or a smaller batch (--dtype, --device, "
    "--device-map, --batch)"
)


def fitted(batch: int) -> int:
    """A batch size as the memory found so far allows: halved as often as `frugally` had to; at least 1."""
    attempt = _ATTEMPT.get() or _Attempt()
    size = max(1, batch // attempt.divisor)
    attempt.largest = max(attempt.largest, size)
    return size


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an exception says that memory ran out: of a GPU, of torch's CPU allocator, of Python itself, or of
    the system, which refuses to map a file or an array."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if not isinstance(error, RuntimeError | OSError):
        return False
    return any(words in str(error) for words in _WORDS) or bool(_reported(error))


def shortage(error: BaseException) -> tuple[str, str]:
    """Return what was found and what to do, the same for every error whose cause is that memory ran out."""
    text = " ".join((_reported(error) or str(error)).split())
    return f"not enough memory ({text})" if text else "not enough memory", _SMALLER


def _reported(error: BaseException) -> str:
    """Return the line that says that memory ran out while transformers converted weights (experts to be stacked, blocks
    of a GGUF file); "" if none does. Its error refers to a report in the log, which is at hand where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    held = {} if trace is None else getattr(trace.tb_frame.f_locals.get("loading_info"), "conversion_errors", {})
    lines = [line for entry in held.values() for line in entry.splitlines()]
    # The last, since the lines before an exception's own are code that may name it.
    return next((line for line in reversed(lines) if any(words in line for words in ("MemoryError", *_WORDS))), "")


def give_back() -> None:
    """Return free memory to the system. glibc keeps the blocks of a pass for later: with a vocabulary of 262,144 words
    a scan of a 270M model left 1.4 GB with the process, of which 50 MB were in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


@contextmanager
def returned_at_once() -> Iterator[None]:
    """Have glibc give blocks of a megabyte or more back to the system when they are freed, while open.

    Where arrays that stay are made between temporary ones, as in a scan's first pass, each of them holds a hole open
    that the next layer's blocks do not fit. Blocks of their own leave none, but cost time: the system clears their
    pages each time.
    """
    _mallopt(_MMAP_THRESHOLD, _APART_FROM)
    try:
        yield
    finally:
        _mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)


def _mallopt(option: int, value: int) -> None:
    call = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if call is not None:
        call(option, value)


def apart(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that stay while much else comes and goes, in memory of their own.

    An array that is made between the temporary ones of a pass would hold the heap around it: a scan of SmolLM2-135M
    kept half a gigabyte of holes.

    Args:
        shape: of the array.
        dtype: of its elements.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < _APART:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)


def moved(array: NDArray[Any]) -> NDArray[Any]:
    """A copy of an array that stays, in memory of its own (`apart`)."""
    made = apart(array.shape, array.dtype)
    made[...] = array
    return made


class Frugal:
    """Runs work with ever smaller batches until it fits, and remembers how small that was.

    Args:
        note: called with one sentence each time the batch is halved.
    """

    def __init__(self, note: Callable[[str], None] | None = None) -> None:
        self.note = note
        self._divisor = 1

    def __call__(self, work: Callable[[], T], what: str) -> T:
        """The result of `work`, whose batches go through `fitted`.

        Args:
            work: called again from its start after each failure.
            what: what it is, for the note.

        Raises:
            MemoryError, torch.OutOfMemoryError, RuntimeError, OSError: memory ran out with batches of one, or in work
                without batches, which would end alike each time.
        """
        while True:
            attempt = _Attempt(self._divisor)
            token = _ATTEMPT.set(attempt)
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error) or attempt.largest == 1:
                    raise
            finally:
                _ATTEMPT.reset(token)
            self._divisor *= 2
            # Outside the handler: the exception held the frames, and with them the tensors, alive.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if self.note:
                self.note(f"out of memory in {what}: batches are {self._divisor} times smaller from now on")

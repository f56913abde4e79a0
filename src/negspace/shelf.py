"""Internal: arrays that are made early and needed late, on disk in between."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from io import FileIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_Piece = NDArray[Any] | tuple[int, tuple[int, ...], np.dtype[Any]]
"""Rows in memory, or the place of their bytes in the file, with their shape and type."""


class Shelf(MutableMapping[str, NDArray[Any]]):
    """Arrays by name, in a file without a name that ends with the process. Each access reads its array anew.

    Where there is no room on disk, or no folder for temporary files, what is put here stays in memory.
    """

    def __init__(self) -> None:
        self._pieces: dict[str, list[_Piece]] = {}
        self._file: FileIO | None = None
        self._end = 0
        with suppress(OSError):
            self._file = cast(FileIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  open as long as the shelf
            weakref.finalize(self, self._file.close)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Put rows after those of the same name, which have as many columns and are of one type."""
        self._pieces.setdefault(name, []).append(self._put(rows))

    def write(self, name: str, at: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Put rows in place of some rows of an array, which was put here at once."""
        (piece,) = self._pieces[name]
        if isinstance(piece, np.ndarray):
            piece[at] = rows
            return
        begin, shape, dtype = piece
        rows = np.ascontiguousarray(rows, dtype)
        for number, row in zip(at.tolist(), rows, strict=True):
            self._store(begin + number * dtype.itemsize * math.prod(shape[1:]), row)

    def read(self, name: str, at: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows of an array, which was put here at once."""
        (piece,) = self._pieces[name]
        if isinstance(piece, np.ndarray):
            return piece[at]
        begin, shape, dtype = piece
        made = np.empty((len(at), *shape[1:]), dtype)
        for number, row in zip(at.tolist(), made, strict=True):
            self._fill(begin + number * row.nbytes, row)
        return made

    def __setitem__(self, name: str, array: NDArray[Any]) -> None:
        self._pieces[name] = [self._put(array)]

    def __getitem__(self, name: str) -> NDArray[Any]:
        pieces = [self._get(piece) for piece in self._pieces[name]]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def __contains__(self, name: object) -> bool:
        return name in self._pieces  # the mapping's own would read the array

    def __delitem__(self, name: str) -> None:
        del self._pieces[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def _put(self, array: NDArray[Any]) -> _Piece:
        data = np.ascontiguousarray(array)
        if self._file is None or data.size == 0:
            return data.copy()
        try:
            self._store(self._end, data)
        except OSError:  # a full disk
            return data.copy()
        at, self._end = self._end, self._end + data.nbytes
        return at, data.shape, data.dtype

    def _get(self, piece: _Piece) -> NDArray[Any]:
        if isinstance(piece, np.ndarray):
            return piece.copy()
        at, shape, dtype = piece
        made = np.empty(shape, dtype)
        self._fill(at, made)
        return made

    def _store(self, at: int, data: NDArray[Any]) -> None:
        """Write an array; the system may take a part at a time."""
        assert self._file is not None
        self._file.seek(at)
        left = memoryview(data.data).cast("B")
        while left:
            left = left[self._file.write(left) :]

    def _fill(self, at: int, made: NDArray[Any]) -> None:
        """Read an array."""
        assert self._file is not None
        self._file.seek(at)
        left = memoryview(made.data).cast("B")
        while left:
            read = self._file.readinto(left)
            if not read:
                raise OSError(f"a temporary file has lost {len(left):,} of {made.nbytes:,} bytes written to it")
            left = left[read:]

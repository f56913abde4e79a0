"""The shelf: what comes back is what was put there, on disk or, where there is none, in memory."""

from __future__ import annotations

import gc
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from negspace.shelf import Shelf


def _open_files() -> set[str]:
    return {os.readlink(found) for found in Path("/proc/self/fd").iterdir() if found.is_symlink()}


@pytest.mark.parametrize("disk", ["there", "missing", "full"])
def test_what_is_put_there_comes_back(disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if disk == "missing":
        monkeypatch.setattr(tempfile, "TemporaryFile", _refuse)
    if disk == "full":
        # A device that takes nothing more, as a full disk.
        monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "rb+"))
    made = Shelf()
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((5, 7)).astype(np.float32), rng.standard_normal((2, 7)).astype(np.float32)
    whole = rng.integers(-(2**62), 2**62, (4, 3, 2))
    made.append("rows", first[:, ::-1])
    made["whole"] = whole
    made.append("rows", np.empty((0, 7), np.float32))
    made.append("rows", second)
    kept = first[:, ::-1].copy()
    first[:] = 0  # a copy was put there
    np.testing.assert_array_equal(made["rows"], np.concatenate([kept, second]))
    assert made["rows"].dtype == np.float32
    taken = made["whole"]
    np.testing.assert_array_equal(taken, whole)
    taken[:] = 0  # and a copy comes back
    np.testing.assert_array_equal(made.pop("whole"), whole)
    assert list(made) == ["rows"]
    assert "rows" in made
    assert "whole" not in made
    made["matrix"] = np.zeros((6, 7), np.float32)
    made.write("matrix", np.array([4, 1]), second)
    made.write("matrix", np.array([], np.int64), second[:0])
    expected = np.zeros((6, 7), np.float32)
    expected[[4, 1]] = second
    np.testing.assert_array_equal(made["matrix"], expected)
    np.testing.assert_array_equal(made.read("matrix", np.array([1, 3, 4])), expected[[1, 3, 4]])
    assert made.read("matrix", np.array([], np.int64)).shape == (0, 7)
    made["rows"] = second
    np.testing.assert_array_equal(made["rows"], second)


def test_nothing_is_held_in_memory_and_the_file_goes_with_the_shelf() -> None:
    before = _open_files()
    made = Shelf()
    made["some"] = np.ones(1000)
    assert all(isinstance(piece, tuple) for pieces in made._pieces.values() for piece in pieces)
    (opened,) = _open_files() - before
    assert opened.endswith("(deleted)")  # whatever becomes of the process, nothing stays behind
    del made
    gc.collect()
    assert _open_files() <= before


def _refuse(buffering: int) -> None:
    raise FileNotFoundError(2, "no usable temporary directory found")

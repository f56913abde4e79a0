"""The one loop over the activations: bins, sums of powers and tallies of every neuron, in a single pass.

Imported on first use only: numba takes a while to load, and its code is compiled once and cached on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from negspace.stats import sketch, transpose
from negspace.stats.sketch import BINS, COUNT_SHIFT, LARGEST_SUM, PART_BITS, TOO_LARGE, UNDEFINED, WORD_BITS, WORDS
from negspace.stats.transpose import SIDE, transpose_block

COLUMNS = 16
"""Neurons of a task."""
_TOGETHER = (
    4  # tasks of a tile, whose rows are then four cache lines long: to wait for four is hardly more than for one
)
_ROWS = 512  # tokens of a tile, which then fits a second-level cache; a neuron's row of it and its bins fit the first
_PAD = 16  # keeps the rows of a tile off each other's places in the cache, as rows of a power of two would not be
_REORDER: Any = {"reassoc", "contract", "nsz"}  # lets sums vectorise; NaN and infinity keep their meaning


_MADE_OF = (__file__, transpose.__file__, sketch.__file__)
"""The files whose code and constants become machine code."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with a cache on disk, or without one where no folder for it can be written.

    Numba takes what it finds in its cache for fresh as long as the file of the function is the same; here it must be
    made anew after a change of any file that goes into it.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _REORDER}
    try:
        made: Any = numba.njit(cache=True, **options)(function)
        index = made._cache._cache_file
        digest = hashlib.sha256(b"".join(Path(path).read_bytes() for path in _MADE_OF)).hexdigest()
        index._source_stamp = (index._source_stamp, digest)
        return made
    except (RuntimeError, OSError, AttributeError):  # no writable place, no sources, or a numba that caches otherwise
        return numba.njit(**options)(function)


@_compiled
def _turn(activations: Any, order: Any, top: int, rows: int, column: int, columns: int, tile: Any) -> None:
    """tile[:columns, :rows] = activations[order[top:top + rows], column:column + columns].T"""
    whole_rows, whole_columns = rows - rows % SIDE, columns - columns % SIDE
    for i in range(0, whole_rows, SIDE):
        for j in range(0, whole_columns, SIDE):
            transpose_block(activations, order, top + i, column + j, tile, j, i)  # pyright: ignore[reportCallIssue]
    for i in range(rows):
        row = order[top + i]
        for j in range(whole_columns if i < whole_rows else 0, columns):
            tile[j, i] = activations[row, column + j]


@_compiled
def accumulate(
    activations: Any,
    order: Any,
    starts: Any,
    first: int,
    last: int,
    origin: Any,
    scale: Any,
    pivot: Any,
    per_unit: Any,
    bins: Any,
    sums: Any,
    tallies: Any,
    marks: Any,
) -> int:
    """Add rows of activations to the sketch arrays, in place.

    The work is cut into tasks of one expert and 16 neurons each; this call does those from `first` to below `last`, so
    that several threads can share the work without touching each other's neurons.

    Args:
        activations: float [rows, width], C-contiguous.
        order: int64 [n], the rows to read, grouped by expert.
        starts: int64 [experts + 1]; expert e owns order[starts[e]:starts[e + 1]] (a dense site has one expert).
        first, last: range of tasks, out of experts * ceil(width / COLUMNS).
        origin, scale: float32 [experts * width], left end of the grid and parts of a bin per unit of activation.
        pivot, per_unit: float64 [experts * width], the powers are those of (a - pivot) * per_unit.
        bins: int64 [experts * width, 512], words of count and sum of parts.
        sums: int64 [experts * width, 7, 3], fixed-point sums (see `sketch.SUMS`).
        tallies: int64 [experts * width, 4] (see `sketch.TALLIES`).
        marks: int32 [experts * width], what was wrong: `sketch.TOO_LARGE` and `sketch.UNDEFINED`.

    Returns:
        0, or 1 when a neuron was marked; its sums are then of no use.
    """
    width = activations.shape[1]
    blocks = (width + COLUMNS - 1) // COLUMNS
    tile = np.empty((_TOGETHER * COLUMNS, _ROWS + _PAD), activations.dtype)
    place = np.empty(_ROWS, np.int32)
    end = np.float32(BINS << PART_BITS)
    shift, mask = np.uint32(PART_BITS), np.uint32((1 << PART_BITS) - 1)
    one = np.int64(1 << COUNT_SHIFT)
    word_mask = np.int64((1 << WORD_BITS) - 1)
    zero = activations.dtype.type(0)
    totals = np.empty(7, np.float64)
    bad = 0
    task = first
    while task < last:
        expert = task // blocks
        together = min(_TOGETHER, last - task, blocks - task % blocks)
        column = (task % blocks) * COLUMNS
        columns = min(together * COLUMNS, width - column)
        task += together
        begin, stop = starts[expert], starts[expert + 1]
        for top in range(begin, stop, _ROWS):
            rows = min(_ROWS, stop - top)
            _turn(activations, order, top, rows, column, columns, tile)
            for j in range(columns):
                neuron = expert * width + column + j
                values = tile[j]
                centre, factor = pivot[neuron], per_unit[neuron]
                s1 = s2 = s3 = s4 = negative = 0.0
                negatives = 0
                for i in range(rows):
                    value = values[i]
                    d = (np.float64(value) - centre) * factor
                    square = d * d
                    s1 += d
                    s2 += square
                    s3 += square * d
                    s4 += square * square
                    negative += np.float64(value if value < zero else zero)
                    negatives += np.int64(value < zero)  # a conditional here would keep the loop scalar
                left, per = origin[neuron], scale[neuron]
                outside = 0
                for i in range(rows):
                    x = (np.float32(values[i]) - left) * per
                    inside = (x >= np.float32(0)) & (x < end)  # false for NaN, whose sums give it away
                    outside += 0 if inside else 1
                    place[i] = np.int32(x if inside else np.float32(-1))
                below = above = 0.0
                counts = bins[neuron]
                if outside == 0:
                    for i in range(rows):
                        at = np.uint32(place[i])  # unsigned: no test for an index counted from the end
                        counts[at >> shift] += one + np.int64(at & mask)
                else:
                    for i in range(rows):
                        if place[i] >= 0:
                            at = np.uint32(place[i])
                            counts[at >> shift] += one + np.int64(at & mask)
                        elif np.float32(values[i]) > left:
                            tallies[neuron, 3] += 1
                            above += (np.float64(values[i]) - centre) * factor
                        else:
                            tallies[neuron, 2] += 1
                            below += (np.float64(values[i]) - centre) * factor
                tallies[neuron, 0] += rows
                tallies[neuron, 1] += negatives
                totals[0], totals[1], totals[2], totals[3] = s1, s2, s3, s4
                totals[4], totals[5], totals[6] = negative * factor, below, above
                for k in range(7):
                    total = totals[k]
                    if not abs(total) < LARGEST_SUM:
                        bad = 1
                        marks[neuron] |= TOO_LARGE if np.isfinite(s1) else UNDEFINED
                        total = 0.0
                    high = np.trunc(total / WORDS[0])
                    total -= high * WORDS[0]  # exact: the words are powers of two, and all have the sign of the total
                    middle = np.trunc(total / WORDS[1])
                    low = np.trunc((total - middle * WORDS[1]) / WORDS[2])
                    third = sums[neuron, k, 2] + np.int64(low)
                    second = sums[neuron, k, 1] + np.int64(middle) + (third >> WORD_BITS)
                    sums[neuron, k, 0] += np.int64(high) + (second >> WORD_BITS)
                    sums[neuron, k, 1] = second & word_mask
                    sums[neuron, k, 2] = third & word_mask
    return bad

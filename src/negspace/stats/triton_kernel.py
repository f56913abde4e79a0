"""The sketch's update as one Triton kernel: a single pass over the activations where they are, on a CUDA device.

Imported on first use only. Everything that programs add together is an integer, so the order in which they run leaves
no trace: each sums its rows in float64, in a fixed order, and cuts the totals into digits before it adds them.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from functools import cache
from typing import Any, cast

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from negspace.stats.sketch import (
    BINS,
    COUNT_SHIFT,
    LARGEST_SUM,
    PART_BITS,
    SUMS,
    TALLIES,
    TOO_LARGE,
    UNDEFINED,
    WORD_BITS,
    WORDS,
    Grid,
    Sketch,
)
from negspace.stats.torch_kernel import TorchState

COLUMNS = 16
"""Neurons of a program: their share of a row is 32 bytes at the least, what the memory hands out at a time."""
ROWS = 32
"""Tokens of a step: a warp's lanes hold one neuron's tokens, whose bins lie close together in memory."""
SPAN = 1024
"""Tokens of a program: long enough for what it adds at its end to matter little, short enough to fill the device."""
WARPS, REGISTERS = 8, 80
"""Of a program: three of them fit a multiprocessor (24 warps) and nothing is spilled. Two tokens a lane and step."""
DIGITS = 2 * len(WORDS)
"""Half words of a fixed-point sum. An int64 takes 2**33 of them without a carry, more than a sketch has tokens."""
DIGIT_BITS = WORD_BITS // 2
_KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Triton reads globals only as compile-time constants.
_BINS, _PARTS, _PART_BITS = tl.constexpr(BINS), tl.constexpr(1 << PART_BITS), tl.constexpr(PART_BITS)
_ONE, _END = tl.constexpr(1 << COUNT_SHIFT), tl.constexpr(float(BINS << PART_BITS))
_LARGEST, _TOO_LARGE, _UNDEFINED = tl.constexpr(LARGEST_SUM), tl.constexpr(TOO_LARGE), tl.constexpr(UNDEFINED)
_SUMS, _TALLIES, _DIGITS = tl.constexpr(len(SUMS)), tl.constexpr(len(TALLIES)), tl.constexpr(DIGITS)
_DIGIT, _FIRST = tl.constexpr(2.0**DIGIT_BITS), tl.constexpr(1.0 / (WORDS[0] * 2.0**DIGIT_BITS))


@triton.jit
def _add_total(digits, total, known):
    """Add one total [COLUMNS] to a sum's digits; returns whether it fits (one that does not is left out)."""
    fits = tl.abs(total) < _LARGEST  # false for NaN
    rest = tl.where(fits, total, 0.0) * _FIRST
    for digit in range(_DIGITS):
        whole = rest.to(tl.int64)  # towards zero, so that all digits have the sign of the total
        tl.atomic_add(digits + digit, whole, mask=known & (whole != 0), sem="relaxed")
        rest = (rest - whole.to(tl.float64)) * _DIGIT  # exact
    return fits


@triton.jit(do_not_specialize=["rows", "experts"])
def accumulate(
    activations,
    row_stride,
    column_stride,
    index,
    rows,
    experts,
    width,
    origin,
    scale,
    pivot,
    per_unit,
    bins,
    digits,
    tallies,
    marks,
    SELECTED: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    SPAN: tl.constexpr,
):
    """Add up to SPAN rows of one expert's COLUMNS neurons to the sketch arrays, in place.

    The arrays are those of `kernel.accumulate`, but that sums are kept as digits, int64 [experts * width, 7, 6].

    Args:
        activations: pointer to [rows, width] of any float type.
        row_stride, column_stride: its strides, in elements.
        index: pointer to int64 [experts + 1 + n] if SELECTED: expert e owns the entries from index[e] to below
            index[e + 1] of what follows, the rows to read. Otherwise all rows are read, and not the index.
        rows: number of rows, if not SELECTED.
        experts, width: the neurons are experts * width.
    """
    blocks = tl.cdiv(width, COLUMNS)
    task = tl.program_id(0) % (experts * blocks)  # neighbours read neighbouring columns
    expert = task // blocks
    begin = tl.program_id(0).to(tl.int64) // (experts * blocks) * SPAN
    stop = begin + SPAN
    if SELECTED:
        begin += tl.load(index + expert)
        stop = tl.minimum(begin + SPAN, tl.load(index + expert + 1))
    else:
        stop = tl.minimum(begin + SPAN, rows)
    if begin >= stop:
        return
    column = task % blocks * COLUMNS + tl.arange(0, COLUMNS)
    known = column < width
    neuron = expert.to(tl.int64) * width + column
    left = tl.load(origin + neuron, mask=known, other=0.0)[:, None]
    per = tl.load(scale + neuron, mask=known, other=0.0)[:, None]
    centre = tl.load(pivot + neuron, mask=known, other=0.0)[:, None]
    factor = tl.load(per_unit + neuron, mask=known, other=0.0)
    step = tl.arange(0, ROWS)
    source = activations + (column.to(tl.int64) * column_stride)[:, None]
    words = bins + (neuron * _BINS)[:, None]
    # One running sum for each place of a tile: nothing crosses from lane to lane before the end.
    s1 = tl.zeros([COLUMNS, ROWS], tl.float64)
    s2, s3, s4, negative, below, above = s1, s1, s1, s1, s1, s1
    negatives = tl.zeros([COLUMNS, ROWS], tl.int32)
    belows, aboves = negatives, negatives
    for top in range(begin, stop, ROWS):
        at = top + step
        here = at < stop
        row = at
        if SELECTED:
            row = tl.load(index + experts + 1 + at, mask=here, other=0)
        alive = known[:, None] & here[None, :]
        a = tl.load(source + (row * row_stride)[None, :], mask=alive, other=0.0)
        wide = a.to(tl.float64)
        d = tl.where(alive, (wide - centre) * factor[:, None], 0.0)
        square = d * d
        s1 += d
        s2 += square
        s3 += square * d
        s4 += square * square
        negative += tl.where(a < 0, wide, 0.0)
        negatives += (a < 0).to(tl.int32)
        x = (a.to(tl.float32) - left) * per
        inside = (x >= 0.0) & (x < _END)  # false for NaN, whose sums give it away
        over = alive & (x >= _END)
        under = alive & (x < 0.0)
        below += tl.where(under, d, 0.0)
        above += tl.where(over, d, 0.0)
        belows += under.to(tl.int32)
        aboves += over.to(tl.int32)
        place = tl.where(inside, x, 0.0).to(tl.int32)
        word = _ONE + (place % _PARTS).to(tl.int64)
        tl.atomic_add(words + (place >> _PART_BITS), word, mask=alive & inside, sem="relaxed")
    power1 = tl.sum(s1, axis=1)
    digit = digits + neuron * (_SUMS * _DIGITS)
    fits = _add_total(digit, power1, known)
    fits &= _add_total(digit + _DIGITS, tl.sum(s2, axis=1), known)
    fits &= _add_total(digit + 2 * _DIGITS, tl.sum(s3, axis=1), known)
    fits &= _add_total(digit + 3 * _DIGITS, tl.sum(s4, axis=1), known)
    fits &= _add_total(digit + 4 * _DIGITS, tl.sum(negative, axis=1) * factor, known)
    fits &= _add_total(digit + 5 * _DIGITS, tl.sum(below, axis=1), known)
    fits &= _add_total(digit + 6 * _DIGITS, tl.sum(above, axis=1), known)
    undefined = (power1 - power1) != 0.0  # NaN and infinity alone differ from themselves
    mark = tl.where(fits, 0, _TOO_LARGE) | tl.where(undefined, _UNDEFINED, 0)
    tl.atomic_or(marks + neuron, mark, mask=known & (mark != 0), sem="relaxed")
    tally = tallies + neuron * _TALLIES
    tl.atomic_add(tally, tl.zeros([COLUMNS], tl.int64) + (stop - begin), mask=known, sem="relaxed")
    tl.atomic_add(tally + 1, tl.sum(negatives, axis=1).to(tl.int64), mask=known, sem="relaxed")
    tl.atomic_add(tally + 2, tl.sum(belows, axis=1).to(tl.int64), mask=known, sem="relaxed")
    tl.atomic_add(tally + 3, tl.sum(aboves, axis=1).to(tl.int64), mask=known, sem="relaxed")


class TritonState:
    """The arrays of a site's sketch on one device, with the interface of `torch_kernel.TorchState`.

    Args:
        grid: of the site's neurons, experts one after the other.
        device: a CUDA device (or the CPU, under Triton's interpreter).
    """

    def __init__(self, grid: Grid, device: torch.device) -> None:
        self.grid = grid
        self.device = device
        self.origin, self.scale, self.pivot, self.per_unit = (
            torch.from_numpy(array).to(device) for array in (grid.origin, grid.scale, grid.pivot, 1.0 / grid.unit)
        )
        size = grid.size
        self.bins = torch.zeros((size, BINS), dtype=torch.int64, device=device)
        self.digits = torch.zeros((size, len(SUMS), DIGITS), dtype=torch.int64, device=device)
        self.tallies = torch.zeros((size, len(TALLIES)), dtype=torch.int64, device=device)
        self.marks = torch.zeros(size, dtype=torch.int32, device=device)

    def update(self, flat: torch.Tensor, order: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Add rows of activations; returns before the device is done.

        Args:
            flat: [rows, width], floating point, of any strides; anything narrower than float32 is widened first.
            order: int64 [n], the rows to read, grouped by expert.
            starts: int64 [experts + 1]; expert e owns order[starts[e]:starts[e + 1]] (a dense site has one expert).
        """
        flat = flat.to(self.device)
        if flat.dtype not in _KINDS:
            flat = flat.float()
        experts, width = len(starts) - 1, flat.shape[1]
        selected = experts > 1 or len(order) < len(flat)
        index = self._sent(np.concatenate([starts, order])) if selected else self.marks
        programs = experts * triton.cdiv(width, COLUMNS) * triton.cdiv(int(np.diff(starts).max()), SPAN)
        if programs == 0:
            return
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            launch = cast(Any, accumulate[(programs,)])  # its type is that of the function, without the options
            launch(
                flat, *flat.stride(), index, len(flat), experts, width,
                self.origin, self.scale, self.pivot, self.per_unit, self.bins, self.digits, self.tallies, self.marks,
                SELECTED=selected, COLUMNS=COLUMNS, ROWS=ROWS, SPAN=SPAN, num_warps=WARPS, maxnreg=REGISTERS,
            )  # fmt: skip

    def faults(self) -> NDArray[np.int32]:
        """[size] what was wrong so far: zero, or `sketch.TOO_LARGE` and `sketch.UNDEFINED`. Waits for the device."""
        return self.marks.cpu().numpy()

    def sketch(self) -> Sketch:
        """Return the state so far as a value."""
        bins, digits, tallies = (t.cpu().numpy().copy() for t in (self.bins, self.digits, self.tallies))
        return Sketch(self.grid, bins, words_of(digits), tallies)

    def _sent(self, index: NDArray[np.int64]) -> torch.Tensor:
        """An index on the device, by a copy that the host does not wait for."""
        tensor = torch.from_numpy(index)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # from other memory, a copy of more than 64 KB waits for the device
        return tensor.to(self.device, non_blocking=True)


def words_of(digits: NDArray[np.int64]) -> NDArray[np.int64]:
    """[..., 3] words of fixed-point sums from their [..., 6] digits, which may hold more than fits a digit."""
    digits = digits.copy()
    for digit in range(DIGITS - 1, 0, -1):
        digits[..., digit - 1] += digits[..., digit] >> DIGIT_BITS
        digits[..., digit] &= (1 << DIGIT_BITS) - 1
    return (digits[..., ::2] << DIGIT_BITS) + digits[..., 1::2]


@cache
def proven(device: torch.device) -> bool:
    """Return True if the kernel can be built for the device and agrees there with the torch operations.

    Tried once a device, on a small made-up sample. Warns if it is not so.
    """
    rng = np.random.default_rng(0)
    neurons, tokens = COLUMNS + 5, SPAN + ROWS + 1
    flat = torch.from_numpy(rng.normal(1.0, 3.0, (tokens, neurons)).astype(np.float32)).to(device)
    grid = Grid.around(np.ones(2 * neurons), np.ones(2 * neurons), reach=4.0)
    order = rng.permutation(tokens)
    starts = np.array([0, 40, tokens])
    try:
        made, reference = TritonState(grid, device), TorchState(grid, device)
        for state in (made, reference):
            state.update(flat, order, starts)
        kernel, expected = made.sketch(), reference.sketch()
        why = "its results are not those of torch"
        same = np.array_equal(kernel.bins, expected.bins) and np.array_equal(kernel.tallies, expected.tallies)
        same &= all(np.allclose(kernel.sum(name), expected.sum(name), 1e-9, 1e-6) for name in SUMS)
    except Exception as error:  # no C compiler, a device too old for Triton, ...: its own errors are of many types
        why, same = f"{type(error).__name__}: {error}", False
    if not same:
        warnings.warn(
            f"negspace: no Triton kernel on {device} ({why}); scanning with torch, which is slower", stacklevel=2
        )
    return same

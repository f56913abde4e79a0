"""The sketch of a site's pre-activations: a value of fixed size that merges exactly, in any order.

Per neuron: a histogram on a fixed grid that also knows the mean of every bin, what lies beyond the grid (count and
sum), the tokens below zero (count and sum), and the first four powers. Everything is an integer (sums are in fixed
point), so merging is associative and commutative to the bit, over batches, devices and workers. 4,320 bytes per neuron,
however many tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from negspace.errors import StatisticsError
from negspace.memory import apart, moved
from negspace.shelf import Shelf

BINS = 512
"""Bins of a neuron's grid."""
PART_BITS = 8
"""log2 of the parts of a bin: where in its bin a token lies is kept to 1/256 of the bin."""
COUNT_SHIFT = 36
"""A bin's word holds the count in the bits from here on, the sum of its tokens' parts below."""
WORD_BITS = 60
"""Bits of the middle and the low word of a fixed-point sum."""
WORDS = (2.0**80, 2.0**20, 2.0**-40)
"""Value of one unit in the high, middle and low word of a fixed-point sum."""
LARGEST_SUM = 2.0**140
"""Sums of this size and more do not fit."""
MOST_TOKENS = 1 << (63 - COUNT_SHIFT)
"""Tokens from which on a bin's word might overflow (134 million)."""
TOO_LARGE, UNDEFINED = 1, 2
"""Bits of what an update finds wrong with a neuron: a sum that does not fit, activations that are not finite."""
REACH = 8.0
"""Half the width of a grid, in standard deviations of the pilot."""

SUMS = ("power1", "power2", "power3", "power4", "negative", "below", "above")
"""The fixed-point sums, of z = (a - pivot) / unit: its powers; a / unit over a < 0; z below and above the grid."""
TALLIES = ("tokens", "negative", "below", "above")
"""The counts: tokens, tokens with a < 0, tokens below and above the grid."""

_LEAST_UNIT = 2.0**-100
_ARRAYS = ("bins", "sums", "tallies")


@dataclass(frozen=True, eq=False)
class Grid:
    """The bins of a site's neurons: one grid of 512 equal bins per neuron, chosen once and shared by all that merge.

    Zero lies on the edge between two bins (to float32 rounding), so that the part below it is separate.
    """

    origin: NDArray[np.float32]
    """[size] left end of the first bin, in units of the activation."""
    scale: NDArray[np.float32]
    """[size] parts of a bin per unit of activation: a bin is 256 / scale wide."""
    pivot: NDArray[np.float64]
    """[size] the powers are taken about this value: near the mean, so that they do not cancel."""
    unit: NDArray[np.float64]
    """[size] and in this unit: the power of two next above the standard deviation."""

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.origin)

    @cached_property
    def step(self) -> NDArray[np.float64]:
        """[size] width of a bin."""
        return (1 << PART_BITS) / self.scale.astype(np.float64)

    @classmethod
    def around(cls, mean: NDArray[np.floating], std: NDArray[np.floating], reach: float = REACH) -> Grid:
        """Grid that covers `reach` standard deviations either side of the mean.

        A neuron whose standard deviation is zero, or lost beside its mean, is given a usable one: the median of the
        site's others, or a share of its mean, or one. What that grid then misses is counted, summed and shows in the
        error bound of the distance. A deviation that is small beside the other neurons' is kept: on their grid the
        neuron would seem constant. Values some 1e9 such deviations from the mean are refused by the update.

        Args:
            mean, std: [size], finite, of a pilot sample.
            reach: in standard deviations.
        """
        mean = np.asarray(mean, np.float64)
        std = np.asarray(std, np.float64)
        varying = std > np.abs(mean) * 1e-6
        typical = float(np.median(std[varying])) if varying.any() else 0.0
        spread = np.where(varying, std, np.maximum(typical, np.abs(mean) * 1e-3))
        spread = np.where(spread > _LEAST_UNIT, spread, 1.0)
        scale = ((BINS << PART_BITS) / (2.0 * reach * spread)).astype(np.float32)
        step = (1 << PART_BITS) / scale.astype(np.float64)
        origin = (np.floor((mean - reach * spread) / step) * step).astype(np.float32)
        # A pivot that float32 can hold makes a neuron that never varies come out with a variance of exactly zero.
        pivot = mean.astype(np.float32).astype(np.float64)
        return cls(*map(moved, (origin, scale, pivot, np.exp2(np.ceil(np.log2(spread))))))

    def same(self, other: Grid) -> bool:
        """Return True if the two grids are equal bit for bit."""
        return self is other or all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("origin", "scale", "pivot", "unit")
        )

    def edges(self) -> NDArray[np.float64]:
        """[size, 513] edges of the bins, in units of the activation."""
        return self.origin.astype(np.float64)[:, None] + np.arange(BINS + 1) * self.step[:, None]

    def take(self, neurons: NDArray[np.int64]) -> Grid:
        """Grid of some of the neurons, in the order asked for."""
        return Grid(self.origin[neurons], self.scale[neurons], self.pivot[neurons], self.unit[neurons])


@dataclass(frozen=True, eq=False)
class Sketch:
    """Sketch of a site's pre-activations. Made by `accumulate.Accumulator`; sketches on the same grid merge."""

    grid: Grid
    bins: NDArray[np.int64]
    """[size, 512] words: count << 36 | sum of parts."""
    sums: NDArray[np.int64]
    """[size, 7, 3] fixed-point sums, in the order of SUMS: high, middle and low word."""
    tallies: NDArray[np.int64]
    """[size, 4] counts, in the order of TALLIES."""

    @classmethod
    def empty(cls, grid: Grid) -> Sketch:
        """Sketch of no tokens."""
        size = grid.size
        return cls(
            grid,
            apart((size, BINS), np.int64),
            apart((size, len(SUMS), len(WORDS)), np.int64),
            apart((size, len(TALLIES)), np.int64),
        )

    def copy(self) -> Sketch:
        """A sketch of the same sample that later updates do not change."""
        return Sketch(self.grid, moved(self.bins), moved(self.sums), moved(self.tallies))

    def lay(self, shelf: Shelf, name: str) -> Callable[[], Sketch]:
        """Put a copy on a shelf; what gives it back."""
        for part in _ARRAYS:
            shelf[f"{name} {part}"] = getattr(self, part)
        grid = self.grid  # not this sketch, which is to be forgotten
        return lambda: Sketch(grid, *(shelf[f"{name} {part}"] for part in _ARRAYS))

    def merge(self, other: Sketch) -> Sketch:
        """Sketch of both samples together; associative and commutative to the bit.

        Raises:
            StatisticsError: the grids differ, or together they hold too many tokens for a bin's word.
        """
        if not self.grid.same(other.grid):
            raise StatisticsError(
                "merge two sketches of pre-activations",
                f"their grids differ ({self.grid.size} and {other.grid.size} neurons, or other bins)",
                "sketch all parts of a scan on the grid of its first windows",
            )
        tallies = self.tallies + other.tallies
        check_room(int(tallies[:, 0].max(initial=0)))
        return Sketch(self.grid, self.bins + other.bins, _carried(self.sums + other.sums), tallies)

    def without(self, part: Sketch) -> Sketch:
        """Sketch of this sample without a part of it, which `merge` would give back to the bit."""
        return Sketch(self.grid, self.bins - part.bins, _carried(self.sums - part.sums), self.tallies - part.tallies)

    def same(self, other: Sketch) -> bool:
        """Return True if the two sketches are equal bit for bit."""
        return self.grid.same(other.grid) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("bins", "sums", "tallies")
        )

    def take(self, neurons: NDArray[np.int64]) -> Sketch:
        """Sketch of some of the neurons, in the order asked for."""
        return Sketch(self.grid.take(neurons), self.bins[neurons], self.sums[neurons], self.tallies[neurons])

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.grid.size

    @property
    def nbytes(self) -> int:
        """Bytes of the sketch and its grid."""
        grid = self.grid
        arrays = (self.bins, self.sums, self.tallies, grid.origin, grid.scale, grid.pivot, grid.unit)
        return sum(array.nbytes for array in arrays)

    def tally(self, name: str) -> NDArray[np.int64]:
        """[size] one of TALLIES."""
        return self.tallies[:, TALLIES.index(name)]

    def sum(self, name: str) -> NDArray[np.float64]:
        """[size] one of SUMS, in powers of the grid's unit."""
        words = self.sums[:, SUMS.index(name)].copy()
        for word in (2, 1):  # digits from -1/2 to 1/2 of a word, so that a small negative sum does not cancel
            carry = words[:, word] >> (WORD_BITS - 1)
            words[:, word] -= carry << WORD_BITS
            words[:, word - 1] += carry
        return words.astype(np.float64) @ np.array(WORDS)

    def counts(self) -> NDArray[np.int64]:
        """[size, 512] tokens in each bin."""
        return self.bins >> COUNT_SHIFT

    def centres(self) -> NDArray[np.float64]:
        """[size, 512] mean place of a bin's tokens within it, from 0 (left edge) to 1; one half where it is empty."""
        counts = self.counts()
        parts = self.bins & ((1 << COUNT_SHIFT) - 1)
        return np.where(counts > 0, (parts / np.maximum(counts, 1) + 0.5) / (1 << PART_BITS), 0.5)


def _carried(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fixed-point sums [size, 7, 3], in place: what does not fit a word goes to the next higher one."""
    for word in (2, 1):
        sums[..., word - 1] += sums[..., word] >> WORD_BITS
        sums[..., word] &= (1 << WORD_BITS) - 1
    return sums


def merge_all(sketches: Sequence[Sketch]) -> Sketch:
    """Sketch of all samples together.

    Raises:
        StatisticsError: there is none, the grids differ, or there are too many tokens.
    """
    if not sketches:
        raise StatisticsError("merge sketches", "none was given", "give at least one sketch")
    return reduce(Sketch.merge, sketches)


def check_room(tokens: int) -> None:
    """Refuse more tokens than a bin's word can count.

    Raises:
        StatisticsError: tokens is 134 million or more.
    """
    if tokens >= MOST_TOKENS:
        raise StatisticsError(
            f"sketch {tokens:,} tokens of one neuron",
            f"a sketch counts up to {MOST_TOKENS - 1:,}",
            "scan fewer windows",
        )

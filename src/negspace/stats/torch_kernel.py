"""The sketch's update as torch operations, on any device: the reference that the faster ways are tested against."""

from __future__ import annotations

import numpy as np
import torch
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


class TorchState:
    """The arrays of a site's sketch as tensors on one device.

    Args:
        grid: of the site's neurons, experts one after the other.
        device: where they live.
    """

    def __init__(self, grid: Grid, device: torch.device) -> None:
        self.grid = grid
        self.origin, self.scale, self.pivot, self.per_unit = (
            torch.from_numpy(array).to(device) for array in (grid.origin, grid.scale, grid.pivot, 1.0 / grid.unit)
        )
        size = grid.size
        self.bins = torch.zeros(size * BINS, dtype=torch.int64, device=device)
        self.sums = torch.zeros((size, len(SUMS), len(WORDS)), dtype=torch.int64, device=device)
        self.tallies = torch.zeros((size, len(TALLIES)), dtype=torch.int64, device=device)
        self.marks = torch.zeros(size, dtype=torch.int32, device=device)

    def update(self, flat: torch.Tensor, order: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Add rows of activations.

        Args:
            flat: [rows, width], floating point; anything narrower than float32 is widened first.
            order: int64 [n], the rows to read, grouped by expert.
            starts: int64 [experts + 1]; expert e owns order[starts[e]:starts[e + 1]] (a dense site has one expert).
        """
        flat = flat.to(self.bins.device)
        if flat.dtype not in (torch.float32, torch.float64):
            flat = flat.float()
        width = flat.shape[1]
        whole = len(order) == len(flat) and len(starts) == 2
        used = flat if whole else flat[torch.from_numpy(order).to(flat.device)]
        for expert in range(len(starts) - 1):
            begin, stop = int(starts[expert]), int(starts[expert + 1])
            if stop > begin:
                self._add(used[begin:stop], slice(expert * width, (expert + 1) * width))

    def faults(self) -> NDArray[np.int32]:
        """[size] what was wrong so far: zero, or `sketch.TOO_LARGE` and `sketch.UNDEFINED`. Waits for the device."""
        return self.marks.cpu().numpy()

    def sketch(self) -> Sketch:
        """Return the state so far as a value."""
        bins = self.bins.reshape(-1, BINS)
        return Sketch(self.grid, *(t.cpu().numpy().copy() for t in (bins, self.sums, self.tallies)))

    def _add(self, a: torch.Tensor, at: slice) -> None:
        z = (a.double() - self.pivot[at]) * self.per_unit[at]
        x = torch.nan_to_num((a.float() - self.origin[at]) * self.scale[at], nan=-1.0)
        place = x.clamp(-1.0, float(BINS << PART_BITS)).floor().long()
        below, above = place < 0, place >= BINS << PART_BITS
        inside = ~(below | above)
        place = place.clamp(0, (BINS << PART_BITS) - 1)
        neurons = torch.arange(at.start, at.stop, device=a.device)
        words = ((1 << COUNT_SHIFT) + (place & ((1 << PART_BITS) - 1))) * inside
        self.bins.scatter_add_(0, (neurons * BINS + (place >> PART_BITS)).reshape(-1), words.reshape(-1))
        negative = a < 0
        square = z * z
        parts = [z, square, square * z, square * square]
        parts += [a.double().clamp(max=0.0) * self.per_unit[at], z * below, z * above]
        totals = torch.stack([part.sum(0) for part in parts], dim=1)
        fits = totals.abs() < LARGEST_SUM
        self.marks[at] |= torch.where(fits.all(1), 0, TOO_LARGE) | torch.where(totals[:, 0].isfinite(), 0, UNDEFINED)
        totals = torch.where(fits, totals, 0.0)
        for word, worth in enumerate(WORDS):
            whole = torch.trunc(totals / worth)
            self.sums[at, :, word] += whole.long()
            totals = totals - whole * worth
        for word in (2, 1):
            self.sums[at, :, word - 1] += self.sums[at, :, word] >> WORD_BITS
            self.sums[at, :, word] &= (1 << WORD_BITS) - 1
        self.tallies[at, 0] += len(a)
        self.tallies[at, 1:] += torch.stack([negative.sum(0), below.sum(0), above.sum(0)], dim=1)

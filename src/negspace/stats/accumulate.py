"""Filling a sketch: activations in, counts and sums added in place, on the CPU by compiled code, elsewhere by torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from negspace.errors import StatisticsError
from negspace.stats.sketch import (
    BINS,
    COUNT_SHIFT,
    LARGEST_SUM,
    MOST_TOKENS,
    PART_BITS,
    SUMS,
    TALLIES,
    WORD_BITS,
    WORDS,
    Grid,
    Sketch,
    check_room,
)

_COLUMNS = 16  # neurons of one task of the kernel
_FEWEST = 1 << 18  # activations below which a second thread costs more than it saves


class Accumulator:
    """A site's sketch in the making.

    Args:
        grid: of the site's neurons, experts one after the other (neuron = expert * width + index).
        experts: 1 for a dense site.
        device: where the activations come from; on a CPU the update runs as compiled code, elsewhere as torch kernels.
        name: what the site is called in errors, and how its neurons are.
    """

    def __init__(self, grid: Grid, experts: int = 1, device: torch.device | str = "cpu", name: str = "a site") -> None:
        self.grid = grid
        self.experts = experts
        self.width = grid.size // experts
        self.device = torch.device(device)
        self.name = name
        self._tokens = 0
        self._torch = None if self.device.type == "cpu" else _TorchState(grid, self.device)
        self._per_unit = 1.0 / grid.unit
        self._sketch = Sketch.empty(grid)

    def update(
        self,
        activations: torch.Tensor,
        rows: NDArray[np.int64] | None = None,
        experts: NDArray[np.int64] | None = None,
        pool: ThreadPoolExecutor | None = None,
        threads: int = 1,
    ) -> None:
        """Add activations to the sketch.

        Args:
            activations: [..., width], floating point; anything narrower than float32 is widened first.
            rows: int64, which of the flattened rows count; None is all.
            experts: int64, the expert of every flattened row, for a site with several.
            pool, threads: threads to share the work among; None does it on this one.

        Raises:
            StatisticsError: an activation is not finite (layer and neurons are named), or there are too many tokens.
        """
        flat = activations.detach().reshape(-1, self.width)
        if flat.dtype not in (torch.float32, torch.float64):
            flat = flat.float()
        order = np.arange(flat.shape[0], dtype=np.int64) if rows is None else rows
        starts = np.array([0, len(order)], dtype=np.int64)
        if self.experts > 1:
            assert experts is not None, "a site with several experts needs the expert of every row"
            owner = experts[order]
            order = order[np.argsort(owner, kind="stable")]
            starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=self.experts))]).astype(np.int64)
        if len(order) == 0:
            return
        self._tokens += len(order)
        check_room(self._tokens)
        if self._torch is not None:
            bad = self._torch.update(flat.to(self.device), order, starts, self.width)
        else:
            bad = self._compiled(flat.contiguous().numpy(), order, starts, pool, threads)
        if bad:
            self._refuse(flat, order, starts)

    def sketch(self) -> Sketch:
        """What has been added so far, as a value; later updates leave it alone."""
        if self._torch is not None:
            return self._torch.sketch()
        made = self._sketch
        return Sketch(self.grid, made.bins.copy(), made.sums.copy(), made.tallies.copy())

    def _compiled(
        self,
        activations: NDArray[np.floating],
        order: NDArray[np.int64],
        starts: NDArray[np.int64],
        pool: ThreadPoolExecutor | None,
        threads: int,
    ) -> bool:
        from negspace.stats.kernel import accumulate  # numba loads slowly and is needed on the CPU only

        grid, made = self.grid, self._sketch
        tasks = self.experts * -(-self.width // _COLUMNS)

        def run(first: int, last: int) -> int:
            return accumulate(
                activations, order, starts, first, last,
                grid.origin, grid.scale, grid.pivot, self._per_unit, made.bins, made.sums, made.tallies,
            )  # fmt: skip

        if pool is None or threads < 2 or len(order) * self.width < _FEWEST:
            return bool(run(0, tasks))
        cuts = [tasks * part // threads for part in range(threads + 1)]
        others = [pool.submit(run, *pair) for pair in pairwise(cuts[1:])]
        bad = run(cuts[0], cuts[1])
        return bool(sum((other.result() for other in others), start=bad))

    def _refuse(self, flat: torch.Tensor, order: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        """Name the neurons whose activations cannot be summed."""
        used = flat[torch.from_numpy(order).to(flat.device)]
        finite = torch.isfinite(used)
        wrong = ~finite
        if bool(finite.all()):
            neuron = torch.arange(self.width) + torch.from_numpy(
                np.repeat(np.arange(self.experts), np.diff(starts)) * self.width
            ).unsqueeze(1)
            pivot, unit = torch.from_numpy(self.grid.pivot)[neuron], torch.from_numpy(self.grid.unit)[neuron]
            wrong = ((used.cpu().double() - pivot) / unit).abs() > (LARGEST_SUM / MOST_TOKENS) ** 0.25
        row, column = (index.cpu().numpy() for index in torch.nonzero(wrong, as_tuple=True))
        expert = np.searchsorted(starts, row, side="right") - 1
        neurons = np.unique(expert * self.width + column)
        shown = ", ".join(self.describe(int(neuron)) for neuron in neurons[:5])
        more = f" and {len(neurons) - 5:,} more" if len(neurons) > 5 else ""
        asked = f"statistics of the pre-activations of {self.name}"
        if bool(finite.all()):
            raise StatisticsError(
                asked,
                f"activations too far from those of the first windows to be summed: {shown}{more}",
                "use exact=True, or a text that is alike from the start",
            )
        raise StatisticsError(
            asked,
            f"activations that are not finite (NaN or infinity): {shown}{more}",
            "check the weights, and run the model in float32 (load(..., dtype='float32'))",
        )

    def describe(self, neuron: int) -> str:
        """A neuron of this site, in words."""
        if self.experts == 1:
            return f"neuron {neuron}"
        return f"expert {neuron // self.width} neuron {neuron % self.width}"


class _TorchState:
    """The same arrays as torch tensors on one device; the reference that the compiled code is tested against."""

    def __init__(self, grid: Grid, device: torch.device) -> None:
        self.grid = grid
        self.origin, self.scale, self.pivot, self.per_unit = (
            torch.from_numpy(array).to(device) for array in (grid.origin, grid.scale, grid.pivot, 1.0 / grid.unit)
        )
        size = grid.size
        self.bins = torch.zeros(size * BINS, dtype=torch.int64, device=device)
        self.sums = torch.zeros((size, len(SUMS), len(WORDS)), dtype=torch.int64, device=device)
        self.tallies = torch.zeros((size, len(TALLIES)), dtype=torch.int64, device=device)

    def update(self, flat: torch.Tensor, order: NDArray[np.int64], starts: NDArray[np.int64], width: int) -> bool:
        whole = len(order) == len(flat) and len(starts) == 2
        used = flat if whole else flat[torch.from_numpy(order).to(flat.device)]
        bad = False
        for expert in range(len(starts) - 1):
            begin, stop = int(starts[expert]), int(starts[expert + 1])
            if stop > begin:
                bad |= self._add(used[begin:stop], slice(expert * width, (expert + 1) * width))
        return bad

    def _add(self, a: torch.Tensor, at: slice) -> bool:
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
        return not bool(fits.all())

    def sketch(self) -> Sketch:
        bins = self.bins.reshape(-1, BINS)
        return Sketch(self.grid, *(t.cpu().numpy().copy() for t in (bins, self.sums, self.tallies)))

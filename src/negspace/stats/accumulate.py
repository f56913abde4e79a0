"""Filling a sketch: activations in, counts and sums added in place.

On a CPU by compiled code (`kernel`), which also counts what comes from a device without float64; on a CUDA device by a
Triton kernel where there is Triton (`triton_kernel`); anywhere else by torch operations (`torch_kernel`). The three
agree: bins and tallies to the bit, sums to rounding.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from negspace.errors import StatisticsError
from negspace.memory import apart, moved
from negspace.stats.sketch import UNDEFINED, Grid, Sketch, check_room
from negspace.stats.torch_kernel import TorchState

if TYPE_CHECKING:
    from negspace.stats.triton_kernel import TritonState

_FEWEST = 1 << 18  # activations below which a second thread costs more than it saves


class Accumulator:
    """A site's sketch in the making.

    Args:
        grid: of the site's neurons, experts one after the other (neuron = expert * width + index).
        experts: 1 for a dense site.
        device: where the activations come from; the update runs there, or on the CPU (`counting_device`).
        name: what the site is called in errors, and how its neurons are.
    """

    def __init__(self, grid: Grid, experts: int = 1, device: torch.device | str = "cpu", name: str = "a site") -> None:
        self.grid = grid
        self.experts = experts
        self.width = grid.size // experts
        self.device = counting_device(torch.device(device))
        self.name = name
        self._updates = 0
        self._tokens = np.zeros(experts, np.int64)
        self._state = None if self.device.type == "cpu" else state_on(self.device, grid)
        self._per_unit = moved(1.0 / grid.unit)
        self._sketch = Sketch.empty(grid)
        self._marks = apart((grid.size,), np.int32)

    def update(
        self,
        activations: torch.Tensor,
        rows: NDArray[np.int64] | None = None,
        experts: NDArray[np.int64] | None = None,
        pool: ThreadPoolExecutor | None = None,
        threads: int = 1,
    ) -> None:
        """Add activations to the sketch.

        On a device other than the CPU, what is wrong is asked for at updates 1, 2, 4, 8, ... and by `sketch`, since the
        question makes the host wait: the error may name an activation of an earlier update.

        Args:
            activations: [..., width], floating point; anything narrower than float32 is widened first.
            rows: int64, which of the flattened rows count; None is all.
            experts: int64, the expert of every flattened row, for a site with several.
            pool, threads: threads to share the work among; None does it on this one.

        Raises:
            StatisticsError: an activation is not finite (layer and neurons are named), or there are too many tokens.
        """
        flat = activations.detach().reshape(-1, self.width)
        order = np.arange(flat.shape[0], dtype=np.int64) if rows is None else np.ascontiguousarray(rows, np.int64)
        starts = np.array([0, len(order)], dtype=np.int64)
        if self.experts > 1:
            assert experts is not None, "a site with several experts needs the expert of every row"
            owner = experts[order]
            order = order[np.argsort(owner, kind="stable")]
            starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=self.experts))]).astype(np.int64)
        if len(order) == 0:
            return
        self._tokens += np.diff(starts)
        check_room(int(self._tokens.max()))
        if self._state is None:
            if self._compiled(flat, order, starts, pool, threads):
                self._refuse(self._marks)
            return
        self._state.update(flat, order, starts)
        self._updates += 1
        if self._updates & (self._updates - 1) == 0:
            self._refuse(self._state.faults())

    def sketch(self) -> Sketch:
        """Return the state so far as a value that later updates do not change.

        Raises:
            StatisticsError: an activation was not finite, and no update has said so yet.
        """
        made = self.take()
        return made if self._state else made.copy()

    def take(self) -> Sketch:
        """Return the state itself, which no update may follow: without the memory of a second one.

        Raises:
            StatisticsError: as `sketch`.
        """
        if self._state is None:
            return self._sketch
        self._refuse(self._state.faults())
        return self._state.sketch()

    def _compiled(
        self,
        flat: torch.Tensor,
        order: NDArray[np.int64],
        starts: NDArray[np.int64],
        pool: ThreadPoolExecutor | None,
        threads: int,
    ) -> bool:
        from negspace.stats.kernel import COLUMNS, accumulate  # numba loads slowly and is needed on the CPU only

        wide = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
        activations = wide.contiguous().cpu().numpy()
        grid, made, marks = self.grid, self._sketch, self._marks
        tasks = self.experts * -(-self.width // COLUMNS)

        def run(first: int, last: int) -> int:
            return accumulate(
                activations, order, starts, first, last,
                grid.origin, grid.scale, grid.pivot, self._per_unit, made.bins, made.sums, made.tallies, marks,
            )  # fmt: skip

        if pool is None or threads < 2 or len(order) * self.width < _FEWEST:
            return bool(run(0, tasks))
        cuts = [tasks * part // threads for part in range(threads + 1)]
        others = [pool.submit(run, *pair) for pair in pairwise(cuts[1:])]
        bad = run(cuts[0], cuts[1])
        return bool(sum((other.result() for other in others), start=bad))

    def _refuse(self, marks: NDArray[np.int32]) -> None:
        """Name the neurons whose activations cannot be summed, if there are any."""
        undefined = (marks & UNDEFINED) > 0
        neurons = np.flatnonzero(undefined if undefined.any() else marks)
        if len(neurons) == 0:
            return
        shown = ", ".join(self.describe(int(neuron)) for neuron in neurons[:5])
        more = f" and {len(neurons) - 5:,} more" if len(neurons) > 5 else ""
        asked = f"statistics of the pre-activations of {self.name}"
        if not undefined.any():
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


def counting_device(device: torch.device) -> torch.device:
    """Device on which the activations of a device are counted: the CPU for Apple's MPS, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def state_on(device: torch.device, grid: Grid) -> TorchState | TritonState:
    """The sketch's arrays on a device other than the CPU, with the fastest update that works there."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from negspace.stats.triton_kernel import TritonState, proven  # Triton loads slowly and is needed here only

        if proven(device):
            return TritonState(grid, device)
    return TorchState(grid, device)

"""One forward pass over the windows, all layers at once: sketches, or samples, and the token pairs for MD."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from negspace.memory import fitted
from negspace.models.model import Model
from negspace.models.site import Site
from negspace.models.taps import tap
from negspace.stats.accumulate import Accumulator
from negspace.stats.difficulty import Difficulty, difficulty, draw_pairs
from negspace.stats.sketch import Grid, Sketch
from negspace.text.windows import Windows

Progress = Callable[[int, int, str], None]

PILOT_TOKENS = 2048
"""The pilot, which sets the grids, is made of as many whole windows as reach this many tokens (at least one)."""
BATCH_TOKENS = 4096
"""Tokens of a forward pass unless told otherwise."""
_ENOUGH = 32  # tokens of the pilot below which an expert's own spread is not to be trusted


@dataclass(frozen=True)
class PairSample:
    """The tokens whose inputs and pre-activations are kept for the mapping difficulty, sorted by position."""

    positions: NDArray[np.int64]
    """Position in the windows laid end to end."""
    slots: NDArray[np.int64]
    """Where each belongs in a sample: pair for the first token of a pair, pairs + pair for the second."""

    @classmethod
    def draw(cls, windows: Windows, pairs: int, seed: int) -> PairSample:
        """Draw pairs of counted tokens, each token used once."""
        counted = np.flatnonzero(~windows.special.reshape(-1))
        chosen = counted[draw_pairs(len(counted), pairs, seed)].T.reshape(-1)
        slots = np.argsort(chosen, kind="stable")
        return cls(chosen[slots], slots)

    def within(self, begin: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions relative to `begin`, and slots, of the tokens from `begin` to below `stop`."""
        some = slice(*np.searchsorted(self.positions, [begin, stop]))
        return self.positions[some] - begin, self.slots[some]


class Collector:
    """What one site gathers during the pass."""

    def __init__(self, site: Site, grid: Grid | None, pool: ThreadPoolExecutor | None, threads: int) -> None:
        self.site = site
        self._grid = grid
        self._pool, self._threads = pool, threads
        self._held: list[tuple[torch.Tensor, NDArray[np.int64] | None, NDArray[np.int64] | None]] = []
        self._accumulator: Accumulator | None = None

    def add(self, a: torch.Tensor, rows: NDArray[np.int64] | None, experts: NDArray[np.int64] | None) -> None:
        """Take one call of the activation. Without a grid as yet, the first call of a dense site is its pilot; routed
        experts may be called one after the other, so that their pilot is held until `settle`."""
        if self._accumulator is None:
            if self._grid is None and self.site.experts:
                self._held.append((a.detach().clone(), rows, experts))
                return
            self._start(a.device, [(a, rows, experts)])
        assert self._accumulator is not None
        self._accumulator.update(a, rows, experts, self._pool, self._threads)

    def settle(self) -> None:
        """End of the pilot's forward pass."""
        held, self._held = self._held, []
        if held:
            self._start(held[0][0].device, held)
        for call in held:
            self.add(*call)

    def sketch(self) -> Sketch | None:
        """The site's sketch; None if the site was never called."""
        return None if self._accumulator is None else self._accumulator.sketch()

    def _start(self, device: torch.device, calls: Sequence[tuple[torch.Tensor, Any, Any]]) -> None:
        grid = pilot_grid(self.site, calls) if self._grid is None else self._grid
        experts = max(1, self.site.experts)
        self._accumulator = Accumulator(grid, experts, device, f"layer {self.site.layer} ({self.site.path})")


class SampleCollector:
    """Keeps every activation of a site, for the closed forms."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._parts: list[list[NDArray[np.floating]]] = [[] for _ in range(max(1, site.experts))]

    def add(self, a: torch.Tensor, rows: NDArray[np.int64] | None, experts: NDArray[np.int64] | None) -> None:
        """Take one call of the activation."""
        flat = a.detach().reshape(-1, self.site.width)
        flat = flat if flat.dtype == torch.float64 else flat.float()
        values = flat.cpu().numpy()
        order = np.arange(len(values)) if rows is None else rows
        for expert, parts in enumerate(self._parts):
            mine = order if experts is None else order[experts[order] == expert]
            parts.append(values[mine])

    def settle(self) -> None:
        """Nothing waits for the end of the pilot."""

    def samples(self) -> list[NDArray[np.floating]]:
        """Activations [tokens, width] of every expert (of the whole site, for a dense one)."""
        empty = np.empty((0, self.site.width), np.float32)
        return [np.concatenate(parts) if parts else empty for parts in self._parts]


@dataclass(frozen=True)
class Gathered:
    """What a pass brought home, one entry a site."""

    sites: tuple[Site, ...]
    sketches: tuple[Sketch | None, ...]
    """Sketches; None for sites that kept samples, or that were never called."""
    samples: tuple[list[NDArray[np.floating]] | None, ...]
    """Activations by expert, where they were asked for."""
    difficulties: tuple[Difficulty | None, ...]
    """Mapping difficulties; None where the site has no projection to read inputs from, or is one of routed experts."""


def default_batch(window: int) -> int:
    """Windows of a forward pass unless told otherwise."""
    return max(1, BATCH_TOKENS // window)


def pilot_windows(window: int) -> int:
    """Windows of the pilot, which sets the grids; they are the first, run in one forward pass whatever the batch."""
    return max(1, PILOT_TOKENS // window)


def gather(
    model: Model,
    windows: Windows,
    *,
    batch: int | None = None,
    sites: Sequence[Site] | None = None,
    grids: Sequence[Grid] | None = None,
    pairs: PairSample | None = None,
    exact: bool = False,
    progress: Progress | None = None,
    what: str = "scan",
) -> Gathered:
    """Run the model over the windows once and gather the statistics of all sites.

    Special tokens (`windows.special`) are run, since the others attend to them, but not counted.

    Args:
        model: the model.
        windows: the tokens.
        batch: windows of a forward pass; the pilot's takes its own number when no grids are given.
        sites: which sites; None for all.
        grids: one for each site; None takes them from the pilot.
        pairs: tokens to keep for the mapping difficulty; None for none.
        exact: keep all activations instead of sketches.
        progress: called as progress(windows done, windows, what).

    Raises:
        StatisticsError: an activation is not finite.
    """
    chosen = tuple(model.sites if sites is None else sites)
    batch = fitted(default_batch(windows.window) if batch is None else batch)
    count, window = windows.tokens.shape
    first = pilot_windows(window) if grids is None and not exact else batch
    cuts = [0, *range(min(first, count), count, batch), count]
    run = base_forward(model)
    threads = torch.get_num_threads()
    with threads_for(threads) as pool:
        collectors: list[Any] = [
            SampleCollector(site)
            if exact
            else Collector(site, None if grids is None else grids[position], pool, threads)
            for position, site in enumerate(chosen)
        ]
        by_path = dict(zip((site.path for site in chosen), collectors, strict=True))
        kept = _Kept(pairs) if pairs is not None and len(pairs.positions) else None
        counted: NDArray[np.bool_] = np.empty(0, bool)
        rows: NDArray[np.int64] | None = None
        tokens_of: dict[str, torch.Tensor] = {}

        def on_rows(site: Site, tokens: torch.Tensor) -> None:
            tokens_of[site.path] = tokens

        def on_inputs(site: Site, x: torch.Tensor, experts: torch.Tensor | None) -> None:
            if kept is not None and experts is None:
                kept.keep("x", site, x)

        def on_activation(site: Site, a: torch.Tensor, experts: torch.Tensor | None) -> None:
            if experts is None:
                by_path[site.path].add(a, rows, None)
                if kept is not None:
                    kept.keep("a", site, a)
            else:
                routed = np.flatnonzero(counted[tokens_of[site.path].cpu().numpy()])
                by_path[site.path].add(a, routed, experts.cpu().numpy())

        watch = on_inputs if kept is not None else None
        with torch.no_grad(), tap(model, before=on_activation, sites=chosen, inputs=watch, rows=on_rows):
            for begin, stop in pairwise(cuts):
                if begin == stop:
                    continue
                counted = ~windows.special[begin:stop].reshape(-1)
                rows = None if counted.all() else np.flatnonzero(counted)
                if kept is not None:
                    kept.turn(begin * window, stop * window)
                run(torch.from_numpy(windows.tokens[begin:stop]).to(model.device))
                if begin == 0:
                    for collector in collectors:
                        collector.settle()
                if progress is not None:
                    progress(stop, count, what)
    return Gathered(
        chosen,
        tuple(None if exact else collector.sketch() for collector in collectors),
        tuple(collector.samples() if exact else None for collector in collectors),
        tuple(None if kept is None else kept.difficulty(site) for site in chosen),
    )


class _Kept:
    """Inputs and pre-activations of the paired tokens, [2 * pairs, hidden or width] per site, float32."""

    def __init__(self, pairs: PairSample) -> None:
        self._pairs = pairs
        self._rows, self._slots = torch.empty(0, dtype=torch.int64), np.empty(0, np.int64)
        self._held: list[tuple[tuple[str, str], torch.Tensor]] = []
        self._kept: dict[tuple[str, str], NDArray[np.float32]] = {}

    def turn(self, begin: int, stop: int) -> None:
        """Say which tokens the next forward pass holds."""
        self._bring_home()
        rows, self._slots = self._pairs.within(begin, stop)
        self._rows = torch.from_numpy(rows)

    def keep(self, what: str, site: Site, values: torch.Tensor) -> None:
        """Keep the paired tokens' rows of one call."""
        if len(self._rows) == 0:
            return
        flat = values.detach().reshape(-1, values.shape[-1])
        self._held.append(((what, site.path), flat[self._rows.to(flat.device)].float()))

    def difficulty(self, site: Site) -> Difficulty | None:
        """The site's mapping difficulty, and its sample given back."""
        self._bring_home()
        x, a = self._kept.pop(("x", site.path), None), self._kept.pop(("a", site.path), None)
        if x is None or a is None:
            return None
        return difficulty(x.reshape(2, -1, x.shape[1]), a.reshape(2, -1, a.shape[1]))

    def _bring_home(self) -> None:
        """Copy to the host what the last pass kept: once it is over, since each copy waits for the device."""
        for key, values in self._held:
            if key not in self._kept:
                self._kept[key] = np.empty((len(self._pairs.slots), values.shape[1]), np.float32)
            self._kept[key][self._slots] = values.cpu().numpy()
        self._held.clear()


def pilot_grid(
    site: Site, calls: Sequence[tuple[torch.Tensor, NDArray[np.int64] | None, NDArray[np.int64] | None]]
) -> Grid:
    """Grid of a site from its activations on the pilot's windows: 8 standard deviations either side of the mean.

    An expert that the pilot reached with fewer than 32 tokens takes the spread of the whole site about zero.
    """
    parts: list[list[torch.Tensor]] = [[] for _ in range(max(1, site.experts))]
    for a, rows, experts in calls:
        flat = a.detach().reshape(-1, site.width)
        order = np.arange(len(flat)) if rows is None else rows
        for expert, part in enumerate(parts):
            mine = order if experts is None else order[experts[order] == expert]
            part.append(flat[torch.from_numpy(mine).to(flat.device)])
    means, stds = np.zeros((len(parts), site.width)), np.zeros((len(parts), site.width))
    square, total = 0.0, 0
    for expert, part in enumerate(parts):
        values = torch.cat(part).double()
        if site.experts:
            square, total = square + float(values.square().sum()), total + values.numel()
        if len(values) >= _ENOUGH or (len(values) and not site.experts):
            variance, mean = torch.var_mean(values, dim=0, correction=0)
            means[expert], stds[expert] = mean.cpu().numpy(), variance.sqrt().cpu().numpy()
        else:
            stds[expert] = np.nan
    stds = np.where(np.isnan(stds), np.sqrt(square / max(1, total)), stds)
    return Grid.around(np.nan_to_num(means, posinf=0, neginf=0).reshape(-1), np.nan_to_num(stds, posinf=0).reshape(-1))


def base_forward(model: Model) -> Callable[[torch.Tensor], Any]:
    """The cheapest call that reaches every site: the base model without its output layer where it holds them all."""
    module = model.module
    base = module.base_model
    within = {id(part) for part in base.modules()}
    if any(id(module.get_submodule(site.path)) not in within for site in model.sites):
        base = module
    parameters = inspect.signature(base.forward).parameters
    options = {"use_cache": False} if "use_cache" in parameters else {}
    return lambda ids: base(input_ids=ids, **options)


@contextmanager
def threads_for(threads: int) -> Iterator[ThreadPoolExecutor | None]:
    """Threads beside this one to share updates among; None where there is but one."""
    if threads < 2:
        yield None
        return
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="negspace-scan") as pool:
        yield pool

"""One forward pass over the windows, all layers at once: sketches, or samples, and the token pairs for MD."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from negspace.memory import fitted, returned_at_once
from negspace.models.model import Model
from negspace.models.site import Site
from negspace.models.taps import tap
from negspace.shelf import Shelf
from negspace.stats.accumulate import Accumulator, counting_device
from negspace.stats.pair_rows import PairRows, PairSample, RowKeeper
from negspace.stats.sketch import Grid, Sketch
from negspace.text.windows import Windows

Progress = Callable[[int, int, str], None]

PILOT_TOKENS = 2048
"""The pilot, which sets the grids, is made of as many whole windows as reach this many tokens (at least one)."""
BATCH_TOKENS = 4096
"""Tokens of a forward pass unless told otherwise."""
_ENOUGH = 32  # tokens of the pilot below which an expert's own spread is not to be trusted
_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "moe_top_k", "top_k_experts")


_Call = tuple[torch.Tensor, NDArray[np.int64] | None, NDArray[np.int64] | None, NDArray[np.bool_] | None]
"""A call of an activation: values, rows that count, expert of every row, which rows belong to the second half."""


class Collector:
    """The state of one site during the pass."""

    def __init__(
        self, site: Site, grid: Grid | None, shelf: Shelf, pool: ThreadPoolExecutor | None, threads: int
    ) -> None:
        self.site, self._shelf = site, shelf
        self._grid = grid
        self._pool, self._threads = pool, threads
        self._held: list[_Call] = []
        self._later: list[_Call] = []
        self._first: Callable[[], Sketch] | None = None
        self._accumulator: Accumulator | None = None

    def add(
        self,
        a: torch.Tensor,
        rows: NDArray[np.int64] | None,
        experts: NDArray[np.int64] | None,
        second: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take one call of the activation. Without a grid as yet, the first call of a dense site is its pilot; routed
        experts may be called one after the other, and looped layers are called several times, so that their pilot is
        held until `settle`.

        Args:
            second: [rows of a] which of them belong to the text's second half, in the pass that reads the middle; None
                in every other pass.
        """
        several = bool(self.site.experts) or self.site.passes > 1
        if self._accumulator is None:
            if self._grid is None and several:
                self._held.append((a.detach().clone(), rows, experts, second))
                return
            self._start(a.device, [(a, rows, experts, second)])
        if second is None:
            self._update(a, rows, experts)
            return
        order = np.arange(len(second)) if rows is None else rows
        self._update(a, order[~second[order]], experts)
        if several:  # other calls, with rows of the first half, may follow
            self._later.append((a.detach().clone(), order[second[order]], experts, None))
        else:
            self.halve()
            self._update(a, order[second[order]], experts)

    def settle(self) -> None:
        """End of the pilot's forward pass."""
        held, self._held = self._held, []
        if held:
            self._start(held[0][0].device, held)
        for call in held:
            self.add(*call)

    def halve(self) -> None:
        """End of what is read of the first half: keep its sketch, if that has not been done."""
        if self._first is None and self._accumulator is not None:
            self._first = self._accumulator.take().lay(self._shelf, self.site.path)
        later, self._later = self._later, []
        for a, rows, experts, _ in later:
            self._update(a, rows, experts)

    def take(self) -> Sketch | None:
        """The site's sketch at the end of the pass; None if the site was never called."""
        return None if self._accumulator is None else self._accumulator.take()

    def first_half(self) -> Callable[[], Sketch] | None:
        """What gives the sketch of the text's first half, as far as it was read; None if no token of it reached the
        site."""
        return self._first

    def _update(self, a: torch.Tensor, rows: NDArray[np.int64] | None, experts: NDArray[np.int64] | None) -> None:
        assert self._accumulator is not None
        self._accumulator.update(a, rows, experts, self._pool, self._threads)

    def _start(self, device: torch.device, calls: Sequence[_Call]) -> None:
        grid = pilot_grid(self.site, calls) if self._grid is None else self._grid
        experts = max(1, self.site.experts)
        self._accumulator = Accumulator(grid, experts, device, f"layer {self.site.layer} ({self.site.path})")


class SampleCollector:
    """Keeps every activation of a site, for the closed forms."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._parts: list[list[NDArray[np.floating]]] = [[] for _ in range(max(1, site.experts))]
        self._passes: list[NDArray[np.floating]] = []

    def add(
        self,
        a: torch.Tensor,
        rows: NDArray[np.int64] | None,
        experts: NDArray[np.int64] | None,
        second: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take one call of the activation; the halves are cut from the sample, by its tokens.

        The values of a site that is run several times are kept token by token, a token's in order of the passes.
        """
        flat = a.detach().reshape(-1, self.site.width)
        flat = flat if flat.dtype == torch.float64 else flat.float()
        values = flat.cpu().numpy()
        order = np.arange(len(values)) if rows is None else rows
        if self.site.passes > 1:
            self._passes.append(values[order])
            if len(self._passes) == self.site.passes:
                self._parts[0].append(np.stack(self._passes, axis=1).reshape(-1, self.site.width))
                self._passes = []
            return
        for expert, parts in enumerate(self._parts):
            mine = order if experts is None else order[experts[order] == expert]
            parts.append(values[mine])

    def settle(self) -> None:
        """Nothing waits for the end of the pilot."""

    def halve(self) -> None:
        """Nothing is kept of the first half."""

    def first_half(self) -> None:
        """There is no sketch."""

    def samples(self) -> list[NDArray[np.floating]]:
        """Activations [tokens, width] of every expert (of the whole site, for a dense one)."""
        empty = np.empty((0, self.site.width), np.float32)
        return [np.concatenate(parts) if parts else empty for parts in self._parts]


@dataclass(frozen=True)
class Gathered:
    """The result of a pass, one entry per site."""

    sites: tuple[Site, ...]
    sketches: tuple[Sketch | None, ...]
    """Sketches; None for sites that kept samples, or that were never called."""
    samples: tuple[list[NDArray[np.floating]] | None, ...]
    """Activations by expert, where they were asked for."""
    rows: PairRows | None
    """Data of the paired tokens; None if not requested."""
    middle: int | None = None
    """Windows of the text's first half; None where it cannot be halved: a single window."""
    halves: tuple[Callable[[], Sketch] | None, ...] = ()
    """What gives the sketches of the first half, which lie on disk; None where nothing of it was read, or where samples
    were kept."""


def default_batch(window: int) -> int:
    """Windows of a forward pass unless told otherwise."""
    return max(1, BATCH_TOKENS // window)


def middle_of(windows: int) -> int | None:
    """Windows of the first half of a text; None where there are fewer than two."""
    return windows // 2 if windows > 1 else None


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
    part: tuple[int, int] | None = None,
    progress: Progress | None = None,
    what: str = "scan",
) -> Gathered:
    """Run the model over the windows, or some of them, once and gather the statistics of all sites.

    Special tokens (`windows.special`) are run, since the others attend to them, but not counted.

    Args:
        model: the model.
        windows: the tokens.
        batch: windows of a forward pass; the pilot's takes its own number when no grids are given.
        sites: which sites; None for all.
        grids: one for each site; None takes them from the pilot.
        pairs: tokens to keep for the mapping difficulty; None for none.
        exact: keep all activations instead of sketches.
        part: run only the windows from the first to below the second number, which makes the pilot's windows a forward
            pass of their own, as they are in a pass over all.
        progress: called as progress(windows done, windows, what).

    Raises:
        StatisticsError: an activation is not finite.
    """
    chosen = tuple(model.sites if sites is None else sites)
    batch = fitted(default_batch(windows.window) if batch is None else batch)
    window = windows.window
    begin, end = (0, len(windows)) if part is None else part
    with_pilot = begin == 0 and not exact and (grids is None or part is not None)
    first = begin + (pilot_windows(window) if with_pilot else batch)
    cuts = [begin, *range(min(first, end), end, batch), end]
    # Passes are not cut at the middle: that would move every later activation by rounding.
    middle = middle_of(len(windows))
    run = base_forward(model)
    threads = torch.get_num_threads()
    shelf = Shelf()
    with threads_for(threads) as pool:
        collectors: list[Any] = [
            SampleCollector(site)
            if exact
            else Collector(site, None if grids is None else grids[position], shelf, pool, threads)
            for position, site in enumerate(chosen)
        ]
        by_path = dict(zip((site.path for site in chosen), collectors, strict=True))
        kept = RowKeeper(pairs, [cut * window for cut in cuts]) if pairs is not None and pairs.pairs else None
        counted: NDArray[np.bool_] = np.empty(0, bool)
        rows: NDArray[np.int64] | None = None
        second: NDArray[np.bool_] | None = None
        tokens_of: dict[str, torch.Tensor] = {}

        def on_rows(site: Site, tokens: torch.Tensor) -> None:
            tokens_of[site.path] = tokens

        def on_inputs(site: Site, x: torch.Tensor, experts: torch.Tensor | None) -> None:
            if kept is not None and experts is None:
                kept.keep("input", site, x)

        def on_activation(site: Site, a: torch.Tensor, experts: torch.Tensor | None) -> None:
            if experts is None:
                by_path[site.path].add(a, rows, None, second)
                if kept is not None:
                    kept.keep("activation", site, a)
            else:
                tokens = tokens_of[site.path].cpu().numpy()
                later = None if second is None else second[tokens]
                by_path[site.path].add(a, np.flatnonzero(counted[tokens]), experts.cpu().numpy(), later)

        watch = on_inputs if kept is not None else None
        with torch.no_grad(), tap(model, before=on_activation, sites=chosen, inputs=watch, rows=on_rows):
            for start, stop in pairwise(cuts):
                if start == stop:
                    continue
                counted = ~windows.special[start:stop].reshape(-1)
                rows = None if counted.all() else np.flatnonzero(counted)
                second = None
                if middle is not None and start < middle < stop:
                    second = np.repeat(np.arange(start, stop) >= middle, window)
                if kept is not None:
                    kept.turn(start * window)
                # In these passes arrays are made that stay.
                halving = middle is not None and start < middle <= stop
                with returned_at_once() if start == begin or halving else nullcontext():
                    run(torch.from_numpy(windows.tokens[start:stop]).to(model.device))
                if start == begin:
                    for collector in collectors:
                        collector.settle()
                if halving:
                    for collector in collectors:
                        collector.halve()
                if progress is not None:
                    progress(stop - begin, end - begin, what)
        if middle is not None and end < middle:
            for collector in collectors:
                collector.halve()
    return Gathered(
        chosen,
        tuple(None if exact else collector.take() for collector in collectors),
        tuple(collector.samples() if exact else None for collector in collectors),
        None if kept is None else kept.rows(),
        middle,
        tuple(collector.first_half() for collector in collectors),
    )


def pilot_grid(site: Site, calls: Sequence[_Call]) -> Grid:
    """Grid of a site from its activations on the pilot's windows: 8 standard deviations either side of the mean.

    An expert that the pilot reached with fewer than 32 tokens takes the spread of the whole site about zero.
    """
    parts: list[list[torch.Tensor]] = [[] for _ in range(max(1, site.experts))]
    for a, rows, experts, _ in calls:
        flat = a.detach().reshape(-1, site.width).to(counting_device(a.device))
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


def experts_per_token(model: Model, site: Site) -> int:
    """Most experts of a site that a token reaches: 1 for a dense site, 2 where the configuration does not say."""
    if not site.experts:
        return 1
    # Not by getattr, which a configuration refuses for what may differ between layers. DBRX has it one level down.
    fields = vars(model.module.config.get_text_config(decoder=True))
    fields = {**getattr(fields.get("ffn_config"), "__dict__", {}), **fields}
    found = next((fields[name] for name in _PER_TOKEN if fields.get(name)), 2)
    return min(max(found) if isinstance(found, list) else found, site.experts)


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

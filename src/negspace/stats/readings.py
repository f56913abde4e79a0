"""Pre-activations of chosen neurons, token by token, and the inputs of their layers if requested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from negspace.errors import StatisticsError
from negspace.models.model import Model
from negspace.models.site import Site
from negspace.models.taps import tap
from negspace.stats.collect import base_forward, experts_per_token
from negspace.text.windows import Windows

Progress = Callable[[int, int, str], None]

BUDGET = 1 << 30
"""Bytes that may be held at a time; sites that need more together are read in several passes."""


@dataclass(frozen=True)
class Batch:
    """Sequences of one length that run together, and which of their tokens are read."""

    tokens: NDArray[np.int64]
    """[sequences, length] token ids; no padding."""
    keep: NDArray[np.bool_]
    """[sequences, length] which tokens are read."""
    positions: NDArray[np.int64]
    """[sequences, length] the number under which each token is known in a `Reading`."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Pre-activations of the chosen neurons of one site, or of one expert of it, at the tokens that reached it."""

    site: Site
    """Location of the neurons."""
    expert: int
    """The routed expert; -1 elsewhere."""
    neurons: NDArray[np.int64]
    """[neurons] index of each within the site or expert."""
    positions: NDArray[np.int64]
    """[tokens] numbers of the tokens, upwards; for windows: window * length + place."""
    values: NDArray[np.float32]
    """[tokens, neurons] pre-activations."""
    inputs: NDArray[np.float32] | None
    """[tokens, hidden] what enters the projection; None unless asked for, and where there is none to read."""


def batches_of(windows: Windows) -> list[Batch]:
    """One batch a window, special tokens left out: what a window gives cannot depend on how many run together."""
    count, length = windows.tokens.shape
    positions = np.arange(count * length, dtype=np.int64).reshape(count, length)
    return [
        Batch(windows.tokens[at : at + 1], ~windows.special[at : at + 1], positions[at : at + 1]) for at in range(count)
    ]


def readings(
    model: Model,
    batches: Sequence[Batch],
    neurons: Mapping[str, NDArray[np.int64]],
    *,
    inputs: bool = False,
    budget: int = BUDGET,
    progress: Progress | None = None,
    what: str = "reading neurons",
) -> Iterator[Reading]:
    """Read chosen neurons at all kept tokens, site by site in the order of the model, experts in their order.

    Memory is bounded: a value takes 4 bytes per token and neuron, an input 4 per token and dimension for each expert
    that it enters, and sites whose values would exceed the budget together are read in passes of their own (one site is
    always read at once).

    Args:
        model: the model.
        batches: what to run; the result does not depend on anything else.
        neurons: path of a site -> its chosen neurons as flat indices (expert * width + index), as in a `NeuronSet`.
        inputs: also keep what enters the projections. Sites that have none to read give None.
        budget: bytes to hold at a time.
        progress: called as progress(batches done, batches in all passes, what).

    Experts that no kept token reached give a reading of no tokens.

    Raises:
        StatisticsError: a pre-activation or input is not finite, or a neuron has several values at a token.
    """
    tokens = sum(int(batch.keep.sum()) for batch in batches)
    hidden = int(model.module.get_input_embeddings().weight.shape[1]) if inputs else 0
    passes: list[list[Site]] = []
    room = 0
    for site in model.sites:
        if not len(neurons.get(site.path, ())):
            continue
        if site.passes > 1:
            raise StatisticsError(
                f"the pre-activations of layer {site.layer} ({site.path}) in {model.source.name}, token by token",
                f"a layer that each forward pass runs {site.passes} times: its neurons have as many values at a token",
                "leave out the analyses that look at single tokens; scans, ablations and scores count every pass",
            )
        # A token gives a neuron one value at most, whatever experts it reaches, but its input enters each of them.
        size = 4 * tokens * (len(neurons[site.path]) + hidden * experts_per_token(model, site))
        if not passes or size > room:
            passes.append([])
            room = budget
        passes[-1].append(site)
        room -= size
    for number, sites in enumerate(passes):

        def step(done: int, number: int = number) -> None:
            if progress is not None:
                progress(number * len(batches) + done, len(passes) * len(batches), what)

        yield from _pass(model, batches, {site: neurons[site.path] for site in sites}, inputs, step)


def _pass(
    model: Model,
    batches: Sequence[Batch],
    chosen: Mapping[Site, NDArray[np.int64]],
    inputs: bool,
    step: Callable[[int], None],
) -> Iterator[Reading]:
    collectors = {site.path: _Collector(site, np.asarray(flat, np.int64)) for site, flat in chosen.items()}
    batch = batches[0]
    tokens_of: dict[str, torch.Tensor] = {}

    def on_rows(site: Site, tokens: torch.Tensor) -> None:
        tokens_of[site.path] = tokens

    def on_inputs(site: Site, x: torch.Tensor, experts: torch.Tensor | None) -> None:
        collectors[site.path].add_inputs(x, _rows(site), experts, batch)

    def on_activation(site: Site, a: torch.Tensor, experts: torch.Tensor | None) -> None:
        collectors[site.path].add(a, _rows(site), experts, batch)

    def _rows(site: Site) -> NDArray[np.int64] | None:
        return tokens_of[site.path].cpu().numpy() if site.experts else None

    run = base_forward(model)
    watch = on_inputs if inputs else None
    with torch.no_grad(), tap(model, before=on_activation, sites=tuple(chosen), inputs=watch, rows=on_rows):
        for done, batch in enumerate(batches, 1):  # the callbacks read `batch`
            run(torch.from_numpy(batch.tokens).to(model.device))
            step(done)
    for site in chosen:
        yield from collectors.pop(site.path).readings(model)


class _Collector:
    """Gathers one site's rows."""

    def __init__(self, site: Site, flat: NDArray[np.int64]) -> None:
        self.site = site
        owner = flat // site.width if site.experts else np.full(len(flat), -1, np.int64)
        self.experts = np.unique(owner)
        self.columns = {int(expert): flat[owner == expert] % site.width for expert in self.experts}
        self._positions: dict[int, list[NDArray[np.int64]]] = {expert: [] for expert in self.columns}
        self._values: dict[int, list[NDArray[np.float32]]] = {expert: [] for expert in self.columns}
        self._inputs: dict[int, list[NDArray[np.float32]]] = {expert: [] for expert in self.columns}

    def add(
        self, a: torch.Tensor, tokens: NDArray[np.int64] | None, experts: torch.Tensor | None, batch: Batch
    ) -> None:
        """Take one call of the activation."""
        flat = a.detach().reshape(-1, self.site.width)
        for expert, rows, places in self._kept(tokens, experts, batch):
            columns = torch.from_numpy(self.columns[expert]).to(flat.device)
            self._values[expert].append(flat[rows.to(flat.device)][:, columns].float().cpu().numpy())
            self._positions[expert].append(batch.positions.reshape(-1)[places])

    def add_inputs(
        self, x: torch.Tensor, tokens: NDArray[np.int64] | None, experts: torch.Tensor | None, batch: Batch
    ) -> None:
        """Take what enters the projection, in the order of the rows of the activation's call that follows."""
        flat = x.detach().reshape(-1, x.shape[-1])
        for expert, rows, _ in self._kept(tokens, experts, batch):
            self._inputs[expert].append(flat[rows.to(flat.device)].float().cpu().numpy())

    def _kept(
        self, tokens: NDArray[np.int64] | None, experts: torch.Tensor | None, batch: Batch
    ) -> Iterator[tuple[int, torch.Tensor, NDArray[np.int64]]]:
        """For each expert with chosen neurons: its kept rows, and the places of their tokens in the batch."""
        keep = batch.keep.reshape(-1)
        if tokens is None or experts is None:
            places = np.flatnonzero(keep)
            yield -1, torch.from_numpy(places), places
            return
        owner = experts.cpu().numpy()
        for expert in self.columns:
            rows = np.flatnonzero((owner == expert) & keep[tokens])
            yield expert, torch.from_numpy(rows), tokens[rows]

    def readings(self, model: Model) -> Iterator[Reading]:
        """Return the gathered values, tokens in order of their numbers."""
        for expert, columns in self.columns.items():
            values = _stacked(self._values.pop(expert), len(columns))
            positions = np.concatenate([np.empty(0, np.int64), *self._positions.pop(expert)])
            order = np.argsort(positions, kind="stable")
            inputs, held = None, self._inputs.pop(expert)
            if held:
                inputs = _stacked(held, held[0].shape[1])[order]
            for name, array in (("pre-activations", values), ("inputs", inputs)):
                if array is not None and not np.isfinite(array).all():
                    raise StatisticsError(
                        f"the {name} of layer {self.site.layer} ({self.site.path}) in {model.source.name}",
                        f"{np.count_nonzero(~np.isfinite(array)):,} that are not finite (NaN or infinity)",
                        "check the weights, and run the model in float32 (load(..., dtype='float32'))",
                    )
            yield Reading(self.site, expert, columns, positions[order], values[order], inputs)


def _stacked(parts: Sequence[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    return np.concatenate([np.empty((0, width), np.float32), *parts])

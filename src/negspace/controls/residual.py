"""The size of an ablation's change to the residual stream: layer by layer on the plain model's input, or at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import nn

from negspace.errors import ScoreError, SiteError
from negspace.given import check_count
from negspace.intervention import Ablation, Mode, Zero, make_ablation
from negspace.models.layers import decoder_layers
from negspace.stats.collect import base_forward
from negspace.text.windows import Windows, check_windows

if TYPE_CHECKING:
    from negspace.models.model import Model
    from negspace.neurons.neuronset import NeuronSet
    from negspace.neurons.scan import Scan
    from negspace.score.perplexity import Progress

Where = Literal["layers", "end"]
FINAL = -1
"""Stands for the layer where the change is measured at the end of the stack."""
ITEMS = {
    "layer": "decoder layer after which the stream was compared; -1: after the last one, all layers being ablated",
    "window": "number of the window, from 0",
    "tokens": "its tokens but for special ones",
    "squared": "sum over these tokens of (|h' - h| / |h|)^2, h the residual stream without and h' with the ablation",
    "norm": "sum over these tokens of |h'| / |h| - 1",
}
"""Column of the items -> meaning."""


@dataclass(frozen=True, eq=False)
class ResidualChange:
    """The change that an ablation makes to the residual stream."""

    items: pd.DataFrame
    """One row per layer and window; columns as in `ITEMS`."""

    @property
    def by_layer(self) -> dict[int, float]:
        """Layer -> root mean square over tokens of |h' - h| / |h|; at the end, the layer is -1."""
        return root_mean_square(self.items)


def root_mean_square(items: pd.DataFrame) -> dict[int, float]:
    """Layer -> sqrt(sum of `squared` / sum of `tokens`), from the items of a measurement."""
    sums = items.groupby("layer", sort=True)[["squared", "tokens"]].sum()
    return {int(str(layer)): float(np.sqrt(row["squared"] / row["tokens"])) for layer, row in sums.iterrows()}


def residual_change(
    model: Model,
    neurons: NeuronSet,
    windows: Windows,
    *,
    where: Where = "layers",
    zero: Zero | None = None,
    mode: Mode | None = None,
    scan: Scan | None = None,
    batch: int = 1,
    progress: Progress | None = None,
) -> ResidualChange:
    """Change of the residual stream under an ablation, relative to the stream's norm, token by token.

    With `where="layers"` each layer that has chosen neurons is measured on its own: h is the stream after the layer in
    the plain model, h' the same layer's output on the same input with its chosen neurons ablated. What earlier layers'
    ablations would have changed does not enter, so that layers can be compared, and matched, one by one. It costs about
    two forward passes. With `where="end"` the whole set is ablated and the stream after the last layer, before the
    final norm, is compared: two forward passes. Special tokens (BOS and the like) do not count: their norm is often a
    hundredfold of the others'.

    Args:
        windows: windows of text (`negspace.text.windows.make_windows`).
        zero, mode, scan: the intervention, as for `intervene`; without `zero` and `mode`, the negatives are set to
            zero.
        batch: windows in one forward pass; does not change the result but for rounding.
        progress: called with (windows done, windows, "residual").

    Raises:
        ModelError: not a model.
        TextError: no windows of text, or longer ones than the model's context.
        ScoreError: a change that is not finite, or a number out of range.
        SiteError: layers whose output is no residual stream [batch, tokens, hidden], or that do not give the same
            output twice.
        InterventionError, SelectionError: the ablation cannot be.
    """
    if where not in get_args(Where):
        raise ScoreError(
            f"a change of the residual stream with where={where!r}",
            "no such place",
            f"use {' or '.join(get_args(Where))}",
        )
    check_count("batch", batch, ScoreError, what="a change of the residual stream")
    if zero is None and mode is None:
        zero = "negative"
    ablation = make_ablation(model, neurons, zero, mode, scan)
    with ablation.open():
        pass  # refuses what cannot be hooked before any pass is under way
    check_windows(windows, model.context, "a change of the residual stream")
    measure = _Layers(ablation) if where == "layers" else _End(ablation)
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for start in range(0, len(windows), batch):
            ids = torch.from_numpy(windows.tokens[start : start + batch]).to(model.device)
            counted = torch.from_numpy(~windows.special[start : start + batch])
            for layer, plain, changed in measure.compare(ids):
                rows += _rows(model, layer, start, counted, plain, changed)
            if progress:
                progress(start + len(ids), len(windows), "residual")
    items = pd.DataFrame(rows, columns=list(ITEMS)).astype({"layer": "int64", "window": "int64", "tokens": "int64"})
    # A layer that is run several times has so many rows per window; each of its runs counts.
    return ResidualChange(items.groupby(["layer", "window"], as_index=False).sum())


def _rows(
    model: Model, layer: int, start: int, counted: torch.Tensor, plain: torch.Tensor, change: torch.Tensor
) -> list[dict[str, Any]]:
    """Sums of each window; plain is |h|, change is (|h' - h|, |h'|), float64 [windows, tokens] on the CPU."""
    relative, norm = change[0] / plain, change[1] / plain - 1
    if not bool(torch.isfinite(relative[counted]).all() and torch.isfinite(norm[counted]).all()):
        raise ScoreError(
            f"the change of the residual stream of {model.source.name} after layer {layer}",
            "a value that is not finite, or a stream of norm 0",
            "check the model's weights and dtype: float16 overflows where float32 or bfloat16 do not",
        )
    zero = torch.zeros((), dtype=relative.dtype)
    return [
        {
            "layer": layer,
            "window": start + row,
            "tokens": int(counted[row].sum()),
            "squared": float(torch.where(counted[row], relative[row].square(), zero).sum()),
            "norm": float(torch.where(counted[row], norm[row], zero).sum()),
        }
        for row in range(len(counted))
    ]


class _Layers:
    """Each layer run twice on the plain model's input: as it is, and with its own neurons ablated."""

    def __init__(self, ablation: Ablation) -> None:
        self.model, self.ablation, self.forward = ablation.model, ablation, base_forward(ablation.model)
        self.layers = [layer for _, layer in decoder_layers(self.model.module)]
        self.ablated = tuple(dict.fromkeys(site.layer for site in ablation.edits))
        self.proved = False

    def compare(self, ids: torch.Tensor) -> list[tuple[int, torch.Tensor, torch.Tensor]]:
        found: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        handles = [
            self.layers[layer].register_forward_hook(self._hook(layer, found), with_kwargs=True)
            for layer in self.ablated
        ]
        try:
            if handles:
                self.forward(ids)
        finally:
            for handle in handles:
                handle.remove()
        self.proved = True
        return found

    def _hook(self, layer: int, found: list[tuple[int, torch.Tensor, torch.Tensor]]) -> Callable[..., None]:
        def on_output(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            plain = _stream(self.model, layer, out)
            # The layer's own call, not the module's: hooks on the layer must not fire a second time.
            if not self.proved and not torch.equal(plain, _stream(self.model, layer, module.forward(*args, **kwargs))):
                raise SiteError(
                    f"the change of the residual stream after layer {layer} of {self.model.source.name}",
                    "a layer that gives another output when run again on the same input",
                    "measure at the end of the stack instead (where='end')",
                )
            with self.ablation.open([layer]):
                changed = _stream(self.model, layer, module.forward(*args, **kwargs))
            found.append((layer, *_norms(plain, changed)))

        return on_output


class _End:
    """The stream after the last layer, in two passes."""

    def __init__(self, ablation: Ablation) -> None:
        self.model, self.ablation, self.forward = ablation.model, ablation, base_forward(ablation.model)
        self.last = decoder_layers(self.model.module)[-1][1]

    def compare(self, ids: torch.Tensor) -> list[tuple[int, torch.Tensor, torch.Tensor]]:
        plain = self._run(ids)
        with self.ablation.open():
            changed = self._run(ids)
        return [(FINAL, *_norms(plain, changed))]

    def _run(self, ids: torch.Tensor) -> torch.Tensor:
        kept: list[torch.Tensor] = []

        def keep(_: nn.Module, __: Any, out: Any) -> None:
            kept.append(_stream(self.model, FINAL, out).clone())

        handle = self.last.register_forward_hook(keep)
        try:
            self.forward(ids)
        finally:
            handle.remove()
        return kept[-1]  # of a layer that is run several times, what goes on to the final norm


def _stream(model: Model, layer: int, out: Any) -> torch.Tensor:
    """The residual stream in a decoder layer's output."""
    first = out[0] if isinstance(out, tuple | list) else out
    if not isinstance(first, torch.Tensor) or first.dim() != 3:
        shape = tuple(first.shape) if isinstance(first, torch.Tensor) else type(first).__name__
        raise SiteError(
            f"the residual stream of {model.source.name} after {'the last layer' if layer == FINAL else layer}",
            f"a layer's output of shape {shape}, where [batch, tokens, hidden] was expected",
            "this control is not defined for models with several streams; leave it out",
        )
    return first


def _norms(plain: torch.Tensor, changed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """|h| and (|h' - h|, |h'|), float64 on the CPU, [batch, tokens] and [2, batch, tokens]."""
    wide = torch.float64 if plain.dtype == torch.float64 else torch.float32
    before, after = plain.to(wide), changed.to(wide)
    both = torch.stack([(after - before).norm(dim=-1), after.norm(dim=-1)])
    return before.norm(dim=-1).cpu().double(), both.cpu().double()

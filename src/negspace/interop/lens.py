"""Interventions as hooks of TransformerLens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from negspace.errors import InterventionError
from negspace.interop.plain import Change, changes
from negspace.intervention import Mode, Zero
from negspace.models import probe
from negspace.models.held import true_cause
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.site import Site
from negspace.models.taps import tap
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan

Hook = Callable[..., torch.Tensor | None]
Context = Callable[[], AbstractContextManager[None]]


def transformer_lens_hooks(
    bridge: Any,
    neurons: NeuronSet,
    zero: Zero | None = None,
    mode: Mode | None = None,
    scan: Scan | None = None,
    tokenizer: Any = None,
) -> list[tuple[str, Hook]]:
    """The hooks with which a TransformerLens bridge does what `intervene` does, as (name, hook) pairs.

        hooks = ns.transformer_lens_hooks(bridge, neurons, zero="negative")
        logits = bridge.run_with_hooks("The dogs", fwd_hooks=hooks)

    Before they are handed out, the bridge runs on six tokens with them: they must see the pre-activations that the
    model has in transformers, and give the logits that it has under `intervene`, up to rounding.

    Args:
        bridge: a `TransformerBridge` whose weights were not processed.
        neurons: the neurons to change.
        zero, mode, scan: as in `intervene`; a scan of `wrap(bridge)`, or of the model loaded with
            attn_implementation="eager", as a bridge has it.
        tokenizer: of a bridge that has none by itself.

    Raises:
        ModelError, SiteError: as `wrap`.
        InterventionError: as `torch_hooks`; or TransformerLens has no hook at the place.
        SelectionError: as `torch_hooks`.
    """
    model = wrap(bridge, tokenizer)
    ablation, places = changes(model, neurons, zero, mode, scan)
    on_output = ablation.chosen.on_output
    hooks = [pair for site, change in places.items() for pair in _hooks(bridge, model, site, change, on_output)]
    if hooks:
        _prove(bridge, model, hooks, tuple(places), ablation.open)
    return hooks


def _hooks(bridge: Any, model: Model, site: Site, change: Change, on_output: bool) -> list[tuple[str, Hook]]:
    at = f"blocks.{site.layer}.mlp"
    found = ""
    if site.branch != "mlp" or f"{at}.hook_pre" not in bridge.hook_dict:
        found = f"no hook point {at}.hook_pre of its neurons in the bridge"
    elif on_output and f"{at}.gate.hook_out" in bridge.hook_dict:
        found = "no hook on the output of a gated MLP's activation, only on its product with the other projection"
    if found:
        raise _refused(model, site.path, found)
    if not on_output:
        return [(f"{at}.hook_pre", lambda a, hook: change(a))]
    held: list[torch.Tensor] = []

    def keep(a: torch.Tensor, hook: Any) -> None:
        held[:] = [a]

    return [
        (f"{at}.hook_pre", keep),
        (f"{at}.hook_post", lambda y, hook: change(held.pop(), y)),
    ]


def _prove(bridge: Any, model: Model, hooks: list[tuple[str, Hook]], sites: tuple[Site, ...], opened: Context) -> None:
    """Compare the bridge with the hooks to the model under `intervene`, on a few tokens.

    Raises:
        InterventionError: pre-activations or logits differ by more than rounding.
        ModelError: the bridge's forward pass fails.
    """
    ids = probe.sequence(model.module)
    seen: dict[str, torch.Tensor] = {}
    wanted: dict[str, torch.Tensor] = {}

    def watched(name: str, inner: Hook) -> tuple[str, Hook]:
        def run(value: torch.Tensor, hook: Any) -> torch.Tensor | None:
            seen[name] = value.clone()
            return inner(value, hook)

        return name, run

    def note(site: Site, a: torch.Tensor, _: torch.Tensor | None) -> None:
        wanted[f"blocks.{site.layer}.mlp.hook_pre"] = a.clone()

    with torch.no_grad(), true_cause(bridge, f"TransformerLens hooks for the neurons of {model.source.name}"):
        lens = bridge.run_with_hooks(ids, fwd_hooks=[watched(*pair) for pair in hooks], return_type="logits")
    with tap(model, before=note, sites=sites), opened():
        logits = probe.forward(model.module, ids)
    for name, value in wanted.items():
        if name not in seen or not _close(seen[name], value):
            raise _refused(model, name, "values that are not the pre-activations of the model in transformers")
    if not _close(lens, logits):
        raise _refused(model, "the logits", "other values than those of the model in transformers under `intervene`")


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return True if two tensors have equally many values that agree up to rounding."""
    if one.numel() != other.numel():
        return False
    apart = (one.reshape(-1) - other.reshape(-1)).abs().max()
    return bool(apart <= probe.tolerance(other.dtype) * other.abs().max())


def _refused(model: Model, place: str, found: str) -> InterventionError:
    return InterventionError(
        f"TransformerLens hooks for the neurons of {model.source.name} ({place})",
        found,
        "use negspace.intervene or negspace.torch_hooks on the transformers model",
    )

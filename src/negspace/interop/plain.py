"""Interventions as hooks of plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from negspace.errors import InterventionError
from negspace.intervention import Ablation, Edit, Mode, Zero, make_ablation
from negspace.models.model import Model
from negspace.models.overrides import override_of
from negspace.models.site import Site
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan

Change = Callable[..., torch.Tensor]
"""`change(a)` returns a new input of an activation, `change(a, y)` a new output in place of y."""


@dataclass(frozen=True)
class TorchHook:
    """A hook for the activation module of one MLP."""

    path: str
    """Dotted path of the activation module in the transformers model."""
    on: Literal["input", "output"]
    """What it changes: the module's "input" (a forward pre-hook) or its "output" (a forward hook)."""
    function: Callable[..., Any]
    """`function(module, args)` of a forward pre-hook, or `function(module, args, output)` of a forward hook; it returns
    a new tensor and writes into none that it is given."""

    def register(self, module: nn.Module) -> RemovableHandle:
        """Register the hook on its place in a model of the same architecture; `handle.remove()` takes it off again."""
        part = module.get_submodule(self.path)
        if self.on == "input":
            return part.register_forward_pre_hook(self.function)
        return part.register_forward_hook(self.function)


def torch_hooks(
    model: Model,
    neurons: NeuronSet,
    zero: Zero | None = None,
    mode: Mode | None = None,
    scan: Scan | None = None,
) -> tuple[TorchHook, ...]:
    """The hooks with which plain torch does what `intervene` does, one for each MLP that has chosen neurons.

    Logits are bit for bit those under `intervene`. The hooks work on any copy of the model, on any device. They stay
    until their handles are removed; a scan or study of a model that has them is refused.

    Args:
        model: the model that the neurons were chosen from.
        neurons: the neurons to change.
        zero, mode, scan: as in `intervene`.

    Raises:
        ModelError, SelectionError: as `intervene`.
        InterventionError: as `intervene`; or the neurons are in routed experts, or where no module applies the
            activation.
    """
    ablation, places = changes(model, neurons, zero, mode, scan)
    return tuple(_hook(site, change, ablation.chosen.on_output) for site, change in places.items())


def changes(
    model: Model, neurons: NeuronSet, zero: Zero | None, mode: Mode | None, scan: Scan | None
) -> tuple[Ablation, dict[Site, Change]]:
    """The intervention, and what it does at the sites of chosen neurons, where these are modules that see every token.

    Raises:
        ModelError, InterventionError, SelectionError: as `torch_hooks`.
    """
    ablation = make_ablation(model, neurons, zero, mode, scan)
    for site in ablation.edits:
        found = None
        if site.experts:
            found = "routed experts: which neuron a row of the activation belongs to depends on the routing"
        elif override_of(model.module.get_submodule(site.path)) is not None:
            found = "a model that computes its activation in line, without a module that could have a hook"
        elif not site.alone:
            found = "an activation module that several layers share"
        if found:
            raise InterventionError(
                f"hooks for the neurons at {site.path} of {model.source.name}",
                found,
                "use negspace.intervene, which knows how to reach them; or restrict the set to other layers",
            )
    # Where `intervene` writes in place, the activation sees the old strides, by which its last bit may be rounded.
    return ablation, {site: _change(edit, ablation.in_place) for site, edit in ablation.edits.items()}


def _change(edit: Edit, strided: bool) -> Change:
    def change(*tensors: torch.Tensor) -> torch.Tensor:
        value, out = tensors[-1], None
        if strided and not (torch.is_grad_enabled() and value.requires_grad):
            out = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
        return edit(*tensors, experts=None, out=out)

    return change


def _hook(site: Site, change: Change, on_output: bool) -> TorchHook:
    def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (change(args[0]), *args[1:])

    def after(_: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        return change(args[0], output)

    return TorchHook(site.path, "output", after) if on_output else TorchHook(site.path, "input", before)

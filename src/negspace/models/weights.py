"""The input weights of neurons: for each, the vector whose product with the MLP's input is its pre-activation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from negspace.models import probe
from negspace.models.experts import experts_ancestor, gate_weights
from negspace.models.model import Model
from negspace.models.overrides import activation
from negspace.models.site import Site


def input_weights(
    model: Model, neurons: Mapping[str, NDArray[np.int64]]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Input weights of neurons, without bias, copied to memory.

    Whatever the layout (plain, a slice of a fused projection, Conv1D's transpose, experts' three-dimensional
    parameters), the rows are proved in one forward pass over a few tokens: weights times input, plus bias, must give
    the pre-activation. Where that fails (quantised weights, adapters), or where the model changes the projection's
    output before its activation, input weights are not defined, and the site is left out with the reason.

    Args:
        model: the model.
        neurons: path of a site -> neurons, as flat indices (expert * width + index).

    Returns:
        Path -> weights [neurons, hidden] in the order of the indices; and path -> reason for what is left out.
    """
    sites = [site for site in model.sites if site.path in neurons]
    watched: dict[str, torch.nn.Module] = {}
    with ExitStack() as stack:
        for site in sites:
            if site.projection is not None:
                watched[site.projection] = model.module.get_submodule(site.projection)
                watched[f"{site.path}()"] = stack.enter_context(activation(model.module, site.path, site.alone))
        seen = probe.observe(model.module, watched) if watched else None
    found: dict[str, NDArray[np.float32]] = {}
    left: dict[str, str] = {}
    for site in sites:
        if site.experts:
            chosen = _of_experts(model.module, site, neurons[site.path])
        elif site.projection is None:
            chosen = "the model changes the projection's output before the activation"
        else:
            assert seen is not None
            projected, activated = seen.calls[site.projection][0], seen.calls[f"{site.path}()"][0]
            projection = model.module.get_submodule(site.projection)
            chosen = _of_projection(projection, projected, activated.args[0], neurons[site.path])
        if isinstance(chosen, str):
            left[site.path] = chosen
        else:
            found[site.path] = chosen.detach().to("cpu", torch.float32).numpy().copy()
    return found, left


def _of_projection(
    projection: Any, call: probe.Call, a: torch.Tensor, neurons: NDArray[np.int64]
) -> torch.Tensor | str:
    weight, bias = getattr(projection, "weight", None), getattr(projection, "bias", None)
    name = type(projection).__name__
    if not isinstance(weight, torch.Tensor) or weight.dim() != 2 or not weight.is_floating_point():
        return f"its projection ({name}) keeps no matrix of plain numbers"
    x = probe.first_tensor(call.args)
    if x is None or call.out is None:
        return f"its projection ({name}) takes no tensor"
    outputs, width = call.out.shape[-1], a.shape[-1]
    flat, inputs, target = call.out.reshape(-1, outputs), x.reshape(-1, x.shape[-1]), a.reshape(-1, width)
    part = next((part for part in probe.parts(outputs, width) if torch.equal(flat[:, part], target)), None)
    if part is None:
        return f"no slice of its projection ({name}) is the pre-activation"
    chosen_rows = torch.tensor(neurons)  # a copy: sets of neurons are read-only, which torch has no notion of
    at = torch.arange(outputs)[part][chosen_rows].to(weight.device)
    hidden = inputs.shape[-1]
    for shape, take in (((outputs, hidden), lambda: weight[at]), ((hidden, outputs), lambda: weight[:, at].T)):
        if tuple(weight.shape) == shape:
            chosen = take()
            by_hand = inputs.double() @ chosen.double().T + (0.0 if bias is None else bias[at].double())
            if probe.agreement(target[:, chosen_rows.to(target.device)], by_hand, weight.dtype) >= probe.AGREED:
                return chosen
    return f"its projection ({name}) does more than multiply by its weights"


def _of_experts(root: Any, site: Site, neurons: NDArray[np.int64]) -> torch.Tensor | str:
    holder = experts_ancestor(root, site.path)
    assert holder is not None  # resolve() gives a site experts only when there is one
    rows = []
    # That these are the rows which the activation sees was proved when the site was resolved.
    for expert in np.unique(neurons // site.width):
        weight = gate_weights(holder[1], int(expert))
        if weight is None or weight.shape[0] != site.width:
            return "its experts' parameters have a layout of their own"
        inside = neurons[neurons // site.width == expert] % site.width
        rows.append(weight[torch.tensor(inside, device=weight.device)])
    order = np.argsort(neurons // site.width, kind="stable")
    back = torch.tensor(np.argsort(order, kind="stable"), device=rows[0].device)
    return torch.cat(rows)[back]

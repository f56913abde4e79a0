"""Input weights: whatever the layout, their product with what enters the MLP moves the pre-activation one for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import zoo
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.taps import tap
from negspace.models.weights import input_weights

NAMES = ("gpt_neox", "gpt2", "phi3", "glm", "opt", "mpt", "lfm2", "mixtral", "qwen2_moe", "gpt_oss", "ernie4_5_moe")


def everything(model: Model) -> dict[str, np.ndarray]:
    """All neurons of all sites, in an order that is not sorted."""
    rng = np.random.default_rng(0)
    return {site.path: rng.permutation(site.size) for site in model.sites}


@pytest.mark.parametrize("name", NAMES)
def test_differences_of_inputs_give_differences_of_pre_activations(name: str) -> None:
    model = wrap(zoo.build(name), zoo.tokenizer())
    neurons = everything(model)
    found, left = input_weights(model, neurons)
    assert not left
    assert set(found) == set(neurons)
    rows: dict[str, list[Any]] = {site.path: [] for site in model.sites}
    with (
        torch.no_grad(),
        tap(
            model,
            before=lambda site, a, experts: rows[site.path].append((a.clone().reshape(-1, site.width), experts)),
            inputs=lambda site, x, experts: rows[site.path].append(x.clone().reshape(-1, x.shape[-1])),
        ),
    ):
        model.module(zoo.ids())
    for site in model.sites:
        x, (a, experts) = rows[site.path]
        expert = torch.zeros(len(a), dtype=torch.int64) if experts is None else experts
        compared = 0
        for number in range(max(1, site.experts)):
            mine = expert == number
            weights = np.empty((site.size, x.shape[-1]), np.float32)
            weights[neurons[site.path]] = found[site.path]  # row n of what was asked for belongs to neuron n
            own = torch.tensor(weights[number * site.width : (number + 1) * site.width])
            # Differences between tokens, so that a bias falls out.
            dx, da = x[mine].diff(dim=0), a[mine].diff(dim=0)
            torch.testing.assert_close(dx @ own.T, da, rtol=1e-4, atol=1e-4)
            compared += len(dx)
        assert compared > 3


def test_weights_are_copies() -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    path = model.sites[0].path
    before, _ = input_weights(model, {path: np.array([3])})
    before[path][:] = 0
    again, _ = input_weights(model, {path: np.array([3])})
    assert again[path].shape == (1, zoo.HIDDEN)
    assert np.abs(again[path]).min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_projection_that_does_more_than_multiply_is_left_out_with_the_reason(dtype: torch.dtype) -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = super().forward(x)
            return torch.cat([out[..., :1], 2 * out[..., 1:]], dim=-1)

    module = zoo.build("llama")
    for number, layer in enumerate(module.model.layers):
        if number == 1:
            old = layer.mlp.gate_proj
            new = Doubled(old.in_features, old.out_features, bias=False)
            new.weight = old.weight
            layer.mlp.gate_proj = new.eval()
        with torch.no_grad():
            layer.mlp.gate_proj.weight[0] *= 20  # a large neuron that is right excuses no other
    model = wrap(module.to(dtype), zoo.tokenizer())
    neurons = {site.path: np.arange(4) for site in model.sites}
    found, left = input_weights(model, neurons)
    assert list(found) == [model.sites[0].path]
    assert left == {model.sites[1].path: "its projection (Doubled) does more than multiply by its weights"}


def test_a_projection_without_plain_weights_is_left_out_with_the_reason() -> None:
    class Packed(torch.nn.Module):
        def __init__(self, inner: torch.nn.Linear) -> None:
            super().__init__()
            self.register_buffer("packed", inner.weight.detach())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.packed.T

    module = zoo.build("llama")
    module.model.layers[0].mlp.gate_proj = Packed(module.model.layers[0].mlp.gate_proj)
    model = wrap(module.eval(), zoo.tokenizer())
    _, left = input_weights(model, {model.sites[0].path: np.arange(4)})
    assert left == {model.sites[0].path: "its projection (Packed) keeps no matrix of plain numbers"}

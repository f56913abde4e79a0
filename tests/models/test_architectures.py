"""Every architecture of the zoo: its sites, what zeroing negatives does there, and that nothing is left behind."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import by_hand
import zoo
from negspace.errors import SiteError
from negspace.intervention import intervene
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.sites import resolve
from negspace.models.taps import tap
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet

# Widths that follow from the architecture's own rules instead of being given.
WIDTHS = {
    "bloom": 4 * zoo.HIDDEN,
    "mpt": 4 * zoo.HIDDEN,
    "gpt_neox_japanese": 2 * zoo.HIDDEN,
    "openai-gpt": 4 * zoo.HIDDEN,
}
SHARED = {
    "afmoe": 2 * zoo.WIDTH,
    "minimax_m3_vl_text": zoo.WIDTH // 2,
    "qwen2_moe": zoo.WIDTH // 2,
    "qwen3_next": zoo.WIDTH // 2,
}
WITH_SHARED = {
    *("afmoe", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "glm4_moe", "granitemoeshared", "hunyuan_v1_moe"),
    *("qwen2_moe", "qwen3_next", "axk2", "hy_v4", "llama4_text", "longcat_flash", "minimax_m3_vl_text"),
}
DENSE_FIRST = {
    *("afmoe", "axk2", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "glm4_moe", "hy_v4", "jamba"),
    *("lfm2_moe", "llama4_text", "minimax_m3_vl_text"),
}
# Layers, and those of them that have an MLP: the others are state-space or attention layers.
HYBRID = {"nemotron_h": (3, [1]), "zamba2": (3, [1, 2])}
IDLE = {"longcat_flash", "zaya"}
ZERO_BELOW_ZERO = {"relu", "relu2"}


def logits(model: Model) -> torch.Tensor:
    with torch.no_grad():
        return model.module(input_ids=zoo.ids(), use_cache=False).logits


def state(module: nn.Module) -> list[Any]:
    """All that a tap could leave behind on any part of a model."""
    return [
        (path, sorted(part.__dict__), len(part._forward_hooks), len(part._forward_pre_hooks), list(part._modules))
        for path, part in module.named_modules()
    ]


def zero_negative(_site: Any, a: torch.Tensor, _experts: Any) -> torch.Tensor:
    return a.clamp_min(0)


def close(found: Model, one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal bit for bit, but for sums whose order or memory layout a plain loop cannot share."""
    if any(site.experts for site in found.sites):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    elif any("up_proj" in str(s.projection) or "Wi" in str(s.projection) or s.projection is None for s in found.sites):
        # The gate is a strided view of a fused projection; kernels round the last bit by the memory's layout.
        torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-5)
    else:
        assert torch.equal(one, other)


@pytest.fixture(scope="module", params=[*zoo.DENSE, *zoo.LOOPED, *zoo.MIXTURES])
def model(request: pytest.FixtureRequest) -> tuple[str, Model]:
    return request.param, wrap(zoo.build(request.param), zoo.tokenizer(), name=request.param)


def test_zoo_is_large_enough() -> None:
    assert len(zoo.DENSE) >= 45
    assert len(zoo.MIXTURES) >= 15


def test_sites(model: tuple[str, Model]) -> None:
    name, found = model
    if name in HYBRID:
        layers, places = HYBRID[name]
        assert [(site.layer, site.width) for site in found.sites] == [(place, zoo.WIDTH) for place in places]
        assert found.layers == layers
        return
    assert found.layers == (2 if name in zoo.LOOPED else 1) * zoo.LAYERS
    expected: list[tuple[int, str, int, int]] = []
    for layer in range(found.layers):
        if name in zoo.DENSE or name in zoo.LOOPED or (name in DENSE_FIRST and layer == 0):
            expected.append((layer, "mlp", WIDTHS.get(name, zoo.WIDTH), 0))
            continue
        expected.append((layer, "experts", zoo.WIDTH, zoo.EXPERTS))
        if name in WITH_SHARED:
            expected.append((layer, "shared", SHARED.get(name, zoo.WIDTH), 0))
        if name == "longcat_flash":
            expected.append((layer, "second", zoo.WIDTH, 0))
    assert [(s.layer, s.branch, s.width, s.experts) for s in found.sites] == expected
    for site in found.sites:
        assert (site.projection is None) == bool(site.experts)
        assert site.size == site.width * max(1, site.experts)
        found.module.get_submodule(site.path)
    assert len({site.path for site in found.sites}) == len(found.sites)


def test_zero_negative_equals_by_hand_and_is_undone(model: tuple[str, Model]) -> None:
    _, found = model
    before, plain = state(found.module), logits(found)
    with tap(found, before=zero_negative):
        tapped = logits(found)
    with by_hand.clamped(found, by_hand.every_neuron(found)):
        right = logits(found)
    assert torch.equal(logits(found), plain)
    assert state(found.module) == before
    close(found, tapped, right)
    if {site.activation for site in found.sites} <= ZERO_BELOW_ZERO:
        assert torch.equal(tapped, plain)
    else:
        assert (tapped - plain).abs().max() > 1e-4


def test_chosen_neurons_are_the_ones_that_change(model: tuple[str, Model]) -> None:
    _, found = model
    plain = logits(found)
    chosen, others = (by_hand.some_neurons(found, seed) for seed in (1, 2))
    layout = Layout.of(found.sites)
    neurons = NeuronSet({path: np.flatnonzero(mask.reshape(-1)) for path, mask in chosen.items()}, layout)
    with intervene(found, neurons, zero="negative"):
        changed = logits(found)
    with intervene(found, NeuronSet({}, layout), zero="negative"):
        assert torch.equal(logits(found), plain)
    assert torch.equal(logits(found), plain)
    with by_hand.clamped(found, chosen):
        close(found, changed, logits(found))
    if not {site.activation for site in found.sites} <= ZERO_BELOW_ZERO:
        with by_hand.clamped(found, others):
            assert (changed - logits(found)).abs().max() > 1e-4


def test_silent_taps_change_no_bit(model: tuple[str, Model]) -> None:
    _, found = model
    plain, seen = logits(found), []
    with tap(
        found,
        before=lambda site, a, experts: seen.append((site, a.shape, experts)),
        after=lambda site, a, out, experts: None,
        inputs=lambda site, x, experts: None,
    ):
        assert torch.equal(logits(found), plain)
    assert {site for site, _, _ in seen} == set(found.sites)
    calls = Counter(site for site, _, _ in seen)
    assert all(calls[site] == site.passes for site in found.sites if not site.experts)
    tokens = zoo.ids().numel()
    for site in found.sites:
        rows = [(shape, experts) for s, shape, experts in seen if s == site]
        for shape, experts in rows:
            assert shape[-1] == site.width
            if site.experts:
                assert experts.shape == (shape[0],)
            else:
                assert experts is None
                assert shape.numel() == tokens * site.width
        if site.experts:
            routed = sum(shape[0] for shape, _ in rows)
            # Where an expert does nothing, its tokens are no rows.
            assert routed < tokens * 2 if found.source.name in IDLE else routed == tokens * 2


@pytest.mark.parametrize(
    ("name", "why"), [("mamba", "no MLP that treats each token alone"), ("prophetnet", "18 rows for 6 tokens")]
)
def test_refusals_say_why(name: str, why: str) -> None:
    module = zoo.build(name)
    before = state(module)
    with pytest.raises(SiteError, match=why):
        resolve(module)
    assert state(module) == before


def test_every_refusal_is_listed() -> None:
    assert set(zoo.REFUSED) == {"mamba", "prophetnet"}

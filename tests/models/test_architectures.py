"""Every architecture of the zoo: its sites, what zeroing negatives does there, and that nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import zoo
from negspace.errors import SiteError
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.sites import resolve
from negspace.models.taps import tap

# Widths that follow from the architecture's own rules instead of being given.
WIDTHS = {"bloom": 4 * zoo.HIDDEN, "mpt": 4 * zoo.HIDDEN, "gpt_neox_japanese": 2 * zoo.HIDDEN}
SHARED = {"afmoe": 2 * zoo.WIDTH, "qwen2_moe": zoo.WIDTH // 2, "qwen3_next": zoo.WIDTH // 2}
WITH_SHARED = {
    *("afmoe", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "glm4_moe", "granitemoeshared", "hunyuan_v1_moe"),
    *("qwen2_moe", "qwen3_next"),
}
DENSE_FIRST = {"afmoe", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "glm4_moe", "jamba", "lfm2_moe"}
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


@contextmanager
def clamped_by_hand(model: Model) -> Iterator[None]:
    """Negatives zeroed without taps: at the projection's output, or in a plain loop over experts."""
    with ExitStack() as stack:
        for site in model.sites:
            if site.experts:
                holder = model.module.get_submodule(site.path.removesuffix(".act_fn"))
                stack.enter_context(replaced(holder, plain_experts(holder)))
            else:
                assert site.projection is not None
                projection = model.module.get_submodule(site.projection)
                stack.callback(projection.register_forward_hook(clamp_first(site.width)).remove)
        yield


def clamp_first(width: int) -> Callable[..., torch.Tensor]:
    def hook(_module: nn.Module, _args: Any, out: torch.Tensor) -> torch.Tensor:
        assert out.shape[-1] in (width, 2 * width)
        return torch.cat([out[..., :width].clamp_min(0), out[..., width:]], dim=-1)

    return hook


@contextmanager
def replaced(module: nn.Module, forward: Callable[..., torch.Tensor]) -> Iterator[None]:
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        del module.__dict__["forward"]


def plain_experts(experts: Any) -> Callable[..., torch.Tensor]:
    """One token and one expert at a time, with the negatives of the gate zeroed."""

    def forward(hidden: torch.Tensor, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(hidden)
        for token in range(hidden.shape[0]):
            for rank in range(index.shape[1]):
                e = int(index[token, rank])
                if type(experts).__name__ == "GptOssExperts":
                    both = hidden[token] @ experts.gate_up_proj[e] + experts.gate_up_proj_bias[e]
                    gate, up = both[::2].clamp_min(0).clamp(max=experts.limit), both[1::2]
                    hidden_act = gate * torch.sigmoid(gate * experts.alpha)
                    inner = (up.clamp(-experts.limit, experts.limit) + 1) * hidden_act
                    result = inner @ experts.down_proj[e] + experts.down_proj_bias[e]
                elif hasattr(experts, "gate_up_proj"):
                    gate, up = (experts.gate_up_proj[e] @ hidden[token]).chunk(2)
                    result = experts.down_proj[e] @ (F.silu(gate.clamp_min(0)) * up)
                else:
                    raise AssertionError("experts without a gate")
                out[token] += weights[token, rank] * result
        return out

    return forward


@pytest.fixture(scope="module", params=[*zoo.DENSE, *zoo.MIXTURES])
def model(request: pytest.FixtureRequest) -> tuple[str, Model]:
    return request.param, wrap(zoo.build(request.param), zoo.tokenizer(), name=request.param)


def test_zoo_is_large_enough() -> None:
    assert len(zoo.DENSE) >= 45
    assert len(zoo.MIXTURES) >= 15


def test_sites(model: tuple[str, Model]) -> None:
    name, found = model
    if name == "nemotron_h":  # a hybrid: its state-space and attention layers have no MLP
        assert [(site.layer, site.width) for site in found.sites] == [(1, zoo.WIDTH)]
        assert found.layers == 3
        return
    assert found.layers == zoo.LAYERS
    expected: list[tuple[int, str, int, int]] = []
    for layer in range(zoo.LAYERS):
        if name in zoo.DENSE or (name in DENSE_FIRST and layer == 0):
            expected.append((layer, "mlp", WIDTHS.get(name, zoo.WIDTH), 0))
            continue
        expected.append((layer, "experts", zoo.WIDTH, zoo.EXPERTS))
        if name in WITH_SHARED:
            expected.append((layer, "shared", SHARED.get(name, zoo.WIDTH), 0))
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
    with clamped_by_hand(found):
        by_hand = logits(found)
    assert torch.equal(logits(found), plain)
    assert state(found.module) == before
    if any(site.experts for site in found.sites):
        torch.testing.assert_close(tapped, by_hand, atol=2e-5, rtol=1e-4)
    elif "gate_up_proj" in str(found.sites) or "Wi" in str(found.sites):
        # The gate is a strided view of a fused projection; kernels round the last bit by the memory's layout.
        torch.testing.assert_close(tapped, by_hand, atol=2e-6, rtol=1e-5)
    else:
        assert torch.equal(tapped, by_hand)
    if {site.activation for site in found.sites} <= ZERO_BELOW_ZERO:
        assert torch.equal(tapped, plain)
    else:
        assert (tapped - plain).abs().max() > 1e-4


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
    assert [site for site, _, _ in seen] == list(found.sites) or any(s.branch == "shared" for s in found.sites)
    for site, shape, experts in seen:
        assert shape[-1] == site.width
        tokens = zoo.ids().numel()
        if site.experts:
            assert experts.shape == (shape[0],)
            assert shape[0] == tokens * 2
        else:
            assert experts is None
            assert shape.numel() == tokens * site.width


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("jetmoe", "experts routed in a way of the model's own"),
        ("llama4_text", "experts routed in a way of the model's own"),
        ("dbrx", "where once was expected"),
        ("mamba", "has no MLP"),
        ("openai-gpt", "one activation module in two places"),
    ],
)
def test_refusals_say_why(name: str, why: str) -> None:
    module = zoo.build(name)
    before = state(module)
    with pytest.raises(SiteError, match=why):
        resolve(module)
    assert state(module) == before


def test_every_refusal_is_listed() -> None:
    assert set(zoo.REFUSED) == {"jetmoe", "llama4_text", "dbrx", "mamba", "openai-gpt"}

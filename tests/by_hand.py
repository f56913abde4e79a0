"""MLPs and mixtures of experts computed plainly, one token and one expert at a time, with negatives of chosen neurons
set to zero: what taps and interventions are compared with. Nothing here knows of taps, routings or overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from negspace.models.model import Model

Clamp = Callable[[torch.Tensor, int], torch.Tensor]
"""Sets the negatives of the chosen neurons of an expert to zero in its pre-activations [..., width]."""
Forward = Callable[..., Any]


def every_neuron(model: Model) -> dict[str, torch.Tensor]:
    """Path of a site -> which neurons, bool [experts, width] (one row for a dense site): all of them."""
    return {site.path: torch.ones(max(1, site.experts), site.width, dtype=torch.bool) for site in model.sites}


def some_neurons(model: Model, seed: int, share: float = 0.3) -> dict[str, torch.Tensor]:
    """The same for a random share of the neurons."""
    draw = torch.Generator().manual_seed(seed)
    return {path: torch.rand(mask.shape, generator=draw) < share for path, mask in every_neuron(model).items()}


@contextmanager
def clamped(model: Model, chosen: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Zero the chosen neurons' negatives without taps: at a projection's output, or in a forward method written out."""
    with ExitStack() as stack:
        for site in model.sites:
            mask = chosen[site.path]

            def clamp(a: torch.Tensor, expert: int, mask: torch.Tensor = mask) -> torch.Tensor:
                return torch.where(mask[expert], a.clamp_min(0), a)

            table = EXPERTS if site.experts else MLPS
            owner = _owner(model.module, site.path, table)
            if owner is not None:
                stack.enter_context(_replaced(owner, table[type(owner).__name__](owner, clamp)))
            elif site.experts:
                raise AssertionError(f"{site.path}: no plain forward is written for it")
            else:
                assert site.projection is not None
                projection = model.module.get_submodule(site.projection)
                stack.callback(projection.register_forward_hook(_first(site.width, clamp)).remove)
        yield


def _owner(root: nn.Module, path: str, table: Mapping[str, Any]) -> Any:
    parts = path.split(".")
    above = (root.get_submodule(".".join(parts[:depth])) for depth in range(len(parts), 0, -1))
    return next((module for module in above if type(module).__name__ in table), None)


def _first(width: int, clamp: Clamp) -> Callable[..., torch.Tensor]:
    def hook(_module: nn.Module, _args: Any, out: torch.Tensor) -> torch.Tensor:
        assert out.shape[-1] in (width, 2 * width)
        return torch.cat([clamp(out[..., :width], 0), out[..., width:]], dim=-1)

    return hook


@contextmanager
def _replaced(module: nn.Module, forward: Forward) -> Iterator[None]:
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        del module.__dict__["forward"]


def _each(run: Callable[[Any, torch.Tensor, int, Clamp], torch.Tensor]) -> Callable[[Any, Clamp], Forward]:
    """Experts that are given tokens, the experts of each, and their weights."""

    def plain(experts: Any, clamp: Clamp) -> Forward:
        def forward(hidden: torch.Tensor, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            flat = hidden.reshape(-1, hidden.shape[-1])
            out = torch.zeros_like(flat)
            for token in range(flat.shape[0]):
                for rank in range(index.shape[1]):
                    result = run(experts, flat[token], int(index[token, rank]), clamp)
                    out[token] += weights[token, rank] * result
            return out.reshape(hidden.shape)

        return forward

    return plain


def _silu(experts: Any, x: torch.Tensor, e: int, clamp: Clamp) -> torch.Tensor:
    gate, up = (experts.gate_up_proj[e] @ x).chunk(2)
    return experts.down_proj[e] @ (F.silu(clamp(gate, e)) * up)


def _gpt_oss(experts: Any, x: torch.Tensor, e: int, clamp: Clamp) -> torch.Tensor:
    both = x @ experts.gate_up_proj[e] + experts.gate_up_proj_bias[e]
    gate, up = clamp(both[::2], e).clamp(max=experts.limit), both[1::2]
    inner = (up.clamp(-experts.limit, experts.limit) + 1) * gate * torch.sigmoid(gate * experts.alpha)
    return inner @ experts.down_proj[e] + experts.down_proj_bias[e]


def _hy_v4(experts: Any, x: torch.Tensor, e: int, clamp: Clamp) -> torch.Tensor:
    gate, up = (experts.gate_up_proj[e] @ x).chunk(2)
    limit = experts.swiglu_limit
    return experts.down_proj[e] @ (F.silu(clamp(gate, e).clamp(max=limit)) * up.clamp(-limit, limit))


def _minimax_m3(experts: Any, x: torch.Tensor, e: int, clamp: Clamp) -> torch.Tensor:
    gate, up = (experts.gate_up_proj[e] @ x).chunk(2)
    gate = clamp(gate, e).clamp(max=experts.swiglu_limit)
    up = up.clamp(-experts.swiglu_limit, experts.swiglu_limit)
    return experts.down_proj[e] @ ((up + 1) * gate * torch.sigmoid(gate * experts.swiglu_alpha))


def _inkling2(experts: Any, x: torch.Tensor, e: int, clamp: Clamp) -> torch.Tensor:
    gate, up = (experts.gate_up_proj[e] @ x).chunk(2)
    gate, cap = clamp(gate, e), experts.act_fn.gate_softcap.softcap
    wide = experts.act_fn.up_softcap.softcap
    inner = cap * torch.tanh(gate / cap) * torch.sigmoid(gate) * wide * torch.tanh(up / wide)
    return experts.down_proj[e] @ inner


def _dbrx(experts: Any, x: torch.Tensor, e: int, clamp: Clamp) -> torch.Tensor:
    width = experts.ffn_hidden_size
    w1, v1, w2 = (w[e * width : (e + 1) * width] for w in (experts.mlp.w1, experts.mlp.v1, experts.mlp.w2))
    return (F.silu(clamp(w1 @ x, e)) * (v1 @ x)) @ w2


def _longcat(experts: Any, x: torch.Tensor, e: int, clamp: Clamp) -> torch.Tensor:
    return x if e >= experts.num_routed_experts else _silu(experts, x, e, clamp)


def _jetmoe(moe: Any, clamp: Clamp) -> Forward:
    def forward(given: torch.Tensor) -> torch.Tensor:
        flat = given.reshape(-1, given.shape[-1])
        out = torch.zeros_like(flat)
        for token, x in enumerate(flat):
            best = (moe.router.layer.weight @ x).topk(moe.router.top_k)
            for e, share in zip(best.indices.tolist(), torch.softmax(best.values, 0), strict=True):
                gate, up = (moe.input_linear.weight[e] @ x).chunk(2)
                out[token] += share * (moe.output_linear.weight[e] @ (F.silu(clamp(gate, e)) * up))
        return (out + moe.bias).reshape(given.shape)

    return forward


def _llama4(moe: Any, clamp: Clamp) -> Forward:
    def forward(given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat = given.reshape(-1, given.shape[-1])
        out = moe.shared_expert(flat).clone()
        for token, x in enumerate(flat):
            best = (moe.router.weight @ x).topk(moe.top_k)
            for e, score in zip(best.indices.tolist(), torch.sigmoid(best.values), strict=True):
                gate, up = ((x * score) @ moe.experts.gate_up_proj[e]).chunk(2)
                out[token] += (up * F.silu(clamp(gate, e))) @ moe.experts.down_proj[e]
        return out, flat @ moe.router.weight.T

    return forward


def _minimax_m3_dense(mlp: Any, clamp: Clamp) -> Forward:
    def forward(hidden: torch.Tensor) -> torch.Tensor:
        gate, up = mlp.gate_up_proj(hidden).chunk(2, dim=-1)
        gate = clamp(gate, 0).clamp(max=mlp.swiglu_limit)
        up = up.clamp(-mlp.swiglu_limit, mlp.swiglu_limit)
        return mlp.down_proj((up + 1) * gate * torch.sigmoid(gate * mlp.swiglu_alpha))

    return forward


def _zamba2(mlp: Any, clamp: Clamp) -> Forward:
    def forward(hidden: torch.Tensor, layer: int) -> torch.Tensor:
        both = mlp.gate_up_proj(hidden) + mlp.gate_up_proj_adapter_list[mlp.layer_dic[layer]](hidden)
        gate, up = both.chunk(2, dim=-1)
        return mlp.down_proj(F.gelu(clamp(gate, 0)) * up)

    return forward


MLPS: dict[str, Callable[[Any, Clamp], Forward]] = {"MiniMaxM3VLDenseMLP": _minimax_m3_dense, "Zamba2MLP": _zamba2}
"""Class of an MLP that no hook on a projection reaches -> its forward method written out."""
EXPERTS: dict[str, Callable[[Any, Clamp], Forward]] = {
    "DbrxExperts": _each(_dbrx),
    "GptOssExperts": _each(_gpt_oss),
    "HYV4Experts": _each(_hy_v4),
    "Inkling2Experts": _each(_inkling2),
    "JetMoeMoE": _jetmoe,
    "Llama4TextMoe": _llama4,
    "LongcatFlashExperts": _each(_longcat),
    "MiniMaxM3VLExperts": _each(_minimax_m3),
    **dict.fromkeys(
        (
            *("AXK2Experts", "AfmoeExperts", "DeepseekV2Experts", "DeepseekV3Experts", "Dots1Experts"),
            *("Ernie4_5_MoeExperts", "FlexOlmoExperts", "Glm4MoeExperts", "GraniteMoeExperts"),
            *("GraniteMoeSharedExperts", "HunYuanMoEV1Experts", "JambaExperts", "Lfm2MoeExperts", "MiniMaxM2Experts"),
            *("MixtralExperts", "OlmoeExperts", "PhimoeExperts", "Qwen2MoeExperts", "Qwen3MoeExperts"),
            *("Qwen3NextExperts", "ZayaExperts"),
        ),
        _each(_silu),
    ),
}
"""The same of a module that holds routed experts."""

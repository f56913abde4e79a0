"""Finding sites: decoys that must not be taken, and models that must be refused with the reason."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import zoo
from negspace.errors import ModelError, SiteError
from negspace.models.layers import decoder_layers
from negspace.models.sites import resolve


def paths(module: Any) -> list[str]:
    return [site.path for site in resolve(module)]


def patch(module: Any, forward: Any) -> Any:
    """Give the MLPs of a Llama another forward, as kernels that replace it do."""
    for layer in module.model.layers:
        layer.mlp.forward = forward.__get__(layer.mlp)
    return module


def test_gemma3n_second_activation_is_not_taken() -> None:
    module: Any = zoo.build("gemma3n_text")
    assert isinstance(module.model.layers[0].act_fn, nn.Module)  # the decoy: also gated, also in every layer
    assert paths(module) == ["model.layers.0.mlp.act_fn", "model.layers.1.mlp.act_fn"]


def test_gemma3n_with_sparse_layers_resolves_without_a_projection_there() -> None:
    # Its first layers cut the gate off below a quantile before the activation sees it.
    sites = resolve(zoo.build("gemma3n_text", activation_sparsity_pattern=[0.9, 0.0]))
    assert [site.projection for site in sites] == [None, "model.layers.1.mlp.gate_proj"]


def test_the_head_s_activation_is_not_taken() -> None:
    module = zoo.build("modernbert-decoder")
    decoys = [name for name, part in module.named_modules() if name.endswith("act") and "layers" not in name]
    assert decoys == ["lm_head.act"]
    assert paths(module) == ["model.layers.0.mlp.act", "model.layers.1.mlp.act"]


def test_state_space_activations_are_not_taken() -> None:
    module: Any = zoo.build("jamba")
    assert isinstance(module.model.layers[0].mamba.act, nn.Module)
    assert paths(module) == ["model.layers.0.feed_forward.act_fn", "model.layers.1.feed_forward.experts.act_fn"]


def test_a_router_s_activation_is_not_taken() -> None:
    module: Any = zoo.build("deepseek_v3")
    gate = module.model.layers[1].mlp.gate

    class Scored(type(gate)):
        def forward(self, x: torch.Tensor) -> Any:
            self.score(F.linear(x.reshape(-1, x.shape[-1]).float(), self.weight.float()))
            return super().forward(x)

    gate.__class__ = Scored
    gate.score = nn.Sigmoid()
    assert [s.path for s in resolve(module) if s.layer == 1] == [
        "model.layers.1.mlp.experts.act_fn",
        "model.layers.1.mlp.shared_experts.act_fn",
    ]


def test_models_with_function_activations_in_one_layer_are_refused() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

    module: Any = zoo.build("llama")
    del module.model.layers[1].mlp.act_fn
    module.model.layers[1].mlp.forward = forward.__get__(module.model.layers[1].mlp)
    with pytest.raises(SiteError, match="site of layer 1"):
        resolve(module)


def test_a_fused_kernel_is_refused_with_its_setting() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

    with pytest.raises(SiteError, match="is never called") as caught:
        resolve(patch(zoo.build("llama"), forward))
    assert "swiglu=False" in caught.value.todo
    assert "use_kernels=False" in caught.value.todo


def test_a_fused_kernel_for_experts_is_refused_beside_a_shared_expert() -> None:
    module: Any = zoo.build("qwen2_moe")
    for layer in module.model.layers:
        layer.mlp.experts.forward = lambda hidden, index, weights: hidden * weights.sum(-1, keepdim=True)
    with pytest.raises(SiteError, match=r"experts\.act_fn is never called"):
        resolve(module)


def test_an_activation_called_twice_is_refused() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.act_fn(self.up_proj(x)))

    with pytest.raises(SiteError, match="called 2 times in one forward pass"):
        resolve(patch(zoo.build("llama"), forward))


def test_an_mlp_with_a_way_around_the_activation_is_refused() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x) + self.up_proj(x))

    with pytest.raises(SiteError, match="does not pass through it alone"):
        resolve(patch(zoo.build("llama"), forward))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_small_way_around_is_seen_in_every_dtype(dtype: torch.dtype) -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x)) + 0.01 * x

    with pytest.raises(SiteError, match="does not pass through it alone"):
        resolve(patch(zoo.build("llama").to(dtype), forward))


def test_an_activation_whose_output_is_not_used_is_refused() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        self.act_fn(self.gate_proj(x))
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

    with pytest.raises(SiteError, match="does not pass through it alone"):
        resolve(patch(zoo.build("llama"), forward))


def test_a_block_that_mixes_tokens_is_no_mlp() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        x = x + x.roll(1, dims=-2)
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))

    with pytest.raises(SiteError, match="no MLP that treats each token alone"):
        resolve(patch(zoo.build("llama"), forward))


def test_one_activation_for_all_layers_is_told_apart_by_its_places() -> None:
    module: Any = zoo.build("openai-gpt")
    acts = [block.mlp.act for block in module.transformer.h]
    assert acts[0] is acts[1]
    sites = resolve(module)
    assert [(site.path, site.alone) for site in sites] == [(f"transformer.h.{n}.mlp.act", False) for n in (0, 1)]
    assert [block.mlp.act for block in module.transformer.h] == acts
    for block in module.transformer.h:
        block.mlp.act = copy.deepcopy(block.mlp.act)
    assert [replace(site, alone=False) for site in resolve(module)] == list(sites)


def test_one_mlp_for_two_layers_is_refused_and_the_remedy_works() -> None:
    module: Any = zoo.build("llama")
    module.model.layers[1].mlp = module.model.layers[0].mlp
    with pytest.raises(SiteError, match="cannot be told apart") as caught:
        resolve(module)
    assert "copy.deepcopy" in caught.value.todo
    module.model.layers[1].mlp = copy.deepcopy(module.model.layers[0].mlp)
    assert len(resolve(module)) == 2


def test_gated_norms_are_not_taken_for_mlps() -> None:
    module: Any = zoo.build("axk2")
    decoys = [path for path, part in module.named_modules() if isinstance(part, nn.SiLU) and "layernorm" in path]
    assert len(decoys) == 3  # the norm before the first layer's MLP is a plain one
    assert not {site.path for site in resolve(module)} & set(decoys)


def test_a_block_with_a_way_around_is_refused_although_another_mlp_is_there() -> None:
    class Leaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.act, self.down = nn.Linear(32, 8), nn.SiLU(), nn.Linear(8, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(self.act(self.up(x)))

    module: Any = zoo.build("llama")
    for layer in module.model.layers:
        layer.adapter = Leaky().eval()
        layer.register_forward_hook(lambda part, _args, out: part.adapter(out))
    with pytest.raises(SiteError, match=r"adapter does not pass through it alone"):
        resolve(module)


def test_a_router_with_an_mlp_of_its_own_is_not_taken() -> None:
    module: Any = zoo.build("zaya")
    assert isinstance(module.model.layers[0].mlp.gate.router_mlp.act_fn, nn.GELU)
    assert paths(module) == [f"model.layers.{n}.mlp.experts.act_fn" for n in (0, 1)]


def test_a_message_names_what_was_tried_when_nothing_is_left() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) * self.second(x)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.SiLU(), nn.Sigmoid()

    Two.forward = forward
    module: Any = zoo.build("llama")
    for layer in module.model.layers:
        layer.mlp = Two()
    with pytest.raises(SiteError, match=r"layers\.0\.mlp\.first, model\.layers\.0\.mlp\.second"):
        resolve(module)


def test_an_activation_that_overwrites_its_input_is_refused() -> None:
    module: Any = zoo.build("opt")
    for layer in module.model.decoder.layers:
        layer.activation_fn = nn.ReLU(inplace=True)
    with pytest.raises(SiteError, match="inplace=True"):
        resolve(module)


def test_logits_that_are_not_finite_are_refused() -> None:
    module: Any = zoo.build("llama")
    with torch.no_grad():
        module.lm_head.weight.fill_(3e38)
    with pytest.raises(ModelError, match="logits that are not finite") as caught:
        resolve(module)
    assert "float32" in caught.value.todo


def test_a_model_that_cannot_run_is_refused_with_its_own_words() -> None:
    module: Any = zoo.build("llama")
    module.model.layers[0].mlp.up_proj = nn.Linear(zoo.HIDDEN, zoo.WIDTH + 1)
    with pytest.raises(SiteError, match="RuntimeError: The size of tensor"):
        resolve(module)


def test_no_list_of_layers_is_refused() -> None:
    module: Any = zoo.build("llama")
    module.config.num_hidden_layers = 7
    with pytest.raises(SiteError, match="no list of 7 modules"):
        decoder_layers(module)


def test_experts_in_separate_modules_are_refused() -> None:
    class Separate(nn.Module):
        def __init__(self, one: Any) -> None:
            super().__init__()
            self.gate = nn.Linear(zoo.HIDDEN, 2)
            self.experts = nn.ModuleList([one, copy.deepcopy(one)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = torch.zeros_like(x)
            choice = self.gate(x).argmax(-1)
            for number, expert in enumerate(self.experts):
                out[choice == number] = expert(x[choice == number])
            return out

    module: Any = zoo.build("llama")
    for layer in module.model.layers:
        layer.mlp = Separate(layer.mlp)
    with pytest.raises(SiteError, match="experts in separate modules") as caught:
        resolve(module)
    assert "transformers 5" in caught.value.todo


def test_a_text_and_image_model_is_resolved_in_its_text_part() -> None:
    from transformers import AutoModelForCausalLM, Gemma3Config

    text = {**zoo.ALL["gemma3_text"], "layer_types": ["sliding_attention", "full_attention"]}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Gemma3Config(text_config=text, vision_config={**vision, "image_size": 16, "patch_size": 8})
    module = AutoModelForCausalLM.from_config(config).eval()
    sites = resolve(module)
    assert [site.path for site in sites] == [f"model.language_model.layers.{n}.mlp.act_fn" for n in (0, 1)]


def test_activation_modules_of_a_model_s_own_are_found() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.sigmoid(2 * x)

    module: Any = zoo.build("gpt_neox")
    for layer in module.gpt_neox.layers:
        layer.mlp.act = Odd()
    assert [site.activation for site in resolve(module)] == ["odd", "odd"]


def test_names_of_activations() -> None:
    spelled = {"gelu": "gelu", "gelu_new": "gelu_new", "relu": "relu", "silu": "silu", "swish": "silu"}
    for given, name in spelled.items():
        assert {s.activation for s in resolve(zoo.build("gpt_neox", hidden_act=given))} == {name}
    module: Any = zoo.build("gpt_neox")
    for layer in module.gpt_neox.layers:
        layer.mlp.act = nn.GELU(approximate="tanh")
    assert resolve(module)[0].activation == "gelu_pytorch_tanh"


def test_nothing_is_left_and_nothing_is_drawn() -> None:
    module = zoo.build("gpt_oss")
    before = torch.random.get_rng_state()
    attributes = [sorted(part.__dict__) for part in module.modules()]
    resolve(module)
    assert [sorted(part.__dict__) for part in module.modules()] == attributes
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in module.modules())
    assert torch.equal(torch.random.get_rng_state(), before)

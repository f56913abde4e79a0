"""Resumed passes: the same logits as whole ones bit for bit, nothing changed by them, nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zoo
from negspace.models.resume import Layers, copied

DEEP: dict[str, dict[str, Any]] = {
    "gpt_neox": {"num_hidden_layers": 4},
    "llama": {"num_hidden_layers": 4},
    "gpt2": {"n_layer": 4},
    "gpt_neo": {"num_layers": 4, "attention_types": [[["global", "local"], 2]]},
    "opt": {"num_hidden_layers": 4},
    "bloom": {"n_layer": 4},
    "mpt": {"n_layers": 4},
    "falcon": {"num_hidden_layers": 4, "alibi": True},
    "gemma3_text": {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "qwen3_moe": {"num_hidden_layers": 4},
    "deepseek_v3": {"num_hidden_layers": 4},
    "gpt_oss": {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "nemotron_h": {},
    "qwen3_next": {"num_hidden_layers": 4, "layer_types": ["linear_attention", "full_attention"] * 2},
    "mamba": {"num_hidden_layers": 4},
}


def run(module: Any, seed: int = 0) -> torch.Tensor:
    with torch.inference_mode():
        return module(input_ids=zoo.ids(seed=seed), use_cache=False).logits


def left_behind(module: Any) -> int:
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + ("forward" in part.__dict__)
        for part in module.modules()
    )


@pytest.mark.parametrize("name", DEEP)
def test_a_resumed_pass_gives_the_logits_of_a_whole_one_bit_for_bit(name: str) -> None:
    module = zoo.build(name, **DEEP[name])
    layers = Layers(module)
    whole = run(module)
    with layers.resumed(keep=range(1, len(layers))) as states:
        assert torch.equal(run(module), whole)
    assert sorted(states) == list(range(1, len(layers)))
    for boundary, state in states.items():
        with layers.resumed(boundary, state, keep=range(boundary + 1, len(layers))) as later:
            assert torch.equal(run(module), whole)
        assert sorted(later) == list(range(boundary + 1, len(layers)))
        with layers.resumed(boundary, states[boundary]):
            assert torch.equal(run(module), whole), "the state must outlive its use"
    assert left_behind(module) == 0


def test_layers_below_are_not_run() -> None:
    module = zoo.build("llama", num_hidden_layers=4)
    layers = Layers(module)
    with layers.resumed(keep=[2]) as states:
        run(module)
    called = []
    handles = [
        layer.mlp.register_forward_hook(lambda *_, number=number: called.append(number))
        for number, layer in enumerate(module.model.layers)
    ]
    with layers.resumed(2, states[2]):
        run(module)
    for handle in handles:
        handle.remove()
    assert called == [2, 3]


def test_what_the_states_hold_decides_not_the_tokens() -> None:
    """A whole pass over other tokens gives other logits; a resumed one continues from the state."""
    module = zoo.build("llama", num_hidden_layers=4)
    layers = Layers(module)
    with layers.resumed(keep=[3]) as states:
        whole = run(module)
    with layers.resumed(3, states[3]):
        assert torch.equal(run(module, seed=1), whole)
    assert not torch.equal(run(module, seed=1), whole)


def test_states_outlive_models_that_write_into_them() -> None:
    module = zoo.build("llama", num_hidden_layers=4)

    def write(_: Any, args: tuple[Any, ...]) -> None:
        args[0].add_(0.5)

    handles = [layer.register_forward_pre_hook(write) for layer in module.model.layers]
    layers = Layers(module)
    with layers.resumed(keep=[2]) as states:
        whole = run(module)
    for _ in range(2):
        with layers.resumed(2, states[2]):
            assert torch.equal(run(module), whole)
    for handle in handles:
        handle.remove()


def test_everything_is_restored_after_an_exception() -> None:
    module = zoo.build("gpt_neox", num_hidden_layers=4)
    layers = Layers(module)
    # What accelerate does to a layer that it moves between devices.
    own = module.gpt_neox.layers[0].forward
    moved = module.gpt_neox.layers[0].__dict__["forward"] = lambda *args, **kwargs: own(*args, **kwargs)
    with layers.resumed(keep=[3]) as states:
        whole = run(module)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    handle = module.gpt_neox.layers[3].register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError), layers.resumed(3, states[3], keep=[4]):
        run(module)
    handle.remove()
    assert module.gpt_neox.layers[0].__dict__["forward"] is moved
    del module.gpt_neox.layers[0].__dict__["forward"]
    assert left_behind(module) == 0
    assert torch.equal(run(module), whole)


def test_a_state_that_other_layers_left_out_is_missed() -> None:
    """Keys and values that later layers of Gemma 3n share come from layers that were passed over."""
    module = zoo.build(
        "gemma3n_text",
        num_hidden_layers=4,
        num_kv_shared_layers=2,
        layer_types=["sliding_attention", "full_attention"] * 2,
        activation_sparsity_pattern=[0.0] * 4,
    )
    layers = Layers(module)
    with layers.resumed(keep=[2]) as states:
        run(module)
    with pytest.raises(KeyError), layers.resumed(2, states[2]):
        run(module)


def test_copies_keep_the_structure() -> None:
    tensor = torch.zeros(2)
    value = (tensor, [tensor, None], {"a": tensor}, "text")
    made = copied(value)
    tensor.add_(1)
    assert type(made) is tuple
    assert type(made[1]) is list
    assert made[0].tolist() == made[1][0].tolist() == made[2]["a"].tolist() == [0, 0]
    assert made[1][1] is None
    assert made[3] == "text"

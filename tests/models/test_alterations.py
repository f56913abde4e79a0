"""Alterations: none on a plain model of any architecture, and one for whatever changes what a module computes."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import zoo
from negspace.errors import ModelError
from negspace.models.alterations import Twin, alterations
from negspace.models.behaviour import behaviour
from negspace.models.fingerprint import fingerprint
from negspace.models.load import wrap
from negspace.models.taps import tap


def of(module: torch.nn.Module) -> tuple[str, ...]:
    return alterations(module, Twin(module))


@pytest.mark.parametrize("name", [*zoo.DENSE, *zoo.MIXTURES, *zoo.REFUSED])
def test_plain_models_have_none(name: str, tmp_path: Path) -> None:
    module = zoo.build(name)
    twin = Twin(module)
    assert twin.known
    assert alterations(module, twin) == ()
    behaviour(module)  # what a pass leaves behind is no alteration
    assert alterations(module, twin) == ()
    module.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert of(loaded) == ()


def attention(module: Any) -> Any:
    return module.model.layers[1].self_attn


def hide(part: Any, name: str) -> None:
    method = getattr(type(part), name)
    setattr(part, name, types.MethodType(method, part))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "attention scaling": lambda m: setattr(attention(m), "scaling", 0.1),
    "epsilon of a norm": lambda m: setattr(m.model.norm, "variance_epsilon", 0.5),
    "activation": lambda m: setattr(m.model.layers[0].mlp, "act_fn", torch.nn.GELU()),
    "rotary table": lambda m: m.model.rotary_emb.inv_freq.mul_(2),
    "rotary table in another type": lambda m: m.model.rotary_emb.to(torch.bfloat16),
    "attention implementation": lambda m: m.set_attn_implementation("eager"),
    "a part more": lambda m: setattr(m.model.layers[0], "mlp", torch.nn.Sequential(m.model.layers[0].mlp)),
    "a part less": lambda m: m.model.layers.__delitem__(1),
    "causality": lambda m: setattr(attention(m), "is_causal", False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_on_the_module_is_in_its_identity(name: str) -> None:
    module: Any = zoo.build("llama")
    before = fingerprint(module)
    CHANGES[name](module)
    assert of(module) != ()
    assert fingerprint(module) != before


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("gemma2", "final_logit_softcapping", 1.0),
        ("gemma2", "attn_logit_softcapping", 1.0),
        ("gemma2", "sliding_window", 2),
        ("llama", "rope_parameters", {"rope_type": "default", "rope_theta": 100.0}),
        ("granite", "logits_scaling", 3.0),
    ],
)
def test_configuration_that_acts_at_run_time_counts_when_it_is_changed_later(
    model: str, field: str, value: Any
) -> None:
    loaded = wrap(zoo.build(model), zoo.tokenizer())
    before = loaded.fingerprint
    assert hasattr(loaded.module.config, field)
    setattr(loaded.module.config, field, value)
    assert loaded.fingerprint != before


def test_the_same_alteration_is_the_same_model() -> None:
    prints = set()
    for scaling in (0.1, 0.1, 0.2):
        module = zoo.build("llama")
        attention(module).scaling = scaling
        prints.add(fingerprint(module))
    assert len(prints) == 2


def double(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
    return 2 * out


@pytest.mark.parametrize("where", ["hook", "pre-hook", "everywhere", "method"])
def test_what_others_left_on_a_model_is_refused_by_name(where: str) -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    module: Any = model.module
    mlp = module.model.layers[0].mlp
    before = model.identify()
    if where == "hook":
        undo: Callable[[], Any] = mlp.register_forward_hook(double).remove
    elif where == "pre-hook":
        undo = mlp.register_forward_pre_hook(lambda _, args: (2 * args[0],)).remove
    elif where == "everywhere":
        undo = torch.nn.modules.module.register_module_forward_hook(
            lambda part, _, out: 2 * out if part is mlp else None
        ).remove
    else:
        mlp.forward = types.MethodType(lambda self, x: 2 * x, mlp)
        undo = lambda: mlp.__dict__.pop("forward")  # noqa: E731
    try:
        with pytest.raises(ModelError, match="hooks or patched methods") as caught:
            model.identify()
        assert "test_alterations" in caught.value.found
        assert ("every module" if where == "everywhere" else "model.layers.0.mlp") in caught.value.found
        assert "remove them" in caught.value.todo
    finally:
        undo()
    assert model.identify() == before


def test_hooks_that_only_read_are_left_alone_and_still_there() -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    before, seen = model.identify(), []
    parts = [layer.mlp for layer in model.module.model.layers]
    handles = [part.register_forward_hook(lambda *_, n=n: seen.append(n)) for n, part in enumerate(parts * 2)]
    held = [list(part._forward_hooks) for part in parts]
    assert model.identify() == before
    assert [list(part._forward_hooks) for part in parts] == held
    seen.clear()
    behaviour(model.module)
    assert seen == [0, 2, 1, 3]
    for handle in handles:
        handle.remove()


def test_our_own_hooks_and_those_that_move_tensors_are_no_alteration() -> None:
    accelerate = pytest.importorskip("accelerate")
    model = wrap(zoo.build("lfm2"), zoo.tokenizer())
    before = model.fingerprint
    with tap(model, before=lambda site, a, experts: None, after=lambda site, a, out, experts: None):
        assert model.fingerprint == before
    accelerate.dispatch_model(model.module, {"": "cpu"}, main_device="cpu", force_hooks=True)
    assert "forward" in model.module.__dict__
    assert model.fingerprint == before
    model.module.enable_input_require_grads()  # PEFT's, for gradient checkpointing
    assert model.fingerprint == before


def test_a_class_that_cannot_be_made_again_has_a_twin_that_knows_nothing() -> None:
    plain = type(zoo.build("llama"))

    class Own(plain):  # type: ignore[misc, valid-type]
        def __init__(self, config: Any, more: int) -> None:
            super().__init__(config)

    module = Own(zoo.build("llama").config, 3).eval()
    assert not Twin(module).known
    assert of(module) == ()


def test_making_a_twin_leaves_no_trace() -> None:
    module = zoo.build("mixtral")
    config, state = module.config.to_dict(), torch.random.get_rng_state()
    how = module.config._attn_implementation, module.config._experts_implementation
    Twin(module)
    assert module.config.to_dict() == config
    assert (module.config._attn_implementation, module.config._experts_implementation) == how
    assert torch.equal(torch.random.get_rng_state(), state)

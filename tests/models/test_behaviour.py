"""Behaviour: rounding passes, another function does not, and what no list foresaw is seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zoo
from negspace.errors import ModelError
from negspace.intervention import intervene
from negspace.models.behaviour import behaviour, distance, same
from negspace.models.load import load, wrap
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import scan
from negspace.reference import model_path


@pytest.fixture(scope="module")
def exact() -> tuple[float, ...]:
    return behaviour(load(model_path(), device="cpu", dtype="float64").module)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rounding_is_within_the_tolerance_and_well_so(dtype: str, exact: tuple[float, ...]) -> None:
    module = load(model_path(), device="cpu", dtype=dtype).module
    assert same(behaviour(module), exact, dtype)
    for how in ("eager", "sdpa"):
        module.set_attn_implementation(how)
        assert distance(behaviour(module), exact) < {"float32": 1e-5, "float16": 4e-3, "bfloat16": 4e-2}[dtype]


def test_another_function_is_not() -> None:
    module: Any = load(model_path(), device="cpu").module
    before = behaviour(module)
    assert same(before, before, "float32")
    weight = module.gpt_neox.layers[2].mlp.dense_h_to_4h.weight
    with torch.no_grad():
        # One layer's matrix, each weight by a hundredth of their spread.
        weight += 0.01 * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    assert not same(behaviour(module), before, "float32")


def test_unequal_shapes_are_infinitely_far_apart() -> None:
    assert distance((1.0,) * 32, (1.0,) * 16) == float("inf")
    assert not same((), (1.0,) * 16, "bfloat16")


def test_edited_weights_are_hashed_again() -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    first = model.identify()
    weight = model.module.model.layers[0].mlp.up_proj.weight
    with torch.no_grad():
        weight.mul_(2)
    second = model.identify()
    assert second.fingerprint != first.fingerprint
    weight.data.mul_(0.5)  # which torch does not count as a change
    third = model.identify()
    assert third.fingerprint == first.fingerprint
    assert same(third.behaviour, first.behaviour, "float32")


def test_what_no_list_foresaw_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    first = model.identify()
    assert model.identify() == first
    plain = torch.nn.functional.silu
    monkeypatch.setattr(torch.nn.functional, "silu", lambda x, inplace=False: 1.5 * plain(x))
    with pytest.raises(ModelError, match="other logits than before") as caught:
        model.identify()
    assert "something outside the module" in caught.value.found
    with pytest.raises(ModelError, match="other logits than before"):
        scan(model, ["w5 w7 w9 w11 " * 200], window=16, windows=4)
    monkeypatch.undo()
    assert model.identify() == first


def test_a_scan_under_an_intervention_is_not_taken_for_one_without() -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    text = ["w5 w7 w9 w11 w3 " * 200]
    every = NeuronSet.from_indices(model, {layer: range(zoo.WIDTH) for layer in range(zoo.LAYERS)})
    few = NeuronSet.from_indices(model, {0: [1, 2]})
    plain = scan(model, text, window=16, windows=4)
    assert model.behaves_as(plain.info.behaviour)
    with intervene(model, every, zero="both"):
        altered = scan(model, text, window=16, windows=4)
    assert altered.info.fingerprint == plain.info.fingerprint
    assert not model.behaves_as(altered.info.behaviour)
    with intervene(model, few, mode="mean", scan=plain), intervene(model, few, mode="mean", scan=plain):
        pass
    with pytest.raises(Exception, match="while something else changed this model"):
        intervene(model, few, mode="mean", scan=altered).__enter__()

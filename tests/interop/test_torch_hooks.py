"""Hooks of plain torch: bit for bit what `intervene` does, on every dense architecture, and nothing once removed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch

import negspace as ns
import zoo
from negspace.errors import InterventionError, ModelError, SelectionError
from negspace.intervention import Intervention
from negspace.models.overrides import override_of

ARGUMENTS = {name: dict(zip(("zero", "mode"), Intervention(name).arguments, strict=True)) for name in ns.INTERVENTIONS}
TEXT = [" ".join(f"w{number % 90}" for number in range(600))]


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=zoo.ids(), use_cache=False).logits


@contextmanager
def registered(hooks: Any, module: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for hook in hooks:
            stack.callback(hook.register(module).remove)
        yield


def some(model: ns.Model) -> ns.NeuronSet:
    return ns.NeuronSet.from_indices(model, {site.layer: range(0, site.width, 2) for site in model.sites})


@pytest.mark.parametrize("name", zoo.DENSE)
def test_logits_are_those_under_intervene(name: str) -> None:
    model = ns.wrap(zoo.build(name), zoo.tokenizer())
    neurons = some(model)
    in_line = any(override_of(model.module.get_submodule(site.path)) for site in model.sites)
    if in_line or not all(site.alone for site in model.sites):
        with pytest.raises(InterventionError, match=r"in line|share"):
            ns.torch_hooks(model, neurons, zero="both")
        return
    plain = logits(model.module)
    with ns.intervene(model, neurons, zero="both"):
        wanted = logits(model.module)
    hooks = ns.torch_hooks(model, neurons, zero="both")
    with registered(hooks, model.module):
        assert torch.equal(logits(model.module), wanted)
    assert not torch.equal(plain, wanted)
    assert torch.equal(logits(model.module), plain)


@pytest.mark.parametrize("name", ns.INTERVENTIONS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "phi3"])
def test_every_intervention(architecture: str, name: str) -> None:
    model = ns.wrap(zoo.build(architecture), zoo.tokenizer())
    neurons = some(model)
    scan = ns.scan(model, TEXT, window=32) if "mean" in name else None
    with ns.intervene(model, neurons, scan=scan, **ARGUMENTS[name]):
        wanted = logits(model.module)
    hooks = ns.torch_hooks(model, neurons, scan=scan, **ARGUMENTS[name])
    elsewhere = copy.deepcopy(model.module)
    with registered(hooks, elsewhere):
        assert torch.equal(logits(elsewhere), wanted)
        assert not torch.equal(logits(elsewhere), logits(model.module))


def test_gradients_pass() -> None:
    model = ns.wrap(zoo.build("llama"), zoo.tokenizer())
    with registered(ns.torch_hooks(model, some(model), zero="negative"), model.module):
        model.module(input_ids=zoo.ids(), use_cache=False).logits.sum().backward()
    gate = model.module.model.layers[0].mlp.gate_proj.weight
    assert gate.grad is not None
    assert bool(torch.isfinite(gate.grad).all())


def test_an_empty_set_has_no_hooks() -> None:
    model = ns.wrap(zoo.build("llama"), zoo.tokenizer())
    assert ns.torch_hooks(model, ns.NeuronSet.from_indices(model, {}), zero="negative") == ()


def test_a_model_that_has_them_is_not_taken_for_the_plain_one() -> None:
    model = ns.wrap(zoo.build("llama"), zoo.tokenizer())
    hooks = ns.torch_hooks(model, some(model), zero="both")
    with registered(hooks, model.module), pytest.raises(ModelError, match=r"negspace\.interop\.plain"):
        model.identify()
    assert model.identify().fingerprint == model.fingerprint


def test_routed_experts_are_refused() -> None:
    model = ns.wrap(zoo.build("mixtral"), zoo.tokenizer())
    with pytest.raises(InterventionError, match="routed experts"):
        ns.torch_hooks(model, ns.NeuronSet.from_indices(model, {0: [(1, 3)]}), zero="negative")


def test_what_intervene_refuses_is_refused() -> None:
    model, other = (ns.wrap(zoo.build(name), zoo.tokenizer()) for name in ("llama", "gpt2"))
    with pytest.raises(SelectionError, match="the set is of"):
        ns.torch_hooks(model, some(other), zero="negative")
    with pytest.raises(InterventionError, match="no scan"):
        ns.torch_hooks(model, some(model), mode="mean")
    with pytest.raises(InterventionError, match="neither of the two"):
        ns.torch_hooks(model, some(model))

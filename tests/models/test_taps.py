"""Taps: what the callbacks are given, what their answers do, and that nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zoo
from negspace.errors import SiteError
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.site import Site
from negspace.models.taps import tap


@pytest.fixture(scope="module")
def llama() -> Model:
    return wrap(zoo.build("llama"), zoo.tokenizer())


def run(model: Model) -> torch.Tensor:
    with torch.no_grad():
        return model.module(input_ids=zoo.ids(), use_cache=False).logits


def hooks(model: Model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())


def test_before_sees_the_gate_projection_itself(llama: Model) -> None:
    seen: dict[str, torch.Tensor] = {}
    made: dict[str, torch.Tensor] = {}
    mlp = llama.module.model.layers[1].mlp
    handle = mlp.gate_proj.register_forward_hook(lambda m, a, out: made.update(out=out))
    with tap(llama, before=lambda site, a, e: seen.update({site.path: a})):
        run(llama)
    handle.remove()
    # No copy: the very tensor.
    assert seen["model.layers.1.mlp.act_fn"] is made["out"]


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "phi3", "gpt_neox"])
def test_inputs_times_weights_are_the_pre_activations(name: str) -> None:
    model = wrap(zoo.build(name), zoo.tokenizer())
    xs: dict[Site, torch.Tensor] = {}
    order: list[str] = []

    def inputs(site: Site, x: torch.Tensor, experts: Any) -> None:
        xs[site] = x
        order.append("inputs")

    def before(site: Site, a: torch.Tensor, experts: Any) -> None:
        order.append("before")
        assert site.projection is not None
        projection = model.module.get_submodule(site.projection)
        weight = projection.weight if name == "gpt2" else projection.weight.T
        by_hand = xs[site] @ weight + (0 if projection.bias is None else projection.bias)
        torch.testing.assert_close(a, by_hand[..., : site.width], atol=1e-6, rtol=1e-5)
        assert xs[site].shape[:-1] == a.shape[:-1]

    with tap(model, before=before, inputs=inputs):
        run(model)
    assert order == ["inputs", "before"] * 2


def test_after_sees_the_replaced_input_and_replaces_the_output(llama: Model) -> None:
    pairs = []

    def after(site: Site, a: torch.Tensor, out: torch.Tensor, experts: Any) -> torch.Tensor:
        pairs.append((a, out))
        return torch.zeros_like(out)

    with tap(llama, before=lambda s, a, e: a.clamp_min(0), after=after, sites=llama.sites[1:]):
        zeroed = run(llama)
    assert len(pairs) == 1
    a, out = pairs[0]
    assert a.min() == 0
    assert torch.equal(out, torch.nn.functional.silu(a))
    mlp = llama.module.model.layers[1].mlp
    handle = mlp.down_proj.register_forward_hook(lambda m, a, out: torch.zeros_like(out))
    by_hand = run(llama)
    handle.remove()
    assert torch.equal(zeroed, by_hand)


def test_sites_not_listed_get_no_hook(llama: Model) -> None:
    with tap(llama, before=lambda s, a, e: None, sites=[llama.sites[1]]):
        assert hooks(llama) == 1
        assert not llama.module.get_submodule(llama.sites[0].path)._forward_pre_hooks
    with tap(llama, before=lambda s, a, e: None, sites=[]):
        assert hooks(llama) == 0
    with tap(llama):
        assert hooks(llama) == 0
    assert hooks(llama) == 0


@pytest.mark.parametrize("name", ["llama", "mixtral", "gpt_oss", "lfm2"])
def test_everything_is_removed_after_an_exception(name: str) -> None:
    model = wrap(zoo.build(name), zoo.tokenizer())
    plain, attributes = run(model), [sorted(m.__dict__) for m in model.module.modules()]

    def fail(*_: Any) -> None:
        raise KeyError("on purpose")

    with pytest.raises(KeyError), tap(model, before=fail, after=fail, inputs=fail):
        run(model)
    with pytest.raises(KeyError), tap(model, before=lambda s, a, e: a * 0):
        raise KeyError("on purpose")
    assert hooks(model) == 0
    assert [sorted(m.__dict__) for m in model.module.modules()] == attributes
    assert torch.equal(run(model), plain)


@pytest.mark.parametrize("name", ["llama", "mixtral", "gpt_oss", "lfm2"])
def test_nested_taps_compose_outer_first(name: str) -> None:
    model = wrap(zoo.build(name), zoo.tokenizer())
    inner_saw = []

    def inner(_s: Any, a: torch.Tensor, _e: Any) -> torch.Tensor:
        inner_saw.append(bool(a.min() >= 0))
        return a + 1

    with tap(model, before=lambda s, a, e: a.clamp_min(0)):
        outer_only = run(model)
        with tap(model, before=inner):
            run(model)
        assert torch.equal(run(model), outer_only)
    assert inner_saw
    assert all(inner_saw)
    assert hooks(model) == 0


def test_a_site_of_another_model_is_refused(llama: Model) -> None:
    other = wrap(zoo.build("gpt2"), zoo.tokenizer())
    with (
        pytest.raises(SiteError, match="a model without this site"),
        tap(llama, before=lambda s, a, e: None, sites=other.sites),
    ):
        pass
    assert hooks(llama) == 0


def test_opt_is_tapped_in_whatever_shape_the_model_has() -> None:
    model = wrap(zoo.build("opt"), zoo.tokenizer())
    shapes = []
    with tap(model, before=lambda s, a, e: shapes.append(tuple(a.shape))):
        run(model)
    assert {shape[-1] for shape in shapes} == {zoo.WIDTH}
    assert all(torch.Size(shape).numel() == zoo.ids().numel() * zoo.WIDTH for shape in shapes)

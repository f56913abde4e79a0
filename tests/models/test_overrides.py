"""Models that call a function: their replacement is exact, temporary, and refused when it is not exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import zoo
from negspace.errors import SiteError
from negspace.models.load import wrap
from negspace.models.overrides import OVERRIDES, ClampedSwish, activation, override_of
from negspace.models.sites import resolve
from negspace.models.taps import tap

NAMES = ("lfm2", "lfm2_moe", "gpt_oss")


def run(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=zoo.ids(), use_cache=False).logits


def test_every_entry_has_a_reason_and_a_tested_class() -> None:
    used = {type(part).__name__ for name in NAMES for part in zoo.build(name).modules()}
    assert all(entry.reason for entry in OVERRIDES.values())
    assert set(OVERRIDES) - used <= {"Lfm3MLP"}  # the same three lines as Lfm2MLP; not in every transformers


@pytest.mark.parametrize(
    ("name", "how"),
    [("lfm2", "eager"), *((n, h) for n in ("lfm2_moe", "gpt_oss") for h in ("grouped_mm", "batched_mm", "eager"))],
)
def test_the_replacement_gives_the_same_bits(name: str, how: str) -> None:
    model = wrap(zoo.build(name, experts_implementation=how), zoo.tokenizer())
    plain = run(model.module)
    with tap(model, before=lambda s, a, e: None):
        assert torch.equal(run(model.module), plain)
    assert torch.equal(run(model.module), plain)


@pytest.mark.parametrize("name", NAMES)
def test_nested_uses_share_one_activation_and_leave_nothing(name: str) -> None:
    module = next(part for part in zoo.build(name).modules() if override_of(part) is not None)
    before = dict(module.__dict__)
    with activation(module) as outer:
        assert module.__dict__ != before
        with activation(module) as inner:
            assert inner is outer
        with activation(module) as again:
            assert again is outer
    assert module.__dict__ == before


@pytest.mark.parametrize("name", ["llama", *NAMES])
def test_models_that_accelerate_spreads_are_tapped_the_same(name: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    model = wrap(zoo.build(name), zoo.tokenizer())
    with tap(model, before=lambda s, a, e: a.clamp_min(0)):
        plain = run(model.module)
    parts = {path: "cpu" for path, _ in model.module.named_children()}
    spread = accelerate.dispatch_model(zoo.build(name), device_map=parts, main_device="cpu", force_hooks=True)
    hooked = [sorted(part.__dict__) for part in spread.modules()]
    again = wrap(spread, zoo.tokenizer())
    assert again.sites == model.sites
    with tap(again, before=lambda s, a, e: a.clamp_min(0)):
        assert torch.equal(run(spread), plain)
    assert [sorted(part.__dict__) for part in spread.modules()] == hooked
    assert again.fingerprint == model.fingerprint


def test_a_module_of_its_own_is_given_as_it_is() -> None:
    act = nn.GELU()
    with activation(act) as given:
        assert given is act


def test_clamped_swish_is_the_gate_of_gpt_oss() -> None:
    module: Any = zoo.build("gpt_oss")
    experts = module.model.layers[0].mlp.experts
    gate = torch.linspace(-20, 20, 101)
    both = torch.stack([gate, torch.zeros_like(gate)], dim=-1).reshape(1, -1)
    assert torch.equal(ClampedSwish(experts.alpha, experts.limit)(gate), experts._apply_gate(both)[0])


def test_a_replacement_that_is_not_exact_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    entry = dataclasses.replace(OVERRIDES["Lfm2MLP"], module=lambda _: nn.GELU())
    monkeypatch.setitem(OVERRIDES, "Lfm2MLP", entry)
    with pytest.raises(SiteError, match="gives other logits"):
        resolve(zoo.build("lfm2"))


def test_without_its_entry_the_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(OVERRIDES, "Lfm2MLP")
    with pytest.raises(SiteError, match="by a function"):
        resolve(zoo.build("lfm2"))

"""Models that call a function: their replacement is exact, temporary, and refused when it is not exact."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForMultimodalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import tiny
import zoo
from negspace.errors import SiteError
from negspace.models.load import wrap
from negspace.models.overrides import OVERRIDES, ClampedSilu, ClampedSwish, SoftcappedSwish, activation, override_of
from negspace.models.sites import resolve
from negspace.models.taps import tap

NAMES = ("lfm2", "lfm2_moe", "gpt_oss", "hy_v4", "minimax_m3_vl_text", "inkling2_text")


def run(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=zoo.ids(), use_cache=False).logits


def test_every_entry_has_a_reason_and_a_tested_class() -> None:
    used = {type(part).__name__ for name in NAMES for part in zoo.build(name).modules()}
    assert all(entry.reason for entry in OVERRIDES.values())
    # The first has the same three lines as Lfm2MLP, the other is tried below; neither is in every transformers.
    assert set(OVERRIDES) - used <= {"Lfm3MLP", "Glm5NextTextExperts"}


@pytest.mark.parametrize("how", ["grouped_mm", "batched_mm", "eager"])
def test_glm_5_next_which_reads_images_as_well(how: str) -> None:
    if "glm5_next" not in CONFIG_MAPPING:
        pytest.skip("not in this transformers")
    kind = CONFIG_MAPPING["glm5_next"]
    module: Any = AutoModelForMultimodalLM.from_config(kind(**tiny.arguments(kind)), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)
    module.set_experts_implementation(how)
    model = wrap(module, zoo.tokenizer())
    assert [site.activation for site in model.sites] == ["silu", "clamped_silu", "silu"]
    plain = run(module)
    with tap(model, before=lambda s, a, e: a.clamp_min(0)):
        assert not torch.equal(run(module), plain)
    assert torch.equal(run(module), plain)


@pytest.mark.parametrize(
    ("name", "how"),
    [("lfm2", "eager"), *((n, h) for n in NAMES[1:] for h in ("grouped_mm", "batched_mm", "eager"))],
)
def test_the_replacement_gives_the_same_bits(name: str, how: str) -> None:
    model = wrap(zoo.build(name, experts_implementation=how), zoo.tokenizer())
    plain = run(model.module)
    with tap(model, before=lambda s, a, e: None):
        assert torch.equal(run(model.module), plain)
    assert torch.equal(run(model.module), plain)


def state(module: nn.Module) -> list[Any]:
    """What hangs on each part of a model, those that stand in for others included."""
    parts = [(path, part) for path, part in module.named_modules() for part in (part, *part.children())]
    return [(path, dict(part.__dict__), dict(part._modules)) for path, part in parts]


@pytest.mark.parametrize("name", [*NAMES, "openai-gpt"])
def test_nested_uses_share_one_activation_and_leave_nothing(name: str) -> None:
    module = zoo.build(name)
    sites = resolve(module)
    site = next(s for s in sites if not s.alone or override_of(module.get_submodule(s.path)) is not None)

    before = state(module)
    with activation(module, site.path, site.alone) as outer:
        with activation(module, site.path, site.alone) as inner:
            assert inner is outer
        with activation(module, site.path, site.alone) as again:
            assert again is outer
        assert state(module) != before
    assert state(module) == before


@pytest.mark.parametrize("name", [*NAMES, "openai-gpt"])
def test_uses_that_end_in_another_order_act_until_their_own_end(name: str) -> None:
    model = wrap(zoo.build(name), zoo.tokenizer())
    before, plain = state(model.module), run(model.module)
    second = {"before": lambda s, a, e: a.clamp_min(0)}
    with tap(model, **second):
        alone = run(model.module)
    assert not torch.equal(alone, plain)
    with ExitStack() as last, ExitStack() as first:
        first.enter_context(tap(model, before=lambda s, a, e: a / 2))
        last.enter_context(tap(model, **second))
        first.close()
        assert torch.equal(run(model.module), alone)
        with tap(model, before=lambda s, a, e: None):
            assert torch.equal(run(model.module), alone)
    assert torch.equal(run(model.module), plain)
    assert state(model.module) == before


@pytest.mark.parametrize("name", [*NAMES, "openai-gpt"])
@pytest.mark.parametrize("place", [slice(None), slice(1), slice(1, None)], ids=["all", "first", "others"])
def test_what_stands_in_is_no_part_of_the_model(name: str, place: slice) -> None:
    model = wrap(zoo.build(name), zoo.tokenizer())
    before, names = model.fingerprint, list(model.module.state_dict())
    with tap(model, before=lambda s, a, e: None, sites=model.sites[place]):
        assert model.fingerprint == before
        assert list(model.module.state_dict()) == names
        again = wrap(model.module, zoo.tokenizer())
        assert (again.fingerprint, again.sites) == (before, model.sites)


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for a name that is going
def test_nor_is_it_where_adapters_wrap_the_experts(name: str) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=[], target_parameters=["experts.gate_up_proj"])
    model = wrap(peft.get_peft_model(zoo.build(name), config).eval(), zoo.tokenizer())
    before = model.fingerprint
    with tap(model, before=lambda s, a, e: None):
        assert model.fingerprint == before


def test_nor_is_it_where_a_shared_activation_has_weights() -> None:
    module: Any = zoo.build("openai-gpt")
    act = nn.PReLU()
    act.register_buffer("more", torch.ones(1))
    for block in module.transformer.h:
        block.mlp.act = act
    model = wrap(module, zoo.tokenizer())
    before = model.fingerprint
    for place in (slice(None), slice(1), slice(1, None)):
        with tap(model, before=lambda s, a, e: None, sites=model.sites[place]):
            assert model.fingerprint == before


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
    module = nn.Sequential(nn.GELU())
    with activation(module, "0") as given:
        assert given is module[0]


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("gpt_oss", lambda e: ClampedSwish(e.alpha, e.limit)),
        ("minimax_m3_vl_text", lambda e: ClampedSwish(e.swiglu_alpha, e.swiglu_limit)),
        ("hy_v4", lambda e: ClampedSilu(e.swiglu_limit)),
        ("inkling2_text", lambda e: SoftcappedSwish(e.act_fn.gate_softcap.softcap)),
    ],
)
def test_activations_of_gates_are_those_of_the_models(name: str, act: Any) -> None:
    experts = next(part for part in zoo.build(name).modules() if hasattr(part, "_apply_gate"))
    gate = torch.linspace(-20, 20, 101)
    up = torch.full_like(gate, 0.5)
    pair = [gate, up]
    both = torch.stack(pair, dim=-1).reshape(1, -1) if name == "gpt_oss" else torch.cat(pair)[None]
    factor = {"hy_v4": 0.5, "inkling2_text": 25 * math.tanh(0.5 / 25)}.get(name, 1.5)
    torch.testing.assert_close(act(experts)(gate) * factor, experts._apply_gate(both)[0])


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

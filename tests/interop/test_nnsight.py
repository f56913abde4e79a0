"""nnsight: models that are wrapped, and edits for their traces, against the real library."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import negspace as ns
import zoo
from negspace.errors import InterventionError, ModelError
from negspace.intervention import Intervention

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("nnsight")
    from nnsight import LanguageModel, NNsight

pytestmark = pytest.mark.filterwarnings("ignore")
TEXT = [" ".join(f"w{number % 90}" for number in range(600))]


def arguments(name: str) -> dict[str, Any]:
    return dict(zip(("zero", "mode"), Intervention(name).arguments, strict=True))


def some(model: ns.Model) -> ns.NeuronSet:
    return ns.NeuronSet.from_indices(model, {site.layer: range(0, site.width, 2) for site in model.sites})


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=zoo.ids(), use_cache=False).logits


def traced(model: Any, edit: Any = None) -> torch.Tensor:
    ids = zoo.ids()
    with torch.no_grad(), model.trace(input_ids=ids, use_cache=False):
        if edit is not None:
            edit()
        result = model.output.logits.save()
    return result  # noqa: RET504 - a trace's value exists only once the trace is left


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_the_module_inside_is_wrapped(name: str) -> None:
    module, tokenizer = zoo.build(name), zoo.tokenizer()
    plain = ns.wrap(module, tokenizer)
    before = plain.fingerprint
    wrapped = ns.wrap(LanguageModel(module, tokenizer=tokenizer))
    assert wrapped.module is module
    assert wrapped.tokenizer is tokenizer
    assert wrapped.identify().fingerprint == before
    assert ns.wrap(NNsight(module), tokenizer).fingerprint == before


@pytest.mark.parametrize("intervention", ns.INTERVENTIONS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "phi3"])
def test_edits_are_bit_for_bit_what_intervene_does(name: str, intervention: str) -> None:
    module = zoo.build(name)
    sight = LanguageModel(module, tokenizer=zoo.tokenizer())
    model = ns.wrap(sight)
    neurons = some(model)
    scan = ns.scan(model, TEXT, window=32) if "mean" in intervention else None
    with ns.intervene(model, neurons, scan=scan, **arguments(intervention)):
        wanted = logits(module)
    plain = traced(sight)
    changed = traced(sight, ns.nnsight_edit(sight, neurons, scan=scan, **arguments(intervention)))
    assert torch.equal(changed, wanted)
    assert not torch.equal(changed, plain)
    assert torch.equal(traced(sight), plain)
    assert torch.equal(logits(module), plain)


def test_an_edit_can_be_stored() -> None:
    sight = LanguageModel(zoo.build("llama"), tokenizer=zoo.tokenizer())
    model = ns.wrap(sight)
    edit = ns.nnsight_edit(sight, some(model), zero="both")
    with sight.edit() as (_, edited):
        edit()
    with ns.intervene(model, some(model), zero="both"):
        wanted = logits(model.module)
    assert torch.equal(traced(edited), wanted)
    assert torch.equal(traced(sight), logits(model.module))
    with pytest.raises(ModelError, match="stored edits"):
        ns.wrap(edited)


def test_the_docstrings_form_is_nested_interventions_throughout_a_generation() -> None:
    sight = LanguageModel(zoo.build("llama"), tokenizer=zoo.tokenizer())
    model, ids = ns.wrap(sight), zoo.ids()[:1]
    options = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    # The second acts on what the first leaves of the same neurons.
    edit, other_edit = (
        ns.nnsight_edit(sight, some(model), **arguments(name)) for name in ("zero_negative", "sign_flip")
    )
    with torch.no_grad():
        with ns.intervene(model, some(model), zero="negative"), ns.intervene(model, some(model), mode="sign_flip"):
            wanted = model.module.generate(ids, **options)
        plain = model.module.generate(ids, **options)
    with torch.no_grad(), sight.generate(**options) as tracer:
        with tracer.invoke(ids):
            for _ in tracer.iter[:]:
                edit()
        with tracer.invoke():
            for _ in tracer.iter[:]:
                other_edit()
        with tracer.invoke():
            result = tracer.result.save()
    assert torch.equal(result.sequences, wanted.sequences)
    assert len(wanted.logits) == 6
    for found, right, before in zip(result.logits, wanted.logits, plain.logits, strict=True):
        assert torch.equal(found, right)
        assert not torch.equal(found, before)


def test_a_model_without_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    zoo.build("gpt2").save_pretrained(tmp_path)
    zoo.tokenizer().save_pretrained(tmp_path)
    sight = LanguageModel(str(tmp_path), tokenizer=zoo.tokenizer())
    with pytest.raises(ModelError, match="not dispatched"):
        ns.wrap(sight)
    sight.dispatch()
    assert ns.wrap(sight).fingerprint == ns.load(tmp_path).fingerprint


def test_routed_experts_are_refused() -> None:
    sight = LanguageModel(zoo.build("mixtral"), tokenizer=zoo.tokenizer())
    with pytest.raises(InterventionError, match="routed experts"):
        ns.nnsight_edit(sight, ns.NeuronSet.from_indices(ns.wrap(sight), {0: [(1, 3)]}), zero="negative")

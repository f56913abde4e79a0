"""What a model says about itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import zoo
from negspace.errors import ModelError
from negspace.intervention import intervene
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.taps import tap
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import scan
from negspace.score.pairs import minimal_pairs
from negspace.score.perplexity import perplexity
from negspace.text.pairs import Pair, PairSet


@pytest.mark.parametrize(
    ("name", "changes", "context"),
    [
        ("llama", {}, 64),
        ("gpt_neox", {"max_position_embeddings": 48}, 48),
        ("gpt2", {}, 64),
        ("gptj", {}, 64),
        ("ctrl", {}, 64),
        ("mpt", {}, 64),
        ("opt", {}, 64),
        ("bloom", {}, None),
        ("falcon", {"alibi": True}, None),
        ("falcon", {"max_position_embeddings": 128}, 128),
    ],
)
def test_context(name: str, changes: dict[str, Any], context: int | None) -> None:
    model = wrap(zoo.build(name, **changes), zoo.tokenizer())
    assert model.context == context
    # The bound is real, or its absence is: as many tokens as it says go through.
    ids = zoo.ids(batch=1, length=context or 200)
    with torch.no_grad():
        assert torch.isfinite(model.module(ids).logits).all()


def roberta(name: str, positions: int, padding: int) -> Model:
    """A tiny model of RoBERTa's kin, whose positions start after the padding token's id."""
    sizes = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": positions}
    more = {"num_hidden_layers": 2, "num_attention_heads": 4, "is_decoder": True, "pad_token_id": padding}
    config = AutoConfig.for_model(name, **sizes, **more)
    return wrap(AutoModelForCausalLM.from_config(config).eval(), zoo.tokenizer())


@pytest.mark.parametrize(
    "name", ["roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "data2vec-text"]
)
@pytest.mark.parametrize(("positions", "padding"), [(66, 1), (40, 5)])
def test_context_where_positions_are_counted_from_the_padding_token(name: str, positions: int, padding: int) -> None:
    model = roberta(name, positions, padding)
    context = model.context
    assert context == positions - padding - 1
    with torch.no_grad():
        assert torch.isfinite(model.module(zoo.ids(batch=1, length=context).clamp(min=8)).logits).all()
        with pytest.raises((IndexError, RuntimeError), match="out of"):
            model.module(zoo.ids(batch=1, length=context + 1).clamp(min=8))
    assert model.identify().behaviour


def test_perplexity_takes_windows_of_such_a_context() -> None:
    found = perplexity(roberta("roberta", 66, 1), [" ".join(f"w{3 + number % 90}" for number in range(9000))])
    assert found.window == 64


@pytest.mark.parametrize("name", ["opt", "xglm", "biogpt"])
def test_context_where_a_table_is_longer_by_its_offset(name: str) -> None:
    model = wrap(zoo.build(name), zoo.tokenizer())
    assert model.context == 64
    with torch.no_grad():
        assert torch.isfinite(model.module(zoo.ids(batch=1, length=64)).logits).all()


def test_plain_facts() -> None:
    model = wrap(zoo.build("qwen2_moe"), zoo.tokenizer(), name="tiny")
    assert model.layers == zoo.LAYERS
    assert model.device == torch.device("cpu")
    assert model.bos_token_id == 1
    assert [site.branch for site in model.sites] == ["experts", "shared"] * 2
    assert repr(model) == "Model('tiny', Qwen2MoeForCausalLM, 4 sites, float32)"


def test_a_tokenizer_without_bos() -> None:
    words = zoo.tokenizer()
    words.bos_token = None
    assert wrap(zoo.build("llama"), words).bos_token_id is None


def test_the_fingerprint_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("negspace.models.identity.fingerprint", lambda module, _: calls.append(module) or "hash")
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    assert model.fingerprint == model.fingerprint == "hash"
    assert len(calls) == 1


def test_models_and_sites_are_values() -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.sites = ()  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.sites[0].width = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        model.source.name = "other"
    assert model == model
    assert model != wrap(model.module, model.tokenizer)


@pytest.mark.parametrize("whole", [True, False])
def test_what_was_put_into_training_mode_since_is_refused(whole: bool) -> None:
    """Its dropout would act in scores, and no two of them would agree."""
    model = wrap(zoo.build("gpt2"), zoo.tokenizer(), name="tiny")
    windows = [" ".join(f"w{3 + number % 90}" for number in range(900))]
    few, every = NeuronSet.from_indices(model, {0: [1]}), scan(model, windows, window=16)
    (model.module if whole else model.module.transformer.h[1].mlp).train()
    found = "a module in training mode" if whole else r"parts in training mode .*transformer\.h\.1\.mlp"
    for what, use in {
        "perplexity": lambda: perplexity(model, windows, window=16),
        "minimal pairs": lambda: minimal_pairs(model, PairSet("some", "blimp", (Pair("w5", "w6", "one", "term", 0),))),
        "a scan": lambda: scan(model, windows, window=16),
        "an intervention on neurons": lambda: intervene(model, few, zero="both").__enter__(),
        "a tap": lambda: tap(model).__enter__(),
        "to identify": model.identify,
    }.items():
        with pytest.raises(ModelError, match=rf"asked: {what} .*\nfound: {found}.*\nto do: call module\.eval\(\)"):
            use()
    model.module.eval()
    assert model.behaves_as(every.info.behaviour)

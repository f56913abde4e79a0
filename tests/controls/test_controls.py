"""The search for a set of equal damage: few evaluations on curves of many shapes, and honest failures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from negspace.controls import Match, Trial, find_share, match_perplexity, random_sets
from negspace.errors import SelectionError
from negspace.intervention import intervene
from negspace.models.load import wrap
from negspace.neurons.scan import scan
from negspace.score.perplexity import perplexity
from zoo import build, tokenizer

BASELINE = 20.0

CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda m: 3 * m,
    "steep at first": lambda m: 3 * m**0.5,
    "power 2": lambda m: 4 * m**2,
    "power 6": lambda m: 5 * m**6,
    "explodes": lambda m: (math.exp(10 * m) - 1) / (math.exp(10) - 1) * 8,
    "sigmoid": lambda m: 5 / (1 + math.exp(-(m - 0.6) * 12)) - 5 / (1 + math.exp(0.6 * 12)),
    "falls at first": lambda m: 4 * m**3 - 0.3 * m,
    "flat, then steep": lambda m: 0.01 * m + 20 * max(0.0, m - 0.7) ** 2,
}


def _noise(m: float) -> float:
    """A small deterministic wobble: the real curve is nearly, not exactly, monotone."""
    return 0.0005 * math.sin(1e4 * m)


def _search(curve: Callable[[float], float], target: float, **options) -> tuple[Match, list[float]]:
    asked: list[float] = []

    def evaluate(share: float) -> float:
        asked.append(share)
        return BASELINE * math.exp(curve(share) + _noise(share))

    options = {"sizes": [4096], "largest": 0.99, **options}
    return find_share(evaluate, target=target, baseline=BASELINE, **options), asked


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("ratio", [1.05, 1.3, 2.0, 5.0])
def test_matches_within_eight_evaluations(name: str, ratio: float) -> None:
    curve = CURVES[name]
    found, asked = _search(curve, BASELINE * ratio)
    assert found.evaluations == len(asked) == len(found.trail) <= 8
    if max(curve(m) for m in np.linspace(0, 0.99, 500)) < math.log(ratio):
        assert not found.matched
        assert "largest share" in found.reason
        return
    assert found.matched, found
    assert found.perplexity == pytest.approx(BASELINE * ratio, rel=0.01)
    assert found.residual == pytest.approx(found.perplexity / (BASELINE * ratio) - 1)
    rise, wanted = math.log(found.perplexity / BASELINE), math.log(ratio)
    assert abs(rise - wanted) <= 0.1 * wanted
    assert all(0 < share <= 0.99 for share in asked)


def test_a_target_out_of_reach_is_a_result() -> None:
    found, _ = _search(lambda m: 0.1 * m, BASELINE * 3)
    assert not found.matched
    assert "largest share" in found.reason
    assert found.share == pytest.approx(0.99, abs=1e-3)
    assert found.residual < -0.5


@pytest.mark.parametrize("target", [BASELINE, 0.9 * BASELINE, 1.009 * BASELINE])
def test_no_damage_to_match_is_a_result_and_costs_nothing(target: float) -> None:
    found, asked = _search(CURVES["linear"], target)
    assert not found.matched
    assert "no damage to match" in found.reason
    assert (found.share, found.evaluations, asked) == (0.0, 0, [])


@pytest.mark.parametrize("ratio", [1.011, 1.02, 1.03])
def test_a_small_rise_is_matched_as_a_rise(ratio: float) -> None:
    """1.011 times the baseline is within 1% of 1.02 times it, but little more than half the damage."""
    found, _ = _search(CURVES["linear"], BASELINE * ratio)
    assert found.matched
    assert math.log(found.perplexity / BASELINE) == pytest.approx(math.log(ratio), rel=0.1)


def test_narrow_layers_end_at_neighbouring_sizes() -> None:
    found, asked = _search(lambda m: 40 * m, BASELINE * 3, sizes=[11], largest=1.0)
    assert not found.matched
    assert "one neuron a layer" in found.reason
    assert len(asked) == len(set(asked)) <= 8


def test_the_budget_is_kept_and_named() -> None:
    found, asked = _search(CURVES["sigmoid"], BASELINE * 2, max_evaluations=2)
    assert len(asked) == 2
    assert not found.matched
    assert found.reason == "not within the tolerance and a tenth of the rise after 2 evaluations"
    assert found.share in asked


def test_known_trials_cost_nothing_and_help() -> None:
    first, _ = _search(CURVES["power 2"], BASELINE * 2)
    again, asked = _search(CURVES["power 2"], BASELINE * 2, known=first.trail)
    assert asked == []
    assert again.matched
    assert again.share == first.share
    assert all(trial.reused for trial in again.trail)
    other, asked = _search(CURVES["power 2"], BASELINE * 3, known=first.trail)
    assert other.matched
    assert len(asked) <= len(_search(CURVES["power 2"], BASELINE * 3)[1])


def test_known_trials_beyond_the_largest_share_are_left_out() -> None:
    found, _ = _search(CURVES["linear"], BASELINE * 2, largest=0.5, known=[Trial(0.9, BASELINE * 9)])
    assert all(trial.share <= 0.5 for trial in found.trail)


@pytest.mark.parametrize("sizes", [[64], [512, 2048], [16384]])
def test_shares_select_whole_neurons(sizes: list[int]) -> None:
    """A tried share selects k of the widest layer's neurons by the rule ceil(p * (D - 1)), never k + 1 by rounding."""
    from fractions import Fraction

    _, asked = _search(CURVES["power 2"], BASELINE * 2, sizes=sizes)
    width = max(sizes) - 1
    for share in asked:
        exact = Fraction(str(share)) * width
        k = math.ceil(exact)
        assert k - exact < 1e-4, (share, exact)


@pytest.mark.parametrize("options", [{"largest": 0.0}, {"largest": 1.5}, {"tolerance": 0.0}, {"max_evaluations": 0}])
def test_numbers_out_of_range(options: dict) -> None:
    with pytest.raises(SelectionError, match="out of range"):
        _search(CURVES["linear"], 40.0, **options)


def test_an_evaluation_that_is_no_perplexity() -> None:
    with pytest.raises(ValueError, match="perplexity nan"):
        find_share(lambda _: math.nan, target=40.0, baseline=20.0, sizes=[100])


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_random_sets_need_distinct_seeds(seeds: list[int]) -> None:
    with pytest.raises(SelectionError, match="distinct seeds"):
        random_sets(None, 0.01, seeds)  # pyright: ignore[reportArgumentType] - refused before the scan is looked at


@pytest.mark.parametrize("target", [math.inf, math.nan, 0.0, -3.0])
def test_a_target_that_is_no_perplexity_is_refused_before_any_evaluation(target: float) -> None:
    asked: list[float] = []
    with pytest.raises(SelectionError, match="finite and above zero"):
        find_share(lambda m: asked.append(m) or 1.0, target=target, baseline=BASELINE, sizes=[64])
    assert not asked


@pytest.mark.parametrize(
    ("options", "meant"), [({}, {"zero": "negative"}), ({"zero": "both"},) * 2, ({"mode": "sign_flip"},) * 2]
)
def test_the_set_found_does_the_damage_that_is_reported(options: dict, meant: dict) -> None:
    model = wrap(build("gpt_neox", scale=3.0), tokenizer())
    words = [f"w{number % 90 + 3}" for number in range(0, 7 * 400, 7)]
    made = scan(model, [" ".join(words)], window=32, windows=8, md_pairs=0)
    text = {"text": [" ".join(words[::-1])], "window": 32, "windows": 4}
    with intervene(model, made.bottom(0.2), **meant):
        target = perplexity(model, **text).value
    found = match_perplexity(model, made, target, **{**text, "text": iter(text["text"])}, **options)
    assert found.baseline == perplexity(model, **text).value
    assert found.neurons is not None
    assert found.neurons == made.bottom(found.share)
    with intervene(model, found.neurons, **meant):
        assert perplexity(model, **text).value == found.perplexity

"""Counts to the neuron, ties by index, and random sets that seeds decide."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from negspace.errors import SelectionError
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.select import ENOUGH, bottom, random, starved, top
from negspace.neurons.shares import share, size_of

LAYOUT = Layout.from_rows((("a", 0, 0, 101), ("b", 1, 4, 25), ("c", 1, 0, 11)))


def table(**columns: np.ndarray) -> pd.DataFrame:
    size = 101 + 100 + 11
    rng = np.random.default_rng(0)
    made = {"wd": rng.random(size), "md": rng.random(size), "skewness": rng.normal(size=size)}
    return pd.DataFrame({**made, **columns})


@pytest.mark.parametrize(
    ("p", "neurons", "expected"),
    [
        *((0.01, 8192, 82), (0.01, 768, 8), (0.35, 14336, 5018), (0.1, 101, 10), (0.07, 101, 7), (0.29, 101, 29)),
        *((1, 101, 100), (0, 101, 0), (0.5, 1, 0), ("1/3", 4, 1), (1e-9, 100, 1), (Fraction(1, 7), 8, 1)),
    ],
)
def test_counts_are_exact(p, neurons, expected):
    assert size_of(p, neurons) == expected


def test_counts_are_as_many_as_lie_above_the_quantile():
    rng = np.random.default_rng(1)
    for neurons in (17, 172, 768, 8192):
        scores = rng.random(neurons)
        for p in (0.003, 0.01, 0.02, 0.05, 0.333):
            assert size_of(p, neurons) == (scores > np.quantile(scores, 1 - p)).sum()
    # where binary fractions would add one: 0.07 * 100 is 7.000000000000001
    assert math.ceil(0.07 * 100) == 8


@pytest.mark.parametrize("p", [-0.1, 1.01, "x", None, True, float("nan"), "1/0"])
def test_shares_out_of_range_are_refused(p):
    with pytest.raises(SelectionError, match="not a number from 0 to 1"):
        share(p)


def test_top_and_bottom_are_the_extremes_of_every_site():
    scores = table()
    highest, lowest = top(scores, LAYOUT, 0.1), bottom(scores, LAYOUT, 0.1)
    assert {path: len(chosen) for path, chosen in highest.indices.items()} == {"a": 10, "b": 10, "c": 1}
    wd = scores["wd"].to_numpy()
    assert set(highest.indices["a"]) == set(np.argsort(wd[:101])[-10:])
    assert set(lowest.indices["b"]) == set(np.argsort(wd[101:201])[:10])
    assert highest.indices["c"][0] == np.argmax(wd[201:])
    assert highest.origin == "top 10% by wd"
    assert len(highest & lowest) == 0
    assert top(scores, LAYOUT, 0.1, layers=[1]).indices.keys() == {"b", "c"}


def test_ties_go_to_the_lower_index():
    scores = table(wd=np.ones(212))
    assert top(scores, LAYOUT, 0.1).indices["a"].tolist() == list(range(10))
    assert bottom(scores, LAYOUT, 0.1).indices["a"].tolist() == list(range(10))


def test_skewness_counts_by_magnitude():
    skewness = np.zeros(212)
    skewness[5], skewness[6] = -9, 8
    assert top(table(skewness=skewness), LAYOUT, 0.02, by="skewness").indices["a"].tolist() == [5, 6]


def test_neurons_without_a_score_are_never_chosen():
    scores = table()
    scores.loc[:94, "wd"] = np.nan
    for choose in (top, bottom):
        chosen = choose(scores, LAYOUT, 0.1).indices["a"]
        assert chosen.tolist() == list(range(95, 101))
    scores.loc[:100, "wd"] = np.nan
    with pytest.raises(SelectionError, match="not one neuron of a has this score"):
        top(scores, LAYOUT, 0.1)
    assert len(top(scores, LAYOUT, 0.1, layers=[1])) == 11
    assert len(top(scores, LAYOUT, 0)) == 0


def test_unknown_scores_and_layers_are_refused():
    with pytest.raises(SelectionError, match="use one of wd, md, negative_share"):
        top(table(), LAYOUT, 0.1, by="size")
    with pytest.raises(SelectionError, match="no layer 2"):
        bottom(table(), LAYOUT, 0.1, layers=[2])


def test_random_sets_follow_the_seed_and_the_size():
    first, same, other = (random(LAYOUT, 0.1, seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first != other
    assert {path: len(chosen) for path, chosen in first.indices.items()} == {"a": 10, "b": 10, "c": 1}
    assert random(LAYOUT, 0.1, seed=0, layers=[1]) == first.restrict([1])
    assert first.origin == "random 10%, seed 0"


def test_random_sets_are_uniform():
    hits = np.zeros(101)
    for seed in range(400):
        hits[random(LAYOUT, 0.1, seed=seed, layers=[0]).indices["a"]] += 1
    expected = 400 * 10 / 101
    assert ((hits - expected) ** 2 / expected).sum() < 150  # chi-squared with 100 degrees of freedom: p = 0.001


def test_random_sets_match_and_avoid_another():
    chosen = top(table(), LAYOUT, 0.3, layers=[1])
    matched = random(LAYOUT, like=chosen, exclude=chosen, seed=3)
    assert matched.count() == chosen.count()
    assert len(matched & chosen) == 0


def test_random_sets_that_cannot_be():
    everything = NeuronSet({"a": np.arange(95)}, LAYOUT)
    other = NeuronSet({}, Layout(LAYOUT.sites[:1]))
    for asked, message in (
        ({}, "neither p nor like"),
        ({"p": 0.1, "like": everything}, "neither p nor like"),
        ({"p": 0.1, "exclude": everything}, "only 6 are left"),
        ({"like": other}, "take both from one model"),
        ({"p": 0.1, "seed": -1}, "seed -1"),
        ({"p": 2}, "not a number from 0 to 1"),
    ):
        with pytest.raises(SelectionError, match=message):
            random(LAYOUT, **asked)


def test_experts_that_hardly_a_token_reached_are_not_ranked():
    """A sample of eight tokens of a Gaussian has a WD of some 0.27: such an expert would fill the top set."""
    tokens = np.full(212, 5000)
    wd = np.full(212, 0.1)
    tokens[101:126], wd[101:126] = 8, 0.3
    wd[130] = 0.25
    made = table(wd=wd, tokens=tokens)
    assert np.flatnonzero(starved(made, LAYOUT)).tolist() == list(range(101, 126))
    chosen = top(made, LAYOUT, 0.05)
    assert 29 in chosen.at("b")
    assert chosen.at("b").min() >= 25
    assert bottom(made, LAYOUT, 0.05).at("b").min() >= 25
    # Enough tokens, or no fewer than the others: ranked.
    assert top(table(wd=wd, tokens=np.where(tokens == 8, ENOUGH, tokens)), LAYOUT, 0.05).at("b").max() < 25
    assert top(table(wd=wd, tokens=np.full(212, 8)), LAYOUT, 0.05).at("b").max() < 25
    assert top(table(wd=wd), LAYOUT, 0.05).at("b").max() < 25

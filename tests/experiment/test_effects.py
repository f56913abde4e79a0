"""Changes between conditions: intervals and tests of the right units, and what is called harm."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from negspace.experiment.effects import (
    Scored,
    change,
    corrected,
    finding,
    flip_items,
    level_of,
    mean_of,
    part,
    value,
)
from negspace.experiment.words import amount
from negspace.significance import compare_accuracy, compare_perplexity, mcnemar

OPTIONS = {"level": 0.95, "draws": 300, "seed": 0}


def pairs(values: np.ndarray, paradigms: int) -> Scored:
    names = np.array([f"p{n % paradigms:02d}" for n in range(len(values))], dtype=object)
    return Scored("blimp", values.astype(float), names, np.array([name[-1] for name in names], dtype=object))


def text(nll: np.ndarray) -> Scored:
    none = np.empty(0, dtype=object)
    return Scored("perplexity", nll, none, none)


def test_perplexity_is_tested_by_t_over_windows():
    rng = np.random.default_rng(0)
    before = rng.normal(3, 0.2, 8)
    after = before + rng.normal(0.1, 0.05, 8)
    made = change(text(before), text(after), **OPTIONS)
    assert made.p == pytest.approx(stats.ttest_rel(after, before).pvalue)
    expected = compare_perplexity(before, after, **OPTIONS).ratio
    assert (made.estimate, made.low, made.high) == (expected.estimate, expected.low, expected.high)
    assert change(text(before), text(before), **OPTIONS).p == 1
    assert np.isnan(change(text(before[:1]), text(after[:1]), **OPTIONS).p)
    assert level_of(text(before)) == pytest.approx(value(text(before), **OPTIONS).estimate)


def test_paradigms_are_the_units_where_there_are_enough():
    rng = np.random.default_rng(1)
    before, after = rng.random((2, 240)) < [[0.8], [0.6]]
    many = change(pairs(before, 12), pairs(after, 12), **OPTIONS)
    names = pairs(before, 12).paradigms
    assert many.p == compare_accuracy(before, after, names, **OPTIONS).p_paradigms
    exact = mcnemar(int((after & ~before).sum()), int((before & ~after).sum()))
    assert change(pairs(before, 4), pairs(after, 4), **OPTIONS).p == pytest.approx(exact)
    assert change(pairs(before, 12), pairs(after, 12), unit="pair", **OPTIONS).p == pytest.approx(exact)


def test_flips_of_fractions_agree_with_flipping_every_item():
    rng = np.random.default_rng(2)
    differences = rng.choice([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3], size=60)
    signs = rng.choice([-1, 1], size=(20_000, 60))
    expected = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert flip_items(differences) == pytest.approx(expected, abs=0.02)
    assert flip_items(np.zeros(5)) == 1


def test_a_mean_over_sets_is_taken_item_by_item():
    one, two = pairs(np.array([1, 1, 0, 0]), 2), pairs(np.array([1, 0, 0, 1]), 2)
    mean = mean_of([one, two])
    assert mean.values.tolist() == [1, 0.5, 0, 0.5]
    assert value(mean, **OPTIONS).estimate == pytest.approx(0.5)
    assert level_of(part(mean, "0")) == 0.5
    assert len(part(mean, "1").values) == 2


def test_harm_needs_interval_and_p():
    assert finding("perplexity", 1.1, 1.4, 0.01, 0.05) == "harm"
    assert finding("perplexity", 0.8, 0.9, 0.01, 0.05) == "gain"
    assert finding("perplexity", 1.1, 1.4, 0.2, 0.05) == "null result"
    assert finding("blimp", -0.2, -0.1, 0.01, 0.05) == "harm"
    assert finding("tse", 0.1, 0.2, 0.01, 0.05) == "gain"
    assert finding("tse", -0.1, 0.2, 0.01, 0.05) == "null result"
    assert finding("perplexity", 1.1, 1.4, float("nan"), 0.05) == "harm"
    assert finding("perplexity", float("nan"), float("nan"), float("nan"), 0.05) == "null result"


def test_a_repeated_row_costs_no_test():
    def row(share: float, first: float, p: float) -> dict[str, object]:
        return {"share": share, "first_share": first, "score": "tse", "p": p, "low": -0.2, "high": -0.1, "set": "top"}

    rows = corrected([row(0.1, 0.1, 0.02), row(0.2, 0.1, 0.02), row(0.3, 0.3, 0.04)], ["set"], 0.05)
    assert [one["p_holm"] for one in rows] == pytest.approx([0.04, 0.04, 0.04])
    assert {one["finding"] for one in rows} == {"harm"}


def test_words():
    assert amount("perplexity", 1.5, 1.2, 20.25) == "x 1.5000 [1.2000, 20.25]"
    assert amount("blimp", -0.031, float("nan"), float("nan")) == "-3.1 points [no interval]"

"""Moments from sketches and samples against numpy and scipy, constants and far-off means included."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from negspace.stats.accumulate import Accumulator
from negspace.stats.moments import moments_of, moments_of_sketch
from negspace.stats.sketch import Grid, Sketch


def sketched(a: np.ndarray, mean: np.ndarray | None = None, std: np.ndarray | None = None) -> Sketch:
    pilot = a[:100].astype(np.float64)
    grid = Grid.around(pilot.mean(axis=0) if mean is None else mean, pilot.std(axis=0) if std is None else std)
    accumulator = Accumulator(grid)
    accumulator.update(torch.from_numpy(a))
    return accumulator.sketch()


@pytest.fixture(scope="module")
def activations() -> np.ndarray:
    rng = np.random.default_rng(0)
    columns = [
        rng.normal(size=5000),
        rng.normal(1000.0, 0.01, 5000),
        rng.exponential(size=5000),
        rng.standard_t(3, 5000) * 20 - 7,
        -rng.random(5000) - 1,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


@pytest.mark.parametrize("way", ["sketch", "sample"])
def test_moments_are_scipys(activations, way):
    found = moments_of_sketch(sketched(activations)) if way == "sketch" else moments_of(activations)
    a = activations.astype(np.float64)
    np.testing.assert_allclose(found.mean, a.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.std, a.std(axis=0), rtol=1e-9)
    std = a.std(axis=0)
    np.testing.assert_allclose(found.third / std**3, scipy.stats.moment(a, 3) / std**3, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.fourth, scipy.stats.moment(a, 4), rtol=1e-8)
    np.testing.assert_allclose(found.fraction_negative, (a < 0).mean(axis=0))
    assert np.isnan(found.mean_negative[1])
    for neuron in (0, 2, 3, 4):
        negative = a[a[:, neuron] < 0, neuron]
        expected = negative.mean() if len(negative) else np.nan
        np.testing.assert_allclose(found.mean_negative[neuron], expected, rtol=1e-12)
    assert (found.tokens == 5000).all()


@pytest.mark.parametrize("value", [0.0, 0.3, -123.456, 1e-20])
@pytest.mark.parametrize("way", ["sketch", "sample"])
def test_a_constant_has_a_variance_of_exactly_zero(value, way):
    a = np.full((777, 2), value, np.float32)
    found = moments_of_sketch(sketched(a)) if way == "sketch" else moments_of(a)
    assert (found.variance == 0).all()
    np.testing.assert_allclose(found.mean, np.float32(value))


def test_a_constant_far_from_the_pilots_pivot_still_has_none():
    a = np.full((500, 1), 0.3, np.float32)
    found = moments_of_sketch(sketched(a, mean=np.array([2.0]), std=np.array([0.7])))
    assert found.variance == 0


def test_without_tokens_there_are_no_moments():
    for found in (
        moments_of_sketch(Sketch.empty(Grid.around(np.zeros(2), np.ones(2)))),
        moments_of(np.empty((0, 2), np.float32)),
    ):
        assert np.isnan(found.mean).all()
        assert np.isnan(found.variance).all()
        assert (found.tokens == 0).all()

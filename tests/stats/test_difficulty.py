"""Mapping difficulty against the definition, pair by pair."""

from __future__ import annotations

import numpy as np

from negspace.stats.difficulty import Difficulty, difference, distance, draw_pairs
from negspace.stats.difficulty import difficulty as of_differences


def difficulty(x: np.ndarray, a: np.ndarray) -> Difficulty:
    """Of inputs [2, pairs, hidden] and pre-activations [2, pairs, neurons]."""
    return of_differences(distance(*x)[:, 0], difference(*a))


def brute_force(x: np.ndarray, a: np.ndarray, neuron: int) -> float:
    distances = [float(np.sqrt(((x[0, k] - x[1, k]) ** 2).sum())) for k in range(x.shape[1])]
    differences = [abs(float(a[0, k, neuron]) - float(a[1, k, neuron])) for k in range(x.shape[1])]
    largest, median = max(distances), float(np.median(differences))
    return float(np.mean([(dy / median) / (dx / largest) for dx, dy in zip(distances, differences, strict=True)]))


def test_it_is_the_definition():
    rng = np.random.default_rng(0)
    for pairs in (101, 200):
        x = rng.normal(size=(2, pairs, 12)).astype(np.float32)
        a = np.tanh(x @ rng.normal(size=(12, 600))).astype(np.float32)
        found = difficulty(x, a)
        for neuron in (0, 63, 64, 511, 599):
            np.testing.assert_allclose(found.md[neuron], brute_force(x.astype(np.float64), a, neuron), rtol=1e-5)
        assert found.pairs == pairs
        assert found.equal == 0
        assert len(found.flat) == 0


def test_scale_and_shift_do_not_matter():
    rng = np.random.default_rng(1)
    x, a = rng.normal(size=(2, 64, 5)), rng.normal(size=(2, 64, 7))
    np.testing.assert_allclose(difficulty(3 * x + 1, -5 * a + 2).md, difficulty(x, a).md)


def test_pairs_of_equal_inputs_are_left_out_and_counted():
    rng = np.random.default_rng(2)
    x, a = rng.normal(size=(2, 40, 5)), rng.normal(size=(2, 40, 3))
    x[1, :4], a[1, :4] = x[0, :4], a[0, :4]
    found = difficulty(x, a)
    assert (found.equal, found.pairs) == (4, 36)
    np.testing.assert_allclose(found.md, difficulty(x[:, 4:], a[:, 4:]).md)


def test_a_neuron_with_a_median_of_zero_has_none_and_is_named():
    rng = np.random.default_rng(3)
    x, a = rng.normal(size=(2, 40, 5)), rng.normal(size=(2, 40, 3))
    a[:, :, 1] = 0.5
    found = difficulty(x, a)
    assert np.isnan(found.md[1])
    assert found.flat.tolist() == [1]
    assert np.isfinite(found.md[[0, 2]]).all()


def test_without_different_inputs_there_is_none():
    found = difficulty(np.ones((2, 5, 4)), np.random.default_rng(0).normal(size=(2, 5, 3)))
    assert np.isnan(found.md).all()
    assert (found.pairs, found.equal) == (0, 5)
    assert len(found.flat) == 0  # the inputs are to blame, not the neurons


def test_each_token_is_drawn_once_and_the_seed_decides():
    pairs = draw_pairs(101, 1000, seed=4)
    assert pairs.shape == (50, 2)
    assert len(np.unique(pairs)) == 100
    np.testing.assert_array_equal(pairs, draw_pairs(101, 1000, seed=4))
    assert not np.array_equal(pairs, draw_pairs(101, 1000, seed=5))
    assert draw_pairs(1, 10, seed=0).shape == (0, 2)

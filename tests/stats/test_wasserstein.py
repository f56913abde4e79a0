"""Both ways to the distance against scipy and against each other; the stated bound holds whatever the sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import wasserstein_distance

from negspace.stats.accumulate import Accumulator
from negspace.stats.sketch import Grid, Sketch
from negspace.stats.wasserstein import exact, from_sketch, gaussian_negative_share, negative_excess

TOKENS = 20_000


def shapes(tokens: int = TOKENS, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    g = rng.standard_normal(tokens)
    return {
        "gaussian": g,
        "shifted": 3 * rng.standard_normal(tokens) + 5,
        "student": rng.standard_t(3, tokens),
        "heavy": rng.standard_t(2.1, tokens),
        "bimodal": np.where(rng.random(tokens) < 0.3, 0.2 * g - 2, 0.5 * g + 1),
        "exponential": rng.exponential(size=tokens) - 0.3,
        "lognormal": np.exp(1.5 * g),
        "uniform": rng.random(tokens) - 0.2,
        "two points": np.where(rng.random(tokens) < 0.37, -1.0, 2.0),
        "integers": np.round(2 * g),
        "outliers": np.where(rng.random(tokens) < 0.001, 500 * g, g),
        "mostly zero": np.where(rng.random(tokens) < 0.9, 0.0, g),
        "all negative": -1 - rng.exponential(size=tokens),
    }


def stacked(columns: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack(list(columns.values()), axis=1).astype(np.float32)


def sketched(a: np.ndarray, factor: float = 1.0, pilot: int = 2000) -> Sketch:
    first = a[:pilot].astype(np.float64)
    accumulator = Accumulator(Grid.around(first.mean(axis=0), factor * first.std(axis=0)))
    accumulator.update(torch.from_numpy(a))
    return accumulator.sketch()


def test_exact_is_scipys_distance_to_a_dense_grid_of_quantiles():
    a = stacked(shapes())
    quantiles = ndtri((np.arange(400_000) + 0.5) / 400_000)
    found = exact(a)
    for neuron in range(a.shape[1]):
        x = a[:, neuron].astype(np.float64)
        expected = wasserstein_distance((x - x.mean()) / x.std(), quantiles)
        assert found.wd[neuron] == pytest.approx(expected, abs=2e-6)
    assert (found.error == 0).all()


def test_exact_is_the_integral_over_t():
    a = stacked(shapes(tokens=300))
    found = exact(a)
    t = np.linspace(-12, 30, 2_000_001)
    for neuron in range(0, a.shape[1], 3):
        x = a[:, neuron].astype(np.float64)
        zero = -x.mean() / x.std()
        x = np.sort((x - x.mean()) / x.std())
        gap = np.abs(np.searchsorted(x, t, side="right") / len(x) - ndtr(t))
        total, below = np.trapezoid(gap, t), np.trapezoid(gap[t < zero], t[t < zero])
        assert found.wd[neuron] == pytest.approx(total, abs=1e-4)
        assert found.negative_share[neuron] == pytest.approx(below / total, abs=1e-3)


def test_known_values():
    two = exact(np.repeat([[-1.0], [1.0]], 500, axis=0))
    assert two.wd[0] == pytest.approx(
        2 * (2 * ndtr(1) - 1.5 + 2 * np.exp(-0.5) / np.sqrt(2 * np.pi) - 0.3989422804), abs=1e-6
    )
    assert two.negative_share[0] == pytest.approx(0.5)
    quantiles = ndtri((np.arange(100_000) + 0.5) / 100_000)
    assert exact(quantiles[:, None]).wd[0] < 1e-4
    assert exact(np.arange(10.0)[:, None]).wd[0] == pytest.approx(exact(7 - 3 * np.arange(10.0)[:, None]).wd[0])


@pytest.mark.parametrize(("factor", "within"), [(1.0, 1e-4), (2.0, 4e-4), (0.5, 1e-3)])
def test_the_sketch_is_within_a_thousandth_and_within_its_bound(factor, within):
    columns = shapes()
    if factor < 1:
        # With an infinite fourth moment the grid then ends where Phi has not yet: the bound says so (see below).
        del columns["heavy"]
    a = stacked(columns)
    found, expected = from_sketch(sketched(a, factor)), exact(a)
    off = np.abs(found.wd - expected.wd)
    assert off.max() < within, dict(zip(columns, off, strict=True))
    assert (off <= found.error).all()
    assert np.abs(found.negative_share - expected.negative_share).max() < 5e-3


def test_far_from_gaussian_the_bound_is_tight():
    columns = shapes()
    found = from_sketch(sketched(stacked(columns)))
    bound = dict(zip(columns, found.error, strict=True))
    assert all(bound[name] < 1e-3 for name in ("student", "bimodal", "exponential", "lognormal", "uniform"))
    assert bound["gaussian"] < 0.01


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    tokens=st.integers(5, 800),
    atoms=st.integers(1, 40),
    smear=st.sampled_from([0.0, 1e-3, 0.1, 1.0]),
    tail=st.sampled_from([0.0, 3.0, 300.0]),
    factor=st.floats(0.05, 20),
    pilot=st.integers(1, 100),
)
def test_the_bound_holds_for_any_sample_and_any_pilot(seed, tokens, atoms, smear, tail, factor, pilot):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=atoms)[rng.integers(0, atoms, (tokens, 4))] + smear * rng.normal(size=(tokens, 4))
    a = (a + tail * (rng.random((tokens, 4)) < 0.02) + rng.normal(0, 3, 4)).astype(np.float32)
    made, expected = from_sketch(sketched(a, factor, pilot)), exact(a)
    assert (np.isnan(made.wd) == np.isnan(expected.wd)).all()
    known = ~np.isnan(made.wd)
    assert (np.abs(made.wd - expected.wd) <= made.error + 1e-6)[known].all()
    assert ((made.negative_share >= 0) & (made.negative_share <= 1))[known].all()


def test_a_grid_that_misses_the_neuron_says_so():
    rng = np.random.default_rng(0)
    a = (rng.normal(size=(5000, 1)) + 5 * (np.arange(5000)[:, None] > 2000)).astype(np.float32)
    a[:2000] = 1e-3 * a[:2000]
    found, expected = from_sketch(sketched(a)), exact(a)
    assert found.error[0] > 0.02
    assert abs(found.wd[0] - expected.wd[0]) <= found.error[0]


def test_what_does_not_vary_has_no_distance():
    a = np.full((100, 2), 0.3, np.float32)
    a[:50, 1] = 1
    for found in (exact(a), from_sketch(sketched(a))):
        assert np.isnan([found.wd[0], found.error[0], found.negative_share[0]]).all()
        assert found.wd[1] > 0


def test_where_the_structure_sits():
    rng = np.random.default_rng(3)
    g = rng.standard_normal(50_000)
    below = np.where(g < -0.3, -0.3 + 0.02 * g, g)  # all that is below -0.3 is squeezed together
    mirrored = -below
    a = np.stack([below, mirrored], axis=1).astype(np.float32)
    found = from_sketch(sketched(a))
    assert found.negative_share[0] > 0.5
    assert found.negative_share[0] + found.negative_share[1] == pytest.approx(1.0, abs=1e-3)
    assert found.wd[0] == pytest.approx(found.wd[1], abs=1e-5)


def test_the_gaussian_negative_share_is_what_gaussian_samples_have() -> None:
    rng = np.random.default_rng(0)
    for zero in (-1.5, -0.5, 0.0, 1.0):
        found = exact(rng.standard_normal((400, 500)) - zero)
        # Shares of the summed distance, as the expectation of |F - Phi| is taken before dividing.
        share = float((found.negative_share * found.wd).sum() / found.wd.sum())
        assert share == pytest.approx(float(gaussian_negative_share(zero)), abs=0.02)
    assert gaussian_negative_share([0.0, np.nan, 40.0, -40.0]) == pytest.approx([0.5, np.nan, 1, 0], nan_ok=True)


def test_the_corrected_share_is_what_the_place_of_zero_does_not_explain() -> None:
    # A Gaussian of low mean has a large negative share, and no excess. A lump below zero has one.
    rng = np.random.default_rng(3)
    for mean in (-1.5, -0.5, 0.0, 1.0):
        samples = (mean + rng.standard_normal((500, 200))).astype(np.float32)
        excess = negative_excess(exact(samples).negative_share, samples.mean(axis=0), samples.std(axis=0))
        assert excess.mean() == pytest.approx(0.0, abs=0.03), mean
    lump = 1 + rng.standard_normal(20_000).astype(np.float32)
    lump[lump < 0] = -2.0
    both = np.stack([lump, -lump], axis=1)
    excess = negative_excess(exact(both).negative_share, both.mean(axis=0), both.std(axis=0))
    assert excess[0] > 0.05
    assert excess[1] == pytest.approx(-excess[0], abs=1e-3)
    assert np.isnan(negative_excess([0.5], [1.0], [0.0]))[0]

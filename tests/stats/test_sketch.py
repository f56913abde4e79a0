"""A sketch is a value that merges: in any order, to the same bits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from negspace.errors import StatisticsError
from negspace.stats.accumulate import Accumulator
from negspace.stats.moments import moments_of, moments_of_sketch
from negspace.stats.sketch import MOST_TOKENS, Grid, Sketch, check_room, merge_all
from negspace.stats.wasserstein import exact, from_sketch


def sketch(values: np.ndarray, grid: Grid) -> Sketch:
    accumulator = Accumulator(grid)
    accumulator.update(torch.from_numpy(np.ascontiguousarray(values, np.float32)))
    return accumulator.sketch()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 600), min_size=2, max_size=5), scale=st.floats(0.1, 50)
)
def test_merging_is_associative_and_commutative_to_the_bit(seed, cuts, scale):
    rng = np.random.default_rng(seed)
    a = (rng.standard_t(2, (600, 3)) * scale + rng.normal(0, 5, 3)).astype(np.float32)
    grid = Grid.around(a[:200].mean(axis=0), a[:200].std(axis=0))
    bounds = [0, *sorted(cuts), 600]
    parts = [sketch(a[i:j], grid) for i, j in pairwise(bounds)]
    forwards = merge_all(parts)
    backwards = merge_all(parts[::-1])
    nested = parts[0].merge(merge_all(parts[1:]))
    assert forwards.same(backwards)
    assert forwards.same(nested)
    whole = sketch(a, grid)
    np.testing.assert_array_equal(forwards.bins, whole.bins)
    np.testing.assert_array_equal(forwards.tallies, whole.tallies)
    split, once, exact = moments_of_sketch(forwards), moments_of_sketch(whole), moments_of(a)
    for name, power in {"mean": 1, "variance": 2, "third": 3, "fourth": 4, "mean_negative": 1}.items():
        size = exact.fourth ** (power / 4)  # a third moment near zero has lost its leading digits
        made, other, true = (getattr(moments, name) / size for moments in (split, once, exact))
        np.testing.assert_allclose(made, other, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(made, true, rtol=1e-9, atol=1e-9)


def test_an_empty_sketch_changes_nothing():
    a = np.random.default_rng(0).normal(size=(50, 2))
    grid = Grid.around(a.mean(axis=0), a.std(axis=0))
    made = sketch(a, grid)
    assert made.merge(Sketch.empty(grid)).same(made)


def test_a_neuron_takes_at_most_4500_bytes_however_many_tokens():
    rng = np.random.default_rng(0)
    grid = Grid.around(np.zeros(16), np.ones(16))
    few, many = (sketch(rng.normal(size=(n, 16)), grid) for n in (100, 10_000))
    assert few.nbytes == many.nbytes <= 4500 * 16


def test_other_grids_do_not_merge():
    first, second = (Grid.around(np.zeros(3), np.full(3, s)) for s in (1.0, 2.0))
    with pytest.raises(StatisticsError, match="grids differ") as caught:
        Sketch.empty(first).merge(Sketch.empty(second))
    assert "first windows" in caught.value.todo


def test_too_many_tokens_are_refused():
    check_room(MOST_TOKENS - 1)
    with pytest.raises(StatisticsError, match="counts up to 134,217,727"):
        check_room(MOST_TOKENS)


def test_nothing_to_merge_is_refused():
    with pytest.raises(StatisticsError, match="none was given"):
        merge_all([])


def test_zero_lies_on_an_edge():
    rng = np.random.default_rng(1)
    grid = Grid.around(rng.normal(size=50), rng.uniform(0.5, 2, 50))
    nearest = np.abs(grid.edges()).min(axis=1) / grid.step
    assert nearest.max() < 1e-3


@pytest.mark.parametrize("mean", [0.0, 0.3, -1e6])
def test_a_pilot_that_does_not_vary_is_given_a_usable_grid(mean):
    grid = Grid.around(np.full(3, mean), np.array([0.0, 1.0, 3.0]))
    assert np.isfinite(grid.edges()).all()
    assert (np.diff(grid.edges(), axis=1) > 0).all()
    alone = Grid.around(np.array([mean]), np.array([0.0]))
    assert np.isfinite(alone.edges()).all()


def test_the_grid_covers_eight_deviations():
    grid = Grid.around(np.array([2.0]), np.array([0.5]))
    edges = grid.edges()[0]
    assert edges[0] == pytest.approx(2 - 4, abs=0.02)
    assert edges[-1] == pytest.approx(2 + 4, abs=0.02)


def test_a_part_taken_out_of_a_sketch_leaves_the_other_to_the_bit():
    rng = np.random.default_rng(3)
    values = rng.normal(-1, 2, (4000, 7)).astype(np.float32)
    grid = Grid.around(values.mean(0), values.std(0))
    parts = []
    for chosen in (values[:1500], values[1500:]):
        accumulator = Accumulator(grid)
        accumulator.update(torch.from_numpy(chosen))
        parts.append(accumulator.sketch())
    first, second = parts
    assert first.merge(second).without(first).same(second)
    assert first.merge(second).without(second).same(first)


def test_a_deviation_that_is_small_beside_the_others_is_measured_as_it_is():
    """Only its own grid shows its shape; on the others' it would be one bin."""
    rng = np.random.default_rng(4)
    a = (rng.exponential(size=(4000, 3)) * [1.0, 1.0, 1e-12]).astype(np.float32)
    made = sketch(a, Grid.around(a.mean(axis=0, dtype=np.float64), a.std(axis=0, dtype=np.float64)))
    np.testing.assert_allclose(from_sketch(made).wd, exact(a).wd, atol=1e-3)

"""Histograms hold what counting the activations by hand gives, whichever way they were made, and only some are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_collect import model_of, seen_by_a_hook, windows_of

import zoo
from negspace.stats import histogram
from negspace.stats.accumulate import Accumulator
from negspace.stats.histogram import BINS, Histograms, joined, kept, of_sample, of_sketch
from negspace.stats.measure import measure
from negspace.stats.moments import moments_of, moments_of_sketch
from negspace.stats.sketch import Grid
from negspace.text.windows import Windows


def _sketched(a: np.ndarray, grid: Grid):
    made = Accumulator(grid, 1, torch.device("cpu"), "a site")
    made.update(torch.from_numpy(a), None, None, None, 1)
    return made.sketch()


@pytest.mark.parametrize("shift", [0.0, -3.0, 50.0, 1000.0])
def test_a_sketch_gives_what_counting_gives(shift: float) -> None:
    draw = np.random.default_rng(0)
    a = np.stack([draw.normal(shift, 1, 4000), draw.gamma(0.3, 2, 4000) - 1, draw.standard_t(2, 4000)], axis=1)
    a = a.astype(np.float32)
    sketch = _sketched(a, Grid.around(a[:500].mean(0), a[:500].std(0)))
    moments = moments_of_sketch(sketch)
    made = of_sketch(sketch, moments, np.array([0, 2]), 10)
    assert made.rows.tolist() == [10, 12]
    assert made.of(11) is None
    for row, column in ((10, 0), (12, 2)):
        found = made.of(row)
        assert found is not None
        # Within what a value at an edge may be moved by the float32 grid.
        by_hand = np.histogram(a[:, column].astype(np.float64), found.edges)[0]
        assert np.abs(found.counts - by_hand).sum() <= 4
        assert found.below + found.above + found.counts.sum() == found.tokens == 4000
        width = np.diff(found.edges)
        assert width == pytest.approx(moments.std[column] / 8, rel=0.13)
        middle = (found.edges[0] + found.edges[-1]) / 2
        assert abs(middle - moments.mean[column]) < 1.1 * width[0]
        if found.edges[0] < 0 < found.edges[-1]:
            assert 0.0 in found.edges
            below_zero = found.below + found.counts[found.edges[:-1] < 0].sum()
            assert below_zero == (a[:, column] < 0).sum()


@pytest.mark.parametrize(
    ("shift", "spread"), [(0.0, 2.6), (0.0, 1.0), (7.5, 1.0), (-7.5, 1.5), (30.0, 0.5), (3.3, 4.0)]
)
@pytest.mark.parametrize("start", [0.0, 0.37, 5.2, -40.0])
def test_what_lies_beyond_a_sketch_s_grid_is_in_no_bin(start: float, spread: float, shift: float) -> None:
    """A pilot that misjudged mean and deviation: the bins stay on its grid, and each count is that of counting."""
    draw = np.random.default_rng(4)
    a = draw.normal(start + shift, spread, (5000, 1)).astype(np.float32)
    grid = Grid.around(np.array([start]), np.ones(1))
    sketch = _sketched(a, grid)
    found = of_sketch(sketch, moments_of_sketch(sketch), np.zeros(1, np.int64), 0).of(0)
    assert found is not None
    ends = grid.edges()[0, [0, -1]]
    assert ends[0] - 1e-4 <= found.edges[0] < found.edges[-1] <= ends[1] + 1e-4
    values = a[:, 0].astype(np.float64)
    assert abs(found.below - (values < found.edges[0]).sum()) <= 2
    assert abs(found.above - (values >= found.edges[-1]).sum()) <= 2
    assert np.abs(found.counts - np.histogram(values, found.edges)[0]).sum() <= 4
    assert found.tokens == 5000
    if found.edges[0] < -1e-3 and found.edges[-1] > 1e-3:
        assert 0.0 in found.edges


def test_a_sample_gives_what_counting_gives() -> None:
    a = np.random.default_rng(1).normal(-1, 2, (3000, 2))
    found = of_sample(a, moments_of(a), np.array([1]), 0).of(1)
    assert found is not None
    np.testing.assert_array_equal(found.counts, np.histogram(a[:, 1], found.edges)[0])
    assert 0.0 in found.edges
    assert (found.density * np.diff(found.edges)).sum() == pytest.approx(found.counts.sum() / 3000)


def test_a_small_model_keeps_all_that_vary_and_a_large_one_the_first_and_the_middle() -> None:
    draw = np.random.default_rng(2)
    wd = [draw.uniform(0, 1, 200), np.where(np.arange(100) < 3, np.nan, draw.uniform(0, 1, 100))]
    assert [len(chosen) for chosen in kept(wd)] == [200, 97]
    large = [draw.uniform(0, 1, 20_000), draw.uniform(0, 1, 300)]
    first, second = kept(large)
    ranks = (-large[0]).argsort().argsort()[first]
    assert set(range(200)) <= set(ranks.tolist())
    assert (np.abs(ranks[ranks >= 200] - 10_000) <= 100).all()
    assert (len(first), len(second)) == (400, 16)
    many = kept([draw.uniform(0, 1, 40_000)] * 64)
    assert sum(map(len, many)) == histogram.MOST


@pytest.mark.parametrize("name", ["gpt_neox", "qwen2_moe"])
def test_both_ways_keep_the_same_neurons_and_tokens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, windows = model_of(name), windows_of(count=40)
    sketched, exactly = (measure(model, windows, exactly=way).histograms for way in (False, True))
    assert sketched.rows.tolist() == exactly.rows.tolist()
    np.testing.assert_array_equal(sketched.counts.sum(axis=1), exactly.counts.sum(axis=1))
    monkeypatch.setattr(histogram, "SMALL", 0)
    some = measure(model, windows)
    assert 0 < len(some.histograms) < len(some.table)
    for site_rows in some.table.groupby(["layer", "branch"], sort=False).groups.values():
        best = some.table.loc[site_rows, "wd"].idxmax()
        assert some.histograms.of(int(best)) is not None


def test_a_scan_counts_what_a_hook_sees() -> None:
    model, windows = model_of("gpt_neox"), windows_of(count=20)
    site = model.sites[1]
    seen = seen_by_a_hook(model, windows, site.path)
    found = measure(model, windows).histograms.of(model.sites[0].size + 5)
    assert found is not None
    assert np.abs(found.counts - np.histogram(seen[:, 5], found.edges)[0]).sum() <= 4


def test_neurons_sketched_again_have_the_histogram_of_the_second_pass() -> None:
    model = model_of("gpt_neox")
    draw = np.random.default_rng(0)
    tokens = draw.integers(3, 50, (128, 32))
    tokens[64:] = draw.integers(50, zoo.VOCABULARY, (64, 32))
    windows = Windows(tokens, np.zeros(tokens.shape, bool), 32, 32, "auto", "two halves", "none", 128)
    with torch.no_grad():
        embedding = model.module.get_input_embeddings().weight
        embedding[:50] = embedding[3] + 0.003 * embedding[:50]
    sketched, exactly = measure(model, windows), measure(model, windows, exactly=True)
    assert sketched.regridded > 0
    beyond = sketched.histograms.counts[:, [0, -1]].sum(axis=1)
    assert np.abs(beyond - exactly.histograms.counts[:, [0, -1]].sum(axis=1)).max() <= 0.02 * tokens.size


def test_json_brings_them_back_and_anything_else_is_no_histograms() -> None:
    a = np.random.default_rng(3).normal(0, 1, (500, 3))
    made = joined([of_sample(a, moments_of(a), np.array([2]), 3), of_sample(a, moments_of(a), np.array([0, 1]), 0)])
    assert made.rows.tolist() == [0, 1, 5]
    values = json.loads(json.dumps(made.to_json()))
    back = Histograms.from_json(values)
    for name in ("rows", "low", "step", "counts"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
    assert len(joined([])) == 0
    for wrong in ({}, {**values, "rows": [1]}, {**values, "counts": [[1] * BINS]}, {**values, "low": None}):
        with pytest.raises(ValueError, match="no histograms"):
            Histograms.from_json(wrong)

"""Clustered means: plain figures by hand, nominal coverage and level in simulations with correlated items."""

from __future__ import annotations

import numpy as np
import pytest

from negspace.significance.clustered import clustered_mean
from negspace.significance.interval import mean_interval
from negspace.significance.permutation import sign_flip


def test_every_item_weighs_the_same():
    made = clustered_mean([1.0, 2.0, 3.0, 10.0], ["b", "a", "b", "c"])
    assert made.mean.estimate == 4.0
    assert (made.items, made.clusters) == (4, 3)


def test_clusters_of_one_item_are_the_plain_bootstrap():
    data = np.random.default_rng(1).normal(0.3, 1, 40)
    made, plain = clustered_mean(data, np.arange(40), seed=5), mean_interval(data, seed=5)
    assert (made.mean.low, made.mean.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    assert made.p == sign_flip(data, seed=5)


def test_the_order_of_items_does_not_matter():
    rng = np.random.default_rng(2)
    data, clusters = rng.normal(size=60), rng.integers(9, size=60)
    order = rng.permutation(60)
    first, second = clustered_mean(data, clusters), clustered_mean(data[order], clusters[order])
    assert first.p == second.p
    assert first.mean.low == pytest.approx(second.mean.low, abs=1e-12)


@pytest.mark.parametrize(("clusters", "tested"), [(5, False), (6, True)])
def test_no_test_where_none_could_succeed(clusters, tested):
    made = clustered_mean(np.ones(clusters), np.arange(clusters))
    assert np.isnan(made.p) != tested
    if tested:
        assert made.p == 2 / 2**6


@pytest.mark.parametrize("clusters", [1, 2, 3, 4, 5])
def test_fewer_than_five_clusters_have_no_interval(clusters):
    """Resampled means lie between the least and the largest cluster: of two, the true mean does so in half of cases."""
    made = clustered_mean(np.arange(2.0 * clusters), np.arange(2 * clusters) // 2, level=0.8)
    assert (made.mean.estimate, made.clusters) == (clusters - 0.5, clusters)
    assert np.isnan([made.mean.low, made.mean.high, made.p]).all() == (clusters < 5)
    assert np.isfinite([made.mean.low, made.mean.high, made.p]).all() == (clusters == 5)
    assert made.mean.spans_zero == (clusters < 5)


@pytest.mark.parametrize("bad", [[], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_what_has_no_mean(bad):
    with pytest.raises(ValueError, match=r"cluster|finite"):
        clustered_mean(bad, [0, 1])


@pytest.mark.parametrize("clusters", [12, 40])
def test_coverage_and_level_with_correlated_items(clusters):
    """Items of a cluster share most of their noise, and clusters differ in size; the true mean is zero."""
    rng = np.random.default_rng(3)
    covered, rejected, naive, runs = 0, 0, 0, 400
    for run in range(runs):
        sizes = rng.integers(1, 12, clusters)
        label = np.repeat(np.arange(clusters), sizes)
        data = np.repeat(rng.normal(size=clusters), sizes) + 0.3 * rng.normal(size=label.size)
        made = clustered_mean(data, label, draws=400, seed=run)
        covered += made.mean.low <= 0 <= made.mean.high
        plain = mean_interval(data, draws=200, seed=run)
        naive += plain.low <= 0 <= plain.high
        if clusters == 12:  # few enough for the exact test, which is quick
            rejected += made.p <= 0.05
    assert covered / runs > 0.91
    assert naive / runs < 0.7  # what taking tokens for independent would give
    assert rejected / runs < 0.075

"""The mean over nested items against scipy, statsmodels, brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import linalg, stats

from negspace.significance import Nesting, wilson
from negspace.significance.estimate import Estimate, grouped, mean, satterthwaite, total


def _mean(values: np.ndarray, nesting: Nesting, **options: bool) -> Estimate:
    estimate = mean(grouped(values, nesting), **options)
    assert isinstance(estimate, Estimate), estimate
    return estimate


def test_units_of_one_size_are_a_t_test_of_their_means() -> None:
    rng = np.random.default_rng(0)
    for nesting, units in ((Nesting.tasks(np.repeat(np.arange(9), 50)), 9), (Nesting.windows(450), 450)):
        values = rng.normal(0.1, 1, 450) + np.repeat(rng.normal(0, 1, 9), 50)
        means = values.reshape(units, -1).mean(axis=1)
        estimate, expected = _mean(values, nesting), stats.ttest_1samp(means, 0)
        assert estimate.value == pytest.approx(means.mean())
        assert estimate.p() == pytest.approx(expected.pvalue)
        assert estimate.degrees == pytest.approx(units - 1)
        ends = expected.confidence_interval(0.9)
        assert estimate.interval(0.1) == pytest.approx((ends.low, ends.high))
        one_sided = stats.ttest_1samp(means, 0.05, alternative="greater").pvalue
        assert estimate.p_above(0.05) == pytest.approx(one_sided)


def test_phenomena_of_one_size_are_statsmodels_clustered_errors() -> None:
    rng = np.random.default_rng(1)
    paradigm = np.repeat(np.arange(24), 10)
    phenomenon = paradigm // 4
    values = rng.normal(0, 1, 240) + rng.normal(0, 1, 6)[phenomenon]
    estimate = _mean(values, Nesting.pairs(paradigm, phenomenon))
    means = values.reshape(24, 10).mean(axis=1)
    groups = {"groups": np.arange(24) // 4, "use_correction": False}
    fit = sm.OLS(means, np.ones(24)).fit(cov_type="cluster", cov_kwds=groups)
    assert estimate.se == pytest.approx(fit.bse[0] * np.sqrt(6 / 5))
    assert estimate.units == "phenomena"


def _cr2(means: np.ndarray, cluster: np.ndarray) -> float:
    """Bell and McCaffrey's variance of an intercept, by its definition in matrices."""
    n = means.size
    x = np.ones((n, 1))
    hat = x @ x.T / n
    residual, total_ = means - means.mean(), 0.0
    for k in np.unique(cluster):
        own = cluster == k
        root = linalg.inv(linalg.sqrtm(np.eye(own.sum()) - hat[np.ix_(own, own)]))
        total_ += float((x[own].T @ root @ residual[own])[0] ** 2) / n**2
    return total_


def test_phenomena_of_different_sizes_are_cr2() -> None:
    rng = np.random.default_rng(2)
    sizes = [9, 8, 8, 7, 7, 7, 6, 5, 4, 2, 2, 2]
    phenomenon = np.repeat(np.arange(12), sizes)
    means = rng.normal(0, 1, 67) + rng.normal(0, 2, 12)[phenomenon]
    estimate = _mean(np.repeat(means, 3), Nesting.pairs(np.repeat(np.arange(67), 3), np.repeat(phenomenon, 3)))
    assert estimate.variance == pytest.approx(_cr2(means, phenomenon))


def test_degrees_of_freedom_are_satterthwaites_by_brute_force() -> None:
    for sizes in ([1, 1, 1, 1], [9, 8, 8, 7, 7, 7, 6, 5, 4, 2, 2, 2], [15, 4, 3]):
        h = np.array(sizes) / np.sum(sizes)
        k = h.size
        # Covariance of the summands a_k (u_k - sum of h u) for independent u of variance 1.
        minus = np.eye(k) - np.outer(np.ones(k), h)
        scaled = np.diag(h / np.sqrt(1 - h)) @ minus
        m = scaled @ scaled.T
        assert satterthwaite(h) == pytest.approx(np.trace(m) ** 2 / np.trace(m @ m))
    assert satterthwaite(np.full(1000, 1e-3)) == pytest.approx(999)


def test_the_variance_is_the_limit_of_a_bootstrap_over_whole_phenomena() -> None:
    rng = np.random.default_rng(3)
    phenomenon = np.repeat(np.arange(10), 3)
    means = rng.normal(0, 1, 30) + rng.normal(0, 2, 10)[phenomenon]
    estimate = _mean(np.repeat(means, 2), Nesting.pairs(np.repeat(np.arange(30), 2), np.repeat(phenomenon, 2)))
    taken = rng.integers(10, size=(40_000, 10))
    drawn = means.reshape(10, 3).mean(axis=1)[taken].mean(axis=1)
    assert estimate.variance == pytest.approx(drawn.var() * 10 / 9, rel=0.03)


def test_the_variance_is_never_less_than_that_of_the_items() -> None:
    """Units that agree by luck do not promise more than their items can bear."""
    values = np.tile([1.0, -1.0, 1.0, -1.0], 6)
    estimate = _mean(values, Nesting.pairs(np.repeat(np.arange(6), 4), np.repeat(np.arange(6), 4)))
    assert estimate.variance == pytest.approx(values.reshape(6, 4).var(axis=1, ddof=1).mean() / 24)
    assert estimate.items_variance == estimate.variance
    assert estimate.degrees == pytest.approx(5)


def test_items_of_one_task_are_a_t_test_of_items() -> None:
    values = np.random.default_rng(4).normal(0.2, 1, 40)
    estimate = _mean(values, Nesting.tasks(np.zeros(40)), within=True)
    assert estimate.p() == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert (estimate.units, estimate.count, estimate.scope) == ("items", 40, "this task")


def test_outcomes_all_alike_get_wilsons_bound() -> None:
    nesting = Nesting.tasks(np.repeat(np.arange(4), 25))
    estimate = mean(grouped(np.zeros(100), nesting, outcomes=True))
    assert isinstance(estimate, Estimate)
    assert estimate.se == pytest.approx(wilson(0, 100).high / stats.norm.ppf(0.975))
    assert estimate.p() == 1
    still = _mean(np.zeros(100), nesting)
    assert (still.se, still.p(), still.p(0.1), still.p_above(-0.1), still.p_above(0.0)) == (0, 1, 0, 0, 1)


def test_outcomes_that_are_alike_in_the_groups_kept_get_wilsons_bound_too() -> None:
    """Without the one group in which anything moved, and with fewer items."""
    group = np.repeat(np.arange(6), 25)
    values, nesting = np.where((group == 5) & (np.arange(150) % 2 == 0), -1.0, 0.0), Nesting.tasks(group)
    for keep, items in ((np.arange(6) != 5, 125), (np.isin(np.arange(6), [0, 1, 2]), 75)):
        less = mean(grouped(values, nesting, outcomes=True).keep(keep))
        assert isinstance(less, Estimate)
        assert less.se == pytest.approx(wilson(0, items).high / stats.norm.ppf(0.975))
    few = mean(grouped(np.zeros(150), nesting, outcomes=True).keep(np.arange(6) < 3))
    assert isinstance(few, Estimate)
    assert few.se == pytest.approx(wilson(0, 75).high / stats.norm.ppf(0.975))
    thirds = mean(grouped(np.full(150, 1 / 3), nesting, outcomes=True))
    assert isinstance(thirds, Estimate)
    assert thirds.se == pytest.approx(wilson(0, 150).high / stats.norm.ppf(0.975))  # rounding is no difference


def test_sums_have_welchs_degrees_of_freedom() -> None:
    rng = np.random.default_rng(5)
    one, two = rng.normal(0, 1, 9), rng.normal(0, 3, 14)
    parts = [_mean(values, Nesting.windows(values.size)) for values in (one, two)]
    difference, expected = total(parts, [1, -1]), stats.ttest_ind(one, two, equal_var=False)
    assert difference.degrees == pytest.approx(expected.df)
    assert difference.p() == pytest.approx(expected.pvalue)
    assert total(parts, [2, -2]).p() == pytest.approx(expected.pvalue)
    assert (difference.units, difference.count) == ("windows", 9)


def test_dropping_groups_is_estimating_without_them() -> None:
    rng = np.random.default_rng(6)
    paradigm = np.repeat(np.arange(20), 5)
    values, nesting = rng.normal(0, 1, 100), Nesting.pairs(paradigm, paradigm // 2)
    keep = np.arange(20) // 2 != 3
    less = mean(grouped(values, nesting).keep(keep))
    part = ~np.isin(paradigm, [6, 7])
    assert less == mean(grouped(values[part], Nesting.pairs(paradigm[part], paradigm[part] // 2)))


def test_values_that_do_not_fit_are_refused() -> None:
    nesting = Nesting.windows(8)
    with pytest.raises(ValueError, match="one value for each of 8 items"):
        grouped(np.zeros(7), nesting)
    with pytest.raises(ValueError, match="1 of 8 values are not finite"):
        grouped([np.nan, *np.zeros(7)], nesting)

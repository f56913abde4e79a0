"""Rank correlations against scipy, statsmodels and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS, add_constant

from negspace.significance.ranks import explained, residual, spearman


def test_it_is_scipys_with_ties_and_missing_values():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 200).astype(float), rng.normal(size=200)
    y += 0.2 * x
    x[3] = y[7] = np.nan
    found = spearman(x, y)
    expected = stats.spearmanr(x, y, nan_policy="omit").statistic
    assert found.estimate == pytest.approx(expected)
    assert "n = 198" in found.method
    assert found.low < found.estimate < found.high


def test_partial_is_the_correlation_of_what_regressions_on_ranks_leave():
    rng = np.random.default_rng(1)
    z, w = rng.normal(size=(2, 300))
    x, y = z + 0.5 * rng.normal(size=300), z + w + 0.5 * rng.normal(size=300)
    rx, ry, rz, rw = (stats.rankdata(one) for one in (x, y, z, w))
    design = add_constant(np.column_stack([rz, rw]))
    fits = [OLS(one, design).fit() for one in (rx, ry)]
    expected = np.corrcoef(fits[0].resid, fits[1].resid)[0, 1]
    found = spearman(x, y, given=[z, w])
    assert found.estimate == pytest.approx(expected)
    assert abs(found.estimate) < abs(spearman(x, y).estimate)
    assert explained(x, [z, w]) == pytest.approx(fits[0].rsquared)
    np.testing.assert_allclose(residual(x, [z, w]), fits[0].resid, atol=1e-8)


@pytest.mark.parametrize("held", [False, True])
def test_intervals_cover_the_true_value(held):
    rng, true = np.random.default_rng(2), 0.6
    # Spearman's of a bivariate normal with correlation r is 6 / pi * asin(r / 2); held: z is a cause of neither.
    pearson = 2 * np.sin(np.pi * true / 6)
    hits = 0
    for _ in range(400):
        x, y = rng.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], size=80).T
        made = spearman(x, y, given=[rng.normal(size=80)] if held else [])
        hits += made.low <= true <= made.high
    assert 0.92 <= hits / 400 <= 0.985


def test_what_cannot_be_said_is_nan():
    x = np.arange(10.0)
    constant = spearman(x, np.ones(10))
    assert np.isnan([constant.estimate, constant.low]).all()
    assert np.isnan(spearman(x[:2], x[:2]).estimate)
    alike = spearman(x, 2 * x)
    assert alike.estimate == pytest.approx(1)
    assert np.isnan([alike.low, alike.high]).all()
    assert np.isnan(spearman(x, np.random.default_rng(0).random(10), given=[2 * x]).estimate)
    assert np.isnan(explained(np.ones(9), [x[:9]]))
    gap = np.where(x == 4, np.nan, x)
    assert np.isnan(residual(gap, [x])[4])
    with pytest.raises(ValueError, match="same items"):
        spearman(x, x[:5])

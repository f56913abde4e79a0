"""Shape against scipy, and the bimodality coefficient against values that are known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from negspace.stats.moments import moments_of
from negspace.stats.shape import bimodality, kurtosis, skewness


def test_skewness_and_kurtosis_are_scipys():
    rng = np.random.default_rng(0)
    a = np.stack([rng.normal(size=400), rng.exponential(size=400), rng.random(400)], axis=1)
    moments = moments_of(a)
    np.testing.assert_allclose(skewness(moments), scipy.stats.skew(a), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(kurtosis(moments), scipy.stats.kurtosis(a), rtol=1e-12)


def test_bimodality_is_sarles_with_bias_corrected_moments():
    a = np.random.default_rng(1).exponential(size=(60, 1))
    n = len(a)
    skew, excess = scipy.stats.skew(a, bias=False), scipy.stats.kurtosis(a, bias=False)
    expected = (skew**2 + 1) / (excess + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    np.testing.assert_allclose(bimodality(moments_of(a)), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (scipy.stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000), 1 / 3),
        (np.linspace(0, 1, 200_000), 5 / 9),
        (np.repeat([-1.0, 1.0], 100_000), 1.0),
    ],
)
def test_bimodality_of_distributions_that_are_known(values, expected):
    assert bimodality(moments_of(values[:, None]))[0] == pytest.approx(expected, abs=1e-3)


def test_what_does_not_vary_has_no_shape():
    moments = moments_of(np.full((50, 1), 2.0))
    for shape in (skewness, kurtosis, bimodality):
        assert np.isnan(shape(moments)).all()
    assert np.isnan(bimodality(moments_of(np.array([[1.0], [2.0], [4.0]])))).all()

"""The competing explanations of a neuron's distance from the Gaussian: skewness, excess kurtosis, bimodality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from negspace.stats.moments import Moments


def skewness(moments: Moments) -> NDArray[np.float64]:
    """Population skewness m3 / m2^(3/2), [neurons]; NaN where the variance is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(moments.variance > 0, moments.third / moments.variance**1.5, np.nan)


def kurtosis(moments: Moments) -> NDArray[np.float64]:
    """Population excess kurtosis m4 / m2^2 - 3, [neurons]: 0 for a Gaussian; NaN where the variance is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(moments.variance > 0, moments.fourth / moments.variance**2 - 3.0, np.nan)


def bimodality(moments: Moments) -> NDArray[np.float64]:
    """Sarle's bimodality coefficient in its form for finite samples, [neurons].

    b = (G1^2 + 1) / (G2 + 3 (n - 1)^2 / ((n - 2)(n - 3))), with the sample skewness
    G1 = sqrt(n (n - 1)) / (n - 2) * g1 and the sample excess kurtosis
    G2 = (n - 1) / ((n - 2)(n - 3)) * ((n + 1) g2 + 6), g1 and g2 the population values. 1/3 for a Gaussian, 5/9 for a
    uniform distribution, 1 for two points; above 5/9 is usually taken to suggest two modes (SAS; Pfister et al. 2013).
    NaN where the variance is zero or n < 4.
    """
    n = moments.tokens.astype(np.float64)
    g1, g2 = skewness(moments), kurtosis(moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        sample1 = np.sqrt(n * (n - 1)) / (n - 2) * g1
        sample2 = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * g2 + 6)
        value = (sample1**2 + 1) / (sample2 + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    return np.where(n > 3, value, np.nan)

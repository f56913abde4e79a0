"""Corrections for many comparisons, with the name of the method in the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Method = Literal["holm", "benjamini-hochberg"]


@dataclass(frozen=True)
class Corrected:
    """p-values of one family, adjusted."""

    method: Method
    """Holm bounds the chance of any false rejection, Benjamini-Hochberg the expected share of false ones."""
    p: NDArray[np.float64]
    """[tests] adjusted p-values; NaN where the raw one was."""
    rejected: NDArray[np.bool_]
    """[tests] whether the adjusted p-value is at most alpha."""
    alpha: float
    """The level."""
    tests: int
    """Size of the family: how many p-values were not NaN."""


def correct(p: ArrayLike, method: Method = "holm", *, alpha: float = 0.05) -> Corrected:
    """Adjust the p-values of one family of tests.

    With p sorted upwards, i from 1 and m tests: Holm (1979) gives max over j <= i of (m - j + 1) * p_j, Benjamini and
    Hochberg (1995) min over j >= i of m * p_j / j, both at most 1. The same values as statsmodels' `multipletests`,
    which collects garbage in every call and so takes a hundredth of a second a family.

    A NaN says that no test was made: it stays NaN, is never rejected, and does not count towards the family.

    Raises:
        ValueError: the method is unknown, or a p-value lies outside [0, 1].
    """
    if method not in get_args(Method):
        raise ValueError(f"unknown correction {method!r}; one of {', '.join(get_args(Method))}")
    raw = np.asarray(p, dtype=np.float64)
    made = ~np.isnan(raw)
    tested = raw[made]
    if ((tested < 0) | (tested > 1)).any():
        raise ValueError("p-values must lie in [0, 1]")
    adjusted = np.full(raw.shape, np.nan)
    if tested.size:
        adjusted[made] = _holm(tested) if method == "holm" else stats.false_discovery_control(tested)
    return Corrected(method, adjusted, adjusted <= alpha, alpha, tested.size)


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted

"""Moments of every neuron's pre-activations, from a sketch or from the activations themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negspace.stats.sketch import Sketch

_LOST = 1e-13  # variance, as a share of the mean square about the pivot, that rounding alone can leave


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments over tokens, float64 [neurons] each; the central ones are population moments (divided by n)."""

    tokens: NDArray[np.int64]
    """Number of tokens."""
    mean: NDArray[np.float64]
    """Mean."""
    variance: NDArray[np.float64]
    """Second central moment; exactly zero where the neuron never varies; NaN without tokens."""
    third: NDArray[np.float64]
    """Third central moment."""
    fourth: NDArray[np.float64]
    """Fourth central moment."""
    fraction_negative: NDArray[np.float64]
    """Share of the tokens at which the pre-activation is below zero."""
    mean_negative: NDArray[np.float64]
    """Mean over those tokens; NaN where there is none."""

    @property
    def std(self) -> NDArray[np.float64]:
        """Population standard deviation."""
        return np.sqrt(self.variance)


def moments_of_sketch(sketch: Sketch) -> Moments:
    """Moments from a sketch: exact up to float64 rounding, whatever the grid.

    The sums are those of z = (a - pivot) / unit, with the pivot near the mean, so that
    E(z - m)^3 = E z^3 - 3 m E z^2 + 2 m^3 and its fellow of the fourth order do not cancel.
    """
    n = sketch.tally("tokens")
    negatives = sketch.tally("negative")
    unit = sketch.grid.unit
    with np.errstate(divide="ignore", invalid="ignore"):
        m, e2, e3, e4 = (sketch.sum(f"power{k}") / n for k in (1, 2, 3, 4))
        variance = e2 - m * m
        variance = np.where(variance > _LOST * e2, variance, np.where(n > 0, 0.0, np.nan))
        third = e3 - 3 * m * e2 + 2 * m**3
        fourth = e4 - 4 * m * e3 + 6 * m * m * e2 - 3 * m**4
        return Moments(
            tokens=n,
            mean=sketch.grid.pivot + m * unit,
            variance=variance * unit**2,
            third=third * unit**3,
            fourth=fourth * unit**4,
            fraction_negative=negatives / n,
            mean_negative=sketch.sum("negative") * unit / negatives,
        )


def moments_of(activations: NDArray[np.floating]) -> Moments:
    """Moments from the activations.

    Args:
        activations: [tokens, neurons], finite.
    """
    a = np.asarray(activations, np.float64)
    count = len(a)
    n = np.full(a.shape[1], count, dtype=np.int64)
    if count == 0:
        nothing = np.full(a.shape[1], np.nan)
        return Moments(n, nothing, nothing, nothing, nothing, nothing, nothing)
    mean = a.mean(axis=0)
    d = a - mean
    square = d * d
    # The mean of equal values need not be that value to the last bit, and then leaves a variance that is not there.
    variance = np.where((a == a[0]).all(axis=0), 0.0, square.mean(axis=0))
    negative = a < 0
    negatives = negative.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Moments(
            tokens=n,
            mean=mean,
            variance=variance,
            third=(square * d).mean(axis=0),
            fourth=(square * square).mean(axis=0),
            fraction_negative=negatives / count,
            mean_negative=np.where(negative, a, 0.0).sum(axis=0) / negatives,
        )

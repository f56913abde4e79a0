"""Random sets as a reference: where one set stands among sets chosen by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Reference:
    """A value beside the values that random sets gave."""

    value: float
    """The value in question."""
    mean: float
    """Mean over the random sets."""
    sd: float
    """Their standard deviation (n - 1 in the denominator); NaN for a single set."""
    lowest: float
    """Smallest of them."""
    highest: float
    """Largest of them."""
    sets: int
    """How many random sets there are."""
    below: int
    """How many of them lie below the value."""
    above: int
    """How many lie above it."""
    z: float
    """(value - mean) / sd; NaN where sd is 0 or unknown."""
    p: float
    """Two-sided rank p-value, 2 * (1 + sets at least as far on the value's side) / (1 + sets), at most 1.
    With few sets it cannot be small: 3 sets allow nothing below 0.5."""


def stand(value: float, random: ArrayLike) -> Reference:
    """Place a value among those of random sets.

    Raises:
        ValueError: there are no random values, or some are not finite.
    """
    data = np.asarray(random, dtype=np.float64)
    if data.ndim != 1 or data.size == 0 or not np.isfinite(data).all():
        raise ValueError("need a non-empty list of finite values of random sets")
    mean = float(data.mean())
    sd = float(data.std(ddof=1)) if data.size > 1 else float("nan")
    beyond = min(int(np.count_nonzero(data >= value)), int(np.count_nonzero(data <= value)))
    return Reference(
        value=float(value),
        mean=mean,
        sd=sd,
        lowest=float(data.min()),
        highest=float(data.max()),
        sets=data.size,
        below=int(np.count_nonzero(data < value)),
        above=int(np.count_nonzero(data > value)),
        z=(float(value) - mean) / sd if sd > 0 else float("nan"),
        p=min(1.0, 2 * (1 + beyond) / (1 + data.size)),
    )

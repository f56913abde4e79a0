"""Overlap of two sets of neurons, and its expectation by chance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

from negspace.errors import SelectionError
from negspace.neurons.neuronset import NeuronSet


@dataclass(frozen=True)
class Overlap:
    """Two sets of neurons, and what they have in common."""

    first: int
    """Neurons of the first set."""
    second: int
    """Neurons of the second."""
    common: int
    """Neurons of both."""
    jaccard: float
    """Common neurons divided by those of either set; NaN where both are empty."""
    expected: float
    """Expected Jaccard index of two sets that chance drew, as many neurons at each site as these have."""
    expected_low: float
    """Lower end of the range that chance keeps with the given probability."""
    expected_high: float
    """Upper end of it."""
    p: float
    """Two-sided p-value: twice the probability that chance has at least (or at most) so many in common, at most 1."""


def overlap(
    first: NeuronSet,
    second: NeuronSet,
    *,
    sites: Iterable[str] | None = None,
    eligible: NDArray[np.bool_] | None = None,
    level: float = 0.95,
) -> Overlap:
    """The overlap of two sets, beside that of sets drawn at random.

    If both sets are drawn independently, as many neurons from each site as they have there, the number in common is
    hypergeometric at every site and independent between sites. Expectation, range and p-value are exact: the sites'
    distributions are convolved.

    Args:
        first, second: sets of one layout.
        sites: paths of the sites that count; None: all.
        eligible: which of the layout's neurons could be chosen, [neurons]; None: all. Chance draws from these.
        level: probability of the range.

    Raises:
        SelectionError: the sets are of different layouts, or there is no such site.
    """
    if first.layout != second.layout:
        raise SelectionError(
            f"the overlap of '{first.origin}' and '{second.origin}'",
            f"one is of {first.layout}, the other of {second.layout}",
            "compare sets of one model",
        )
    sizes = first.layout.sizes
    wanted = list(sizes) if sites is None else list(sites)
    if unknown := [path for path in wanted if path not in sizes]:
        raise SelectionError(
            f"the overlap at {unknown[0]}", f"no such site in {first.layout}", "take the path of a site"
        )
    common = a = b = 0
    chance = np.ones(1)
    for path in wanted:
        one, two = first.at(path), second.at(path)
        common += len(np.intersect1d(one, two, assume_unique=True))
        a, b = a + len(one), b + len(two)
        pool = sizes[path] if eligible is None else int(eligible[first.layout.rows[path]].sum())
        chance = _both(chance, _chance(max(pool, len(one), len(two)), len(one), len(two)))
    if a + b == 0:
        nan = float("nan")
        return Overlap(0, 0, 0, nan, nan, nan, nan, nan)
    counts = np.arange(len(chance))
    indices = counts / (a + b - counts)
    cumulative = np.cumsum(chance)
    tail = (1 - level) / 2
    low, high = (indices[min(np.searchsorted(cumulative, q - 1e-12), len(counts) - 1)] for q in (tail, 1 - tail))
    upper, lower = chance[common:].sum(), chance[: common + 1].sum()
    return Overlap(
        first=a,
        second=b,
        common=common,
        jaccard=float(indices[common]),
        expected=float(chance @ indices),
        expected_low=float(low),
        expected_high=float(high),
        p=float(min(1.0, 2 * min(upper, lower))),
    )


def _chance(size: int, first: int, second: int) -> NDArray[np.float64]:
    """Probability of 0, 1, ... neurons in common at one site."""
    if not first or not second:
        return np.ones(1)
    return stats.hypergeom.pmf(np.arange(min(first, second) + 1), size, first, second)


def _both(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distribution of a sum; probabilities too small for the transform's rounding come out as zero, not below."""
    short = min(len(one), len(two)) <= 512
    made = np.convolve(one, two) if short else np.clip(signal.fftconvolve(one, two), 0, None)
    return made / made.sum()

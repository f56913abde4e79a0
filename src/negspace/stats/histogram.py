"""Histograms of single neurons, small enough to keep: those furthest from the Gaussian, and some at the median.

A histogram is taken from the neuron's sketch (or its sample), in bins of an eighth of its standard deviation, over
eight standard deviations around its mean. Zero is an edge of its bins, so that what lies below it can be read off. A
sketch knows nothing of where tokens beyond its grid lie: a histogram of one stays on the grid, shifted or with narrower
bins if need be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from negspace.stats.moments import Moments
from negspace.stats.sketch import BINS as FINE
from negspace.stats.sketch import Sketch

BINS = 64
"""Bins of a histogram."""
PER_DEVIATION = 8
"""Bins in a standard deviation: exactly for samples; for sketches to the nearest multiple of their own, finer bins, as
far as all BINS fit on the grid."""
SHARE, LEAST = 0.01, 8
"""Of each site so large a share of its neurons is kept from the top by distance, but at least so many; as many again
around the median."""
_MERGED = (FINE + 1) // (BINS + 1)
"""So many of a sketch's bins make one at most: all BINS then fit on its grid, wherever zero has to be an edge."""
MOST = 4096
"""So many are kept of a model in all, shared out evenly among its sites, but no fewer than LEAST in each half."""
SMALL = 5000
"""A model of so few neurons has all of them kept."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Distribution of one neuron's pre-activation."""

    edges: NDArray[np.float64]
    """[65] edges of the bins, in units of the activation; zero is one of them where it lies among them."""
    counts: NDArray[np.int64]
    """[64] tokens in each bin."""
    below: int
    """Tokens below the first edge."""
    above: int
    """Tokens from the last edge on."""

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return int(self.counts.sum()) + self.below + self.above

    @property
    def density(self) -> NDArray[np.float64]:
        """[64] share of all tokens in each bin, per unit of the activation."""
        return self.counts / (np.diff(self.edges) * max(1, self.tokens))


@dataclass(frozen=True, eq=False)
class Histograms:
    """Histograms of some of a model's neurons, in the order of the scan's rows."""

    rows: NDArray[np.int64]
    """[n] rows of the scan's table, ascending."""
    low: NDArray[np.float64]
    """[n] left end of the first bin, in units of the activation."""
    step: NDArray[np.float64]
    """[n] width of a bin."""
    counts: NDArray[np.int64]
    """[n, 66] tokens below the first bin, in each bin, and beyond the last."""

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, row: int) -> Histogram | None:
        """Histogram of the neuron in a row of the scan's table; None if it was not kept."""
        at = int(np.searchsorted(self.rows, row))
        if at == len(self.rows) or self.rows[at] != row:
            return None
        edges = self.low[at] + np.arange(BINS + 1) * self.step[at]
        # A sketch's origin is in float32, which may leave the edge at zero a little off it.
        edges[np.abs(edges) < 1e-3 * self.step[at]] = 0.0
        counts = self.counts[at]
        return Histogram(edges, counts[1:-1], int(counts[0]), int(counts[-1]))

    def to_json(self) -> dict[str, Any]:
        """Return the histograms as JSON values."""
        return {name: getattr(self, name).tolist() for name in ("rows", "low", "step", "counts")}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Histograms:
        """Return the histograms that `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            rows, counts = (np.array(values[name], np.int64) for name in ("rows", "counts"))
            low, step = (np.array(values[name], np.float64) for name in ("low", "step"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no histograms ({error})") from error
        counts = counts.reshape(0, BINS + 2) if not counts.size else counts
        if not rows.shape == low.shape == step.shape or counts.shape != (*rows.shape, BINS + 2):
            raise ValueError("no histograms (their lengths differ)")
        return cls(rows, low, step, counts)


def kept(distances: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """Return the neurons whose histograms are kept: all of a small model, else the first and middle ones by WD.

    Args:
        distances: of every site, [neurons] each; NaN where a neuron does not vary, which is then left out.

    Returns:
        Indices of neurons in each site, ascending.
    """
    known = [np.flatnonzero(np.isfinite(wd)) for wd in distances]
    if sum(len(wd) for wd in distances) <= SMALL:
        return known
    room = MOST // (2 * len(distances))
    chosen = []
    for wd, varying in zip(distances, known, strict=True):
        many = max(LEAST, min(int(np.ceil(SHARE * len(wd))), room))
        ranked = varying[np.argsort(-wd[varying], kind="stable")]
        middle = max(0, (len(ranked) - many) // 2)
        chosen.append(np.unique(np.concatenate((ranked[:many], ranked[middle : middle + many]))))
    return chosen


def of_sketch(sketch: Sketch, moments: Moments, neurons: NDArray[np.int64], first: int) -> Histograms:
    """Histograms of some neurons of a site, from its sketch; their bins lie on its grid.

    Args:
        sketch: of the site.
        moments: of the site.
        neurons: indices in the site; each varies.
        first: row of the site's first neuron in the scan's table.
    """
    part = sketch.take(neurons)
    mean, std = moments.mean[neurons], moments.std[neurons]
    fine, origin = part.grid.step, part.grid.origin.astype(np.float64)
    merged = np.clip(np.rint(std / PER_DEVIATION / fine), 1, _MERGED).astype(np.int64)
    zero = np.rint(-origin / fine).astype(np.int64)
    # In fine bins from the edge at zero, so that a whole number of merged ones lies between it and the first.
    wanted = (mean - origin) / fine - BINS // 2 * merged
    start = zero + merged * np.floor((wanted - zero) / merged).astype(np.int64)
    room = FINE - BINS * merged
    start = np.clip(start, zero % merged, room - (room - zero) % merged)
    edges = start[:, None] + merged[:, None] * np.arange(BINS + 1)
    running = np.zeros((len(neurons), FINE + 1), np.int64)
    np.cumsum(part.counts(), axis=1, out=running[:, 1:])
    running += part.tally("below")[:, None]
    at = np.take_along_axis(running, edges, axis=1)
    counts = np.concatenate((at[:, :1], np.diff(at, axis=1), part.tally("tokens")[:, None] - at[:, -1:]), axis=1)
    return Histograms(first + neurons, origin + start * fine, merged * fine, counts)


def of_sample(
    activations: NDArray[np.floating], moments: Moments, neurons: NDArray[np.int64], first: int
) -> Histograms:
    """Histograms of some neurons, from all their activations.

    Args:
        activations: [tokens, neurons of the site or expert], finite.
        moments: of the same neurons.
        neurons: columns of `activations`; each varies.
        first: row of the first column's neuron in the scan's table.
    """
    step = moments.std[neurons] / PER_DEVIATION
    start = np.floor(moments.mean[neurons] / step).astype(np.int64) - BINS // 2
    counts = np.zeros((len(neurons), BINS + 2), np.int64)
    for place, neuron in enumerate(neurons):
        bins = np.floor(activations[:, neuron].astype(np.float64) / step[place]).astype(np.int64) - start[place]
        counts[place] = np.bincount(np.clip(bins + 1, 0, BINS + 1), minlength=BINS + 2)
    return Histograms(first + neurons, start * step, step, counts)


def joined(parts: Sequence[Histograms]) -> Histograms:
    """Histograms of all sites, in the order of the scan's rows."""
    empty = Histograms(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros((0, BINS + 2), np.int64))
    names = ("rows", "low", "step", "counts")
    columns = {name: np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in names}
    order = np.argsort(columns["rows"], kind="stable")
    return Histograms(**{name: column[order] for name, column in columns.items()})

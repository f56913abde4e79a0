"""Pairs of near inputs, those that a neuron drives furthest apart, and pairs of the same kind that it does not.

"Near" is Euclidean, in the space of the vectors that enter the neuron's projection: each token with its nearest others,
found exactly, not by an index. Tokens of one and the same input (in the first layer of some models every occurrence of
a word) say nothing about a neuron, which cannot tell them apart: they count as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 23
"""Distances computed at a time: 64 MiB."""
_SAME = 1e-5
"""Inputs nearer than this share of their spread differ by rounding only."""
_SPARE = 4
"""Candidates beyond the number wanted, among which the distances taken one by one decide."""


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Unordered pairs of tokens, each with at least one end among whose nearest the other is; nearest pairs first."""

    first: NDArray[np.int64]
    """[pairs] row of the token that comes first."""
    second: NDArray[np.int64]
    """[pairs] row of the other one, a higher number."""
    distance: NDArray[np.float64]
    """[pairs] distance of their inputs, divided by `typical`."""
    typical: float
    """Root mean square distance of two inputs drawn at random."""
    points: int
    """Different inputs among the tokens; the first token of each takes part."""

    def __len__(self) -> int:
        return len(self.first)

    def nearest(self, share: float) -> NearPairs:
        """The nearest of the pairs: a share of them, at least one where there is any."""
        some = slice(math.ceil(len(self) * share))
        return replace(self, first=self.first[some], second=self.second[some], distance=self.distance[some])


def near_pairs(inputs: NDArray[np.floating], neighbours: int) -> NearPairs:
    """Each token with its nearest others.

    Args:
        inputs: [tokens, hidden] what enters the projection.
        neighbours: how many of the nearest each token is paired with; a pair found from both ends counts once.

    Distances are those of float64 differences. Memory: 64 MiB beside the inputs in float64.
    """
    x = np.asarray(inputs, np.float64)
    # The mean is taken off: distances stay, and the expansion |x|^2 - 2xy + |y|^2 loses less.
    x = x - x.mean(axis=0) if len(x) else x
    rows = _different(x)
    points = x[rows] - x[rows].mean(axis=0) if len(rows) else x
    squares = np.einsum("ij,ij->i", points, points)
    count = len(points)
    spread = float(squares.mean()) if count else 0.0
    typical = float(np.sqrt(2 * spread * count / (count - 1))) if count > 1 else 0.0
    wanted = min(neighbours, count - 1)
    if wanted < 1 or spread == 0:
        nothing = np.empty(0, np.int64)
        return NearPairs(nothing, nothing, np.empty(0), typical, count)
    found = []
    step = max(1, _BLOCK // count)
    for begin in range(0, count, step):
        some = slice(begin, min(begin + step, count))
        estimate = squares[some, None] + squares - 2 * points[some] @ points.T
        estimate[np.arange(len(estimate)), np.arange(some.start, some.stop)] = np.inf  # the token itself
        found.append(_nearest(points, begin, estimate, wanted))
    first, second, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    key = np.minimum(first, second) * count + np.maximum(first, second)
    _, kept = np.unique(key, return_index=True)
    low, high, distance = key[kept] // count, key[kept] % count, distance[kept]
    order = np.lexsort((high, low, distance))
    return NearPairs(rows[low[order]], rows[high[order]], distance[order] / typical, typical, count)


def furthest(values: NDArray[np.floating], pairs: NearPairs, count: int) -> NDArray[np.int64]:
    """The near pairs that a neuron drives furthest apart, each token used once.

    Args:
        values: [tokens] the neuron's pre-activations.
        pairs: near pairs of these tokens.
        count: how many are wanted; fewer where the tokens do not suffice.

    Returns:
        int64 [up to count] numbers of pairs, largest |a_i - a_j| first; of equal ones the nearer pair first. Pairs
        that the neuron does not part at all are never taken.
    """
    a = np.asarray(values, np.float64)
    apart = np.abs(a[pairs.first] - a[pairs.second])
    taken: list[int] = []
    used: set[int] = set()
    for pair in np.argsort(-apart, kind="stable"):
        if len(taken) == count or apart[pair] == 0:
            break
        ends = {int(pairs.first[pair]), int(pairs.second[pair])}
        if not ends & used:
            taken.append(int(pair))
            used |= ends
    return np.array(taken, np.int64)


class Matcher:
    """Finds pairs of the same kind: of one stratum, at about the same distance.

    Args:
        pairs: near pairs.
        stratum: int64 [pairs] what a control must share with the pair that it is for.
    """

    def __init__(self, pairs: NearPairs, stratum: NDArray[np.int64]) -> None:
        self._pairs, self._stratum = pairs, stratum
        order = np.argsort(stratum, kind="stable")  # pairs are in order of distance, so each stratum is, too
        labels, starts = np.unique(stratum[order], return_index=True)
        stops = [*starts[1:].tolist(), len(order)]
        self._members = {
            label: order[begin:stop]
            for label, begin, stop in zip(labels.tolist(), starts.tolist(), stops[: len(starts)], strict=True)
        }

    def match(self, selected: NDArray[np.int64]) -> NDArray[np.int64]:
        """A control for each selected pair: of its stratum, at about its distance, all tokens used once.

        The free pair whose distance has the ratio to its own that is nearest to one is taken.

        No control shares a token with a selected pair or with another control, so that all pairs are of different
        tokens. What is matched first is the pair that was selected first.

        Returns:
            int64 [selected] numbers of pairs; -1 where the stratum holds none that is free.
        """
        first, second, distance = self._pairs.first, self._pairs.second, self._pairs.distance
        used = set(first[selected].tolist()) | set(second[selected].tolist())
        found = np.full(len(selected), -1, np.int64)
        for at, pair in enumerate(selected.tolist()):
            members = self._members[int(self._stratum[pair])]
            gaps = np.abs(np.log(distance[members]) - np.log(distance[pair]))
            for candidate in members[np.argsort(gaps, kind="stable")].tolist():
                ends = {int(first[candidate]), int(second[candidate])}
                if not ends & used:
                    found[at] = candidate
                    used |= ends
                    break
        return found


def _nearest(
    points: NDArray[np.float64], begin: int, estimate: NDArray[np.float64], wanted: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(row, neighbour, distance) of the nearest of each row of a block, itself (of infinite estimate) left out."""
    count = estimate.shape[1]
    take = min(wanted + _SPARE, count)
    near = np.argpartition(estimate, take - 1, axis=1)[:, :take]
    near.sort(axis=1)
    exact = np.empty(near.shape)
    for column in range(take):
        exact[:, column] = np.linalg.norm(points[begin : begin + len(near)] - points[near[:, column]], axis=1)
    exact[~np.isfinite(np.take_along_axis(estimate, near, axis=1))] = np.inf
    order = np.argsort(exact, axis=1, kind="stable")[:, :wanted]
    distance = np.take_along_axis(exact, order, axis=1)
    neighbour = np.take_along_axis(near, order, axis=1)
    row = np.broadcast_to(np.arange(begin, begin + len(near))[:, None], neighbour.shape)
    real = np.isfinite(distance)
    return row[real], neighbour[real], distance[real]


def _different(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first row of each input, upwards: rows that differ by rounding only are the same input."""
    rows = np.arange(len(x))
    if not len(x) or not x.shape[1]:
        return rows[:1]
    least = _SAME * float(np.sqrt(np.einsum("ij,ij->", x, x) / len(x)))
    # Rows nearer than that are as near along any one direction, where they can be found by sorting.
    direction = np.cos(np.arange(1, x.shape[1] + 1))
    along = x @ (direction / np.linalg.norm(direction))
    order = np.argsort(along, kind="stable")
    first = np.ones(len(x), bool)
    for group in np.split(order, np.flatnonzero(np.diff(along[order]) > least) + 1):
        kept: list[int] = []
        for row in np.sort(group).tolist() if len(group) > 1 else ():
            first[row] = not kept or float(np.linalg.norm(x[kept] - x[row], axis=1).min()) > least
            if first[row]:
                kept.append(row)
    return rows[first]

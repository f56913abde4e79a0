"""Mapping difficulty (MD): how far a neuron sends near inputs apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.floating)
_CHUNK = 64  # neurons at a time: a thousand pairs of each stay in the second-level cache


@dataclass(frozen=True, eq=False)
class Difficulty:
    """Mapping difficulty of a site's neurons."""

    md: NDArray[np.float64]
    """[neurons] the mapping difficulty; NaN where it is undefined."""
    pairs: int
    """Pairs that entered: those of different inputs."""
    equal: int
    """Pairs left out because their inputs are the same vector, so that dy / dx is 0 / 0."""
    flat: NDArray[np.int64]
    """Neurons whose median dy is zero (they give most pairs the same value): their MD is NaN. None where no pair
    entered."""


def draw_pairs(tokens: int, pairs: int, seed: int) -> NDArray[np.int64]:
    """Random pairs of different tokens, each token used once.

    Args:
        tokens: how many there are to choose from.
        pairs: how many pairs are wanted; at most tokens // 2 are drawn.
        seed: of the draw.

    Returns:
        int64 [pairs, 2], indices below `tokens`.
    """
    pairs = min(pairs, tokens // 2)
    return np.random.default_rng(seed).permutation(tokens)[: 2 * pairs].reshape(-1, 2)


def distance(first: NDArray[np.floating], second: NDArray[np.floating], passes: int = 1) -> NDArray[np.float64]:
    """[pairs, passes] Euclidean distance of the inputs of pairs of tokens, [pairs, passes * hidden] each."""
    apart = first.astype(np.float64) - second.astype(np.float64)
    return np.linalg.norm(apart.reshape(len(apart), passes, first.shape[1] // passes), axis=2)


def difference(first: NDArray[Number], second: NDArray[Number]) -> NDArray[Number]:
    """|a_i - a_j| of the pre-activations of pairs of tokens, [pairs, neurons] each, in their own type."""
    return np.abs(first - second)


def difficulty(dx: NDArray[np.float64], dy: NDArray[np.floating]) -> Difficulty:
    """Mapping difficulty from pairs of tokens: MD = mean(dy / dx).

    dx = ||x_i - x_j||_2 divided by the largest dx over the pairs; dy = |a_i - a_j| divided by its median over the
    pairs, neuron by neuron. Pairs of one and the same input are left out before both.

    Args:
        dx: [pairs], `distance` of what enters the projection.
        dy: [pairs, neurons], `difference` of the pre-activations.
    """
    neurons = dy.shape[1]
    different = np.flatnonzero(dx > 0)
    equal = len(dx) - len(different)
    md = np.full(neurons, np.nan)
    if len(different) == 0:
        return Difficulty(md, 0, equal, np.empty(0, np.int64))
    weight = dx.max() / dx[different] / len(different)
    medians = np.empty(neurons)
    for begin in range(0, neurons, _CHUNK):
        some = slice(begin, begin + _CHUNK)
        own = dy[different, some].T.copy()
        ranked = np.sort(own, axis=1)  # in order along the pairs; six times as fast as a selection of the median
        middle = len(different) // 2
        medians[some] = (ranked[:, middle].astype(np.float64) + ranked[:, -1 - middle]) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            md[some] = np.where(medians[some] > 0, own.astype(np.float64) @ weight / medians[some], np.nan)
    return Difficulty(md, len(different), equal, np.flatnonzero(medians == 0))

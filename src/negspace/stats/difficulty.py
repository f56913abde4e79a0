"""Mapping difficulty (MD): how far a neuron sends near inputs apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """Neurons whose median dy is zero (they give most pairs the same value): their MD is NaN."""


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


def difficulty(inputs: NDArray[np.floating], activations: NDArray[np.floating]) -> Difficulty:
    """Mapping difficulty from pairs of tokens: MD = mean(dy / dx).

    dx = ||x_i - x_j||_2 divided by the largest dx over the pairs; dy = |a_i - a_j| divided by its median over the
    pairs, neuron by neuron. Pairs of one and the same input are left out before both.

    Args:
        inputs: [2, pairs, hidden], what enters the projection, for the first and second token of every pair.
        activations: [2, pairs, neurons], the pre-activations at these tokens.
    """
    neurons = activations.shape[2]
    dx = np.linalg.norm(inputs[0].astype(np.float64) - inputs[1].astype(np.float64), axis=1)
    different = np.flatnonzero(dx > 0)
    equal = len(dx) - len(different)
    md = np.full(neurons, np.nan)
    if len(different) == 0:
        return Difficulty(md, 0, equal, np.arange(neurons))
    weight = dx.max() / dx[different] / len(different)
    medians = np.empty(neurons)
    for begin in range(0, neurons, _CHUNK):
        some = slice(begin, begin + _CHUNK)
        dy = np.abs(activations[0][different, some] - activations[1][different, some]).T.copy()
        ranked = np.sort(dy, axis=1)  # in order along the pairs; six times as fast as a selection of the median
        middle = len(different) // 2
        medians[some] = (ranked[:, middle].astype(np.float64) + ranked[:, -1 - middle]) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            md[some] = np.where(medians[some] > 0, dy.astype(np.float64) @ weight / medians[some], np.nan)
    return Difficulty(md, len(different), equal, np.flatnonzero(medians == 0))

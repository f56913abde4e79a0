"""Is a ranking a fact about the model? Two halves of the text rank the neurons twice.

How far two top sets overlap, and how far chance would have them, says `negspace.neurons.overlap`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

TARGET = 0.9
"""Reliability for which the tokens needed are given."""


@dataclass(frozen=True)
class Reliability:
    """The reliability of a ranking of neurons: how well another sample of the same text would reproduce it."""

    neurons: int
    """Neurons ranked."""
    halves: float
    """Spearman's rank correlation of the two halves' scores; NaN where a half does not rank."""
    reliability: float
    """Reliability of the ranking from all tokens (Spearman-Brown): 2 r / (1 + r); 0 if the halves do not agree."""
    tokens: int
    """Tokens that both halves have together."""
    tokens_needed: float
    """Tokens for a reliability of `target`, by the same formula; infinite where the halves do not agree at all."""
    target: float
    """That reliability."""


def reliability(first: ArrayLike, second: ArrayLike, tokens: int, *, target: float = TARGET) -> Reliability:
    """Split-half reliability of a ranking, and the tokens needed for a target.

    Spearman and Brown: a score from m times as many tokens has reliability m r / (1 + (m - 1) r), r the correlation of
    two halves. It assumes that the halves are alike and their errors independent, which interleaved windows are and
    the two ends of a text need not be; for ranks it is an approximation. Other texts may agree less than halves of one.

    Args:
        first: [neurons] scores (WD, say) from one half of the tokens; NaN where a neuron has none: left out.
        second: [neurons] the same neurons from the other half.
        tokens: tokens of both halves together.
        target: reliability to be reached, between 0 and 1.

    Raises:
        ValueError: other neurons in one half, no tokens, or a target that cannot be.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"need the same neurons in both halves, got {one.shape} and {two.shape}")
    if tokens < 2 or not 0 < target < 1:
        raise ValueError(f"need tokens in both halves and 0 < target < 1, got {tokens} and {target}")
    both = ~(np.isnan(one) | np.isnan(two))
    r = float("nan")
    if both.sum() >= 3 and np.ptp(one[both]) > 0 and np.ptp(two[both]) > 0:
        r = float(np.asarray(stats.spearmanr(one[both], two[both]).statistic))
    whole = 2 * r / (1 + r) if not r <= 0 else 0.0
    needed = float("nan")
    if not np.isnan(r):
        needed = tokens / 2 * target * (1 - r) / (r * (1 - target)) if r > 0 else float("inf")
    return Reliability(int(both.sum()), r, whole, tokens, needed, target)

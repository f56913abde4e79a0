"""Does damage add up? The effect of groups of layers together against the sum of their effects alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from negspace.significance.contrast import Contrast, Scale, conclude, subtract
from negspace.significance.estimate import Estimate, grouped, mean
from negspace.significance.nesting import Nesting


@dataclass(frozen=True)
class Additivity:
    """A joint effect beside the sum of single ones."""

    excess: Contrast
    """Joint effect minus sum of the single effects: harm where together they do more than they add up to."""
    joint: float
    """Effect of all groups together, against the plain model; NaN where the excess cannot be judged."""
    total: float
    """Sum of the groups' effects alone."""
    groups: int
    """Groups."""


def additivity(
    joint: ArrayLike, singles: ArrayLike, plain: ArrayLike, nesting: Nesting, *, scale: Scale, alpha: float = 0.05
) -> Additivity:
    """The joint effect against the sum of single effects, item by item.

    With accuracy, a floor alone makes damage add up to less: an item can be lost once. Read it on margins or on the log
    perplexity ratio; in accuracy only beside these.

    Args:
        joint: [items] values with all groups ablated.
        singles: [groups, items] values with each group ablated alone.
        plain: [items] values of the plain model.
        nesting: the items' nesting.
        scale: what the values are in, as for `compare`.
        alpha: level.

    Raises:
        ValueError: fewer than two groups, or values that do not fit.
    """
    alone = np.asarray(singles, np.float64)
    if alone.ndim != 2 or len(alone) < 2:
        raise ValueError(f"need values [groups, items] of two groups or more, got shape {alone.shape}")
    together, each = subtract(joint, plain, scale), subtract(alone, plain, scale)
    total = each.sum(axis=0)
    found = mean(grouped(together - total, nesting, outcomes=scale == "points"))
    judged = isinstance(found, Estimate)
    return Additivity(
        conclude(found, scale, alpha),
        grouped(together, nesting).mean if judged else float("nan"),
        grouped(total, nesting).mean if judged else float("nan"),
        len(alone),
    )

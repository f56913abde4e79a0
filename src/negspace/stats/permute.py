"""The one loop over permutations of passages.

Imported on first use only: numba takes a while to load, and its code is compiled once and cached on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with a cache on disk, or without one where no folder for it can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no writable place for its cache
        return numba.njit(nogil=True)(function)


@_compiled
def as_large(cost: Any, orders: Any, mean: Any, observed: Any) -> Any:
    """Return the number of permutations with |sum over w of cost[w, order[w]] - mean| >= observed, column by column.

    Args:
        cost: float64 [blocks, blocks, columns].
        orders: int64 [permutations, blocks].
        mean, observed: float64 [columns].

    Returns:
        int64 [columns].
    """
    blocks, columns = cost.shape[0], cost.shape[2]
    larger = np.zeros(columns, np.int64)
    total = np.empty(columns)
    for row in range(orders.shape[0]):
        total[:] = 0.0
        for w in range(blocks):
            v = orders[row, w]
            for column in range(columns):
                total[column] += cost[w, v, column]
        for column in range(columns):
            if abs(total[column] - mean[column]) >= observed[column]:
                larger[column] += 1
    return larger

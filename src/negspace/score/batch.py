"""One forward pass that a score needs, apart from the score: so that it can be run under several conditions in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

FAULTS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)
"""What a model raises that cannot be run in some special way, and may be in the plain one."""


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch for the model, and the log-probabilities from its logits."""

    forward: Callable[[], torch.Tensor]
    """Runs the model; the logits that `read` needs. Under the same weights and hooks, always the same."""
    few: Callable[[], torch.Tensor]
    """Runs it on a little of the batch only: logits with which two ways to run the model can be compared."""
    read: Callable[[torch.Tensor], np.ndarray]
    """Values, float64 [rows, ...], from the logits."""
    rows: np.ndarray | slice
    """Positions of the values in the whole."""
    done: int
    """Tokens or windows in it, for progress."""
    standing: Callable[[torch.Tensor], np.ndarray] | None = None
    """From the logits, int8 [rows]: the `Standing` of the tokens that count, the worst of each row."""

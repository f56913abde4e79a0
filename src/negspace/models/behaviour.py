"""A model's behaviour as a few numbers: its logits on fixed tokens.

A fingerprint lists what can change a model's outputs; this is what no list foresaw. Rounding differs between machines,
numbers of threads and kernels, so that the numbers are compared with a tolerance. Where two runs of one function differ
by rounding, almost all positions agree to about the precision of the numbers; another function moves most of them by
far more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from negspace.models import probe
from negspace.models.lengths import counted_positions

TOKENS = 48
"""Length of the sequence, unless the model's context is shorter."""
_EVERY = 4
"""Every fourth position is kept."""
_WORDS = 16
"""Logits kept at each, spread over the vocabulary."""
_QUANTILE = 0.75
"""A quarter of the positions may move by more than rounding: a router's tie that falls to another expert."""
_TOLERANCE = {"float64": 1e-5, "float32": 1e-4, "float16": 1e-2, "bfloat16": 8e-2}
"""Relative distance that counts as rounding, by the coarsest type of the parameters. On the bundled models that of
float32 against float64 is 2e-6, of float16 against float32 2e-3, of bfloat16 2e-2; weights that each moved by a
hundredth of their spread, or an adapter that does anything, give more than 1e-2."""
_COARSE = 0.15
"""Of any other type, and of quantised weights whose inputs are rounded to eight bits as well."""


def behaviour(module: Any) -> tuple[float, ...]:
    """Logits on fixed tokens, less their mean at each position, one position after the other; six digits.

    Raises:
        SiteError: the model cannot run on plain tokens.
    """
    config = module.config.get_text_config(decoder=True)
    context = getattr(config, "max_position_embeddings", None) or TOKENS
    ids = probe.sequence(module, int(min(TOKENS, context, counted_positions(module))))
    logits = probe.forward(module, ids)[0, _EVERY - 1 :: _EVERY].float().cpu()
    words = torch.linspace(0, logits.shape[-1] - 1, _WORDS).long()
    kept = logits[:, words]
    # Some models set the logits of tokens that must not come to the lowest number.
    kept = torch.where(kept.abs() < 1e6, kept, 0.0)
    values = (kept - kept.mean(dim=1, keepdim=True)).flatten().tolist()
    return tuple(float(f"{value:.6g}") for value in values)


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Distance of two behaviours, relative to their size: 0 for equal ones, infinite for those of unequal shape."""
    if len(one) != len(other) or len(one) % _WORDS:
        return float("inf")
    a, b = (np.asarray(values, np.float64).reshape(-1, _WORDS) for values in (one, other))
    size = np.maximum(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    apart = np.linalg.norm(a - b, axis=1) / np.maximum(size, np.finfo(np.float32).tiny)
    return float(np.quantile(apart, _QUANTILE))


def same(one: Sequence[float], other: Sequence[float], dtype: str) -> bool:
    """Return True if two behaviours come from the same function, computed twice.

    Args:
        one, other: what `behaviour` returned.
        dtype: of the model's parameters, as `ModelSource.dtype` says it.
    """
    allowed = max(_TOLERANCE.get(kind, _COARSE) for kind in dtype.split("+"))
    return distance(one, other) <= allowed

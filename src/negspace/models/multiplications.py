"""Multiplications that a token costs: in a model's layers, and in its output layer."""

from __future__ import annotations

from typing import Any

from torch import nn


def multiplications(module: Any) -> tuple[int, int]:
    """Multiplications of one token's pass, as far as matrices of weights do them.

    Those of attention between tokens are left out: in windows of some hundred tokens they are few. Of a mixture of
    experts every expert is counted, also those that a token does not reach.

    Args:
        module: a transformers model.

    Returns:
        Those of the layers, and those of the output layer; the second is 0 where the model has none of its own.
    """
    head = module.get_output_embeddings()
    lookups = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
    tables = {id(weight) for weight in lookups} | ({id(head.weight)} if head is not None else set())
    layers = sum(weight.numel() for weight in module.parameters() if weight.dim() > 1 and id(weight) not in tables)
    return layers, 0 if head is None else head.weight.numel()

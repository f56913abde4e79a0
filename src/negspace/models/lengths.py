"""Lengths beyond which sequences are no longer alike, or have no positions: other frequencies, a window of attention,
a table of positions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from negspace.models.fingerprint import padding_parts

_STRETCHED = ("dynamic", "longrope")
"""Rotary embeddings that transformers chooses by the largest position of the input."""


def steady_length(config: Any) -> float:
    """Longest sequence in which a token's logits do not depend on the tokens after it, infinity for most models.

    Dynamic and long rotary embeddings take other frequencies, for all positions, once a sequence is longer than those
    that the model was first trained on. Then a sequence must be run to its end, and by itself.

    Args:
        config: of a transformers model; those of parts of it are looked at as well.
    """
    found = [math.inf]
    text = config.get_text_config(decoder=True)
    for rope in _ropes(getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)):
        if str(rope.get("rope_type", rope.get("type", "default"))).startswith(_STRETCHED):
            known = (rope.get("original_max_position_embeddings"), *(getattr(text, name, None) for name in _LIMITS))
            found.append(min((float(length) for length in known if length), default=0.0))
    return min(found)


def attention_window(config: Any) -> float:
    """The shortest window of attention that a configuration names, in tokens; infinity without one.

    A model may name a window and use none. Who splits sequences by it loses nothing.

    Args:
        config: of a transformers model.
    """
    text = config.get_text_config(decoder=True)
    named = (getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size", "local_attention"))
    return min((float(width) for width in named if isinstance(width, int) and width > 0), default=math.inf)


def counted_positions(module: nn.Module) -> float:
    """Longest sequence, in tokens, for which a module that counts positions from its padding token's id (RoBERTa's kin)
    has them: its table's rows up to that id belong to no text. Infinity for any other module."""
    tables = ((part, getattr(part, "position_embeddings", None)) for _, part in padding_parts(module))
    return min(
        (len(table.weight) - part.padding_idx - 1 for part, table in tables if table is not None), default=math.inf
    )


_LIMITS = ("original_max_position_embeddings", "max_position_embeddings")


def _ropes(parameters: Any) -> Iterator[Mapping[str, Any]]:
    """Each set of rotary parameters: the only one, or one for each type of layer."""
    if not isinstance(parameters, Mapping):
        return
    if any(isinstance(value, Mapping) for value in parameters.values()):
        for value in parameters.values():
            yield from _ropes(value)
    else:
        yield parameters

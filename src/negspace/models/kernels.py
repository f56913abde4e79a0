"""A model's attention implementation, and its support for a caller's own mask."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

_MASKED = ("eager", "sdpa")
"""Implementations that add a mask [rows, 1, queries, keys] to their scores, whatever is in it. flex_attention expects
block masks and ends the process over another one on the CPU; flash attention and kernels of the hub take lengths."""


def takes_masks(module: Any) -> bool:
    """Return True if all parts of a model use an attention implementation that accepts any mask."""
    return not unmasked(module)


def unmasked(module: Any) -> str:
    """The attention implementations of a model that are not known to take any mask, apart by commas; "" for none."""
    names = {getattr(config, "_attn_implementation", None) for config in configurations(module.config).values()}
    return ", ".join(sorted(str(name) for name in names - {None, *_MASKED}))


def configurations(config: Any, path: str = "") -> dict[str, Any]:
    """A configuration and the ones inside it, by their path."""
    found = {path: config}
    for name in getattr(config, "sub_configs", {}):
        inner = getattr(config, name, None)
        if isinstance(inner, PreTrainedConfig):
            found |= configurations(inner, f"{path}{name}.")
    return found

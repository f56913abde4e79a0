"""Modules that torch.compile changed: their hooks may be passed over, so that the plain module is needed."""

from __future__ import annotations

from typing import Any

from torch import nn

from negspace.errors import ModelError

_INSIDE = "_orig_mod"
"""Attribute in which torch.compile keeps the original module."""


def uncompiled(asked: str, module: Any) -> Any:
    """The module that `torch.compile(module)` was made of, which has the same weights; another module as it is.

    Raises:
        ModelError: a part of it is compiled, or the module in place.
    """
    while isinstance(inside := getattr(module, "_modules", {}).get(_INSIDE), nn.Module):
        module = inside
    if not isinstance(module, nn.Module):
        return module
    for path, part in module.named_modules():
        undo, at = _undo(part), f"module.get_submodule({path!r})" if path else "module"
        if undo:
            raise ModelError(
                asked=asked,
                found=f"{path or 'the module'} compiled by torch.compile: compiled code may pass over the hooks "
                "with which activations are read and changed",
                todo=f"measure the plain module: {undo.format(at=at)}",
            )
    return module


def _undo(part: nn.Module) -> str:
    """Return how to get the plain part back; "" if the part is plain."""
    if isinstance(part._modules.get(_INSIDE), nn.Module):
        return "put {at}._orig_mod in its place"
    if getattr(part, "_compiled_call_impl", None) is not None:
        return "set {at}._compiled_call_impl = None"
    if hasattr(part.__dict__.get("forward"), "_torchdynamo_orig_callable"):
        return "del {at}.forward"
    if part.__dict__.get("_compiled_call") is not None:  # what generate() with a static cache leaves
        return "del {at}._compiled_call, call torch._dynamo.reset(), and generate with disable_compile=True"
    return ""

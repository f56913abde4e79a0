"""Decoder layers of a model, found by a forward pass on text in the part that reads text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from negspace.errors import SiteError
from negspace.models import probe

UNSUPPORTED = "this architecture is not supported yet; please report it with its configuration"

_DEPTHS = ("decoder_layers", "num_hidden_layers", "num_layers")
"""Fields of a configuration that may hold the number of decoder layers, the likeliest first: the decoder halves of
encoder-decoder families (BART's) have a name of their own, and LongCat counts two attentions a layer as two layers."""
_LOOPED = "num_layers_per_stack"
"""Where stacks of layers are run several times, their length; `num_hidden_layers` then counts the layers' calls."""

_Lists = list[tuple[str, nn.ModuleList]]
_CHOSEN: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()


def decoder_layers(module: Any) -> list[tuple[str, nn.Module]]:
    """Path and module of each decoder layer, in order.

    They are the elements of the list of modules that is as long as the configuration says, in the part that
    transformers names as the decoder. Where several lists are (the towers of a model that also reads images, or the
    attentions and MLPs of a layer kept apart), those that run on text alone are left, and the heaviest is taken; of
    stacks that are run in turn (HRM-Text), all.

    Raises:
        SiteError: there is no such list.
    """
    config = module.config.get_text_config(decoder=True)
    depths = [depth for field in _DEPTHS if isinstance(depth := getattr(config, field, None), int)]
    scopes = list(dict.fromkeys((_decoder_path(module), "")))
    for scope in scopes:
        for depth in depths:
            lists = _outermost(module, scope, depth)
            if lists:
                return _elements([_heaviest(_running(module, lists))])
    looped = getattr(config, _LOOPED, None)
    stacks = _running(module, _outermost(module, "", looped)) if looped else []
    if stacks:
        return _elements(stacks)
    raise SiteError(
        asked=f"the decoder layers of {type(module).__name__}",
        found=f"no list of {' or '.join(map(str, dict.fromkeys(depths))) or 'a known number of'} modules",
        todo=UNSUPPORTED,
    )


def _decoder_path(module: Any) -> str:
    """Path of what transformers calls the decoder: for a model with several towers, the one that makes text."""
    try:
        decoder = module.get_decoder()
    except Exception:  # a best-effort method that a few classes, and code from elsewhere, do not serve
        return ""
    return next((path for path, part in module.named_modules() if part is decoder), "")


def _outermost(module: Any, scope: str, depth: int) -> _Lists:
    """Lists of so many modules at or below `scope` that are not inside one another."""
    below = module.get_submodule(scope).named_modules(prefix=scope)
    found = [(path, part) for path, part in below if isinstance(part, nn.ModuleList) and len(part) == depth]
    found = [(path, part) for path, part in found if next(part.parameters(), None) is not None]
    return [(path, part) for path, part in found if not any(path.startswith(f"{other}.") for other, _ in found)]


def _running(module: Any, lists: _Lists) -> _Lists:
    """The lists of which modules are called in a forward pass on text; a single one is not asked for it."""
    if len(lists) < 2:
        return lists
    held = _CHOSEN.get(module, ())
    if not held or not set(held) <= {path for path, _ in lists}:
        called: set[str] = set()
        with ExitStack() as stack:
            for path, part in lists:
                for number, layer in enumerate(part):

                    def note(*_: Any, name: str = f"{path}.{number}") -> None:
                        called.add(name)

                    stack.callback(layer.register_forward_pre_hook(note).remove)
            probe.run(module)
        held = tuple(path for path, part in lists if any(f"{path}.{n}" in called for n in range(len(part))))
        _CHOSEN[module] = held
    return [(path, part) for path, part in lists if path in held] or lists


def _heaviest(lists: _Lists) -> tuple[str, nn.ModuleList]:
    return max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))


def _elements(lists: Sequence[tuple[str, nn.ModuleList]]) -> list[tuple[str, nn.Module]]:
    return [(f"{path}.{number}", layer) for path, part in lists for number, layer in enumerate(part)]

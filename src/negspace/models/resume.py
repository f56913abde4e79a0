"""Taking a forward pass up in the middle: layers below a boundary are passed over, and what the last of them gave
before is put in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from negspace.models import probe
from negspace.models.layers import decoder_layers


class Layers:
    """The decoder layers of a model, between which its forward pass can be taken up.

    The model's own code runs around them as ever: embeddings, masks and positions before, the final norm and the output
    layer after. So any architecture will do whose layers hand on all that they compute through what they return. Where
    something passes them by (keys and values that later layers share), a resumed pass fails or gives other logits;
    whoever resumes compares the two once. Where layers are `looped` there is no state between them to resume from.

    Args:
        module: a causal language model of transformers; never changed for longer than a context is open.

    Raises:
        SiteError: the module has no list of as many layers as it is deep.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._layers = [layer for _, layer in decoder_layers(module)]

    def __len__(self) -> int:
        return len(self._layers)

    @cached_property
    def looped(self) -> bool:
        """True if a forward pass runs some layer more than once, found by a trial on a few tokens."""
        calls: Counter[int] = Counter()
        with ExitStack() as stack:
            for number, layer in enumerate(self._layers):

                def note(*_: Any, number: int = number) -> None:
                    calls[number] += 1

                stack.callback(layer.register_forward_pre_hook(note).remove)
            probe.run(self._module)
        return max(calls.values(), default=1) > 1

    @contextmanager
    def resumed(self, start: int = 0, state: Any = None, keep: Collection[int] = ()) -> Iterator[dict[int, Any]]:
        """While the context is open, forward passes run the layers from `start` on only.

        Args:
            start: first layer that runs; 0 for a whole pass.
            state: what this context yielded under the key `start` in an earlier pass over the same tokens; the layers
                below `start` must be to be had as they were in that pass.
            keep: boundaries from `start` + 1 on whose states are wanted.

        Yields:
            boundary -> state: copies of all that the layer below the boundary returned in the last pass, in its own
            structure; filled during the pass. Without a boundary whose layer was not called.

        Everything is restored on leaving, after an exception too.
        """
        kept: dict[int, Any] = {}
        with ExitStack() as stack:
            if start:
                # Layers below the last of those passed over only have to return something of the right structure.
                aside = copied(state)
                for layer in self._layers[: start - 1]:
                    stack.enter_context(_replaced(layer, lambda *_, **__: aside))
                stack.enter_context(_replaced(self._layers[start - 1], lambda *_, **__: copied(state)))
            for boundary in keep:

                def note(_: nn.Module, __: tuple[Any, ...], out: Any, boundary: int = boundary) -> None:
                    # A copy, since models add to the residual stream in place.
                    kept[boundary] = copied(out)

                stack.callback(self._layers[boundary - 1].register_forward_hook(note).remove)
            yield kept


def copied(value: Any) -> Any:
    """A copy of all tensors in a value, looking into tuples, lists and dicts; anything else is handed on as it is."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if type(value) in (tuple, list):
        return type(value)(copied(element) for element in value)
    if type(value) is dict:
        return {key: copied(element) for key, element in value.items()}
    return value


@contextmanager
def _replaced(layer: nn.Module, forward: Any) -> Iterator[None]:
    """Give a module another forward method while open (accelerate's, too, lies on the instance)."""
    had, held = "forward" in layer.__dict__, layer.__dict__.get("forward")
    layer.__dict__["forward"] = forward
    try:
        yield
    finally:
        if had:
            layer.__dict__["forward"] = held
        else:
            del layer.__dict__["forward"]

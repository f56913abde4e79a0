"""Who a module is now: its fingerprint, kept up to date, and the proof by what it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from negspace.errors import ModelError
from negspace.models.alterations import Patch, Twin, alterations, foreign, lifted
from negspace.models.behaviour import behaviour, distance, same
from negspace.models.checks import check_eval
from negspace.models.fingerprint import canonical_config, fingerprint

_CHANGING: WeakKeyDictionary[torch.nn.Module, int] = WeakKeyDictionary()
"""Module -> how many of this package's own contexts change it at the moment."""


@dataclass(frozen=True)
class Identity:
    """A model's identity."""

    fingerprint: str
    """SHA-256 over weights, configuration and alterations."""
    behaviour: tuple[float, ...]
    """Logits on fixed tokens; empty where an intervention was open and none had been taken before it."""


class Identifier:
    """Identifies one module, again and again as it may be changed by whoever else holds it.

    Hashing all weights takes a while. They are hashed again only where something shows that they may have changed:
    another place in memory, torch's own count of changes, another configuration, an alteration, or other logits.

    Args:
        module: the model.
        dtype: types of its parameters, for the tolerance between two behaviours.
    """

    def __init__(self, module: Any, dtype: str) -> None:
        self._module, self._dtype = module, dtype
        self._twin: Twin | None = None
        self._config = ""
        self._state: Any = None
        self._fingerprint = ""
        self._behaviour: tuple[float, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the module as it is now.

        Raises:
            ModelError: weights that are not in memory.
        """
        state = self._look()
        if state != self._state:
            self._fingerprint, self._state, self._behaviour = fingerprint(self._module, self._twin), state, ()
        return self._fingerprint

    def identify(self) -> Identity:
        """The module as it is now, proved: what it does is compared with what it did before under this fingerprint.

        Raises:
            ModelError: as `fingerprint`; training mode; hooks of others that change the logits; or other logits without
                any change that the fingerprint knows of.
        """
        found = self._proved()
        if not _CHANGING.get(self._module) and (patches := foreign(self._module)):
            now = behaviour(self._module)
            if not same(now, found.behaviour, self._dtype):
                raise _patched(self._module, patches, distance(now, found.behaviour))
        return found

    def behaves_as(self, other: Sequence[float]) -> bool:
        """Return True if a behaviour is this module's own, without the hooks of others; an unknown one
        passes."""
        mine = self._proved().behaviour
        return not mine or not other or same(mine, other, self._dtype)

    def _proved(self) -> Identity:
        known = self.fingerprint
        if _CHANGING.get(self._module):
            return Identity(known, self._behaviour)
        check_eval(f"to identify a {type(self._module).__name__}", self._module)
        with lifted(foreign(self._module)):
            now = behaviour(self._module)
        if self._behaviour and not same(now, self._behaviour, self._dtype):
            # Weights that were edited through .data leave no other trace.
            self._fingerprint = fingerprint(self._module, self._twin)
            if self._fingerprint == known:
                raise _changed(self._module, distance(now, self._behaviour))
            self._behaviour = ()
        # That of the first time stays, so that the same run gives the same bytes.
        self._behaviour = self._behaviour or now
        return Identity(self._fingerprint, self._behaviour)

    def _look(self) -> Any:
        """Return the state that can be seen without reading the weights."""
        config = canonical_config(getattr(self._module, "config", None))
        if self._twin is None or config != self._config:
            self._twin, self._config = Twin(self._module), config
        tensors = (*self._module.named_parameters(), *self._module.named_buffers())
        return config, alterations(self._module, self._twin), tuple((name, *_mark(tensor)) for name, tensor in tensors)


@contextmanager
def changing(module: torch.nn.Module) -> Iterator[None]:
    """While open, what a module does is not taken for what it is: an intervention of this package changes it."""
    _CHANGING[module] = _CHANGING.get(module, 0) + 1
    try:
        yield
    finally:
        _CHANGING[module] -= 1


def check_unchanged(module: torch.nn.Module, asked: str) -> None:
    """Refuse what would be recorded as the model's own while an intervention of this package is open on it.

    Args:
        asked: what was to be recorded.

    Raises:
        ModelError: one is open.
    """
    if _CHANGING.get(module):
        raise ModelError(
            asked,
            "an intervention that is open on the model: its figures would stand under the plain model's name",
            "leave the context of `intervene` first; a study has interventions of its own (zero, mode)",
        )


def _mark(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return a tensor's address and torch's count of its changes."""
    try:
        return id(tensor), tensor.data_ptr(), tensor._version
    except (RuntimeError, NotImplementedError):  # one of a subclass without memory of its own, or made for inference
        return (id(tensor),)


def _patched(module: Any, patches: Sequence[Patch], apart: float) -> ModelError:
    more = f" and {len(patches) - 3} more" if len(patches) > 3 else ""
    return ModelError(
        asked=f"to identify a {type(module).__name__}",
        found=f"hooks or patched methods that something else left on it and that change its logits (by {apart:.2g} of "
        f"their size): {', '.join(map(str, patches[:3]))}{more}; results with them would be taken for results without",
        todo="remove them (handle.remove(), or load the model anew); to keep what they do, make it part of the module: "
        "a submodule with parameters or buffers of its own",
    )


def _changed(module: Any, apart: float) -> ModelError:
    return ModelError(
        asked=f"to identify a {type(module).__name__}",
        found=f"other logits than before on the same tokens (they moved by {apart:.2g} of their size), although its "
        "weights, configuration, parts and hooks are the same: something outside the module changes what it computes",
        todo="undo it (a patched function, a global setting such as TF32), or load the model anew",
    )

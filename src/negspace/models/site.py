"""A site: the input of the activation module of one MLP, the place where pre-activations are read and changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Branch = Literal["mlp", "experts", "shared", "second"]


@dataclass(frozen=True)
class Site:
    """The input of one activation module: what a layer's neurons (or those of all its experts) receive."""

    layer: int
    """Decoder layer, counted from 0."""
    path: str
    """Dotted path of the activation module inside the model; for the few models that call a function instead of a
    module, the path of the module that calls it."""
    width: int
    """Neurons; in a mixture of experts, neurons per expert."""
    activation: str
    """Name of the activation as transformers spells it: "gelu", "silu", "relu", ..."""
    experts: int
    """Number of routed experts; 0 for a dense MLP."""
    projection: str | None
    """Dotted path of the module whose output is, or contains as a slice, the pre-activation bit for bit. None where
    that is a three-dimensional expert parameter, or where the model changes the projection's output in between."""
    branch: Branch
    """"mlp" for the MLP of an ordinary layer; in a mixture of experts "experts" for the routed experts and "shared" for
    the MLP that every token passes; "second" for the second such MLP of a layer that has two (LongCat-Flash)."""
    passes: int = 1
    """Times that a forward pass runs the site: more than once where layers are looped (HRM-Text). A neuron then has so
    many values at each token, and all of them count."""
    alone: bool = True
    """True if the activation module serves this place alone. Where several layers share one (the first GPT), each gets
    a wrapper of it for as long as it is tapped."""

    @property
    def size(self) -> int:
        """Neurons of the site over all experts; the flat index of a neuron is `expert * width + index`."""
        return self.width * max(1, self.experts)

"""Modules that apply an activation function, and transformers' names for it."""

from __future__ import annotations

import torch
from torch import nn
from transformers.activations import ACT2CLS

from negspace.models.overrides import Alone, override_of

_NAMES: dict[type, str] = {
    **{(c[0] if isinstance(c, tuple) else c): n for n, c in reversed(ACT2CLS.items())},
    nn.SiLU: "silu",
    nn.GELU: "gelu",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.Softplus: "softplus",
    nn.Mish: "mish",
}
_OWN_NAMES = {"BloomGelu": "gelu_pytorch_tanh"}


def is_activation(module: nn.Module) -> bool:
    """Return True if a module applies one non-linear function to every element."""
    if next(module.children(), None) is not None or type(module).__name__ == "LinearActivation":
        return False
    if type(module) in _NAMES:
        return True
    if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
        return False
    # Classes of a model's own (Bloom's, remote code): recognised by what they do to a few numbers.
    x = torch.linspace(-3, 3, 16)
    try:
        with torch.no_grad():
            y, turned = module(x), module(x.flip(0))
    except Exception:
        return False
    if not isinstance(y, torch.Tensor) or y.shape != x.shape or not torch.isfinite(y).all():
        return False
    slopes = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
    return torch.allclose(y.flip(0), turned) and bool((slopes.max() - slopes.min()).abs() > 1e-3)


def activation_name(module: nn.Module, act: nn.Module) -> str:
    """Return transformers' name for an activation, given the module at a site's path and the one hooked there."""
    override = override_of(module)
    if override is not None:
        return override.activation
    if isinstance(act, Alone):
        act = act.act
    if isinstance(act, nn.GELU):
        return "gelu_pytorch_tanh" if act.approximate == "tanh" else "gelu"
    own = type(act).__name__
    return _NAMES.get(type(act), _OWN_NAMES.get(own, own.lower()))

"""Models that apply their MLP activation by a function: how each is given an activation module while it is tapped.

An entry says which method (or attribute) of which class applies the function, and gives a replacement that does the
same arithmetic through an activation module. The replacement is put on the instance only inside `activation` and taken
off on leaving it; resolving a model checks that the logits with the replacement are bit for bit those without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Override:
    """How one class of modules is given an activation module."""

    attribute: str
    """Name on the instance that is replaced: a method, or an attribute that holds a function."""
    activation: str
    """Name of the activation, for the site."""
    module: Callable[[Any], nn.Module]
    """Makes the activation module for an instance."""
    replacement: Callable[[Any, nn.Module], Callable[..., torch.Tensor]]
    """What to put under `attribute`, given the instance and the activation module."""
    reason: str
    """Why the class needs an entry."""


class ClampedSwish(nn.Module):
    """g * sigmoid(alpha * g) with g = min(a, limit): the gate of gpt_oss as one function of the pre-activation a."""

    def __init__(self, alpha: float, limit: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.limit = limit

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        gate = a.clamp(min=None, max=self.limit)
        return gate * torch.sigmoid(gate * self.alpha)


def _lfm2_forward(mlp: Any, act: nn.Module) -> Callable[..., torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return mlp.w2(act(mlp.w1(x)) * mlp.w3(x))

    return forward


def _gpt_oss_gate(experts: Any, act: nn.Module) -> Callable[..., torch.Tensor]:
    def apply_gate(gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up[..., ::2], gate_up[..., 1::2]
        up = up.clamp(min=-experts.limit, max=experts.limit)
        return (up + 1) * act(gate)

    return apply_gate


def _itself(_: Any, act: nn.Module) -> Callable[..., torch.Tensor]:
    return act


_LFM2 = Override("forward", "silu", lambda _: nn.SiLU(), _lfm2_forward, "its MLP calls torch.nn.functional.silu")

OVERRIDES: dict[str, Override] = {
    "Lfm2MLP": _LFM2,
    "Lfm2MoeMLP": _LFM2,
    "Lfm3MLP": _LFM2,
    "Lfm2MoeExperts": Override(
        "act_fn", "silu", lambda _: nn.SiLU(), _itself, "its experts hold a function, torch.nn.functional.silu"
    ),
    "GptOssExperts": Override(
        "_apply_gate",
        "clamped_swish",
        lambda experts: ClampedSwish(experts.alpha, experts.limit),
        _gpt_oss_gate,
        "its experts compute a clamped swish in line",
    ),
}
"""By class name, since the classes need not exist in every version of transformers."""


def override_of(module: nn.Module) -> Override | None:
    """The table's entry for a module, if any."""
    return OVERRIDES.get(type(module).__name__)


@contextmanager
def activation(module: nn.Module) -> Iterator[nn.Module]:
    """The activation module to hook for a site's module: itself, or the one that its override installs while open.

    Nested uses of one module share the installed activation, so that their hooks compose in order.
    """
    override = override_of(module)
    if override is None:
        yield module
        return
    held = module.__dict__.get(override.attribute)
    installed = getattr(held, "negspace_activation", None)
    if installed is not None:
        yield installed
        return
    act = override.module(module).eval()
    replacement = override.replacement(module, act)
    object.__setattr__(replacement, "negspace_activation", act)
    had = override.attribute in module.__dict__
    module.__dict__[override.attribute] = replacement
    try:
        yield act
    finally:
        if had:
            module.__dict__[override.attribute] = held
        else:
            del module.__dict__[override.attribute]

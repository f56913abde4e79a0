"""Models that apply their MLP activation by a function, or by one module for all layers: how each MLP is given an
activation module of its own while it is tapped.

An entry of the table says which method (or attribute) of which class applies the function, and gives a replacement that
does the same arithmetic through an activation module. The replacement is put on the instance only inside `activation`
and taken off on leaving it; resolving a model checks that the logits with the replacement are bit for bit those without
it. A module that several layers share is put into a wrapper of each layer's own, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations


@dataclass(frozen=True)
class Override:
    """The way in which a module class receives an activation module."""

    attribute: str
    """Name on the instance that is replaced: a method, or an attribute that holds a function."""
    activation: str
    """Name of the activation, for the site."""
    module: Callable[[Any], nn.Module]
    """Makes the activation module for an instance."""
    replacement: Callable[[Any, nn.Module], Callable[..., torch.Tensor]]
    """Value of `attribute`, given the instance and the activation module."""
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


class ClampedSilu(nn.Module):
    """silu(min(a, limit)): the gate of GLM-5-Next's and HY-V4's experts as one function of the pre-activation a."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        return nn.functional.silu(a.clamp(min=None, max=self.limit))


class SoftcappedSwish(nn.Module):
    """cap * tanh(a / cap) * sigmoid(a) in float32: the gate of Inkling 2's experts as one function of a."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        wide = a.float()
        return torch.tanh(wide / self.cap) * self.cap * torch.sigmoid(wide)


class Alone(nn.Module):
    """One place's call of an activation module that other places call, too.

    Whoever lists parts or weights of a model sees through it: they are those of the model without it.
    """

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.act(*args, **kwargs)

    def named_modules(self, *args: Any, **kwargs: Any) -> Generator[tuple[str, nn.Module], None, None]:
        """Those of the activation, under the paths that it has without this."""
        yield from self.act.named_modules(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of the activation, under the names that it has without this."""
        return self.act.state_dict(*args, **kwargs)


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


def _clamped_gate(experts: Any, act: nn.Module) -> Callable[..., torch.Tensor]:
    def apply_gate(gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return act(gate) * up.clamp(min=-experts.swiglu_limit, max=experts.swiglu_limit)

    return apply_gate


def _minimax_m3_gate(part: Any, act: nn.Module) -> Callable[..., torch.Tensor]:
    def apply_gate(gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        up = up.clamp(min=-part.swiglu_limit, max=part.swiglu_limit)
        return (up + 1.0) * act(gate)

    return apply_gate


def _minimax_m3_forward(mlp: Any, act: nn.Module) -> Callable[..., torch.Tensor]:
    apply_gate = _minimax_m3_gate(mlp, act)

    def forward(hidden_states: torch.Tensor) -> torch.Tensor:
        return mlp.down_proj(apply_gate(mlp.gate_up_proj(hidden_states)))

    return forward


def _inkling2_gate(experts: Any, act: nn.Module) -> Callable[..., torch.Tensor]:
    def apply_gate(gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return (act(gate) * experts.act_fn.up_softcap(up.float())).to(gate_up.dtype)

    return apply_gate


def _itself(_: Any, act: nn.Module) -> Callable[..., torch.Tensor]:
    return act


_LFM2 = Override("forward", "silu", lambda _: nn.SiLU(), _lfm2_forward, "its MLP calls torch.nn.functional.silu")
_CLAMPED = Override(
    "_apply_gate",
    "clamped_silu",
    lambda experts: ClampedSilu(experts.swiglu_limit),
    _clamped_gate,
    "its experts clamp the gate and call torch.nn.functional.silu",
)

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
    "Glm5NextTextExperts": _CLAMPED,
    "HYV4Experts": _CLAMPED,
    "MiniMaxM3VLExperts": Override(
        "_apply_gate",
        "clamped_swish",
        lambda experts: ClampedSwish(experts.swiglu_alpha, experts.swiglu_limit),
        _minimax_m3_gate,
        "its experts compute a clamped swish in line",
    ),
    "MiniMaxM3VLDenseMLP": Override(
        "forward",
        "clamped_swish",
        lambda mlp: ClampedSwish(mlp.swiglu_alpha, mlp.swiglu_limit),
        _minimax_m3_forward,
        "its MLP computes a clamped swish in line",
    ),
    "Inkling2Experts": Override(
        "_apply_gate",
        "softcapped_swish",
        lambda experts: SoftcappedSwish(experts.act_fn.gate_softcap.softcap),
        _inkling2_gate,
        "its activation module takes the gate and the other factor at once",
    ),
}
"""By class name, since the classes need not exist in every version of transformers."""


def override_of(module: nn.Module) -> Override | None:
    """The table's entry for a module, if any."""
    return OVERRIDES.get(class_name(module))


def class_name(module: nn.Module) -> str:
    """Name of a module's class, without what torch calls it where adapters or a caller parametrise its weights."""
    return type_before_parametrizations(module).__name__


def attributes(part: nn.Module) -> dict[str, Any]:
    """A part's own attributes, as they are where nothing stands in for its activation."""
    override = override_of(part)
    put_in: Any = None if override is None else part.__dict__.get(override.attribute)
    if override is None or not hasattr(put_in, "negspace_activation"):
        return part.__dict__
    others = {name: value for name, value in part.__dict__.items() if name != override.attribute}
    return {**others, **put_in.negspace_before}


_USES: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""What stands in for an activation -> how many contexts use it at the moment."""


@contextmanager
def activation(root: nn.Module, path: str, alone: bool = True) -> Iterator[nn.Module]:
    """The activation module to hook for a site: the one at its path, or what stands in for it while this is open.

    Args:
        root: the model.
        path: of the site.
        alone: whether no other place in the model holds the module at this path.

    Uses of one path share what was put in, so that their hooks compose in order; it stays until the last of them ends,
    whichever that is.
    """
    module = root.get_submodule(path)
    override = override_of(module)
    if override is not None:
        act, take_out = _overridden(module, override)
    elif alone and not isinstance(module, Alone):
        yield module
        return
    else:
        act, take_out = _apart(root, path, module)
    _USES[act] = _USES.get(act, 0) + 1
    try:
        yield act
    finally:
        _USES[act] -= 1
        if not _USES[act]:
            take_out()


def _apart(root: nn.Module, path: str, module: nn.Module) -> tuple[Alone, Callable[[], None]]:
    """What stands in for a shared activation at one place, put in where nothing does yet, and how to take it out."""
    above, _, name = path.rpartition(".")
    held = root.get_submodule(above)._modules
    own = module if isinstance(module, Alone) else Alone(module).eval()
    held[name] = own

    def take_out() -> None:
        held[name] = own.act

    return own, take_out


def _overridden(module: nn.Module, override: Override) -> tuple[nn.Module, Callable[[], None]]:
    """The activation module of an overridden instance, put in where none is yet, and how to take it out."""
    held, name = module.__dict__, override.attribute
    if not hasattr(held.get(name), "negspace_activation"):
        act = override.module(module).eval()
        replacement = override.replacement(module, act)
        object.__setattr__(replacement, "negspace_activation", act)
        object.__setattr__(replacement, "negspace_before", {name: held[name]} if name in held else {})
        held[name] = replacement
    put_in = held[name]

    def take_out() -> None:
        if put_in.negspace_before:
            held.update(put_in.negspace_before)
        else:
            del held[name]

    return put_in.negspace_activation, take_out

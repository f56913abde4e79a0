"""Mixtures of experts: which expert, and which token, each row of the shared activation module belongs to.

transformers keeps the routed experts' weights in three-dimensional parameters and passes (tokens * top_k) rows through
one activation module. The order of rows depends on the experts implementation (transformers.integrations.moe):

- "grouped_mm": rows sorted by expert, by `torch.sort(top_k_index.reshape(-1))`;
- "batched_mm": rows as routed, unsorted;
- "eager": one call per expert that was hit, in order of expert; within a call by rank of routing, then token.

A few classes keep or call their experts in a way of their own; `KINDS` has an entry for each. Whatever says which rows
are whose is proved when a model is resolved: pre-activations by hand, from the weights of the experts that are named,
must be those that the activation sees (`probe.check_rows`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from negspace.errors import SiteError
from negspace.models.overrides import class_name

ORDERED = ("grouped_mm", "batched_mm", "eager")
"""Experts implementations whose order of rows is known."""

Keep = Callable[[RemovableHandle], object]


@dataclass(frozen=True)
class Rows:
    """The rows of one call of the experts' activation."""

    experts: torch.Tensor
    """int64 [rows] the expert of each."""
    tokens: torch.Tensor
    """int64 [rows] its token, as the flattened position in the batch."""
    places: torch.Tensor | None
    """int64 [rows] which rows of the flattened input of the activation these are, where it has others that belong to no
    token; None: they are all of them, in order."""
    hidden: torch.Tensor
    """[..., hidden] what the experts were given."""
    sources: torch.Tensor
    """int64 [rows] which of the flattened rows of `hidden` each was made from."""

    def inputs(self) -> torch.Tensor:
        """The vectors [rows, hidden] that enter the experts' projections."""
        return self.hidden.reshape(-1, self.hidden.shape[-1])[self.sources]


class Routing:
    """Follows one experts module through forward passes and says what each row of its activation is.

    `follow` sets the hooks that note the routing; `rows` is asked once in each call of the activation module.

    Args:
        path: of the experts module.
        kind: how it keeps its experts.
    """

    partial = False
    """True if the activation may be given rows that belong to no token."""

    def __init__(self, path: str, kind: Kind) -> None:
        self.path, self.kind = path, kind
        self._hidden: torch.Tensor | None = None
        self._index: torch.Tensor | None = None
        self._experts: Any = None
        self._hits: list[int] = []
        self._calls = 0

    def follow(self, experts: Any, keep: Keep) -> None:
        """Set the hooks; each handle is given to `keep`."""
        keep(experts.register_forward_pre_hook(self.capture, with_kwargs=True))

    def capture(self, experts: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the routing of the forward pass that begins: its first tensor and its integer [tokens, top_k] one."""
        tensors = _tensors(args, kwargs)
        routed = [t for t in tensors if not t.is_floating_point() and t.dim() == 2]
        if not tensors or len(routed) != 1:
            raise self._unexpected(f"{len(routed)} integer tensors of two dimensions among its arguments", 1)
        self._hidden, self._index, self._experts = tensors[0], routed[0], experts
        self._calls, self._hits = 0, []
        how, parallel = implementation(experts), getattr(experts, "_is_expert_parallel", False)
        if how not in ORDERED or parallel:
            raise SiteError(
                asked=f"which expert each row belongs to at {self.path}",
                found="expert parallelism" if parallel else f"experts implementation {how!r}",
                todo='load the model on one process with experts_implementation="grouped_mm", "batched_mm" or "eager"',
            )

    def rows(self, a: torch.Tensor) -> Rows:
        """Return the meaning of each row of `a` [rows, width], on its device."""
        if self._index is None or self._hidden is None:
            raise self._not_called()
        index, top_k, how = self._index, self._index.shape[-1], implementation(self._experts)
        if how == "eager":
            if self._calls == 0:
                count = self.kind.count(self._experts)
                # Numbers above are experts that compute nothing, or others' in expert parallelism: never called.
                self._hits = [expert for expert in torch.unique(index).tolist() if expert < count]
            if self._calls < len(self._hits):
                expert = self._hits[self._calls]
                tokens = torch.nonzero(index.T.eq(expert))[:, 1]
                experts = torch.full_like(tokens, expert)
            else:
                experts = tokens = index.new_empty(0)
        elif how == "grouped_mm":
            # The very call that transformers makes, since the order within an expert is not defined otherwise.
            experts, order = torch.sort(index.reshape(-1))
            tokens = order // top_k
        else:
            experts = index.reshape(-1)
            tokens = torch.arange(experts.numel(), device=experts.device) // top_k
        self._calls += 1
        if a.dim() != 2 or experts.numel() != a.shape[0]:
            raise SiteError(
                asked=f"which expert each row belongs to at {self.path}",
                found=f"an activation input of shape {tuple(a.shape)} for {experts.numel()} routed rows",
                todo='load the model with experts_implementation="grouped_mm", "batched_mm" or "eager"',
            )
        experts, tokens = experts.to(a.device, torch.int64), tokens.to(a.device, torch.int64)
        return Rows(experts, tokens, None, self._hidden, tokens)

    def _given(self, count: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """The tensors that the experts are called with, which must be so many."""
        tensors = _tensors(args, kwargs)
        if len(tensors) != count:
            raise self._unexpected(f"{len(tensors)} tensors among its arguments", count)
        return tensors

    def _unexpected(self, found: str, count: int) -> SiteError:
        return SiteError(
            asked=f"the routing of the experts at {self.path}",
            found=f"{found}, where {count} {'was' if count == 1 else 'were'} expected",
            todo="this mixture of experts is not supported; please report the architecture",
        )

    def _not_called(self) -> SiteError:
        return SiteError(
            asked=f"which expert each row belongs to at {self.path}",
            found="its activation ran although the experts module was not called",
            todo="undo the patch that calls the experts' parts directly (Liger, a kernel from the hub)",
        )


class _Weighted(Routing):
    """ZAYA: a token that skips the experts is sent to the first of them with weight zero, and is none of its rows."""

    partial = True

    def capture(self, experts: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().capture(experts, args, kwargs)
        _, index, weights = self._given(3, args, kwargs)
        self._skips = (weights.reshape(index.shape) == 0).any(dim=-1)

    def rows(self, a: torch.Tensor) -> Rows:
        every = super().rows(a)
        places = torch.nonzero(~self._skips.to(a.device)[every.tokens])[:, 0]
        return Rows(every.experts[places], every.tokens[places], places, every.hidden, every.sources[places])


class _Repeated(Routing):
    """Llama 4: each expert runs all tokens, times their scores, which are zero where a token is another expert's."""

    partial = True

    def capture(self, experts: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        (self._hidden,) = self._given(1, args, kwargs)
        self._experts = experts

    def rows(self, a: torch.Tensor) -> Rows:
        if self._hidden is None:
            raise self._not_called()
        hidden = self._hidden.reshape(-1, self._hidden.shape[-1])
        each = hidden.shape[0] // self.kind.count(self._experts)
        places = torch.nonzero((hidden != 0).any(dim=-1))[:, 0].to(a.device)
        return Rows(places // each, places % each, places, hidden, places)


class _Gathered(Routing):
    """JetMoE: one module routes, gathers the rows expert by expert, and applies the experts."""

    def follow(self, experts: Any, keep: Keep) -> None:
        keep(experts.register_forward_pre_hook(self.capture, with_kwargs=True))
        keep(experts.router.register_forward_hook(self._route))

    def capture(self, experts: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        (self._hidden,) = self._given(1, args, kwargs)

    def _route(self, _: nn.Module, __: tuple[Any, ...], out: Any) -> None:
        _, self._index, _, self._sizes, _ = out

    def rows(self, a: torch.Tensor) -> Rows:
        assert self._hidden is not None  # the activation is called by the very module that is followed
        assert self._index is not None
        sizes = torch.tensor(self._sizes, device=a.device)
        experts = torch.repeat_interleave(torch.arange(len(sizes), device=a.device), sizes)
        tokens = self._index.to(a.device, torch.int64)
        return Rows(experts, tokens, None, self._hidden, tokens)


@dataclass(frozen=True)
class Kind:
    """A module class's way of storing and calling its routed experts."""

    count: Callable[[Any], int] = lambda experts: int(experts.num_experts)
    """Number of experts."""
    weights: Callable[[Any, int], torch.Tensor | None] | None = None
    """The weights [width, hidden] that make an expert's pre-activations, a view; None: laid out as
    transformers.integrations.moe documents."""
    routing: type[Routing] = Routing
    """The way to assign the rows of its activation to experts."""
    leaks: bool = False
    """True if its output depends on its input beyond what its activations give: some experts hand on what they get."""


_USUAL = Kind()

KINDS: dict[str, Kind] = {
    "DbrxExperts": Kind(
        weights=lambda experts, expert: experts.mlp.w1.view(-1, experts.ffn_hidden_size, experts.hidden_size)[expert]
    ),
    "JetMoeMoE": Kind(
        count=lambda experts: int(experts.input_linear.num_experts),
        weights=lambda experts, expert: experts.input_linear.weight[expert].chunk(2)[0],
        routing=_Gathered,
    ),
    "Llama4TextExperts": Kind(
        weights=lambda experts, expert: experts.gate_up_proj[expert].T.chunk(2)[0], routing=_Repeated
    ),
    "LongcatFlashExperts": Kind(count=lambda experts: int(experts.num_routed_experts), leaks=True),
    "ZayaExperts": Kind(routing=_Weighted),
}
"""By class name, since the classes need not exist in every version of transformers."""


def kind_of(experts: nn.Module) -> Kind:
    """Return a module's way of storing its experts."""
    return KINDS.get(class_name(experts), _USUAL)


def experts_ancestor(root: nn.Module, path: str) -> tuple[str, nn.Module] | None:
    """The module at or above `path` that holds routed experts, with its path; None for a dense MLP."""
    parts = path.split(".")
    for depth in range(len(parts), 0, -1):
        above = ".".join(parts[:depth])
        module = root.get_submodule(above)
        stacked = any(p.dim() == 3 for p in module.parameters(recurse=False))
        usual = stacked and hasattr(module, "num_experts") and hasattr(module, "config")
        if usual or kind_of(module) is not _USUAL:
            return above, module
    return None


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    return [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]


def implementation(experts: Any) -> str:
    """Name of the experts implementation that a forward pass would take now."""
    return getattr(getattr(experts, "config", None), "_experts_implementation", None) or "eager"


def gate_rows(experts: Any, rows: Rows) -> torch.Tensor | None:
    """Pre-activations by hand, [rows, width], from the experts' inputs and parameters.

    None where the parameters are not laid out as its kind says. Used to prove the order of rows, never to measure.
    """
    made = []
    for vector, number in zip(rows.inputs(), rows.experts.tolist(), strict=True):
        weight = gate_weights(experts, number)
        if weight is None or weight.shape[1] != vector.shape[0]:
            return None
        out, bias = weight @ vector.to(weight.dtype), getattr(experts, f"{_gate_name(experts)}_bias", None)
        made.append(out if bias is None else out + _gate_part(experts, bias[number]))
    return torch.stack(made)


def gate_weights(experts: Any, expert: int) -> torch.Tensor | None:
    """The weights [width, hidden] that make one expert's pre-activations, a view of the module's parameter.

    None where the parameters are not laid out as its kind says.
    """
    own = kind_of(experts).weights
    if own is not None:
        return own(experts, expert)
    weight = getattr(experts, _gate_name(experts), None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 3:
        return None
    return _gate_part(experts, weight[expert].T if getattr(experts, "is_transposed", False) else weight[expert])


def _gate_name(experts: Any) -> str:
    return "gate_up_proj" if getattr(experts, "has_gate", True) else "up_proj"


def _gate_part(experts: Any, rows: torch.Tensor) -> torch.Tensor:
    """Return the gate's rows of a fused projection."""
    if not getattr(experts, "has_gate", True):
        return rows
    return rows.chunk(2)[0] if getattr(experts, "is_concatenated", True) else rows[::2]

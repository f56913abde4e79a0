"""Mixtures of experts: which expert, and which token, each row of the shared activation module belongs to.

transformers keeps the routed experts' weights in three-dimensional parameters and passes (tokens * top_k) rows through
one activation module. The order of rows depends on the experts implementation (transformers.integrations.moe):

- "grouped_mm": rows sorted by expert, by `torch.sort(top_k_index.reshape(-1))`;
- "batched_mm": rows as routed, unsorted;
- "eager": one call per expert that was hit, in order of expert; within a call by rank of routing, then token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from negspace.errors import SiteError

ORDERED = ("grouped_mm", "batched_mm", "eager")
"""Experts implementations whose order of rows is known."""


def experts_ancestor(root: nn.Module, path: str) -> tuple[str, nn.Module] | None:
    """The module at or above `path` that holds routed experts, with its path; None for a dense MLP."""
    parts = path.split(".")
    for depth in range(len(parts), 0, -1):
        above = ".".join(parts[:depth])
        module = root.get_submodule(above)
        stacked = any(p.dim() == 3 for p in module.parameters(recurse=False))
        if stacked and hasattr(module, "num_experts") and hasattr(module, "config"):
            return above, module
    return None


def implementation(experts: Any) -> str:
    """Name of the experts implementation that a forward pass would take now."""
    return getattr(experts.config, "_experts_implementation", None) or "eager"


class Routing:
    """Follows one experts module through a forward pass and says what each row of its activation is.

    `capture` is a forward pre-hook of the experts module; `rows` is asked once in each call of the activation module.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._hidden: torch.Tensor | None = None
        self._index: torch.Tensor | None = None
        self._how = ""
        self._hits: list[int] = []
        self._calls = 0

    def capture(self, experts: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the routing of the forward pass that begins: its first tensor and its integer [tokens, top_k] one."""
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        routed = [t for t in tensors if not t.is_floating_point() and t.dim() == 2]
        if not tensors or len(routed) != 1:
            raise SiteError(
                asked=f"the routing of the experts at {self.path}",
                found=f"{len(routed)} integer tensors of two dimensions among its arguments, where one was expected",
                todo="this mixture of experts is not supported; please report the architecture",
            )
        self._hidden, self._index = tensors[0], routed[0]
        self._how, self._calls, self._hits = implementation(experts), 0, []
        parallel = getattr(experts, "_is_expert_parallel", False)
        if self._how not in ORDERED or parallel:
            raise SiteError(
                asked=f"which expert each row belongs to at {self.path}",
                found="expert parallelism" if parallel else f"experts implementation {self._how!r}",
                todo='load the model on one process with experts_implementation="grouped_mm", "batched_mm" or "eager"',
            )

    def rows(self, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Expert and token of each row of `a` [rows, width]: two int64 tensors [rows] on its device."""
        if self._index is None:
            raise SiteError(
                asked=f"which expert each row belongs to at {self.path}",
                found="its activation ran although the experts module was not called",
                todo="undo the patch that calls the experts' parts directly (Liger, a kernel from the hub)",
            )
        top_k = self._index.shape[-1]
        if self._how == "eager":
            if self._calls == 0:
                self._hits = torch.unique(self._index).tolist()
            if self._calls < len(self._hits):
                expert = self._hits[self._calls]
                tokens = torch.nonzero(self._index.T.eq(expert))[:, 1]
                experts = torch.full_like(tokens, expert)
            else:
                experts = tokens = self._index.new_empty(0)
        elif self._how == "grouped_mm":
            # The very call that transformers makes, since the order within an expert is not defined otherwise.
            experts, order = torch.sort(self._index.reshape(-1))
            tokens = order // top_k
        else:
            experts = self._index.reshape(-1)
            tokens = torch.arange(experts.numel(), device=experts.device) // top_k
        self._calls += 1
        if a.dim() != 2 or experts.numel() != a.shape[0]:
            raise SiteError(
                asked=f"which expert each row belongs to at {self.path}",
                found=f"an activation input of shape {tuple(a.shape)} for {experts.numel()} routed rows",
                todo='load the model with experts_implementation="grouped_mm", "batched_mm" or "eager"',
            )
        return experts.to(a.device, torch.int64), tokens.to(a.device, torch.int64)

    def inputs(self, tokens: torch.Tensor) -> torch.Tensor:
        """The vectors [rows, hidden] that enter the experts' projections for the given tokens."""
        assert self._hidden is not None
        return self._hidden.reshape(-1, self._hidden.shape[-1])[tokens]


def gate_rows(experts: Any, x: torch.Tensor, expert: torch.Tensor) -> torch.Tensor | None:
    """Pre-activations by hand, [rows, width], from inputs x [rows, hidden] and the experts' parameters.

    None where the parameters are not laid out as transformers.integrations.moe documents. Used to prove the order of
    rows, never to measure.
    """
    rows = []
    for vector, number in zip(x, expert.tolist(), strict=True):
        weight = gate_weights(experts, number)
        if weight is None or weight.shape[1] != vector.shape[0]:
            return None
        out, bias = weight @ vector.to(weight.dtype), getattr(experts, f"{_gate_name(experts)}_bias", None)
        rows.append(out if bias is None else out + _gate_part(experts, bias[number]))
    return torch.stack(rows)


def gate_weights(experts: Any, expert: int) -> torch.Tensor | None:
    """The weights [width, hidden] that make one expert's pre-activations, a view of the module's parameter.

    None where the parameters are not laid out as transformers.integrations.moe documents.
    """
    weight = getattr(experts, _gate_name(experts), None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 3:
        return None
    return _gate_part(experts, weight[expert].T if getattr(experts, "is_transposed", False) else weight[expert])


def _gate_name(experts: Any) -> str:
    return "gate_up_proj" if getattr(experts, "has_gate", True) else "up_proj"


def _gate_part(experts: Any, rows: torch.Tensor) -> torch.Tensor:
    """Of the rows of a fused projection those of the gate."""
    if not getattr(experts, "has_gate", True):
        return rows
    return rows.chunk(2)[0] if getattr(experts, "is_concatenated", True) else rows[::2]

"""A row of the table of results: what was measured, what it should be, and whether it is."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Relation = Literal["<=", ">=", "<", ">"]

_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Row:
    """One figure. Made by `row` or `failed`."""

    name: str
    """What was measured, and in which unit; a ratio as "this / that"."""
    value: float | None
    """To four digits; None where it could not be measured."""
    target: str
    """What it should be: "<= 1.03"; empty where it is shown only."""
    met: bool | None
    """Whether it is; False where it could not be measured, None without a target."""
    detail: str
    """How: rounds and their range, tokens, neurons, how far two results that must agree differ."""
    readme: bool = False
    """Whether the README shows it; the documentation shows all."""

    def as_json(self) -> dict[str, Any]:
        """The row as results.json has it."""
        return asdict(self)


def row(
    name: str,
    value: float,
    target: tuple[Relation, float] | None = None,
    detail: str = "",
    *,
    readme: bool = False,
) -> Row:
    """A measured figure; whether it meets its target is decided before it is rounded.

    Args:
        name: what was measured.
        value: the figure; not finite counts as not met.
        target: relation and bound, for example ("<=", 1.03); None for a figure that is shown only.
        detail: how it was measured.
        readme: whether the README shows it.
    """
    if target is None:
        return Row(name, _rounded(value), "", None, detail, readme)
    relation, bound = target
    met = math.isfinite(value) and _HOLDS[relation](value, bound)
    return Row(name, _rounded(value), f"{relation} {bound:g}", bool(met), detail, readme)


def failed(
    name: str,
    why: BaseException | str,
    target: tuple[Relation, float] | None = None,
    *,
    readme: bool = False,
) -> Row:
    """The row of a figure that could not be measured; it says why."""
    if isinstance(why, BaseException):
        why = f"{type(why).__name__}: {' '.join(str(why).split())}"
    wanted = "" if target is None else f"{target[0]} {target[1]:g}"
    return Row(name, None, wanted, None if target is None else False, f"not measured: {why[:400]}", readme)


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None

"""Panels of named rows with estimates and intervals, several series a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from negspace.figures.figure import Axis, Panel, Reference, Series

_LONGEST = 44


@dataclass(frozen=True)
class Dots:
    """One series of a forest: an estimate, with or without an interval, for some of the rows."""

    name: str
    """Its label in the legend."""
    role: str
    """Key of `style.STYLES`."""
    values: Mapping[str, tuple[float, float, float]]
    """Row -> estimate, lower and upper end; NaN ends: no interval."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Row -> what to add on hover."""
    small: bool = False
    """Drawn small, on the line of the series before it: single sets beside their mean."""


def forest(
    rows: Sequence[str],
    series: Sequence[Dots],
    label: str,
    *,
    title: str = "",
    zero: float | None = 0.0,
    references: Sequence[Reference] = (),
    limits: tuple[float, float] | None = None,
) -> Panel:
    """A panel of rows from top to bottom, the series of a row below one another.

    Args:
        rows: names of the rows, in order.
        series: what to draw in them.
        label: of the horizontal axis.
        zero: where the line of no effect stands; None: no line.
    """
    places = {row: float(place) for place, row in enumerate(rows)}
    lanes = [number for number, drawn in enumerate(series) if not drawn.small]
    offsets = (np.arange(len(lanes)) - (len(lanes) - 1) / 2) * min(0.24, 0.66 / max(1, len(lanes) - 1))
    made, lane = [], 0.0
    for number, drawn in enumerate(series):
        if not drawn.small:
            lane = float(offsets[lanes.index(number)])
        shown = [row for row in rows if row in drawn.values and np.isfinite(drawn.values[row][0])]
        if not shown:
            continue
        values = np.array([drawn.values[row] for row in shown], np.float64)
        made.append(
            Series(
                drawn.name,
                drawn.role,
                values[:, 0],
                np.array([places[row] for row in shown]) + lane,
                values[:, 1] if np.isfinite(values[:, 1:]).any() else None,
                values[:, 2] if np.isfinite(values[:, 1:]).any() else None,
                along="x",
                mark="dots" if drawn.small else "points",
                labels=tuple(f"{row}{': ' + drawn.labels[row] if drawn.labels.get(row) else ''}" for row in shown),
            )
        )
    lines = [Reference(zero, "x")] if zero is not None else []
    ticks = tuple((place, shorten(row)) for row, place in places.items())
    return Panel(
        Axis(label, limits=limits),
        Axis("", ticks=ticks, limits=(len(rows) - 0.5, -0.5)),
        tuple(made),
        title,
        (*lines, *references),
        rows=round(len(rows) * max(1.0, 0.62 * len(lanes))),
    )


def shorten(text: str) -> str:
    """A name that fits beside an axis: its end is cut off where it is very long."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

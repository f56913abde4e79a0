"""Figures described once for every back-end: panels of series with intervals and reference lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mark = Literal["points", "line", "curve", "steps", "dots"]
Direction = Literal["x", "y"]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One axis of a panel."""

    label: str
    """Quantity and unit."""
    log: bool = False
    """Logarithmic; values and limits are given as they are."""
    ticks: tuple[tuple[float, str], ...] = ()
    """Places and their texts, for axes of categories; empty: numbers, placed by the back-end."""
    limits: tuple[float, float] | None = None
    """Ends of the axis; None: what the data need. The first may be the larger."""
    slanted: bool = False
    """True if the texts of the ticks are long, and are to be set at an angle."""


@dataclass(frozen=True, eq=False)
class Series:
    """Points of one kind, with intervals where there are any."""

    name: str
    """Its label in the legend."""
    role: str
    """Key of `style.STYLES`: its colour, marker and dash."""
    x: Numbers
    """[n] places; for steps [n + 1], the edges."""
    y: Numbers
    """[n] places."""
    low: Numbers | None = None
    """[n] lower ends of the intervals; NaN: none."""
    high: Numbers | None = None
    """[n] upper ends."""
    along: Direction = "y"
    """The direction in which the intervals run."""
    mark: Mark = "points"
    """points (markers), dots (small), line (with markers), curve (without), steps (histogram)."""
    labels: tuple[str, ...] = ()
    """[n] what to say of each point on hover; empty: nothing."""
    at: Numbers | None = None
    """[n] true places along x, where `x` holds places moved aside; None: they are the same."""


@dataclass(frozen=True)
class Reference:
    """A line across a panel."""

    value: float
    """Position on the axis."""
    axis: Direction
    """Axis that it crosses."""
    label: str = ""
    """Label; empty if it needs none (zero, the plain model)."""
    paper: bool = False
    """True if it is a published number and not one of this run."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Values over cells of a plane: a density, or a matrix with its numbers written in."""

    x: Numbers
    """[columns + 1] edges; for a matrix [columns] centres."""
    y: Numbers
    """[rows + 1] edges; for a matrix [rows] centres."""
    values: Numbers
    """[rows, columns]; NaN: nothing there."""
    label: str
    """Meaning of the colour."""
    log: bool = False
    """Colour by the logarithm."""
    matrix: bool = False
    """Write the numbers into the cells."""
    limits: tuple[float, float] | None = None
    """Values of the ends of the colour scale; symmetric ones around zero give a diverging scale."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes and what is drawn on them."""

    x: Axis
    """Horizontal axis."""
    y: Axis
    """Vertical axis."""
    series: tuple[Series, ...] = ()
    """Series, the first at the back."""
    title: str = ""
    """Above the panel; empty where the figure has one panel."""
    references: tuple[Reference, ...] = ()
    """Lines across it."""
    grid: Grid | None = None
    """Background of the series."""
    rows: int = 0
    """Lines that the vertical axis has to hold, where it has categories; 0: no matter."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure: what is asked for by name, and what any back-end can draw."""

    name: str
    """File name without its ending, and part of links: "wd_by_layer"."""
    title: str
    """Title, in a few words."""
    caption: str
    """Caption: marks and intervals, in a sentence or two."""
    panels: tuple[Panel, ...]
    """One or more, read from left to right, line by line."""
    columns: int = 1
    """Panels in a line, where there is room."""
    wide: bool = False
    """True if it takes the page's width in print and not one column's."""


def numbers(values: Sequence[float] | object) -> Numbers:
    """Any column or list as float64; missing values are NaN."""
    import pandas as pd

    return pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(np.float64, na_value=np.nan)  # type: ignore[arg-type]


def log_ticks(panel: Panel, direction: Direction) -> tuple[tuple[float, str], ...]:
    """Return a logarithmic axis's ticks: at 1, 2 and 5 times powers of ten, or at the powers alone where they are many;
    at equal steps where the largest value is less than 1.5 times the smallest."""
    parts = [
        part
        for line in panel.series
        for part in (
            (line.x if direction == "x" else line.y),
            *((line.low, line.high) if line.along == direction else ()),
        )
        if part is not None
    ]
    values = np.concatenate(parts) if parts else np.ones(1)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return ()
    low, high = float(values.min()), float(values.max())
    if low < high < 1.5 * low:
        power = 10.0 ** np.floor(np.log10((high - low) / 2))
        step = next(times * power for times in (5, 2, 1) if (high - low) / (times * power) >= 2)
        places = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step  # 1.4 / 0.1 is below 14
        return tuple((float(value), f"{value:,.6g}") for value in places)
    low, high = low * 0.9, high * 1.1
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if np.log10(high / low) <= 4 else (1,)
    if np.log10(high / low) < 0.6:
        steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    found = [step * 10.0**power for power in powers for step in steps]
    return tuple((value, f"{value:,.6g}") for value in found if low <= value <= high)


def written(value: float, grid: Grid) -> str:
    """A number of a matrix as it stands in its cell; empty where there is none."""
    if not np.isfinite(value):
        return ""
    digits = 2 if np.nanmax(np.abs(grid.values), initial=0) < 10 else 1
    return f"{round(float(value), digits) + 0.0:.{digits}f}"

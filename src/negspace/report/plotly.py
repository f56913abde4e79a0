"""Figures for plotly: JSON that its `react` takes, with roles in place of colours, which the page's theme fills in."""

from __future__ import annotations

from typing import Any

import numpy as np

from negspace.figures.figure import Axis, Direction, Figure, Grid, Numbers, Panel, Reference, Series, log_ticks, written
from negspace.figures.style import STYLES
from negspace.report.text import plotly_text

ROW = 21
"""Height in pixels of a line of a categorical axis."""


def specs(figure: Figure) -> list[dict[str, Any]]:
    """One object a panel: `data` and `layout` for plotly, `height` in pixels, and which axes have `named` places."""
    made = [_panel(panel) for panel in figure.panels]
    return [{**one, "height": max(other["height"] for other in made)} for one in made]


def _panel(panel: Panel) -> dict[str, Any]:
    data = [] if panel.grid is None else [_grid(panel.grid, panel)]
    for series in panel.series:
        data.append(_trace(series, panel))
    shapes: list[dict[str, Any]] = _bands(panel) if panel.rows else []
    notes = []
    for reference in panel.references:
        shapes.append(_line(reference))
        if reference.label:
            notes.append(_note(reference, panel))
    layout: dict[str, Any] = {
        "xaxis": _axis(panel.x, panel, "x"),
        "yaxis": _axis(panel.y, panel, "y") | ({"showgrid": False} if panel.rows else {}),
        "shapes": shapes,
        "annotations": notes,
    }
    if panel.title:
        layout["title"] = {"text": plotly_text(panel.title)}
    named = {direction: True for direction, axis in (("x", panel.x), ("y", panel.y)) if axis.ticks}
    return {"data": data, "layout": layout, "height": max(330, 96 + ROW * panel.rows), "named": named}


def _axis(axis: Axis, panel: Panel, direction: Direction) -> dict[str, Any]:
    made: dict[str, Any] = {"title": {"text": plotly_text(axis.label)}}
    made["type"] = "log" if axis.log else "linear"
    ticks = axis.ticks or (log_ticks(panel, direction) if axis.log else ())
    if ticks:
        made |= {
            "tickmode": "array",
            "tickvals": [place for place, _ in ticks],
            "ticktext": [plotly_text(text) for _, text in ticks],
            "zeroline": False,
            "tickangle": -40 if axis.slanted else "auto",
            "ticklabeloverflow": "allow",
        }
    if axis.limits:
        made["range"] = [float(np.log10(end)) if axis.log else float(end) for end in axis.limits]
    return made


def _trace(series: Series, panel: Panel) -> dict[str, Any]:
    style = STYLES[series.role]
    colour = f"role:{series.role}"
    made: dict[str, Any] = {"name": plotly_text(series.name), "meta": {"role": series.role}}
    if series.at is not None:
        made["meta"]["at"] = _json(series.at)
    made["text"] = [plotly_text(label) for label in series.labels] or None
    made["hovertemplate"] = _hover(series, panel)
    if series.mark == "steps":
        # The outline of the histogram: edges twice, so that it needs no bars as wide as their bins.
        x, y = np.repeat(series.x, 2), np.concatenate(([0.0], np.repeat(series.y, 2), [0.0]))
        outline = {"color": colour, "width": 1.2}
        made |= {"type": "scatter", "mode": "lines", "line": outline, "fill": "tozeroy", "fillcolor": f"{colour}:0.25"}
        return made | {"x": _json(x), "y": _json(y)}
    size = 4 if series.mark == "dots" else 8
    mode = {"points": "markers", "dots": "markers", "curve": "lines"}.get(series.mark, "lines+markers")
    made |= {
        "type": "scatter",
        "mode": mode,
        "marker": {"color": colour, "symbol": style.symbol, "size": size if mode == "markers" else 6},
        "line": {"color": colour, "dash": style.dash, "width": 1.6 if series.mark == "curve" else 2},
        "opacity": 0.75 if series.mark == "dots" else 1,
        "x": _json(series.x),
        "y": _json(series.y),
    }
    if series.low is not None and series.high is not None:
        value = series.y if series.along == "y" else series.x
        made[f"error_{series.along}"] = {
            "type": "data",
            "symmetric": False,
            "array": _json(np.maximum(series.high - value, 0)),
            "arrayminus": _json(np.maximum(value - series.low, 0)),
            "color": colour,
            "thickness": 1.4,
            "width": 3,
        }
        made["customdata"] = [list(pair) for pair in zip(_json(series.low), _json(series.high), strict=True)]
    return made


def _hover(series: Series, panel: Panel) -> str:
    """Name, label, and the value with its interval; the values are filled in by plotly, as text."""
    value, axis = ("%{y:.4~g}", panel.y) if series.along == "y" else ("%{x:.4~g}", panel.x)
    other = ("%{x:.4~g}", panel.x) if series.along == "y" else ("%{y}", panel.y)
    lines = ["<b>%{fullData.name}</b>"]
    if series.labels:
        lines.append("%{text}")
    elif not other[1].ticks:
        lines.append(f"{plotly_text(other[1].label)} {other[0]}")
    interval = " [%{customdata[0]:.4~g}, %{customdata[1]:.4~g}]" if series.low is not None else ""
    lines.append(f"{plotly_text(axis.label)} {value}{interval}")
    return "<br>".join(lines) + "<extra></extra>"


def _grid(grid: Grid, panel: Panel) -> dict[str, Any]:
    values = np.log10(np.where(grid.values > 0, grid.values, np.nan)) if grid.log else grid.values
    made: dict[str, Any] = {
        "type": "heatmap",
        "x": _json(grid.x),
        "y": _json(grid.y),
        "z": [_json(row) for row in values],
        "name": plotly_text(grid.label),
        "hoverongaps": False,
        "xgap": 1 if grid.matrix else 0,
        "ygap": 1 if grid.matrix else 0,
        "customdata": [_json(row) for row in grid.values],
        "colorbar": {"title": {"text": plotly_text(grid.label), "side": "right"}, "thickness": 10, "outlinewidth": 0},
    }
    if grid.log:
        top = int(np.floor(np.nanmax(values))) if np.isfinite(values).any() else 0
        made["colorbar"] |= {
            "tickvals": list(range(top + 1)),
            "ticktext": [f"{10**power:,}" for power in range(top + 1)],
        }
    diverging = grid.limits is not None and grid.limits[0] == -grid.limits[1]
    made["colorscale"] = "scale:diverging" if diverging else "scale:density"
    if grid.limits:
        made |= {"zmin": grid.limits[0], "zmax": grid.limits[1]}
    where = [("x", panel.x), ("y", panel.y)]
    places = "<br>".join(f"{plotly_text(axis.label)} %{{{name}}}" for name, axis in where)
    made["hovertemplate"] = f"{places}<br>{plotly_text(grid.label)} %{{customdata:.4~g}}<extra></extra>"
    if grid.matrix:
        cells = [[written(value, grid) for value in row] for row in grid.values]
        made |= {"text": cells, "texttemplate": "%{text}", "textfont": {"size": 11}}
    return made


def _bands(panel: Panel) -> list[dict[str, Any]]:
    """Every second row of a categorical axis on a ground of its own, so that what belongs to it can be told."""
    ground = {"type": "rect", "layer": "below", "xref": "x domain", "x0": 0, "x1": 1, "line": {"width": 0}}
    return [
        {**ground, "yref": "y", "y0": place - 0.5, "y1": place + 0.5, "fillcolor": "role:soft"}
        for place, _ in panel.y.ticks[1::2]
    ]


def _line(reference: Reference) -> dict[str, Any]:
    axis, other = reference.axis, "y" if reference.axis == "x" else "x"
    role = "paper" if reference.paper else "rest"
    return {
        "type": "line",
        "layer": "above" if reference.paper else "below",
        f"{axis}ref": axis,
        f"{other}ref": f"{other} domain",
        f"{axis}0": reference.value,
        f"{axis}1": reference.value,
        f"{other}0": 0,
        f"{other}1": 1,
        "line": {"color": f"role:{role}", "width": 1.5, "dash": "longdash" if reference.paper else "solid"},
    }


def _note(reference: Reference, panel: Panel) -> dict[str, Any]:
    own = panel.x if reference.axis == "x" else panel.y
    value = float(np.log10(reference.value)) if own.log else reference.value
    role = "paper" if reference.paper else "ink"
    made: dict[str, Any] = {
        "text": plotly_text(reference.label),
        "showarrow": False,
        "font": {"size": 11, "color": f"role:{role}"},
    }
    if reference.axis == "x":
        return made | {"x": value, "y": 1, "yref": "y domain", "xanchor": "left", "yanchor": "bottom", "textangle": 0}
    return made | {"x": 1, "xref": "x domain", "y": value, "xanchor": "right", "yanchor": "bottom"}


def _json(values: Numbers) -> list[float | None]:
    """Numbers of seven digits, which is what a screen can show; what is not finite is null."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in np.asarray(values, np.float64)]

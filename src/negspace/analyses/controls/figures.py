"""Figures of the controls that reviewers asked for."""

from __future__ import annotations

import pandas as pd

from negspace.experiment.run import Run
from negspace.figures.figure import Axis, Figure, Panel, Series, numbers
from negspace.figures.forest import Dots, forest, shorten
from negspace.figures.scores import estimates, layer_axis, measures_of
from negspace.figures.style import nth

_ROLES = {"top": "top", "random": "random mean", "other_side": "positive", "count": "bottom", "perplexity": "matched"}


def figures(run: Run) -> list[Figure]:
    """Every control's effect, the top set against each, and the change of the residual stream by layer."""
    made = []
    table = run.table("controls")
    if table is not None:
        made.append(_effects(run, table))
        made.append(_contrasts(run, table))
    layers = run.table("controls_layers")
    if layers is not None and layers["residual"].notna().any():
        made.append(_layers(layers))
    return made


def _effects(run: Run, table: pd.DataFrame) -> Figure:
    rows = list(dict.fromkeys(table["control"]))
    panels = []
    for measure in measures_of(table):
        part = measure.of(table)
        series = []
        for role, name in (("top", "top set"), ("other", "controls")):
            own = part[(part["role"] == "top") == (role == "top")]
            values = estimates(own, "control", measure.columns(), measure.unit)
            series.append(Dots(name, "top" if role == "top" else "matched", values, _sizes(own)))
        panels.append(forest(rows, series, measure.label(), title=measure.title, zero=measure.zero))
    caption = f"Change against the plain model, with {run.level} intervals, under the top set and under every control."
    return Figure("controls", "The top set and its controls", caption, tuple(panels), min(3, len(panels)), wide=True)


def _contrasts(run: Run, table: pd.DataFrame) -> Figure:
    others = table[table["role"] != "top"]
    rows = list(dict.fromkeys(others["control"]))
    panels = []
    for measure in measures_of(others, "contrast"):
        part = measure.of(others)
        values = estimates(part, "control", measure.columns("contrast"), measure.unit)
        found = {str(r["control"]): str(r[measure.finding]) for _, r in part.iterrows()}
        label = measure.label("the control's")
        panels.append(
            forest(rows, [Dots("top set", "top", values, found)], label, title=measure.title, zero=measure.zero)
        )
    caption = (
        f"The top set against each control on the same items, with {run.level} intervals. Above 1 for perplexity, or "
        "below 0 for accuracy and margins: the top set does more harm."
    )
    title = "The top set against each control"
    return Figure("controls_contrasts", title, caption, tuple(panels), min(3, len(panels)), wide=True)


def _layers(table: pd.DataFrame) -> Figure:
    series = []
    used = 0
    for name, rows in table.groupby("control", sort=False):
        role = _ROLES.get(str(rows["role"].iloc[0]))
        if role is None or any(dots.role == role for dots in series):
            role, used = nth(used + 5), used + 1
        rows = rows.sort_values("layer")
        series.append(Series(shorten(str(name)), role, numbers(rows["layer"]), numbers(rows["residual"]), mark="line"))
    panel = Panel(layer_axis(series[0].x), Axis("relative change of the residual stream"), tuple(series))
    caption = "Root mean square over tokens of |h' - h| / |h| after a layer, with that layer alone changed."
    return Figure("controls_layers", "How much each set moves the residual stream", caption, (panel,))


def _sizes(rows: pd.DataFrame) -> dict[str, str]:
    return {str(r["control"]): f"{int(r['neurons']):,} neurons" for _, r in rows.iterrows() if pd.notna(r["neurons"])}

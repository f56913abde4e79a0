"""Figures of the layer sweep: groups of layers alone, and cumulatively from the first."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from negspace.experiment import paper
from negspace.experiment.changes import GROUP
from negspace.experiment.run import Run
from negspace.experiment.words import in_names, percent
from negspace.figures.figure import Axis, Figure, Grid, Panel, Reference, Series, numbers
from negspace.figures.scores import SCORES, beside, lost, measures_of, scaled, scores_of
from negspace.figures.style import nth
from negspace.text.suites import SUITES

_FAMILIES = {"alone": "each group alone", "cumulative": "all groups up to it"}
_SETS = (("top", "top", "top"), ("random mean", "random sets", "random mean"))


def figures(run: Run) -> list[Figure]:
    """Scores by group of layers, and by phenomenon and construction as a matrix."""
    made = []
    table = run.table("layers")
    if table is not None:
        for share in dict.fromkeys(table["share"]):
            made.append(_effects(run, table[table["share"] == share], float(share)))
    groups = run.table("layers_by_group")
    if groups is not None:
        groups = groups[groups["set"] == "top"]
        for share in dict.fromkeys(groups["share"]):
            here = groups[groups["share"] == share]
            made += [_by_group(here[here["score"] == score], score, float(share)) for score in scores_of(here)]
            tse = here[(here["score"] == "tse") & here["group"].str.contains("npi")]
            if len(tse) and (line := paper.first_layers(run, float(share), run.manifest["analyses"]["layers"]["by"])):
                made.append(_licensing(run, tse, float(share), line))
    return made


def _effects(run: Run, table: pd.DataFrame, share: float) -> Figure:
    panels = []
    for measure in measures_of(table):
        for family, words in _FAMILIES.items():
            here = measure.of(table[table["family"] == family])
            names = _names(here)
            series = []
            for key, name, role in _SETS:
                rows = here[here["set"] == key].sort_values("first_layer" if family == "alone" else "last_layer")
                if len(rows):
                    x = np.array([names.index(layers) for layers in rows["layers"]], float)
                    y, low, high = (scaled(rows, column, measure.unit) for column in measure.columns())
                    labels = tuple(f"layers {layers}, {n:,} neurons" for layers, n in _sized(rows))
                    series.append(Series(name, role, x, y, low, high, mark="line", labels=labels))
            ticks = tuple((float(place), name) for place, name in enumerate(names))
            x_axis = Axis("layers", ticks=ticks, slanted=len(names) > 6)
            y_axis, title = Axis(measure.label()), f"{measure.title}, {words}"
            panels.append(Panel(x_axis, y_axis, beside(series, x_axis), title, (Reference(measure.zero, "y"),)))
    caption = (
        f"Change against the plain model, with {run.level} intervals, when only the chosen neurons of these layers are "
        "ablated."
    )
    title = f"Where the damage is done, p = {percent(share)}"
    return Figure(f"layers_{in_names(share)}", title, caption, tuple(panels), len(_FAMILIES), wide=True)


def _by_group(table: pd.DataFrame, score: str, share: float) -> Figure:
    panels = []
    scales = [scale for scale in lost(score) if table[scale[0]].notna().any()]
    for (family, words), (column, scale, floor, label) in product(_FAMILIES.items(), scales):
        most = max(floor, float(np.nanmax(np.abs(numbers(table[column])))) * scale)
        here = table[table["family"] == family]
        if here.empty:
            continue
        names, rows = _names(here), sorted(set(here["group"]))
        values = np.full((len(rows), len(names)), np.nan)
        for _, row in here.iterrows():
            values[rows.index(row["group"]), names.index(row["layers"])] = -row[column] * scale
        places = (np.arange(len(names), dtype=float), np.arange(len(rows), dtype=float))
        panels.append(
            Panel(
                Axis("layers", ticks=tuple(zip(places[0], names, strict=True)), slanted=len(names) > 6),
                Axis("", ticks=tuple(zip(places[1], rows, strict=True)), limits=(len(rows) - 0.5, -0.5)),
                title=f"{words}: {label}",
                grid=Grid(*places, values, label, matrix=True, limits=(-most, most)),
                rows=len(rows),
            )
        )
    name = f"layers_{score}_by_{SUITES[score].group}_{in_names(share)}"
    title = f"{SCORES[score]} by {SUITES[score].group} and layers, p = {percent(share)}"
    caption = (
        "Accuracy, and the pairs' margin log p(good) - log p(bad), lost under the top set; intervals and corrected "
        "p-values are in the table."
    )
    return Figure(name, title, caption, tuple(panels), columns=2, wide=True)


def _licensing(run: Run, table: pd.DataFrame, share: float, line: tuple[Reference, ...]) -> Figure:
    """NPI licensing under each group alone, beside the paper's number for the first layers."""
    here = table[table["family"] == "alone"]
    names, panels = _names(here), []
    x_axis = Axis("layers", ticks=tuple((float(place), name) for place, name in enumerate(names)))
    for measure in measures_of(here):
        value, *ends = measure.columns()
        columns = (value, *(ends if measure.nats else GROUP.interval))
        mean = numbers(here.groupby("layers")[value].mean()[names]) * measure.unit
        series = [Series("mean", "top", np.arange(len(names), dtype=float), mean, mark="line")]
        for number, (name, rows) in enumerate(here.groupby("group", sort=True), start=1):
            x = np.array([names.index(layers) for layers in rows["layers"]], float)
            y, low, high = (scaled(rows, column, measure.unit) for column in columns)
            labels = tuple(f"layers {layers}" for layers in rows["layers"])
            series.append(Series(str(name), nth(number), x, y, low, high, labels=labels))
        # The paper's number is one of accuracy.
        references = (Reference(measure.zero, "y"), *(() if measure.nats else line))
        panels.append(
            Panel(x_axis, Axis(measure.label()), beside(series, x_axis), measure.title, references=references)
        )
    caption = (
        "Change in each TSE construction named, each group of layers alone, with "
        f"{run.level} intervals for that construction by itself; the line is the mean over them."
    )
    name, title = f"layers_npi_{in_names(share)}", f"NPI licensing, p = {percent(share)}"
    return Figure(name, title, caption, tuple(panels), columns=2, wide=len(panels) > 1)


def _names(table: pd.DataFrame) -> list[str]:
    """Groups of layers from the first to the last."""
    ordered = table.sort_values(["last_layer", "first_layer"])
    return list(dict.fromkeys(ordered["layers"]))


def _sized(rows: pd.DataFrame) -> list[tuple[str, int]]:
    return [(str(row["layers"]), int(row["neurons"])) for _, row in rows.iterrows()]

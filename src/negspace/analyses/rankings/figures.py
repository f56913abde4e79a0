"""Figures of the comparison of statistics: what ablating each one's set does, how the sets overlap, how ranks agree."""

from __future__ import annotations

import numpy as np
import pandas as pd

from negspace.analyses.rankings.sets import NAMES
from negspace.experiment.run import Run
from negspace.experiment.words import in_names, percent
from negspace.figures.figure import Axis, Figure, Grid, Panel, Reference, Series, numbers
from negspace.figures.forest import Dots, forest
from negspace.figures.scores import beside, estimates, layer_axis, measures_of
from negspace.figures.style import nth

_FOLLOWED = ("md", "skewness", "kurtosis", "bimodality", "negative_share", "negative_excess")


def figures(run: Run) -> list[Figure]:
    """Ablations by statistic, overlaps of the sets, rank correlations over all layers and by layer."""
    made: list[Figure] = []
    table = run.table("rankings")
    if table is not None:
        made += _ablations(run, table)
    overlap = run.table("rankings_overlap")
    if overlap is not None:
        made += _overlaps(overlap)
    correlation = run.table("rankings_correlation")
    if correlation is not None:
        made += _correlations(run, correlation)
    return made


def _ablations(run: Run, table: pd.DataFrame) -> list[Figure]:
    made = []
    table = table[table["within"].fillna("") == ""].assign(
        name=lambda t: t["by"].map(lambda by: NAMES.get(str(by), str(by)))
    )
    for share, here in table.groupby("share"):
        rows = list(dict.fromkeys(here["name"]))
        panels = []
        for measure in measures_of(here):
            part = measure.of(here)
            series = [
                Dots(
                    f"{end} of the ranking",
                    end,
                    estimates(own, "name", measure.columns(), measure.unit),
                    {str(r["name"]): str(r[measure.finding]) for _, r in own.iterrows()},
                )
                for end in ("top", "bottom")
                if len(own := part[(part["end"] == end) & (part["by"] != "random mean")])
            ]
            random = part[part["by"] == "random mean"].drop_duplicates("name")
            if len(random):
                values = estimates(random, "name", measure.columns(), measure.unit)
                series.append(Dots("random sets", "random mean", values))
            panels.append(forest(rows, series, measure.label(), title=measure.title, zero=measure.zero))
        p = percent(share)
        caption = (
            f"What the ablation of the same number of neurons does, chosen by each statistic, with {run.level} "
            "intervals against the plain model."
        )
        name = f"rankings_{in_names(share)}"
        title = f"Chosen by WD, or by something else, p = {p}"
        made.append(Figure(name, title, caption, tuple(panels), min(3, len(panels)), wide=True))
    return made


def _overlaps(table: pd.DataFrame) -> list[Figure]:
    """Jaccard indices of the sets over all layers, one panel a share."""
    whole = table[table["layer"].isna() & (table["end"] == "top")]
    panels = []
    for share, here in whole.groupby("share"):
        names = [name for name in NAMES if ((here["first"] == name) | (here["second"] == name)).any()]
        values = np.full((len(names), len(names)), np.nan)
        np.fill_diagonal(values, 1.0)
        for _, row in here.iterrows():
            a, b = names.index(str(row["first"])), names.index(str(row["second"]))
            values[a, b] = values[b, a] = row["jaccard"]
        p = percent(share)
        panels.append(_matrix(names, values, "Jaccard index", (0.0, 1.0), f"top {p}"))
    if not panels:
        return []
    caption = "Neurons in common, as a share of those in either set; what chance would give is in the table."
    title = "Do the statistics choose the same neurons?"
    return [Figure("rankings_overlap", title, caption, tuple(panels), min(2, len(panels)), wide=True)]


def _correlations(run: Run, table: pd.DataFrame) -> list[Figure]:
    whole = table[table["layer"].isna()]
    made = []
    names = [name for name in NAMES if ((whole["first"] == name) | (whole["second"] == name)).any()]
    if names:
        values = np.full((len(names), len(names)), np.nan)
        np.fill_diagonal(values, 1.0)
        for _, row in whole.iterrows():
            a, b = names.index(str(row["first"])), names.index(str(row["second"]))
            values[a, b] = values[b, a] = row["rho"]
        panel = _matrix(names, values, "Spearman's ρ", (-1.0, 1.0), "")
        caption = "Rank correlation over the neurons of a site, as the mean over sites."
        made.append(Figure("rankings_correlation", "Rank correlations", caption, (panel,), wide=True))
    made += _by_layer(run, table[table["layer"].notna()])
    return made


def _by_layer(run: Run, table: pd.DataFrame) -> list[Figure]:
    """Rank correlations with WD at every site, a panel a branch: a layer may have several sites."""
    panels = []
    branches = list(dict.fromkeys(table["branch"]))
    for branch in branches:
        here = table[table["branch"] == branch]
        series = []
        for number, other in enumerate(_FOLLOWED):
            first = here[(here["first"] == "wd") & (here["second"] == other)]
            second = here[(here["first"] == other) & (here["second"] == "wd")]
            rows = pd.concat([first, second]).sort_values("layer")
            if rows["rho"].notna().any():  # routed experts have no MD
                x, y = numbers(rows["layer"]), numbers(rows["rho"])
                ends = (numbers(rows["low"]), numbers(rows["high"]))
                series.append(Series(f"WD and {NAMES[other]}", nth(number), x, y, *ends, mark="line"))
        if series:
            axis = layer_axis(series[0].x)
            title, zero = str(branch) if len(branches) > 1 else "", (Reference(0.0, "y"),)
            panels.append(Panel(axis, Axis("Spearman's ρ"), beside(series, axis), title, zero))
    if not panels:
        return []
    caption = f"Over the neurons of each {'site' if len(branches) > 1 else 'layer'}, with {run.level} intervals."
    title = "WD and the other statistics, by layer"
    return [Figure("rankings_by_layer", title, caption, tuple(panels), min(2, len(panels)), wide=len(panels) > 1)]


def _matrix(names: list[str], values: np.ndarray, label: str, limits: tuple[float, float], title: str) -> Panel:
    ticks = tuple((float(place), NAMES[name]) for place, name in enumerate(names))
    places = np.arange(len(names), dtype=float)
    grid = Grid(places, places, values, label, matrix=True, limits=limits)
    y = Axis("", ticks=ticks, limits=(len(names) - 0.5, -0.5))
    return Panel(Axis("", ticks=ticks, slanted=True), y, title=title, grid=grid, rows=max(10, round(1.6 * len(names))))

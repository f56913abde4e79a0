"""Figures of the dose analysis: scores against the share of neurons, and interventions side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd

from negspace.analyses.dose.axis import EQUAL
from negspace.experiment import paper
from negspace.experiment.run import Run
from negspace.experiment.words import in_names, percent
from negspace.figures.figure import Axis, Figure, Grid, Panel, Reference, Series, numbers
from negspace.figures.forest import Dots, forest
from negspace.figures.scores import (
    INTERVENTIONS,
    SCORES,
    Measure,
    beside,
    estimates,
    lost,
    measures_of,
    scaled,
    scores_of,
)
from negspace.text.suites import SUITES

SETS = (
    ("top", "top", "top"),
    ("random mean", "random sets", "random mean"),
    ("bottom", "bottom", "bottom"),
)
"""Set in the tables, what to call it, its role."""
AXIS = (
    ("top", "top", "top"),
    ("random", "random sets", "random mean"),
    ("bottom", "bottom", "bottom"),
    (EQUAL, EQUAL, "matched"),
)
"""The same on the axis of damage."""


def figures(run: Run) -> list[Figure]:
    """Dose curves, changes by group and dose, and interventions at every share at which several were tried."""
    table = run.table("dose")
    if table is None:
        return []
    own = main_intervention(run, table)
    made = []
    axis = run.table("damage_axis")
    if axis is not None:
        made.append(_axis(run, axis))
    made.append(_curves(run, table[table["intervention"] == own]))
    groups = run.table("dose_by_group")
    if groups is not None:
        made += _by_group(groups[(groups["intervention"] == own) & (groups["set"] == "top")])
    return made + _interventions(run, table)


def _axis(run: Run, table: pd.DataFrame) -> Figure:
    """Grammar lost against what the same sets do to perplexity."""
    panels = []
    for keys, here in table.groupby(["score", "scale"], sort=False):
        score, scale = map(str, keys)  # type: ignore[arg-type]
        factor = 100.0 if scale == "points" else 1.0
        series = []
        for family, name, role in AXIS:
            rows = here[here["set"] == family]
            curve, doses = rows[~rows["dose"].astype(bool)], rows[rows["dose"].astype(bool)]
            if rows.empty:
                continue
            if len(curve):
                x, y, low, high = (numbers(curve[column]) for column in ("ratio", "change", "low", "high"))
                series.append(Series(name, role, x, y * factor, low * factor, high * factor, mark="curve"))
            series.append(Series(name, role, numbers(doses["ratio"]), numbers(doses["change"]) * factor))
        label = Measure(score, nats=scale == "nats").label()
        panels.append(
            Panel(
                Axis("perplexity / the plain model's", log=True),
                Axis(label),
                tuple(series),
                SCORES[score],
                (Reference(0.0, "y"),),
            )
        )
    caption = (
        f"What sets of several sizes do to grammar against what they do to perplexity, with pointwise {run.level} "
        "intervals (of random sets: of their mean, from five sets on). Lower at the same damage: more grammar lost; "
        "whether two families differ is judged over their whole common range, in the table of contrasts. Dots: the "
        "sets measured."
    )
    if (table["set"] == EQUAL).any():
        caption += " Diamonds: random sets, each as large as it must be to have the controls' top set's perplexity."
    return Figure("damage_axis", "One axis of damage", caption, tuple(panels), min(len(panels), 2), wide=True)


def main_intervention(run: Run, table: pd.DataFrame) -> str:
    """The intervention that the curves are of: the study's own."""
    own = str(run.study.get("mode") or f"zero_{run.study.get('zero', 'negative')}")
    found = set(table["intervention"])
    return own if own in found else str(table["intervention"].dropna().iloc[0])


def curve_panel(
    parts: list[tuple[str, str, pd.DataFrame]], measure: Measure, references: tuple[Reference, ...]
) -> Panel:
    """Change of a score against the share, one series a named part of the dose table."""
    series = []
    for name, role, rows in parts:
        rows = rows.sort_values("share")
        y, low, high = (scaled(rows, column, measure.unit) for column in measure.columns())
        labels = tuple(
            f"{percent(share)}, {n:,} neurons" for share, n in zip(rows["share"], rows["neurons"], strict=True)
        )
        series.append(Series(name, role, numbers(rows["share"]) * 100, y, low, high, mark="line", labels=labels))
    most = max((float(np.nanmax(line.y)) for line in series if len(line.y)), default=1.0)
    axis = Axis("neurons of each layer (%)", log=True)
    return Panel(
        axis,
        Axis(measure.label(), log=measure.score == "perplexity" and most > 3),
        beside(series, axis),
        measure.title,
        (Reference(measure.zero, "y"), *references),
    )


def _curves(run: Run, table: pd.DataFrame) -> Figure:
    panels = []
    for measure in measures_of(table):
        here = measure.of(table)
        parts = [(name, role, here[here["set"] == key]) for key, name, role in SETS]
        references = paper.doubling(run) if measure.score == "perplexity" else ()
        panels.append(curve_panel([part for part in parts if len(part[2])], measure, references))
    caption = (
        f"Change against the plain model on the same items, with {run.level} intervals, by the share of each layer's "
        "neurons. Several random sets are drawn as their mean, item by item."
    )
    return Figure("dose", "Dose", caption, tuple(panels), columns=min(3, len(panels)), wide=True)


def _by_group(table: pd.DataFrame) -> list[Figure]:
    """Change under the top set: groups by shares, as a matrix."""
    made = []
    for score in scores_of(table):
        here = table[table["score"] == score]
        panels = []
        for column, scale, floor, label in lost(score):
            wide = here.pivot_table(index="group", columns="share", values=column, aggfunc="first", sort=True)
            values = wide.to_numpy(np.float64) * scale
            if not np.isfinite(values).any():
                continue
            most = max(floor, float(np.nanmax(np.abs(values))))
            # The palette's vermillion end is for harm.
            grid = Grid(
                np.arange(wide.shape[1], dtype=float),
                np.arange(wide.shape[0], dtype=float),
                -values,
                label,
                matrix=True,
                limits=(-most, most),
            )
            shares = tuple((float(n), percent(s)) for n, s in enumerate(wide.columns))
            groups = tuple((float(n), str(group)) for n, group in enumerate(wide.index))
            panels.append(
                Panel(
                    Axis("neurons of each layer", ticks=shares),
                    Axis("", ticks=groups, limits=(len(wide) - 0.5, -0.5)),
                    title=label,
                    grid=grid,
                    rows=len(wide),
                )
            )
        if not panels:
            continue
        word = SUITES[score].group
        caption = (
            "Accuracy, and the pairs' margin log p(good) - log p(bad), lost under the top set; intervals and corrected "
            "p-values are in the table."
        )
        name, title = f"dose_{score}_by_{word}", f"{SCORES[score]} by {word} and dose"
        made.append(Figure(name, title, caption, tuple(panels), len(panels), wide=True))
    return made


def _interventions(run: Run, table: pd.DataFrame) -> list[Figure]:
    made = []
    for share, here in table.dropna(subset="share").groupby("share"):
        names = [name for name in INTERVENTIONS if (here["intervention"] == name).any()]
        if len(names) < 2:
            continue
        panels = []
        for measure in measures_of(here):
            part = measure.of(here).assign(name=here["intervention"].map(INTERVENTIONS))
            series = [
                Dots(
                    name,
                    role,
                    estimates(rows, "name", measure.columns(), measure.unit),
                    {str(r["name"]): str(r[measure.finding]) for _, r in rows.iterrows()},
                )
                for key, name, role in SETS
                if len(rows := part[part["set"] == key])
            ]
            rows_ = [INTERVENTIONS[name] for name in names]
            panels.append(forest(rows_, series, measure.label(), title=measure.title, zero=measure.zero))
        p = percent(share)
        caption = (
            f"Every intervention on the same neurons, against the plain model, with {run.level} intervals. Sign flip "
            "keeps the magnitude and loses the sign; the mean of the negatives keeps the sign and loses the magnitude."
        )
        name = f"interventions_{in_names(share)}"
        made.append(Figure(name, f"Interventions, p = {p}", caption, tuple(panels), min(3, len(panels)), wide=True))
    return made

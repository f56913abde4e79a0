"""Figures of other abilities: every task under every condition, and the double dissociation as an interaction."""

from __future__ import annotations

from math import nan

import pandas as pd

from negspace.analyses.ablation.dissociation_columns import ALL
from negspace.analyses.ablation.dissociation_words import verdict
from negspace.analyses.ablation.figures import grouped, shown
from negspace.experiment import paper
from negspace.experiment.run import Run
from negspace.experiment.words import in_names, percent
from negspace.figures.figure import Axis, Figure, Panel, Reference, Series, numbers
from negspace.figures.forest import Dots, forest
from negspace.figures.style import nth
from negspace.text.suites import TITLES


def figures(run: Run) -> list[Figure]:
    """Accuracy under either ablation, the contrasts of both sides, what each unit does to them, and the tasks."""
    made = []
    table = run.table("dissociation")
    if table is not None and table["interaction"].notna().any():
        made += [_levels(run, table.dropna(subset="interaction")), _contrasts(run, table.dropna(subset="interaction"))]
        without = run.table("dissociation_without")
        if without is not None:
            made.append(_without(run, table, without))
    tasks = run.table("tasks_by_task")
    if tasks is not None:
        made += _tasks(run, tasks)
    return made


def _levels(run: Run, table: pd.DataFrame) -> Figure:
    """Losses of either family under the top set and under the control: crossing lines support the claim."""
    panels = []
    ticks = ((0.0, "matched control"), (1.0, "top set"))
    for _, row in table.iterrows():
        lines = [
            Series(
                called,
                colour,
                numbers([0, 1]),
                numbers([row[f"{name}_baseline"] - row[f"{name}_{which}"] for which in ("control", "top")]) * 100,
                mark="line",
            )
            for name, called, colour in (
                ("grammar", f"grammar ({TITLES[row['suite']]})", "top"),
                ("other", "other tasks", "random"),
            )
        ]
        panels.append(
            Panel(
                Axis("ablated", ticks=ticks, limits=(-0.25, 1.25)),
                Axis("accuracy lost (points)"),
                tuple(lines),
                f"p = {percent(row['share'])}, {TITLES[row['suite']]}: {verdict(row)}",
                (Reference(0.0, "y"),),
            )
        )
    caption = (
        "Accuracy lost under either ablation, over what the plain model does above chance. A double dissociation "
        "crosses over: grammar loses more under the top set, the tasks more under the control. Intervals are in the "
        "next figure."
    )
    return Figure("dissociation", "Double dissociation", caption, tuple(panels), min(len(panels), 3), wide=True)


def _contrasts(run: Run, table: pd.DataFrame) -> Figure:
    """Both sides and their difference, each with its interval."""
    lines = {"grammar": "grammar", "other": "tasks", "interaction": "tasks - grammar"}
    ends = {name: ("low", "high") if name == "interaction" else (f"{name}_low", f"{name}_high") for name in lines}
    panels = []
    for share, here in table.groupby("share"):
        series = []
        for number, (_, row) in enumerate(here.iterrows()):
            values = {
                words: (row[name] * 100, row[ends[name][0]] * 100, row[ends[name][1]] * 100)
                for name, words in lines.items()
            }
            labels = dict.fromkeys(values, verdict(row))
            series.append(Dots(TITLES[str(row["suite"])], nth(number), values, labels))
        title = f"p = {percent(share)}"
        panels.append(forest(list(lines.values()), series, "top set minus control (points)", title=title, zero=0.0))
    caption = (
        f"Top set minus matched control, with {run.level} intervals. The claim: grammar left of the line, the tasks "
        "right of it."
    )
    columns = min(len(panels), 2)
    return Figure("dissociation_contrasts", "Both sides", caption, tuple(panels), columns, wide=True)


def _without(run: Run, table: pd.DataFrame, without: pd.DataFrame) -> Figure:
    """The interaction with each phenomenon and task left out."""
    panels = []
    for keys, here in without.groupby(["share", "suite"], sort=False):
        share, suite = keys  # type: ignore[misc]
        whole = table[(table["share"] == share) & (table["suite"] == suite)].iloc[0]
        values = {"nothing": (whole["interaction"] * 100, whole["low"] * 100, whole["high"] * 100)}
        values |= {str(row["left_out"]): (row["interaction"] * 100, nan, nan) for _, row in here.iterrows()}
        labels = {str(row["left_out"]): str(row["verdict"]) for _, row in here.iterrows()}
        series = [Dots("interaction", "top", values, {"nothing": verdict(whole), **labels})]
        title = f"p = {percent(share)}, {TITLES[str(suite)]}"
        panels.append(forest(list(values), series, "interaction (points)", title=title, zero=0.0))
    caption = "The interaction with one phenomenon or task left out at a time: does the verdict hang on a single one?"
    columns = min(len(panels), 2)
    return Figure("dissociation_without", "Leave one out", caption, tuple(panels), columns, wide=True)


def _tasks(run: Run, table: pd.DataFrame) -> list[Figure]:
    made = []
    baseline = table[table["role"] == "baseline"]
    rows = [task for task in baseline["task"] if task != ALL] + [ALL]
    for share in dict.fromkeys(table["share"].dropna()):
        panels = []
        for value, label in (("accuracy", "% right"), ("change", "change (points)")):
            series = [
                Dots(name, role, grouped(part, "task", value, 100), {t: _items(baseline, t) for t in rows})
                for name, role, part in shown(table, share)
                if len(part) and not (value == "change" and role == "baseline")
            ]
            plain, references = (None, ()) if value == "accuracy" else (0.0, paper.tasks(run, float(share)))
            panels.append(forest(rows, series, label, zero=plain, references=references))
        caption = (
            f"Left: items right. Right: the change on the same items. Bars: {run.level} intervals; for random sets, "
            "their mean and range. The level of chance differs by task; see the table."
        )
        name = f"tasks_{in_names(share)}"
        title = f"Tasks that are not about grammar, p = {percent(share)}"
        made.append(Figure(name, title, caption, tuple(panels), columns=2, wide=True))
    return made


def _items(baseline: pd.DataFrame, task: str) -> str:
    row = baseline[baseline["task"] == task].iloc[0]
    chance = "" if pd.isna(row["chance"]) else f", chance {row['chance'] * 100:.1f}%"
    return f"{row['items']:,} items, {row['metric']}{chance}"

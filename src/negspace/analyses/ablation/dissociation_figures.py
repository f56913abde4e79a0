"""Figures of other abilities: every task under every condition, and the double dissociation as an interaction."""

from __future__ import annotations

import pandas as pd

from negspace.experiment import paper
from negspace.experiment.run import Run
from negspace.figures.figure import Axis, Figure, Panel, Reference, Series, numbers
from negspace.figures.forest import Dots, forest, percent
from negspace.text.suites import TITLES

_ALL = "all tasks"
CAVEAT = (
    "Without a crossover, “established” is not specific: families of items lose accuracy at different rates, so a "
    "control that merely does more of the same harm to everything can give it. Read it beside the baselines and the "
    "random sets."
)
"""What a reader must know where the verdict is established and grammar and tasks do not cross over."""


def figures(run: Run) -> list[Figure]:
    """The interaction plot, the contrast of every task, and the tasks by themselves."""
    made = []
    table = run.table("dissociation")
    if table is not None:
        made += [_interaction(run, table), _contrasts(run, table)]
    tasks = run.table("tasks_by_task")
    if tasks is not None:
        made += _tasks(run, tasks)
    return made


def _interaction(run: Run, table: pd.DataFrame) -> Figure:
    """What either family loses under the top set and under the control: crossing lines are the claim."""
    whole = table[table["against"] == _ALL]
    panels = []
    ticks = ((0.0, "matched control"), (1.0, "top set"))
    for _, row in whole.iterrows():
        lines = [
            Series(
                f"grammar ({TITLES[row['suite']]})",
                "top",
                numbers([0, 1]),
                numbers([row["grammar_control_drop"], row["grammar_drop"]]) * 100,
                mark="line",
            ),
            Series(
                "other tasks",
                "random",
                numbers([0, 1]),
                numbers([row["other_control_drop"], row["other_drop"]]) * 100,
                mark="line",
            ),
        ]
        title = f"p = {percent(row['share'])}, {TITLES[row['suite']]}: {verdict(row)}"
        panels.append(
            Panel(
                Axis("ablated", ticks=ticks, limits=(-0.25, 1.25)),
                Axis("accuracy lost (points)"),
                tuple(lines),
                title,
                (Reference(0.0, "y"),),
            )
        )
    caption = (
        "Accuracy lost under either ablation. A double dissociation needs the grammar line to rise from the control to "
        "the top set more steeply than the line of the tasks; its interval is in the next figure."
    )
    title = "Double dissociation"
    columns = min(len(panels), 3)
    return Figure("dissociation", title, caption, tuple(panels), columns, wide=True, notes=_notes(whole))


def verdict(row: pd.Series) -> str:
    """A row's verdict; an established one with whether there is a crossover."""
    if row["verdict"] != "established":
        return str(row["verdict"])
    return f"established, {'with' if row['crossover'] else 'without'} a crossover"


def unspecific(rows: pd.DataFrame) -> bool:
    """Whether any of the verdicts is established without a crossover."""
    return bool(((rows["verdict"] == "established") & ~rows["crossover"].fillna(False).astype(bool)).any())


def _notes(rows: pd.DataFrame) -> tuple[str, ...]:
    return (CAVEAT,) if unspecific(rows) else ()


def _contrasts(run: Run, table: pd.DataFrame) -> Figure:
    panels = []
    for share in dict.fromkeys(table["share"]):
        here = table[table["share"] == share]
        rows = list(dict.fromkeys(here["against"]))
        series = []
        for number, suite in enumerate(dict.fromkeys(here["suite"])):
            part = here[here["suite"] == suite].set_index("against")
            values = {
                a: (part.loc[a, "contrast"] * 100, part.loc[a, "low"] * 100, part.loc[a, "high"] * 100)
                for a in rows
                if a in part.index
            }
            labels = {a: verdict(part.loc[a]) for a in values}
            series.append(Dots(TITLES[str(suite)], ("top", "series 2")[number % 2], values, labels))
        panels.append(forest(rows, series, "interaction contrast (points)", title=f"p = {percent(share)}"))
    caption = (
        "(Grammar lost - tasks lost) under the top set, minus the same under the matched control, with "
        f"{run.level} intervals. Right of the line: grammar suffers more from the top set than the tasks do."
    )
    columns = min(len(panels), 2)
    title = "The interaction contrast"
    return Figure("dissociation_contrasts", title, caption, tuple(panels), columns, wide=True, notes=_notes(table))


def _tasks(run: Run, table: pd.DataFrame) -> list[Figure]:
    made = []
    baseline = table[table["role"] == "baseline"]
    rows = [task for task in baseline["task"] if task != _ALL] + [_ALL]
    for share in dict.fromkeys(table["share"].dropna()):
        here = table[table["share"] == share]
        shown = [
            ("plain model", "baseline", baseline),
            ("top", "top", here[here["role"] == "top"]),
            ("random sets", "random", here[here["role"] == "random"]),
            ("matched", "matched", here[here["role"] == "matched"]),
        ]
        panels = []
        for value, label in (("accuracy", "% right"), ("change", "change (points)")):
            series = [
                Dots(name, role, _by_task(part, value), {t: _items(baseline, t) for t in rows})
                for name, role, part in shown
                if len(part) and not (value == "change" and role == "baseline")
            ]
            plain, references = (None, ()) if value == "accuracy" else (0.0, paper.tasks(run, float(share)))
            panels.append(forest(rows, series, label, zero=plain, references=references))
        caption = (
            f"Left: items right. Right: the change on the same items. Bars: {run.level} intervals; for random sets, "
            "their mean and range. The level of chance differs by task; see the table."
        )
        name = f"tasks_{percent(share).replace('%', 'pct')}"
        title = f"Tasks that are not about grammar, p = {percent(share)}"
        made.append(Figure(name, title, caption, tuple(panels), columns=2, wide=True))
    return made


def _by_task(rows: pd.DataFrame, value: str) -> dict[str, tuple[float, float, float]]:
    found = {}
    for task, part in rows.groupby("task"):
        if len(part) == 1:
            row = part.iloc[0]
            found[task] = (row[value] * 100, row[f"{value}_low"] * 100, row[f"{value}_high"] * 100)
        else:
            found[task] = tuple(100 * part[value].agg(how) for how in ("mean", "min", "max"))
    return found


def _items(baseline: pd.DataFrame, task: str) -> str:
    row = baseline[baseline["task"] == task].iloc[0]
    chance = "" if pd.isna(row["chance"]) else f", chance {row['chance'] * 100:.1f}%"
    return f"{row['items']:,} items, {row['metric']}{chance}"

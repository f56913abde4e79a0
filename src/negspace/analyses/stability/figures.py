"""Figures of the stability analysis: overlaps beside chance and halves, and what ablating each part does."""

from __future__ import annotations

import pandas as pd

from negspace.experiment.run import Run
from negspace.experiment.words import in_names, percent
from negspace.figures.figure import Figure, numbers
from negspace.figures.forest import Dots, forest
from negspace.figures.scores import estimates, measures_of

_SHOWN = (
    ("overlap", "two texts", "top"),
    ("halves_first", "halves of the first text", "matched"),
    ("halves_second", "halves of the second text", "bottom"),
    ("halves_between", "halves of both", "series 4"),
    ("chance", "by chance", "random"),
)
"""Column, what to call it, its role."""


def figures(run: Run) -> list[Figure]:
    """Overlaps of the texts' top sets; ablations, a figure a share."""
    made = []
    overlap = run.table("stability_overlap")
    if overlap is not None:
        made.append(_overlaps(overlap[overlap["layer"].isna()]))
    table = run.table("stability")
    if table is not None:
        made += [_ablations(run, here) for _, here in table.dropna(subset="share").groupby("share") if _any(here)]
    return made


def _overlaps(table: pd.DataFrame) -> Figure:
    panels = []
    for share, here in table.groupby("share"):
        here = here.assign(pair=here["first"] + ", " + here["second"])
        series = [
            Dots(name, role, {pair: (value, float("nan"), float("nan")) for pair, value in values})
            for column, name, role in _SHOWN
            for values in [list(zip(here["pair"], numbers(here[column]) * 100, strict=True))]
        ]
        p = percent(share)
        label = "neurons in common (%)"
        panels.append(forest(list(here["pair"]), series, label, title=f"top {p}", zero=None, limits=(0, 100)))
    caption = (
        "Share of the first text's top set that is in the second's, beside the top sets from both halves of each text "
        "(half the tokens each), from halves of both, and what chance would have in common."
    )
    title = "Do texts choose the same neurons?"
    return Figure("stability_overlap", title, caption, tuple(panels), min(2, len(panels)), wide=True)


def _any(table: pd.DataFrame) -> bool:
    """Whether any part was ablated."""
    return bool(table["change"].notna().any())


def _ablations(run: Run, table: pd.DataFrame) -> Figure:
    table = table.assign(role=table["like"].where(table["like"] != "", table["set"]))
    table = table.assign(name=table["text"].where(table["role"] != "common", "all texts"))
    parts = (
        ("top", "whole top set", "series 5"),
        ("part", "selected by all texts, or by this one alone", "top"),
        ("random mean", "random sets of that size", "random mean"),
    )
    table = table.assign(kind=table["set"].replace({"common": "part", "own": "part"}))
    panels = []
    for measure in measures_of(table):
        here = measure.of(table)
        series = [
            Dots(
                name,
                role,
                estimates(rows, "name", measure.columns(), measure.unit),
                {str(row["name"]): f"{row['neurons']:,} neurons, {row[measure.finding]}" for _, row in rows.iterrows()},
            )
            for kind, name, role in parts
            if len(rows := here[here["kind"] == kind].dropna(subset="change"))
        ]
        rows = ["all texts", *dict.fromkeys(here.loc[here["set"] == "top", "name"])]
        panels.append(forest(rows, series, measure.label(), title=measure.title, zero=measure.zero))
    share = table["share"].iloc[0]
    caption = (
        "What ablating the neurons that all texts choose, those that one text alone chooses, and each text's whole "
        f"top set does, with {run.level} intervals against the plain model. The sets differ in size; random sets are "
        "as large as the common or own part in their row."
    )
    name, title = f"stability_{in_names(share)}", f"Common and own neurons, p = {percent(share)}"
    return Figure(name, title, caption, tuple(panels), min(3, len(panels)), wide=True)

"""Figures of the main study: what the ablation does to perplexity and grammar, beside random and matched controls."""

from __future__ import annotations

import math

import pandas as pd

from negspace.experiment import paper
from negspace.experiment.changes import DIFFERENCE
from negspace.experiment.run import Run
from negspace.experiment.words import in_names, percent
from negspace.figures.figure import Axis, Figure, Panel, Reference, Series, numbers
from negspace.figures.forest import Dots, forest
from negspace.figures.scores import Measure, estimates, measures_of
from negspace.text.suites import SUITES, TITLES, by_group
from negspace.wording import counted


def figures(run: Run) -> list[Figure]:
    """The main result, the contrasts with the controls, both suites by group, and the search for the matched set."""
    made = []
    summary = run.table("summary")
    if summary is not None:
        made.append(_main(run, summary))
    contrasts = run.table("contrasts")
    if contrasts is not None:
        made.append(_contrasts(run, contrasts))
    for name in SUITES:
        table = run.table(by_group(name))
        if table is not None:
            made += _groups(run, table, name)
    matching = run.table("matching")
    if matching is not None and matching["m"].notna().any():
        made.append(_search(run, matching))
    return made


def summarised(summary: pd.DataFrame) -> list[tuple[Measure, str]]:
    """The changes that a summary has, and the column of each."""
    known = [(Measure("perplexity"), "ratio")]
    for suite in TITLES:
        known += [(Measure(suite), f"{suite}_change"), (Measure(suite, nats=True), f"{suite}_nats")]
    return [(measure, name) for measure, name in known if name in summary.columns and summary[name].notna().any()]


def _main(run: Run, summary: pd.DataFrame) -> Figure:
    """Rows are shares; series are what was ablated."""
    shares = list(dict.fromkeys(summary["share"].dropna()))
    measures = summarised(summary)
    panels = [_effects(summary, shares, measure, column) for measure, column in measures]
    tokens = " (of TSE, means per token)" if any(measure.score == "tse" for measure, _ in measures) else ""
    caption = (
        f"Each share p of every layer's neurons. Bars: {run.level} intervals, paired with the plain model on the same "
        "items. Small squares: single random sets, large ones their mean. Margins: log p(good) - log p(bad) of a pair"
        f"{tokens}."
    )
    title = "What the ablation does, against the plain model"
    return Figure("main_result", title, caption, tuple(panels), columns=min(3, len(panels)), wide=True)


def _effects(summary: pd.DataFrame, shares: list[float], measure: Measure, column: str) -> Panel:
    scale = measure.unit

    def values(role: str) -> dict[str, tuple[float, float, float]]:
        rows = summary[summary["role"] == role]
        ends = [f"{column}_low", f"{column}_high"]
        return {
            f"p = {percent(row['share'])}": (row[column] * scale, row[ends[0]] * scale, row[ends[1]] * scale)
            for _, row in rows.iterrows()
        }

    singles: list[dict[str, tuple[float, float, float]]] = []
    for share in shares:
        sets = summary[(summary["role"] == "random") & (summary["share"] == share)]
        for place, value in enumerate(sets[column]):
            while len(singles) <= place:
                singles.append({})
            singles[place][f"p = {percent(share)}"] = (value * scale, math.nan, math.nan)
    series = [
        Dots("top", "top", values("top")),
        Dots("random sets", "random", values("random mean")),
        *(Dots("random sets", "random", single, small=True) for single in singles if len(singles) > 1),
        Dots("matched", "matched", values("matched"), _names(summary)),
    ]
    rows = [f"p = {percent(share)}" for share in shares]
    shown = [dots for dots in series if dots.values]
    return forest(rows, shown, measure.label(), title=measure.title, zero=measure.zero)


def _names(summary: pd.DataFrame) -> dict[str, str]:
    rows = summary[summary["role"] == "matched"]
    return {f"p = {percent(row['share'])}": row["condition"] for _, row in rows.iterrows()}


def _contrasts(run: Run, table: pd.DataFrame) -> Figure:
    """The top set minus its controls, on the same items."""
    panels = []
    for measure in measures_of(table, "difference"):
        part = measure.of(table)
        columns = measure.columns("difference", DIFFERENCE.interval)
        series = []
        for against, role, name in (
            ("random", "random", "against random sets"),
            ("matched", "matched", "against matched"),
        ):
            rows = part[(part["set"] == "top") & (part["against"] == against) & part[columns[0]].notna()]
            rows = rows.assign(row=[f"p = {percent(share)}" for share in rows["share"]])
            values = estimates(rows, "row", columns, measure.unit)
            labels = dict(zip(rows["row"], rows["control"], strict=True))
            if values:
                series.append(Dots(name, role, values, labels))
        if not series:
            continue
        rows = [f"p = {percent(share)}" for share in dict.fromkeys(part["share"])]
        panels.append(forest(rows, series, measure.label("the control's"), title=measure.title, zero=measure.zero))
    caption = (
        f"The top set minus its control on the same items, with {run.level} intervals; for perplexity the quotient. "
        "Left of the line in pairs right and in margins: the top set harms grammar more than the control does."
    )
    title = "The top set against its controls"
    return Figure("contrasts", title, caption, tuple(panels), columns=min(3, len(panels)), wide=True)


def _groups(run: Run, table: pd.DataFrame, suite: str) -> list[Figure]:
    """One figure per share: accuracy in every group of a suite under every condition, and its change."""
    column, made = SUITES[suite].group, []
    baseline = table[table["role"] == "baseline"]
    groups = list(baseline.sort_values(column)[column])
    for share in dict.fromkeys(table["share"].dropna()):
        here = table[table["share"] == share]
        panels = []
        for value, label, zero, scale in (
            ("accuracy", "% right", 50.0, 100.0),
            ("change", "change (points)", 0.0, 100.0),
            ("change_nats", Measure(suite, nats=True).label(), 0.0, 1.0),
        ):
            if value not in here.columns or here[value].isna().all():
                continue
            labels = {group: _pairs(baseline, column, group) for group in groups}
            series = [
                Dots(title_, role, grouped(rows, column, value, scale), labels)
                for title_, role, rows in shown(table, share)
                if len(rows) and (value == "accuracy" or role != "baseline")
            ]
            panels.append(forest(groups, series, label, zero=zero))
        caption = (
            "Pairs right, chance at 50; the change on the same pairs; and the change of their margin, log p(good) - "
            f"log p(bad). Bars: {run.level} intervals; for random sets, their mean and their range."
        )
        name = f"{by_group(suite)}_{in_names(share)}"
        title = f"{TITLES[suite]} by {column}, p = {percent(share)}"
        made.append(Figure(name, title, caption, tuple(panels), columns=2, wide=True))
    return made


def shown(table: pd.DataFrame, share: float) -> list[tuple[str, str, pd.DataFrame]]:
    """What is shown at a share: name, role, and the rows of it."""
    here = table[table["share"] == share]
    return [
        ("plain model", "baseline", table[table["role"] == "baseline"]),
        ("top", "top", here[here["role"] == "top"]),
        ("random sets", "random", here[here["role"] == "random"]),
        ("matched", "matched", here[here["role"] == "matched"]),
    ]


def grouped(rows: pd.DataFrame, column: str, value: str, scale: float) -> dict[str, tuple[float, float, float]]:
    """Estimate and interval in every group, times a scale; for several random sets their mean and range."""
    found = {}
    for group, part in rows.groupby(column):
        if len(part) == 1:
            row = part.iloc[0]
            found[group] = (row[value] * scale, row[f"{value}_low"] * scale, row[f"{value}_high"] * scale)
        else:
            found[group] = tuple(scale * part[value].agg(how) for how in ("mean", "min", "max"))
    return found


def _pairs(baseline: pd.DataFrame, column: str, group: str) -> str:
    row = baseline[baseline[column] == group].iloc[0]
    return f"{counted(row['pairs'], 'pair')}, {counted(row['paradigms'], 'paradigm')}"


def _search(run: Run, table: pd.DataFrame) -> Figure:
    """Perplexity against the share of low-ranked neurons that was tried."""
    panels = []
    for share, part in table.dropna(subset="m").groupby("share"):
        tried = part.sort_values("m")
        ended = part[part["chosen"].fillna(False).astype(bool)]
        series = [Series("tried", "random", numbers(tried["m"]) * 100, numbers(tried["perplexity"]), mark="line")]
        if len(ended):
            word = "matched" if bool(ended["matched"].iloc[0]) else "nearest"
            series.append(Series(word, "matched", numbers(ended["m"]) * 100, numbers(ended["perplexity"])))
        target = Reference(float(part["target"].iloc[0]), "y", f"top {percent(share)}")
        panels.append(
            Panel(
                Axis("lowest-ranked neurons ablated (%)"),
                Axis("perplexity"),
                tuple(series),
                f"matching the top {percent(share)}",
                (target, *paper.matching(run, float(share))),  # type: ignore[arg-type]
            )
        )
    caption = "Every set that was tried; the line is the perplexity to be matched, that of the top set."
    return Figure("matching", "The search for a matched control", caption, tuple(panels), columns=2, wide=True)

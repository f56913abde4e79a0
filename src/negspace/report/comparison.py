"""Figures of several runs side by side: models, or checkpoints of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from negspace.analyses.ablation.dissociation_words import verdict
from negspace.analyses.ablation.figures import summarised
from negspace.analyses.dose import figures as dose
from negspace.experiment.run import Run
from negspace.experiment.words import in_names, percent
from negspace.figures.figure import Axis, Figure, Panel, Series, numbers
from negspace.figures.forest import Dots, forest
from negspace.figures.scores import measures_of
from negspace.figures.style import nth
from negspace.text.suites import SUITES, TITLES

SUMMARY = {
    "run": "the run",
    "share": "share p of each layer's neurons",
    "condition": "what was ablated",
    "neurons": "how many neurons",
    "perplexity": "perplexity under the ablation",
    "ratio": "perplexity divided by the plain model's",
}
for _name, _suite in SUITES.items():
    SUMMARY |= {
        f"{_name}_accuracy": f"{_suite.title}: pairs right",
        f"{_name}_change": f"{_suite.title}: change against the plain model on the same pairs",
        f"{_name}_nats": f"{_suite.title}: the same in the pairs' margin, log p(good) - log p(bad), in {_suite.unit}",
    }
_ENDS = ("_low", "_high")


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Main effects at every share that two runs or more have, dissociations, and WD by depth."""
    made = _effects(runs)
    made += _dissociation(runs)
    made += _dose(runs)
    depth = _depth(runs)
    return [*made, *([depth] if depth else [])]


def summary(runs: Sequence[Run]) -> pd.DataFrame:
    """The runs' summaries under one another, without single random sets."""
    parts = []
    for run in runs:
        table = run.table("summary")
        if table is not None:
            parts.append(table[table["role"] != "random"].assign(run=run.label))
    if not parts:
        return pd.DataFrame(columns=list(SUMMARY))
    table = pd.concat(parts, ignore_index=True)
    wanted = [name for column in SUMMARY for name in (column, *(column + end for end in _ENDS))]
    return table[[name for name in wanted if name in table.columns]]


def _effects(runs: Sequence[Run]) -> list[Figure]:
    """One figure per share: rows are runs."""
    tables = {run.label: table for run in runs if (table := run.table("summary")) is not None}
    shares = sorted({share for table in tables.values() for share in table["share"].dropna()})
    made = []
    for share in shares:
        panels = []
        for measure, column in dict.fromkeys(one for table in tables.values() for one in summarised(table)):
            series = []
            for role, name in (("top", "top"), ("random mean", "random sets"), ("matched", "matched")):
                values, labels = {}, {}
                for run, table in tables.items():
                    rows = table[(table["share"] == share) & (table["role"] == role)]
                    if len(rows) and column in table.columns:
                        row = rows.iloc[0]
                        value, low, high = (row[name] * measure.unit for name in (column, *(column + e for e in _ENDS)))
                        values[run], labels[run] = (value, low, high), str(row["condition"])
                if values:
                    series.append(Dots(name, role, values, labels))
            rows = [run for run in tables if any(run in line.values for line in series)]
            if len(rows) > 1:
                panels.append(forest(rows, series, measure.label(), title=measure.title, zero=measure.zero))
        if not panels:
            continue
        caption = "Each run against its own plain model, paired on the same items; bars are each run's intervals."
        name = f"comparison_{in_names(share)}"
        title = f"Runs side by side, p = {percent(share)}"
        made.append(Figure(name, title, caption, tuple(panels), columns=min(3, len(panels)), wide=True))
    return made


def _dissociation(runs: Sequence[Run]) -> list[Figure]:
    tables = {run.label: table for run in runs if (table := run.table("dissociation")) is not None}
    if not tables:
        return []
    panels = []
    for share in sorted({share for table in tables.values() for share in table["share"]}):
        series = []
        for number, suite in enumerate(TITLES):
            values, labels = {}, {}
            for run, table in tables.items():
                rows = table[(table["share"] == share) & (table["suite"] == suite) & table["interaction"].notna()]
                if len(rows):
                    row = rows.iloc[0]
                    values[run] = (row["interaction"] * 100, row["low"] * 100, row["high"] * 100)
                    labels[run] = verdict(row)
            if values:
                series.append(Dots(TITLES[suite], nth(number), values, labels))
        if series:
            panels.append(forest(list(tables), series, "interaction (points)", title=f"p = {percent(share)}"))
    if not panels:
        return []
    caption = (
        "The interaction: the change of accuracy on tasks minus that on minimal pairs, each of the top set minus the "
        "matched control. Right of zero, the top set costs more on pairs, relative to the control, than on tasks."
    )
    title, columns = "Double dissociation, run by run", min(2, len(panels))
    return [Figure("comparison_dissociation", title, caption, tuple(panels), columns, wide=True)]


def _dose(runs: Sequence[Run]) -> list[Figure]:
    """The top sets' dose curves over one another."""
    tables = {run.label: (run, table) for run in runs if (table := run.table("dose")) is not None}
    if len(tables) < 2:
        return []
    panels = []
    top = {
        label: table[(table["intervention"] == dose.main_intervention(run, table)) & (table["set"] == "top")]
        for label, (run, table) in tables.items()
    }
    for measure in dict.fromkeys(measure for table in top.values() for measure in measures_of(table)):
        parts = [(label, nth(number), measure.of(table)) for number, (label, table) in enumerate(top.items())]
        panels.append(dose.curve_panel([part for part in parts if len(part[2])], measure, ()))
    caption = "The top set of each run against its own plain model; bars are each run's intervals."
    return [Figure("comparison_dose", "Dose, run by run", caption, tuple(panels), min(3, len(panels)), wide=True)]


def _depth(runs: Sequence[Run]) -> Figure | None:
    """WD over relative depth, so that models of different depth share an axis."""
    shown = [run for run in runs if run.scan is not None and run.scan.table["wd"].notna().any()]
    if not shown:
        return None
    panels = []
    for quantile, title in ((0.99, "99th percentile of the layer"), (0.5, "median of the layer")):
        series = []
        for number, run in enumerate(shown):
            assert run.scan is not None
            groups = run.scan.table.dropna(subset="wd").groupby("layer")["wd"].quantile(quantile)
            layers = numbers(list(groups.index))
            place = layers / max(1.0, float(np.max(layers)))
            labels = tuple(f"layer {layer:.0f}" for layer in layers)
            series.append(Series(run.label, nth(number), place, numbers(groups), mark="line", labels=labels))
        panels.append(
            Panel(Axis("depth (0: first layer, 1: last)"), Axis("WD from the Gaussian"), tuple(series), title)
        )
    caption = "Wasserstein-1 distance of standardised pre-activations from N(0, 1), by relative depth."
    return Figure("comparison_depth", "Distance from the Gaussian", caption, tuple(panels), columns=2, wide=True)

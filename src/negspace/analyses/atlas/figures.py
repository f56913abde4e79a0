"""Figures of the atlas: the distributions of the leading neurons, and what ablating one alone does."""

from __future__ import annotations

import numpy as np
import pandas as pd

from negspace.experiment.claim import RANKING
from negspace.experiment.run import Run
from negspace.experiment.words import line_at_zero
from negspace.figures.figure import Axis, Figure, Panel, Reference, Series, numbers
from negspace.figures.forest import Dots, forest
from negspace.figures.scores import Measure
from negspace.text.suites import TITLES
from negspace.wording import counted

_MOST, _MOST_ROWS = 9, 24


def figures(run: Run) -> list[Figure]:
    """Histograms of the first neurons, and the largest changes of a phenomenon's margin."""
    made = []
    histograms, atlas = run.table("atlas_histograms"), run.table("atlas")
    if histograms is not None and atlas is not None:
        made.append(_distributions(run, histograms, atlas))
    alone = run.table("atlas_alone")
    if alone is not None and alone["margin_p_holm"].notna().any():
        made.append(_alone(run, alone[alone["margin_p_holm"].notna()]))
    return made


def densities(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Edges of a neuron's bins, and the densities of its tokens, of the Gaussian and of the mixture in them."""
    rows = rows.sort_values("bin")
    edges = np.append(numbers(rows["low"]), numbers(rows["high"])[-1:])
    area = np.diff(edges) * max(1.0, float(numbers(rows["count"]).sum()))
    return {"edges": edges, **{name: numbers(rows[name]) / area for name in ("count", "gaussian", "mixture")}}


def _distributions(run: Run, histograms: pd.DataFrame, atlas: pd.DataFrame) -> Figure:
    panels = []
    for _, about in atlas.sort_values("rank").head(_MOST).iterrows():
        rows = histograms[histograms["name"] == about["name"]]
        if rows.empty:
            continue
        found = densities(rows)
        # The outermost bins hold all that lies beyond them: no height of a curve.
        inner = slice(1, -1)
        middles = ((found["edges"][1:] + found["edges"][:-1]) / 2)[inner]
        series = (
            Series("pre-activations", "top", found["edges"], found["count"], mark="steps"),
            Series("mixture", "series 2", middles, found["mixture"][inner], mark="curve"),
            Series(
                "Gaussian of the same mean and deviation", "gaussian", middles, found["gaussian"][inner], mark="curve"
            ),
        )
        counts = f"{counted(int(about['modes']), 'component')}, {counted(int(about['peaks']), 'peak')}"
        zero = (Reference(0.0, "x"),)
        panels.append(Panel(Axis("pre-activation"), Axis("density"), series, f"{about['name']}: {counts}", zero))
    by = run.study["by"]
    which = "neurons furthest from Gaussian" if by == RANKING else f"top neurons by {by}"
    caption = (
        f"Pre-activations of the {which}, on the passages of the atlas, and the mixture of "
        f"Gaussians fitted to them. {line_at_zero(run.study)}"
    )
    columns = min(3, len(panels))
    title = "The top neurons' modes"
    return Figure("atlas_distributions", title, caption, tuple(panels), columns, wide=True)


def _alone(run: Run, table: pd.DataFrame) -> Figure:
    """The changes that are furthest from none, beside their names: a panel per suite, whose margins have a unit of
    their own.

    Args:
        table: rows of atlas_alone whose margins can be judged.
    """
    ordered = table.assign(row=table["name"] + ": " + table["group"], size=table["margin"].abs())
    suites = list(table["suite"].unique())
    panels, counts = [], []
    for suite in suites:
        own = ordered[ordered["suite"] == suite]
        shown = own.sort_values("size", ascending=False).head(_MOST_ROWS).sort_values("margin")
        values = {r["row"]: (r["margin"], r["margin_low"], r["margin_high"]) for _, r in shown.iterrows()}
        labels = {r["row"]: f"Holm-corrected p = {r['margin_p_holm']:.2g}" for _, r in shown.iterrows()}
        title = TITLES[str(suite)] if len(suites) > 1 else ""
        dots = [Dots("margin", "top", values, labels)]
        panels.append(forest(list(values), dots, Measure(str(suite), nats=True).label(), title=title))
        counts.append(f"{len(values)} largest of {len(own):,} judged changes{f' on {title}' if title else ''}")
    caption = (
        f"The {' and the '.join(counts)} of good minus bad sentence when one neuron alone is "
        f"ablated, with {run.level} intervals. They are the largest of many: look at the corrected p-values."
    )
    return Figure("atlas_alone", "What the ablation of single neurons does", caption, tuple(panels))

"""Figures of the scan: how far from Gaussian the neurons of each layer are, and what goes with it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from negspace.experiment.chosen import neuron_name
from negspace.experiment.run import Run
from negspace.experiment.words import line_at_zero
from negspace.figures.figure import Axis, Figure, Grid, Numbers, Panel, Reference, Series, numbers
from negspace.figures.scores import beside, layer_axis
from negspace.neurons.neuronset import NeuronSet
from negspace.stats.histogram import Histogram
from negspace.stats.wasserstein import negative_excess

_MOST_POINTS = 6000
_BINS = (90, 70)
_TOPS, _MEDIANS = 6, 3


def figures(run: Run) -> list[Figure]:
    """WD by layer, distributions of single neurons, the negative share, and WD against MD; none without a scan."""
    if run.scan is None or run.scan.table["wd"].isna().all():
        return []
    table = run.scan.table
    top = _top(run)
    chosen = top.mask if top is not None else np.zeros(len(table), bool)
    made = [_by_layer(table), *_distributions(run), _negative(table, chosen, top)]
    if table["md"].notna().any():
        made.append(_against_md(table, chosen, top))
    return made


def _top(run: Run) -> NeuronSet | None:
    """The smallest top set that the study chose by its own statistic; analyses save others, as by another text."""
    own = re.compile(rf"top \S+ by {re.escape(run.study['by'])}(, layers [\d, -]+)?(, those with a mean)?")
    return min((one for name, one in run.sets.items() if own.fullmatch(name)), key=len, default=None)


def _by_layer(table: pd.DataFrame) -> Figure:
    groups = table.dropna(subset="wd").groupby("layer")["wd"]
    layers = numbers(list(groups.groups))
    lines = (
        ("largest", "top", groups.max()),
        ("99th percentile", "series 4", groups.quantile(0.99)),
        ("90th percentile", "series 2", groups.quantile(0.9)),
        ("median", "random", groups.median()),
    )
    series = [Series(name, role, layers, numbers(values), mark="line") for name, role, values in lines]
    panel = Panel(layer_axis(layers), Axis("WD from the Gaussian"), tuple(series))
    caption = (
        "Wasserstein-1 distance of each neuron's standardised pre-activations from N(0, 1): quantiles over the neurons "
        "of a layer."
    )
    return Figure("wd_by_layer", "Distance from the Gaussian, by layer", caption, (panel,))


def _distributions(run: Run) -> list[Figure]:
    """Single neurons, as far as the scan keeps their histograms: the first by WD, and some at the median."""
    assert run.scan is not None
    scan, kept = run.scan, run.scan.histograms
    if kept is None or not len(kept):
        return []
    wd = scan.table["wd"]
    layers = scan.table["layer"]
    turns = wd.groupby(layers).rank(ascending=False, method="first")
    order = pd.DataFrame({"turn": turns, "wd": wd}).iloc[kept.rows].sort_values(["turn", "wd"], ascending=[True, False])
    tops = list(order.index[:_TOPS])
    off = (wd - wd.groupby(layers).transform("median")).abs().iloc[kept.rows].drop(tops)
    nearest = [own.idxmin() for _, own in off.groupby(layers)]
    spaced = np.unique(np.linspace(0, len(nearest) - 1, min(_MEDIANS, len(nearest))).round().astype(int))
    medians = [nearest[place] for place in spaced]
    panels = []
    for row in (*tops, *medians):
        found = kept.of(int(row))
        assert found is not None
        panels.append(_distribution(scan.table.loc[row], found, "" if row in tops else " (median)"))
    caption = (
        "Pre-activations of single neurons over the tokens of the text: those of largest WD, the layers taking turns, "
        f"and for contrast some at the median of their layer. {line_at_zero(run.study)} What lies beyond a "
        "histogram's 64 bins, as a rule four standard deviations either side, is not drawn."
    )
    title = "The top neurons' distributions"
    return [Figure("distributions", title, caption, tuple(panels), columns=min(3, len(panels)), wide=True)]


def _distribution(about: pd.Series, found: Histogram, note: str) -> Panel:
    mean, std = float(about["mean"]), float(about["std"])
    # Empty bins at the ends say nothing, but zero and the bulk of the Gaussian have to be in the picture.
    held = np.flatnonzero(found.counts)
    inside = slice(held[0], held[-1] + 1) if len(held) else slice(0, 0)
    edges = found.edges[inside.start : inside.stop + 1]
    low, high = min(0.0, mean - 3 * std, float(edges[0])), max(0.0, mean + 3 * std, float(edges[-1]))
    pad = 0.02 * (high - low)
    x = np.linspace(low, high, 161)
    bell = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    steps = ("pre-activations, at the median", "rest") if note else ("pre-activations, of the top", "top")
    series = (
        Series(*steps, edges, found.density[inside], mark="steps"),
        Series("Gaussian of the same mean and deviation", "gaussian", x, bell, mark="curve"),
    )
    title = f"{name(about)}{note}, WD {about['wd']:.3f}"
    axis = Axis("pre-activation", limits=(low - pad, high + pad))
    return Panel(axis, Axis("density"), series, title, (Reference(0.0, "x", "zero"),))


def _negative(table: pd.DataFrame, chosen: np.ndarray, top: NeuronSet | None) -> Figure:
    known = table["wd"].notna().to_numpy()
    excess = negative_excess(table["negative_share"], table["mean"], table["std"])
    table = table.assign(negative_excess=excess)
    groups = [("all neurons" if top is None else "all others", "rest", known & ~chosen)]
    if top is not None:
        groups.insert(0, (top.origin, "top", known & chosen))
    panels = []
    for column, label in (
        ("negative_share", "share of WD that lies below zero"),
        ("negative_excess", "the same minus a Gaussian's"),
        ("fraction_negative", "share of tokens below zero"),
    ):
        series, layers = [], np.zeros(0)
        for name, role, rows in groups:
            part = table[rows].groupby("layer")[column]
            layers = numbers(list(part.groups))
            series.append(
                Series(
                    name,
                    role,
                    layers,
                    numbers(part.median()),
                    numbers(part.quantile(0.25)),
                    numbers(part.quantile(0.75)),
                    mark="line",
                )
            )
        axis = layer_axis(layers)
        limits, lines = (None, (Reference(0.0, "y"),)) if column == "negative_excess" else ((0.0, 1.0), ())
        panels.append(Panel(axis, Axis(label, limits=limits), beside(series, axis), "", lines))
    caption = (
        "Medians over neurons, bars from the lower to the upper quartile. Left: the part of the distance that lies "
        "below a pre-activation of zero. Middle: minus what a Gaussian of the same mean and deviation has there by "
        "chance. Right: how often the pre-activation is negative."
    )
    return Figure("negative_share", "Does the structure lie below zero?", caption, tuple(panels), columns=3, wide=True)


def _against_md(table: pd.DataFrame, chosen: np.ndarray, top: NeuronSet | None) -> Figure:
    known = (table["wd"].notna() & table["md"].notna()).to_numpy()
    md, wd = table["md"].to_numpy(np.float64), table["wd"].to_numpy(np.float64)
    names = [name(row) for row in table[["layer", "branch", "expert", "neuron"]].itertuples(index=False)]
    rest, own = np.flatnonzero(known & ~chosen), np.flatnonzero(known & chosen)
    grid, series = None, []
    if len(rest) <= _MOST_POINTS:
        labels = tuple(names[row] for row in rest)
        series.append(Series("other neurons", "rest", md[rest], wd[rest], mark="dots", labels=labels))
    else:
        counts, x, y = np.histogram2d(md[known], wd[known], bins=_BINS)
        grid = Grid(x, y, np.where(counts.T > 0, counts.T, np.nan), "neurons", log=True)
    if top is not None and len(own) <= _MOST_POINTS:
        labels = tuple(names[row] for row in own)
        series.append(Series(top.origin, "top", md[own], wd[own], mark="dots", labels=labels))
    scatter = Panel(Axis("mapping difficulty (MD)"), Axis("WD from the Gaussian"), tuple(series), grid=grid)
    layers, rho = _correlations(table[known])
    line = Series("rank correlation", "series 1", layers, rho, mark="line")
    low = min(0.0, float(np.nanmin(rho)) - 0.05) if np.isfinite(rho).any() else 0.0
    ranks = Panel(layer_axis(layers), Axis("Spearman's ρ of WD and MD", limits=(low, 1.02)), (line,))
    caption = (
        "Left: every neuron"
        + (", as counts in cells where there are many" if grid is not None else "")
        + ". Right: rank correlation of the two within each layer."
    )
    return Figure("wd_against_md", "WD against mapping difficulty", caption, (scatter, ranks), columns=2, wide=True)


def name(row: Any) -> str:
    """A neuron's name, from a row of the scan's table."""
    return neuron_name(int(row.layer), str(row.branch), int(row.expert), int(row.neuron))


def _correlations(table: pd.DataFrame) -> tuple[Numbers, Numbers]:
    found = {
        layer: part["wd"].rank().corr(part["md"].rank()) if part["wd"].nunique() > 1 else np.nan
        for layer, part in table.groupby("layer")
    }
    return numbers(list(found)), numbers(list(found.values()))

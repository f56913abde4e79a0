"""The neuron explorer's data: every neuron's statistics as packed columns, and what is known of single neurons."""

from __future__ import annotations

from typing import Any

import numpy as np

from negspace.experiment.chosen import names_of
from negspace.experiment.run import Run
from negspace.report.details import details
from negspace.report.examples import packed_examples
from negspace.report.packed import packed
from negspace.stats.histogram import Histograms
from negspace.stats.wasserstein import negative_excess

COLUMNS = {
    "wd": ("WD", "Wasserstein-1 distance of the standardised pre-activation from N(0, 1)"),
    "wd_rank": ("rank in layer", "place by WD among the neurons of the layer, 1 for the largest"),
    "negative_share": ("negative share", "part of WD that lies below a pre-activation of zero"),
    "negative_excess": (
        "beyond a Gaussian's",
        "negative share minus what a Gaussian of the same mean and deviation has below zero by chance",
    ),
    "md": ("MD", "mapping difficulty: how far apart near inputs are sent"),
    "fraction_negative": ("tokens < 0", "share of tokens whose pre-activation is negative"),
    "mean": ("mean", "mean of the pre-activation"),
    "std": ("sd", "standard deviation of the pre-activation"),
    "mean_negative": ("mean of negatives", "mean of the negative pre-activations"),
    "skewness": ("skewness", "skewness of the pre-activation"),
    "kurtosis": ("kurtosis", "excess kurtosis; 0 for a Gaussian"),
    "bimodality": (
        "bimodality",
        "bimodality coefficient: (skewness² + 1) / (excess kurtosis + 3), in its form for finite samples; 5/9 for a "
        "uniform distribution",
    ),
    "wd_error": ("WD error", "bound on the error that the sketch makes in WD"),
}
"""Statistic -> what to call it, and what it is."""

UNKNOWN = (
    "The scan keeps the distributions of the neurons furthest from the Gaussian in each layer, and of as many at the "
    "median; this neuron's is not among them."
)
UNKNOWN_BOTH = (
    "Distributions and example tokens are kept of the neurons furthest from the Gaussian in each layer, and of as many "
    "at the median; this neuron is none of them."
)
MORE = (
    "Modes, what falls in them, and what the neuron's ablation alone does come with the atlas analysis, the pairs that "
    "it separates with that of differentiation, for the neurons chosen there; this is none of them."
)
EXAMPLED = (
    "The tokens at which the neuron's pre-activation is lowest and highest in some windows of the scan's text, at most "
    "one of each window at either end. The first token of a window, which has no text before it, is left out."
)
NO_EXAMPLES = (
    "This run holds no example tokens: an earlier version finished it. Repeat its command with the same --out to add "
    "them; all else is kept."
)


def explorer(run: Run) -> dict[str, Any] | None:
    """The explorer's data as a JSON value: numbers as base64 of little-endian arrays. None without a scan."""
    if run.scan is None:
        return None
    table = run.scan.table
    table = table.assign(negative_excess=negative_excess(table["negative_share"], table["mean"], table["std"]))
    branches = sorted(set(table["branch"]))
    columns = [
        _column("layer", "layer", "layer of the model, from 0", table["layer"].to_numpy(), "u2"),
        _column("expert", "expert", "expert of a mixture; -1 in a dense MLP", table["expert"].to_numpy(), "i2"),
        _column("neuron", "neuron", "index in the layer, or in the expert", table["neuron"].to_numpy(), "u4"),
        _column("branch", "branch", "", np.searchsorted(branches, table["branch"].to_numpy(str)), "u1"),
    ]
    for key, (label, meaning) in COLUMNS.items():
        if key == "wd_rank":
            ranks = table.groupby("layer")["wd"].rank(ascending=False, method="first", na_option="bottom")
            columns.append(_column(key, label, meaning, ranks.to_numpy(), "u4"))
        elif table[key].notna().any():
            columns.append(_column(key, label, meaning, table[key].to_numpy(), "f4"))
    known, exampled = details(run), run.examples
    views = {"looked at closely": np.isin(names_of(table), list(known.pages))}
    kept = run.scan.histograms
    if kept is not None and len(kept) < len(table):
        views["distribution kept"] = np.isin(np.arange(len(table)), kept.rows)
    return {
        "count": len(table),
        "branches": branches,
        "columns": columns,
        "sets": [
            {"name": name, "data": packed(np.packbits(one.mask, bitorder="little"))}
            for name, one in sorted(run.sets.items(), key=lambda item: _order(item[0]))
        ],
        "views": [
            {"name": name, "data": packed(np.packbits(inside, bitorder="little"))}
            for name, inside in views.items()
            if inside.any()
        ],
        "histograms": None if kept is None else _histograms(kept),
        "details": known.pages,
        "examples": None if exampled is None else packed_examples(exampled),
        "exampled": NO_EXAMPLES if exampled is None else EXAMPLED,
        "words": known.words,
        "unknown": UNKNOWN if exampled is None else UNKNOWN_BOTH,
        "more": MORE,
    }


def _order(name: str) -> tuple[int, str]:
    """Top sets first, random ones last."""
    return (0 if name.startswith("top") else 2 if name.startswith("random") else 1, name)


def _column(key: str, label: str, meaning: str, values: np.ndarray, kind: str) -> dict[str, Any]:
    return {"key": key, "label": label, "meaning": meaning, "type": kind, "data": packed(values, kind)}


def _histograms(kept: Histograms) -> dict[str, str]:
    """Histograms as the page unpacks them: rows, left ends, widths, and the counts of one after the other."""
    columns = {"rows": "u4", "low": "f4", "step": "f4", "counts": "u4"}
    return {name: packed(getattr(kept, name), kind) for name, kind in columns.items()}

"""The sets that other statistics than WD choose, and what skewness and kurtosis leave of WD."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.significance.ranks import residual
from negspace.stats.wasserstein import negative_excess

RESIDUAL = "wd_residual"
"""Residuals of WD's ranks after a regression on those of |skewness| and excess kurtosis, site by site."""
HELD = ("skewness", "kurtosis")
"""The competing statistics that the residual holds constant."""
NAMES = {
    "wd": "WD",
    "md": "MD",
    "skewness": "|skewness|",
    "signed_skewness": "signed skewness",
    "kurtosis": "kurtosis",
    "bimodality": "bimodality",
    "std": "standard deviation",
    "negative_share": "negative share",
    "negative_excess": "negative share beyond a Gaussian's",
    RESIDUAL: "WD beyond |skewness| and kurtosis",
    "random mean": "random sets",
    "mean": "mean",
    "fraction_negative": "tokens below zero",
    "mean_negative": "mean of negatives",
}
"""What ranks the neurons of a set -> what to call it, in the order of figures."""


def statistic(table: pd.DataFrame, layout: Layout, name: str) -> NDArray[np.float64]:
    """A statistic as neurons are ranked by it, [neurons]: skewness by its magnitude; "signed_skewness" as it is.

    Args:
        table: the scan's.
        name: a column of it, "signed_skewness", "negative_excess", or "wd_residual".
    """
    if name == RESIDUAL:
        found = np.full(len(table), np.nan)
        parts = {one: statistic(table, layout, one) for one in ("wd", *HELD)}
        for rows in layout.rows.values():
            found[rows] = residual(parts["wd"][rows], [parts[one][rows] for one in HELD])
        return found
    if name == "negative_excess":
        table = table.assign(negative_excess=negative_excess(table["negative_share"], table["mean"], table["std"]))
    elif name == "signed_skewness":
        table = table.assign(signed_skewness=table["skewness"])
    return select.ranked(table, layout, name)


def defined(table: pd.DataFrame, layout: Layout, name: str, layers: Iterable[int] | None = None) -> tuple[str, ...]:
    """Paths of the sites of which any neuron has the statistic; routed experts have no mapping difficulty."""
    values = statistic(table, layout, name)
    paths = (site.path for site in layout.within(layers))
    return tuple(path for path in paths if not np.isnan(values[layout.rows[path]]).all())


def choose(table: pd.DataFrame, layout: Layout, p: select.Share, by: str, end: str, within: Iterable[str]) -> NeuronSet:
    """The neurons of highest ("top") or lowest ("bottom") value at some sites; counts and ties as in `select.top`.

    Args:
        table: the scan's.
        by: a statistic of `statistic`.
        within: paths of the sites, each of which has it.
    """
    kept = set(within)
    values = statistic(table, layout, by)
    # Ranked under the name of WD, since selection knows the scan's own columns only.
    ranked = pd.DataFrame({"wd": np.concatenate([values[rows] for path, rows in layout.rows.items() if path in kept])})
    pick = select.top if end == "top" else select.bottom
    chosen = pick(ranked, Layout(tuple(site for site in layout if site.path in kept)), p)
    return NeuronSet(chosen.indices, layout, chosen.origin.replace("by wd", f"by {by}"))

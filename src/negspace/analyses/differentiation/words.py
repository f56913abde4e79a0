"""Sentences of differentiation: pairs with both pre-activations below zero, and the pairs' composition."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from negspace.analyses.differentiation.columns import BOTTOM, RANDOM
from negspace.experiment.analysis import Book
from negspace.experiment.words import between, percent, points, unjudgeable
from negspace.wording import counted


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences on pairs with both pre-activations below zero, and on the pairs' composition."""
    summary, alpha = tables["differentiation"], book.alpha
    neurons = tables["differentiation_neurons"]
    if neurons.empty:
        notes = book.record(book.part["record"]).results["notes"]
        return [f"Differentiation: {'; '.join(['no chosen neuron could be read', *notes])}."]
    top = neurons[neurons["set"] == "top"]
    if not top["selected"].sum():
        return ["Differentiation: no chosen neuron separates any near pair."]
    matched = f"matched pairs {top['apart_matched'].mean():.1f} (" if top["matched"].sum() else "("
    made = [
        f"Differentiation, {counted(len(top), 'neuron')} from the top {percent(book.part['share'])} by "
        f"{book.part['by']}: the near inputs of selected pairs are driven {top['apart'].mean():.1f} standard "
        f"deviations apart on average, {matched}{int(top['matched'].sum()):,} of {int(top['selected'].sum()):,} pairs "
        "have a match)."
    ]
    for measure, words in (
        ("nn", "with both pre-activations below zero"),
        ("pn", "across zero"),
        ("upos_differs", "of different parts of speech"),
    ):
        found = []
        for against in ("matched pairs", "random", "random over matched", "bottom", "bottom over matched"):
            row = summary[(summary["set"] == "top") & (summary["measure"] == measure) & (summary["against"] == against)]
            if len(row):
                found.append(_said(row.iloc[0], against, alpha))
        if found:
            made.append(f"Pairs {words}: {'; '.join(found)}.")
    return made


def _said(row: pd.Series, against: str, alpha: float) -> str:
    matched = against == "matched pairs"
    low, high = row["low"], row["high"]
    change = f"{points(row['difference'])} points {between(low, high)}"
    shares = f"{row['value'] * 100:.1f}% beside {row['reference'] * 100:.1f}%"
    whom, over, _ = against.partition(" over matched")
    against = {RANDOM: "random sets", BOTTOM: "bottom neurons"}.get(whom, whom)
    if over:  # differences of shares, which may be below zero
        against += " (selected minus matched pairs)"
        shares = f"{points(row['value'])} points beside {points(row['reference'])}"
    if isinstance(row["reason"], str) and row["reason"]:
        said = f"against {against} {unjudgeable(row['reason'])}"
        return f"{said}; in these layers' neurons alone {shares} ({change})" if matched else said
    p = row["p_layers_holm" if matched else "p_holm"]
    sure = np.isfinite(p) and p <= alpha and (low > 0 or high < 0)
    outcome = ("more" if row["difference"] > 0 else "fewer") if sure else "undecided"
    shown = "p n/a" if not np.isfinite(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    units = f" over {row['layers']} layers" if matched else ""
    return f"against {against} {outcome}, {shares} ({change}, corrected {shown}{units})"

"""What the main study's tables say, in plain sentences; a null result is called one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.ablation import dissociation as dissociation_tables
from negspace.experiment.book import Book
from negspace.experiment.words import between, capital, points, ratio
from negspace.text.suites import TITLES

DIRECTIONS: Mapping[str, str] = {"harm": "drop", "gain": "rise"}
"""Finding on a suite -> what accuracy does; any other finding is its own word."""
_WHAT = {
    "zero_negative": "zeroing the negative pre-activations of",
    "zero_positive": "zeroing the positive pre-activations of",
    "zero_both": "zeroing the pre-activations of",
    "relu_on_positives": "replacing act(a) by a, where a > 0, in",
    "sign_flip": "flipping the sign of negative activations of",
    "mean": "fixing at their means the pre-activations of",
    "negative_mean": "fixing at their mean the negative pre-activations of",
}


def verdicts(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences on every share: perplexity, each suite of minimal pairs, and how the top set stands to its controls."""
    study = book.study
    what = _WHAT[book.part["intervention"]]
    summary, contrasts = tables["summary"], tables["contrasts"]
    sentences = []
    for share in study["shares"]:
        top = summary[(summary["role"] == "top") & (summary["share"] == share)].iloc[0]
        size = f"{int(top['neurons']):,} neuron{'s' if top['neurons'] != 1 else ''}"
        sentences.append(
            f"{capital(what)} the top {share * 100:.4g}% by {study['by']} ({size}) multiplies perplexity by "
            f"{ratio(top['ratio'])} {between(top['ratio_low'], top['ratio_high'], ratio)}{_random(contrasts, share)}."
        )
        for kind, name in TITLES.items():
            if f"{kind}_change" in summary.columns:
                sentences.append(_grammar(kind, name, top, contrasts))
        if study["matched"]:
            sentences.append(_matched(book.part, share))
    if book.manifest.get("rectifies") and book.part["intervention"] == "zero_negative":
        sentences.append(_noop(summary))
    return sentences + dissociation_tables.sentences(book, tables)


def _noop(summary: pd.DataFrame) -> str:
    """On a ReLU model the ablation must change nothing at all; whether it did is to be seen in the scores."""
    values = summary.loc[summary["role"] != "random mean", ["perplexity", *_accuracies(summary)]]
    same = bool((values == values.iloc[0]).all(axis=None))
    text = "Every activation of this model is flat below zero, so that zeroing negatives must change nothing: "
    return text + (
        "all scores are exactly the plain model's."
        if same
        else "but scores differ from the plain model's; the ablation is not exact here, please report it."
    )


def _accuracies(summary: pd.DataFrame) -> list[str]:
    return [f"{kind}_accuracy" for kind in TITLES if f"{kind}_accuracy" in summary.columns]


def direction(finding: str) -> str:
    """A finding on a suite in words: drop, rise, or what else it is."""
    return DIRECTIONS.get(finding, finding)


def _random(contrasts: pd.DataFrame, share: float) -> str:
    row = _contrast(contrasts, share, "perplexity", "random")
    if row is None:
        return ""
    return f"; {ratio(row['difference'])} {between(row['low'], row['high'], ratio)} times the random sets' perplexity"


def _grammar(kind: str, name: str, top: pd.Series, contrasts: pd.DataFrame) -> str:
    low, high = top[f"{kind}_change_low"], top[f"{kind}_change_high"]
    outcome = direction(top[f"{kind}_finding"])
    sentence = (
        f"{name}: {outcome} against the plain model, {points(top[f'{kind}_change'])} points "
        f"{between(low, high)} at {top[f'{kind}_accuracy'] * 100:.1f}% right "
        f"(Holm-corrected: p {_p(top[f'{kind}_p_holm'])})"
    )
    for against, words in (("random", "the mean of the random sets"), ("matched", "the low-ranked set")):
        row = _contrast(contrasts, float(top["share"]), kind, against)
        if row is not None:
            if against == "matched" and "nearest" in row["control"]:
                words += " (nearest, not matched)"
            relative = direction(row["finding"])
            words += f": {relative}, {points(row['difference'])} {between(row['low'], row['high'])}"
            sentence += f"; against {words}"
    return sentence + "."


def _matched(part: Mapping[str, Any], share: float) -> str:
    match = next(match for match in part["matches"] if match["share"] == share)
    label = f"Perplexity-matched control for the top {share * 100:.4g}%"
    effort = f"{match['evaluations']} evaluation{'s' if match['evaluations'] != 1 else ''}"
    if match["matched"]:
        return (
            f"{label}: the bottom {match['m'] * 100:.4g}% ({match['neurons']:,} neurons), residual mismatch "
            f"{match['residual'] * 100:+.2f}% (tolerance {match['tolerance'] * 100:.3g}%), {effort}."
        )
    nearest = (
        f"; nearest: the bottom {match['m'] * 100:.4g}%, off by {match['residual'] * 100:+.2f}%" if match["m"] else ""
    )
    return f"{label}: cannot be matched ({match['reason']}{nearest}; {effort})."


def _contrast(contrasts: pd.DataFrame, share: float, score: str, against: str) -> pd.Series | None:
    rows = contrasts[(contrasts["share"] == share) & (contrasts["score"] == score) & (contrasts["against"] == against)]
    return None if rows.empty else rows.iloc[0]


def _p(p: float) -> str:
    return "n/a" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"= {p:.3f}"

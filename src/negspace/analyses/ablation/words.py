"""What the main study's tables say, in plain sentences; a null result is called one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from negspace.analyses.ablation import dissociation as dissociation_tables
from negspace.experiment.analysis import Book
from negspace.text.suites import TITLES

Outcome = Literal["drop", "rise", "null result"]

_WHAT = {
    "zero_negative": "zeroing the negative pre-activations of",
    "zero_positive": "zeroing the positive pre-activations of",
    "zero_both": "zeroing the pre-activations of",
    "relu_on_positives": "replacing act(a) by a, where a > 0, in",
    "sign_flip": "flipping the sign of negative activations of",
    "mean": "fixing at their means the pre-activations of",
    "negative_mean": "fixing at their mean the negative pre-activations of",
}


def judge(low: float, high: float, p_corrected: float, alpha: float) -> Outcome:
    """A drop or rise where the interval excludes zero and the corrected p-value is below alpha, else a null result."""
    if np.isfinite(p_corrected) and p_corrected >= alpha:
        return "null result"
    if high < 0:
        return "drop"
    return "rise" if low > 0 else "null result"


def verdicts(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences on every share: perplexity, each suite of minimal pairs, and how the top set stands to its controls."""
    study = book.study
    alpha, what = study["alpha"], _WHAT[book.part["intervention"]]
    summary, contrasts = tables["summary"], tables["contrasts"]
    sentences = []
    for share in study["shares"]:
        top = summary[(summary["role"] == "top") & (summary["share"] == share)].iloc[0]
        size = f"{int(top['neurons']):,} neuron{'s' if top['neurons'] != 1 else ''}"
        sentences.append(
            f"{_capital(what)} the top {share * 100:.4g}% by {study['by']} ({size}) multiplies perplexity by "
            f"{ratio(top['ratio'])} {_ratios(top['ratio_low'], top['ratio_high'])}{_random(contrasts, share)}."
        )
        for kind, name in TITLES.items():
            if f"{kind}_change" in summary.columns:
                sentences.append(_grammar(kind, name, top, contrasts, alpha))
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


def ratio(value: float) -> str:
    """A ratio of perplexities: four decimals near 1, four digits where it is large."""
    return f"{value:.4f}" if value < 10 else f"{value:.4g}"


def _ratios(low: float, high: float) -> str:
    return f"[{ratio(low)}, {ratio(high)}]" if np.isfinite(low) and np.isfinite(high) else "[no interval]"


def _random(contrasts: pd.DataFrame, share: float) -> str:
    row = _contrast(contrasts, share, "perplexity", "random")
    if row is None:
        return ""
    return f"; {ratio(row['difference'])} {_ratios(row['low'], row['high'])} times the random sets' perplexity"


def _grammar(kind: str, name: str, top: pd.Series, contrasts: pd.DataFrame, alpha: float) -> str:
    low, high = top[f"{kind}_change_low"], top[f"{kind}_change_high"]
    outcome = judge(low, high, top[f"{kind}_p_holm"], alpha)
    sentence = (
        f"{name}: {outcome} against the plain model, {_points(top[f'{kind}_change'])} points "
        f"{_range(low * 100, high * 100, '+.1f')} at {top[f'{kind}_accuracy'] * 100:.1f}% right "
        f"(McNemar over pairs, Holm-corrected: p {_p(top[f'{kind}_p_holm'])})"
    )
    for against, words in (("random", "the mean of the random sets"), ("matched", "the low-ranked set")):
        row = _contrast(contrasts, float(top["share"]), kind, against)
        if row is not None:
            if against == "matched" and "nearest" in row["control"]:
                words += " (nearest, not matched)"
            relative = judge(row["low"], row["high"], row["p_holm"], alpha)
            words += f": {relative}, {_points(row['difference'])} {_range(row['low'] * 100, row['high'] * 100, '+.1f')}"
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


def _range(low: float, high: float, form: str) -> str:
    return f"[{low:{form}}, {high:{form}}]" if np.isfinite(low) and np.isfinite(high) else "[no interval]"


def _points(change: float) -> str:
    return f"{change * 100:+.1f}"


def _p(p: float) -> str:
    return "n/a" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

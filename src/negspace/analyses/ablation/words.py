"""Sentences of the main study: the finding first, then its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from negspace.analyses.ablation import dissociation_words
from negspace.experiment.book import Book
from negspace.experiment.claim import whole
from negspace.experiment.words import capital, claim, contrast, percent, title, within
from negspace.text.suites import TITLES
from negspace.wording import counted

_WHAT = {
    "zero_negative": "zeroing the negative pre-activations of",
    "zero_positive": "zeroing the positive pre-activations of",
    "zero_both": "zeroing the pre-activations of",
    "relu_on_positives": "replacing act(a) by a, where a > 0, in",
    "sign_flip": "flipping the sign of negative activations of",
    "mean": "fixing at their means the pre-activations of",
    "negative_mean": "fixing at their mean the negative pre-activations of",
}
AGAINST = {"plain": "the plain model", "random": "random sets", "matched": "the matched set"}
"""References of contrasts, as written in a sentence."""


def verdicts(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return sentences for every share: each score against every control, intact scores, the dissociation."""
    study, contrasts = book.study, tables["contrasts"]
    summary = tables["summary"]
    sentences = []
    for share in study["shares"]:
        here = contrasts[contrasts["share"] == share]
        top = summary[(summary["role"] == "top") & (summary["share"] == share)].iloc[0]
        ranked = " ".join(filter(None, (study["by"], within(study.get("layers")))))
        done = f"{capital(_WHAT[book.part['intervention']])} the top {percent(share)} by {ranked} "
        done += f"({counted(int(top['neurons']), 'neuron')})"
        for score in dict.fromkeys(here["score"]):
            name = title(score)
            rows = here[(here["score"] == score) & (here["set"] == "top")]
            plain, *others = [row for _, row in rows.iterrows()]
            said = f"{done}, {name}{_level(plain)}: {claim(plain)}"
            said += "".join(f"; against {_control(row)}: {contrast(row)}" for row in others)
            sentences.append(f"{said}.")
            done = f"Top {percent(share)}"
        sentences += _intact(here)
        if study["matched"]:
            sentences.append(matching(book.part, share))
    if book.manifest.get("rectifies") and book.part["intervention"] == "zero_negative":
        sentences.append(_noop(summary))
    return sentences + dissociation_words.sentences(book, tables)


def _level(plain: pd.Series) -> str:
    """What the plain model gets right of a suite's pairs, where its change can be judged."""
    if plain["score"] == "perplexity" or plain["finding"] == "cannot be judged":
        return ""
    return f" (plain model: {plain['reference'] * 100:.1f}% right)"


def _control(row: pd.Series) -> str:
    return f"{row['control']} of equal size" if row["against"] == "random" else str(row["control"])


def _intact(contrasts: pd.DataFrame) -> list[str]:
    """Sentences on grammar under the controls: intact only after an equivalence test."""
    said = []
    for _, row in contrasts[
        contrasts["set"].isin(["matched", "random"]) & (contrasts["score"] != "perplexity")
    ].iterrows():
        who = f"Under {'the matched set' if row['set'] == 'matched' else 'random sets'}, {TITLES[row['score']]}"
        said.append(f"{who}: {'intact, ' if whole(row) else ''}{claim(row)}.")
    return said


def _noop(summary: pd.DataFrame) -> str:
    """On a ReLU model the ablation must change nothing; the scores show whether it did."""
    text = "Every activation of this model is flat below zero, so zeroing negatives must change nothing: "
    return text + (
        "all scores are exactly the plain model's."
        if unchanged(summary)
        else "but scores differ from the plain model's; the ablation is not exact here, please report it."
    )


def unchanged(summary: pd.DataFrame) -> bool:
    """True if every set leaves all scores exactly as they are."""
    scores = ["perplexity", *(f"{suite}_accuracy" for suite in TITLES if f"{suite}_accuracy" in summary.columns)]
    values = summary.loc[summary["role"] != "random mean", scores]
    return bool((values.nunique(dropna=True) <= 1).all())


def matching(part: Mapping[str, Any], share: float) -> str:
    """The search for the matched set of a share in a sentence: what it found, or that and why it found none."""
    match = next(match for match in part["matches"] if match["share"] == share)
    label = f"Perplexity-matched control for the top {percent(share)}"
    effort = counted(match["evaluations"], "evaluation")
    if match["matched"]:
        return (
            f"{label}: the bottom {percent(match['m'])} ({counted(match['neurons'], 'neuron')}), residual mismatch "
            f"{match['residual'] * 100:+.2f}% (tolerance {match['tolerance'] * 100:.3g}%), {effort}."
        )
    nearest = (
        f"; nearest: the bottom {percent(match['m'])}, off by {match['residual'] * 100:+.2f}%" if match["m"] else ""
    )
    return f"{label}: cannot be matched ({match['reason']}{nearest}; {effort})."

"""Sentences and the claim on parts of speech: on which words the excess falls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from negspace.analyses.parts_of_speech.columns import SCAFFOLD
from negspace.analyses.parts_of_speech.tables import too_few
from negspace.experiment.analysis import Book
from negspace.experiment.claim import Answer, Claim
from negspace.experiment.condition import NEAREST
from negspace.experiment.words import unjudgeable


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """On which words the excess falls, and whether the controls' falls there too."""
    alpha = book.alpha
    table, contrasts = tables["parts_of_speech"], tables["parts_of_speech_contrasts"]
    top = table[table["role"] == "top"]
    said = [f"Parts of speech, {top['condition'].iloc[0]}: {_tags(top[top['kind'] == 'upos'], 'excess', alpha)}."]
    for control, rows in contrasts[contrasts["kind"] == "upos"].groupby("control", sort=False):
        said.append(f"Against {control}: {_tags(rows, 'contrast', alpha)}.")
    for _, row in tables["parts_of_speech_scaffold"].iterrows():
        if row["role"] in ("random", "matched", NEAREST):
            continue
        who = f"Scaffolding ({', '.join(SCAFFOLD)}) against all other words, {row['compared']}"
        if row["reason"]:
            said.append(f"{who}: {unjudgeable(row['reason'])}.")
            continue
        interval = f"{row['difference']:+.4f} nats [{row['low']:+.4f}, {row['high']:+.4f}]"
        said.append(f"{who}: {_on_scaffold(row, alpha)}, {interval}.")
    return said


def _on_scaffold(row: Mapping[str, Any] | pd.Series, alpha: float) -> str:
    """The finding of a row of parts_of_speech_scaffold."""
    if not (row["p_holm"] <= alpha and (row["low"] > 0 or row["high"] < 0)):
        return "undecided"
    return "more on scaffolding" if row["difference"] > 0 else "less on scaffolding"


def _tags(rows: pd.DataFrame, column: str, alpha: float) -> str:
    """Return the tags that differ, the largest difference first; and how many cannot be judged."""
    judged = rows[rows["reason"] == ""] if "reason" in rows else rows
    if judged.empty:
        return unjudgeable(str(rows["reason"].iloc[0]))
    windows, tests = int(judged["windows"].max()), max(1, int(judged["p"].notna().sum()))
    few = too_few(windows, tests, alpha, "part of speech", "parts of speech")
    if few and (rows["role"] != "random").all():
        return unjudgeable(few)
    left = len(rows) - len(judged)
    more = f"; {left} of {len(rows)} cannot be judged" if left else ""
    sure = judged[(judged["p_holm"] <= alpha) & ((judged["low"] > 0) | (judged["high"] < 0))]
    if sure.empty:
        return f"undecided, no part of speech of {len(judged)} is shown to differ{more}"
    ordered = sure.sort_values(column, ascending=False, kind="stable")
    moved = "changes" if column == "excess" else "differs"
    tags = ", ".join(f"{row['tag']} {row[column]:+.4f}" for _, row in ordered.iterrows())
    return f"surprisal {moved} (nats): {tags}{more}"


_COMPARED = {
    "top": "",
    "top against random": ", against random sets",
    "top against matched": ", against the matched set",
}
"""Role of a row of the table of scaffolding -> what it is compared with, in a claim."""


def claims(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
    """Return the claim that the damage falls on scaffolding words."""
    words = f"The damage falls on the scaffolding of sentences ({', '.join(SCAFFOLD)})"
    said = []
    for _, row in tables["parts_of_speech_scaffold"].iterrows():
        if row["role"] not in _COMPARED:
            continue
        answers: Mapping[str, Answer] = {"more on scaffolding": "holds", "less on scaffolding": "does not hold"}
        finding = "cannot be judged" if row["reason"] else _on_scaffold(row, book.alpha)
        answer: Answer = "cannot be judged" if row["reason"] else answers.get(finding, "undecided")
        value, low, high = (float(row[name]) for name in ("difference", "low", "high"))
        who, share = f"words of the text{_COMPARED[row['role']]}", book.part["share"]
        said.append(Claim("tags", words, who, share, answer, finding, "nats", value, low, high, row["reason"]))
    return said

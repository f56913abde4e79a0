"""What the figures of several analyses share: names of scores and changes, and units."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from negspace.report.figure import Numbers, numbers

SCORES = {"perplexity": "Perplexity", "blimp": "BLiMP", "tse": "TSE"}
"""Score -> what to call it."""
INTERVENTIONS = {
    "zero_negative": "zero negative",
    "zero_positive": "zero positive",
    "zero_both": "zero",
    "relu_on_positives": "ReLU on positives",
    "sign_flip": "sign flip",
    "mean": "mean",
    "negative_mean": "mean of negatives",
}
"""Intervention -> what to call it."""


def scores_of(table: pd.DataFrame) -> list[str]:
    """The scores that a table has, perplexity first."""
    return [score for score in SCORES if (table["score"] == score).any()]


def unit(score: str) -> float:
    """What a change is multiplied by for a figure: 1 for ratios of perplexity, 100 for points of accuracy."""
    return 1.0 if score == "perplexity" else 100.0


def zero(score: str) -> float:
    """The change that is none."""
    return 1.0 if score == "perplexity" else 0.0


def change_label(score: str, against: str = "the plain model's") -> str:
    """Label of an axis of changes."""
    return f"perplexity / {against}" if score == "perplexity" else "change in % right (points)"


def estimates(
    rows: pd.DataFrame, key: str, value: str, ends: Sequence[str], scale: float
) -> dict[str, tuple[float, float, float]]:
    """Name of a row -> estimate and interval."""
    columns = [numbers(rows[column]) * scale for column in (value, *ends)]
    return {str(name): (float(a), float(b), float(c)) for name, a, b, c in zip(rows[key], *columns, strict=True)}


def scaled(rows: pd.DataFrame, column: str, scale: float) -> Numbers:
    """A column in a figure's unit."""
    return numbers(rows[column]) * scale

"""Names, scales and positions of scores and their changes, shared by the figures of several analyses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from negspace.figures.figure import Axis, Numbers, Series, numbers
from negspace.text.suites import SUITES, TITLES

SCORES = {"perplexity": "Perplexity", **TITLES}
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


PLAIN = "the plain model's"
"""Against what changes of perplexity are, unless told otherwise."""


@dataclass(frozen=True)
class Measure:
    """The scale on which a panel shows changes of a score: ratios of perplexity; of pairs, points of accuracy or the
    margin log p(good) - log p(bad) in nats, of TSE per token."""

    score: str
    """Key of `SCORES`."""
    nats: bool = False
    """Whether it is the margin."""

    @property
    def title(self) -> str:
        """The title of a panel."""
        return SCORES[self.score] + (", margins" if self.nats else "")

    @property
    def unit(self) -> float:
        """The factor for a change in a figure: 100 for points of accuracy."""
        return 1.0 if self.score == "perplexity" or self.nats else 100.0

    @property
    def zero(self) -> float:
        """The change that is none."""
        return 1.0 if self.score == "perplexity" else 0.0

    @property
    def finding(self) -> str:
        """The column of the finding."""
        return "nats_finding" if self.nats else "finding"

    def label(self, against: str = "") -> str:
        """Label of an axis of changes against the plain model, or of differences from a named other."""
        if self.score == "perplexity":
            return f"perplexity / {against or PLAIN}"
        what = "difference" if against else "change"
        return f"{what} of the margin ({SUITES[self.score].unit})" if self.nats else f"{what} in % right (points)"

    def columns(self, name: str = "change", ends: tuple[str, str] | None = None) -> tuple[str, str, str]:
        """The columns of a change, `experiment.changes.Changes` by name, and of its interval's ends.

        Args:
            name: the change's.
            ends: where the ends are called otherwise; those of margins never are.
        """
        value = f"{name}_nats" if self.nats else name
        low, high = ends if ends and not self.nats else (f"{value}_low", f"{value}_high")
        return value, low, high

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the score."""
        return table[table["score"] == self.score]


def lost(suite: str) -> tuple[tuple[str, float, float, str], ...]:
    """Column of a suite's changes by group, its unit, the least range of colours, and a label: pairs on both scales."""
    on_margins = f"margin lost ({SUITES[suite].unit})"
    return ("change", 100.0, 1.0, "accuracy lost (points)"), ("change_nats", 1.0, 0.01, on_margins)


def scores_of(table: pd.DataFrame) -> list[str]:
    """The scores that a table has, perplexity first."""
    return [score for score in SCORES if (table["score"] == score).any()]


def measures_of(table: pd.DataFrame, name: str = "change") -> list[Measure]:
    """The scales on which a table has changes: perplexity first, then each suite's accuracy and margins.

    Args:
        table: one row per score and set.
        name: of the column of the change.
    """
    made = []
    for score in scores_of(table):
        margins = Measure(score, nats=True)
        column = margins.columns(name)[0]
        made.append(Measure(score))
        if score != "perplexity" and column in table.columns and margins.of(table)[column].notna().any():
            made.append(margins)
    return made


def estimates(
    rows: pd.DataFrame, key: str, columns: Sequence[str], scale: float
) -> dict[str, tuple[float, float, float]]:
    """Name of a row -> estimate and interval, from their columns."""
    values = [numbers(rows[column]) * scale for column in columns]
    return {str(name): (float(a), float(b), float(c)) for name, a, b, c in zip(rows[key], *values, strict=True)}


def scaled(rows: pd.DataFrame, column: str, scale: float) -> Numbers:
    """A column in a figure's unit."""
    return numbers(rows[column]) * scale


def beside(series: Sequence[Series], axis: Axis, step: float = 0.012) -> tuple[Series, ...]:
    """Series over one axis, moved sideways a little where several have intervals, which would cover one another.

    Args:
        series: each with its places in `x`.
        axis: the horizontal axis.
        step: from one series to the next, as a share of the places' range.

    Returns:
        The same series; what is said on hover are the true places.
    """
    moved = [line for line in series if line.low is not None]
    places = np.concatenate([line.x for line in moved]) if moved else np.zeros(0)
    places = np.log10(places) if axis.log else places
    if len(moved) < 2 or not len(places) or np.ptp(places) == 0:
        return tuple(series)
    made = []
    for line in series:
        if line.low is None:
            made.append(line)
            continue
        shift = (moved.index(line) - (len(moved) - 1) / 2) * step * float(np.ptp(places))
        labels = line.labels or tuple(f"{axis.label} {value:.4g}" for value in line.x)
        made.append(replace(line, x=line.x * 10**shift if axis.log else line.x + shift, labels=labels, at=line.x))
    return tuple(made)


def layer_axis(layers: Numbers) -> Axis:
    """An axis that names every layer where they are few."""
    ticks = tuple((layer, f"{layer:.0f}") for layer in layers) if len(layers) <= 12 else ()
    return Axis("layer", ticks=ticks)

"""Sentences of the comparison of statistics."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.rankings.sets import NAMES
from negspace.experiment.analysis import Book
from negspace.experiment.words import capital, change, contrast, percent, title, unjudged
from negspace.significance.interval import FEWEST


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Correlations and overlaps with WD, what WD adds to skewness and kurtosis, and what ablating each set does."""
    return [
        *_correlations(tables["rankings_correlation"]),
        *partial_correlations(tables["rankings_partial"], book.alpha),
        *_overlaps(tables["rankings_overlap"]),
        *_ablations(book, tables["rankings"], tables["rankings_contrasts"]),
    ]


def _correlations(table: pd.DataFrame) -> list[str]:
    rows = table[table["layer"].isna() & (table["first"] == "wd") & table["rho"].notna()]
    parts = [f"{_called(row['second'])} {_rho(row['rho'], row['low'], row['high'])}" for _, row in rows.iterrows()]
    return [f"Rank correlation with WD, mean over sites: {', '.join(parts)}."] if parts else []


def partial_correlations(table: pd.DataFrame, alpha: float) -> list[str]:
    """What is left of the correlations where other statistics are held constant."""
    rows = table[table["layer"].isna() & table["partial"].notna()]
    return [
        f"{_called(row['first'])} and {_called(row['second'])}: rank correlation {row['rho']:+.2f}; with "
        f"{_names(row['given'])} held constant {_rho(row['partial'], row['low'], row['high'])}, "
        f"{_direction(row, alpha)}; these explain {row['explained'] * 100:.0f}% of the variance of the "
        f"ranks of {_called(row['first'])}."
        for _, row in rows.iterrows()
    ]


def _overlaps(table: pd.DataFrame) -> list[str]:
    said = []
    rows = table[table["layer"].isna() & (table["first"] == "wd")]
    for keys, part in rows.groupby(["share", "end"], sort=False):
        share, end = keys  # type: ignore[misc]
        parts = [
            f"{_called(row['second'])} {row['common']} of {row['second_neurons']} (Jaccard {row['jaccard']:.2f}, "
            f"by chance {row['expected']:.2f})"
            for _, row in part.iterrows()
            if np.isfinite(row["jaccard"])
        ]
        if parts:
            said.append(f"Neurons in common with the {end} {percent(share)} by WD: {', '.join(parts)}.")
    return said


def _ablations(book: Book, table: pd.DataFrame, contrasts: pd.DataFrame) -> list[str]:
    said = []
    shown = table[table["by"] != "plain model"]
    for score in book.part["scores"]:
        for keys, part in shown[shown["score"] == score].groupby(["share", "end", "within"], sort=False):
            share, end, within = keys  # type: ignore[misc]
            where = f" (sites that have {_called(str(within))})" if within else ""
            head = f"{capital(title(score))}, {end} "
            head += f"{percent(share)}{where}"
            changes = [f"{_called(row['by'])} {change(row)}" for _, row in part.iterrows()]
            said.append(f"{head}, against the plain model: {'; '.join(changes)}.")
            here = (contrasts[["share", "end", "within"]] == list(keys)).all(axis=1) & (contrasts["score"] == score)
            said += [
                f"{head}, {words}: {_contrast(contrasts[here], against)}."
                for against, words in (
                    ("wd", "against the set by WD"),
                    ("random", "against random sets"),
                )
                if (contrasts[here]["against"] == against).any()
            ]
    return said


def _contrast(rows: pd.DataFrame, against: str) -> str:
    kept = rows[rows["against"] == against]
    if why := unjudged(kept):
        return why
    return "; ".join(f"{_called(row['by'])} {contrast(row)}" for _, row in kept.iterrows())


def _direction(row: Mapping[Hashable, Any] | pd.Series, alpha: float) -> str:
    if np.isnan(row["p_holm"]):
        return f"cannot be judged over fewer than {FEWEST} sites"
    if row["p_holm"] > alpha:
        return "undecided"
    return "positive" if row["partial"] > 0 else "negative"


def _called(name: str) -> str:
    """A statistic as a sentence names it."""
    return NAMES.get(name, name.replace("_", " "))


def _names(given: str) -> str:
    return " and ".join(_called(name) for name in given.split(", "))


def _rho(value: float, low: float, high: float) -> str:
    ends = f" [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) and np.isfinite(high) else " [no interval]"
    return f"{value:+.2f}{ends}"

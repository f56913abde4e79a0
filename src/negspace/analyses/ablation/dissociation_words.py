"""Sentences of the double dissociation: the verdict first, then its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from negspace.experiment.book import Book
from negspace.experiment.words import between, percent, points, ratio
from negspace.text.suites import TITLES


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the dissociation's sentences: one per share and suite, the verdict first."""
    if "dissociation" not in tables:
        return []
    floors = tables["dissociation_floors"]
    said = []
    for _, row in tables["dissociation"].iterrows():
        here = floors[(floors["share"] == row["share"]) & (floors["suite"] == row["suite"])]
        said.append(_sentence(row, list(here["group"])))
    return said


def _sentence(row: pd.Series, floors: Sequence[str]) -> str:
    text = (
        f"Double dissociation at the top {percent(row['share'])}, {TITLES[row['suite']]} against tasks: {verdict(row)}"
    )
    if row["verdict"].startswith("not testable"):
        return f"{text}; {row['reason']}."
    text += (
        f". Interaction {points(row['interaction'])} points {between(row['low'], row['high'])}, corrected p = "
        f"{row['p_holm']:.3g}; top set minus control: grammar {points(row['grammar'])} "
        f"{between(row['grammar_low'], row['grammar_high'])}, tasks {points(row['other'])} "
        f"{between(row['other_low'], row['other_high'])}. Perplexity x {ratio(row['top_ratio'])} and x "
        f"{ratio(row['control_ratio'])}. Detectable with probability 0.8, before correction: "
        f"{row['detectable'] * 100:.1f} points"
    )
    if floors:
        shown = ", ".join(floors[:4]) + (f" and {len(floors) - 4} more" if len(floors) > 4 else "")
        text += f". Left out because the plain model is not shown to be above chance: {shown}"
    if row["changed"]:
        text += f". The verdict changes without {row['changed']}"
    return text + "."


def verdict(row: pd.Series) -> str:
    """A row's verdict; an interaction alone with the side that carries it."""
    if row["verdict"] != "interaction only":
        return str(row["verdict"])
    carried = {"grammar": "grammar alone", "other": "the tasks alone", "both": "both, in the same direction"}
    side = carried.get(str(row["carried_by"]), "neither side by itself")
    return f"interaction only ({row['direction']}; carried by {side}), no crossover"

"""Sentences of the double dissociation: the verdict first, then its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from negspace.experiment.book import Book
from negspace.experiment.words import between, inside, percent, points, ratio
from negspace.significance.dissociation import SCALES
from negspace.text.suites import TITLES

_SCALES = "{}, {} and {}".format(*SCALES)


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the dissociation's sentences: one per share and suite, the verdict first."""
    if "dissociation" not in tables:
        return []
    said = []
    for _, row in tables["dissociation"].iterrows():
        floors, without = (
            table[(table["share"] == row["share"]) & (table["suite"] == row["suite"])]
            for table in (tables["dissociation_floors"], tables["dissociation_without"])
        )
        needed = without[without["verdict"].str.startswith("not testable")]
        said.append(_sentence(row, list(floors["group"]), list(needed["left_out"]), book.alpha))
    return said


def _sentence(row: pd.Series, floors: Sequence[str], needed: Sequence[str], alpha: float) -> str:
    text = (
        f"Double dissociation at the top {percent(row['share'])}, {TITLES[row['suite']]} against tasks: {verdict(row)}"
    )
    if row["verdict"].startswith("not testable"):
        return f"{text}; {row['reason']}."
    text += (
        f"{inside(row['scope'])}. Interaction {points(row['interaction'])} points {between(row['low'], row['high'])}, "
        f"corrected p = {row['p_holm']:.3g}; top set minus control: grammar {points(row['grammar'])} points "
        f"{between(row['grammar_low'], row['grammar_high'])}, tasks {points(row['other'])} points "
        f"{between(row['other_low'], row['other_high'])}. Perplexity x {ratio(row['top_ratio'])} under the top set, x "
        f"{ratio(row['control_ratio'])} under the control. Detectable with probability 0.8, before correction: "
        f"{row['detectable'] * 100:.1f} points"
    )
    # Beside a p-value that would do, only scales that disagree keep a verdict back.
    if row["verdict"] == "not established" and row["p_holm"] <= alpha:
        text += f". No verdict: the interaction's sign differs between {_SCALES}"
    if row["verdict"] == "interaction only" and row["p_cross_holm"] <= alpha:
        text += f". No crossover: the sign on grammar or on the tasks differs between {_SCALES}"
    if floors:
        shown = ", ".join(floors[:4]) + (f" and {len(floors) - 4} more" if len(floors) > 4 else "")
        text += f". Left out because the plain model is not shown to be above chance: {shown}"
    if row["changed"]:
        text += f". The verdict changes without {row['changed']}"
    if needed:
        text += f". Without {'any one of ' if len(needed) > 1 else ''}{', '.join(needed)} it is not testable"
    return text + "."


def verdict(row: pd.Series) -> str:
    """A row's verdict; an interaction alone with the side on which it is shown."""
    if row["verdict"] != "interaction only":
        return str(row["verdict"])
    shown = {"grammar": "grammar only", "other": "the tasks only", "both": "both, in the same direction"}
    side = shown.get(str(row["carried_by"]), "neither side by itself")
    return f"interaction only ({row['direction']}; shown on {side}), no crossover"

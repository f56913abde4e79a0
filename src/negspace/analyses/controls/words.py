"""Sentences and the claim on controls: the top set against every control, and the no-op control."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from negspace.experiment.analysis import Book
from negspace.experiment.claim import Claim
from negspace.experiment.condition import MATCHED_RANDOM
from negspace.experiment.words import capital, claim, contrast, title
from negspace.wording import counted


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What the tables say: the top set against every control on every score, and the no-op control."""
    said: list[str] = []
    table = tables["controls"]
    for score in book.part["scores"]:
        rows = table[table["score"] == score]
        top = rows[rows["role"] == "top"].iloc[0]
        found = claim(top, "change", ("change_low", "change_high"), "change_")
        said.append(f"Controls, {title(score)}: {top['control']} against the plain model: {found}.")
        for _, row in rows[rows["role"] != "top"].iterrows():
            if pd.isna(row["finding"]):
                continue  # it is what the two were made equal in
            found = contrast(row, "contrast", ("contrast_low", "contrast_high"))
            said.append(f"Against {row['control']} ({counted(row['neurons'], 'neuron')}): {found}.")
    for _, row in tables["controls_residual"].iterrows():
        if row["matched"] is pd.NA:
            continue
        what = "perplexity" if row["role"] in ("perplexity", MATCHED_RANDOM) else "change of the residual stream"
        outcome = "matched" if row["matched"] else "not matched, the nearest is taken"
        said.append(f"{capital(row['control'])}: {what} {outcome} ({row['reason']}).")
    return said + _noop_sentences(book, tables["noop"])


def claims(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
    """Whether zeroing negatives changes nothing in a model whose activations are flat below zero."""
    table = tables["noop"]
    if table.empty:
        return []
    words = "In a ReLU model zeroing negatives changes nothing, bit for bit"
    of = "this model" if table["own"].iloc[0] else str(table["model"].iloc[0])
    finding = "; ".join(f"{row['differing']:,} of {row['items']:,} {row['what']} differ" for _, row in table.iterrows())
    return [Claim("relu", words, of, None, "holds" if table["same"].all() else "does not hold", finding)]


def _noop_sentences(book: Book, table: pd.DataFrame) -> list[str]:
    said = []
    for _, row in table.iterrows():
        who = "This model's activations are flat below zero" if row["own"] else f"On {row['model']}"
        if row["same"]:
            outcome = f"zeroing negatives is a no-op, bit for bit, on all {row['items']:,} {row['what']}"
        else:
            outcome = (
                f"zeroing negatives changes {row['differing']:,} of {row['items']:,} {row['what']}, which it must not:"
                " the intervention is not to be trusted here"
            )
        said.append(f"No-op control: {who}{': ' if row['own'] else ' '}{outcome}.")
    proved = len(table) and table["own"].all() and table["same"].all()
    if proved and book.part["intervention"] == "zero_negative":
        said.append(
            "There is no signal below zero in this model for zeroing negatives to remove; of other interventions this"
            " says nothing."
        )
    return said

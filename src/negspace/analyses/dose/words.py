"""Sentences of the dose analysis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from negspace.analyses.dose import axis
from negspace.analyses.dose.columns import PLAIN
from negspace.analyses.dose.tables import own
from negspace.experiment.analysis import Book
from negspace.experiment.words import claim, not_judged, percent, title, unjudged


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the sentences: the first harmful share, the share at which perplexity doubles, sign against magnitude."""
    said = axis.sentences(tables)
    said += [_threshold_sentence(row, tables["dose"]) for _, row in tables["dose_thresholds"].iterrows()]
    contrasts, name = tables["dose_contrasts"], own(book)
    against = contrasts[(contrasts["against"] == "random") & (contrasts["intervention"] == name)]
    different = against[against["share"] == against["first_share"]]
    for score in book.part["scores"]:
        rows = different[different["score"] == score]
        more, less = (rows[rows["finding"] == what]["share"] for what in ("harm", "gain"))
        if why := unjudged(rows):
            said.append(f"{_capital(title(score))}, {name}: the top set against random sets {why}.")
        elif len(rows) > 1:
            said.append(
                f"{_capital(title(score))}, {name}: the top set does more harm than random sets at "
                f"{_shares(more)} and less at {_shares(less)}, of {len(rows)} different shares{not_judged(rows)}."
            )
    contrasts = tables["sign_or_magnitude"]
    for _, row in tables["sign_or_magnitude_answer"].iterrows():
        here = (contrasts[["share", "set", "score"]] == row[["share", "set", "score"]]).all(axis=1)
        parts = [
            f"{words} {_described(contrasts[here], first, second)}"
            for first, second, words in (
                ("sign_flip", PLAIN, "sign lost"),
                ("negative_mean", PLAIN, "magnitude lost"),
                ("sign_flip", "negative_mean", "the first against the second"),
            )
        ]
        said.append(
            f"Sign or magnitude, {row['set']} {percent(row['share'])}, {title(row['score'])}: {row['answer']} "
            f"({'; '.join(parts)})."
        )
    return said


def _threshold_sentence(row: pd.Series, dose: pd.DataFrame) -> str:
    text = f"{_capital(title(row['score']))}, {row['set']}, {row['intervention']}: "
    place = ["score", "set", "intervention"]
    if why := unjudged(dose[(dose[place] == row[place]).all(axis=1)]):
        text += why
    elif np.isfinite(row["first_harm"]):
        text += f"harm is first shown at {percent(row['first_harm'])} ({row['neurons']:,} neurons)"
    else:
        text += "no harm is shown at any tested share"
    if row["score"] != "perplexity":
        return text + "."
    if not np.isfinite(row["doubling"]):
        return f"{text}; perplexity does not double at any tested share{_limits(row)}."
    return f"{text}; perplexity doubles at {percent(row['doubling'])}{_limits(row)}."


def _limits(row: pd.Series) -> str:
    low, high = row["doubling_low"], row["doubling_high"]
    if np.isnan(low) or np.isinf(low):
        return ""
    words = [percent(end) if np.isfinite(end) else "not reached" for end in (low, high)]
    return f" [{words[0]}, {words[1]}]"


def _described(rows: pd.DataFrame, first: str, second: str) -> str:
    row = rows[(rows["first"] == first) & (rows["second"] == second)].iloc[0]
    return claim(row)


def _shares(shares: pd.Series) -> str:
    return ", ".join(percent(share) for share in shares) or "no share"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

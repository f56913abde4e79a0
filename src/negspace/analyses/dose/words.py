"""Sentences of the dose analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from negspace.analyses.dose import axis
from negspace.analyses.dose.columns import PLAIN, SIGN_OR_MAGNITUDE
from negspace.analyses.dose.tables import answer
from negspace.experiment.analysis import Book
from negspace.experiment.words import (
    capital,
    claim,
    contrast,
    inside,
    not_judged,
    percent,
    scopes,
    title,
    unjudged,
)
from negspace.wording import counted


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the sentences: the first harmful share, the share at which perplexity doubles, sign against magnitude."""
    said = axis.sentences(tables)
    said += [_threshold_sentence(row, tables["dose"]) for _, row in tables["dose_thresholds"].iterrows()]
    contrasts, name = tables["dose_contrasts"], book.intervention
    against = contrasts[(contrasts["against"] == "random") & (contrasts["intervention"] == name)]
    different = against[against["share"] == against["first_share"]]
    for score in book.part["scores"]:
        rows = different[different["score"] == score]
        if len(rows) > 1 or unjudged(rows):
            which = f" at {len(rows)} different shares" if len(rows) > 1 else ""
            outcome = _on_both(rows, _more_and_less)
            where = inside(scopes(rows))
            said.append(f"{capital(title(score))}{where}, {name}: the top set against random sets{which}: {outcome}.")
    contrasts = tables["sign_or_magnitude"]
    for _, row in tables["sign_or_magnitude_answer"].iterrows():
        here = (contrasts[["share", "set", "score"]] == row[["share", "set", "score"]]).all(axis=1)
        asked = zip(("sign lost", "magnitude lost", "sign against magnitude"), SIGN_OR_MAGNITUDE, strict=True)
        parts = [f"{words}: {_described(contrasts[here], *pair)}" for words, pair in asked]
        said.append(
            f"Sign or magnitude, {row['set']} {percent(row['share'])}, {title(row['score'])}: {row['answer']}"
            f"{_by_margins(contrasts[here])} ({'; '.join(parts)})."
        )
    return said


def _on_both(rows: pd.DataFrame, say: Callable[[pd.DataFrame, str], str]) -> str:
    """Return in words what holds by accuracy (or perplexity), then by margins where there are any.

    Args:
        say: called as say(rows, prefix of the columns).
    """
    said = say(rows, "")
    if rows["nats_finding"].isna().all():
        return said
    margins = say(rows, "nats_")
    return f"{said}; by margins {'the same' if margins == said else margins}"


def _more_and_less(rows: pd.DataFrame, prefix: str) -> str:
    """Return in words the shares at which the top set does more harm than random sets, and less."""
    if why := unjudged(rows, prefix):
        return why
    shares = {
        words: rows[rows[f"{prefix}finding"] == what]["share"] for words, what in (("more", "harm"), ("less", "gain"))
    }
    shown = [f"{words} harm at {_shares(where)}" for words, where in shares.items() if len(where)]
    return (" and ".join(shown) or "no difference is shown") + not_judged(rows, prefix)


def _by_margins(contrasts: pd.DataFrame) -> str:
    """Return the answer by margins, to stand after that by accuracy; empty where there are none."""
    findings = contrasts.set_index(["first", "second"])["nats_finding"].dropna().to_dict()
    if not all(pair in findings for pair in SIGN_OR_MAGNITUDE):
        return ""
    return f"; by margins {answer(*(findings[pair] for pair in SIGN_OR_MAGNITUDE))}"


def _threshold_sentence(row: pd.Series, dose: pd.DataFrame) -> str:
    place = ["score", "set", "intervention"]
    here = dose[(dose[place] == row[place]).all(axis=1)].sort_values("share")
    name = f"{capital(title(row['score']))}{inside(scopes(here))}"
    text = f"{name}, {row['set']}, {row['intervention']}: {_on_both(here, _first_harm)}"
    if row["score"] != "perplexity" or unjudged(here):
        return f"{text}."
    if not np.isfinite(row["doubling"]):
        return f"{text}; perplexity does not double at any tested share{_limits(row)}."
    return f"{text}; perplexity doubles at {percent(row['doubling'])}{_limits(row)}, interpolated between shares."


def _first_harm(rows: pd.DataFrame, prefix: str) -> str:
    """Return in words the first share at which harm is shown.

    Args:
        rows: of the table dose, one per share, the smallest first.
    """
    if why := unjudged(rows, prefix):
        return why
    harmed = rows[rows[f"{prefix}finding"] == "harm"]
    if harmed.empty:
        return f"no harm is shown at any tested share{not_judged(rows, prefix)}"
    first = harmed.iloc[0]
    return f"harm is first shown at {percent(first['share'])} ({counted(first['neurons'], 'neuron')})"


def _limits(row: pd.Series) -> str:
    low, high = row["doubling_low"], row["doubling_high"]
    if np.isnan(low) or np.isinf(low):
        return ""
    words = [percent(end) if np.isfinite(end) else "not reached" for end in (low, high)]
    return f" [{words[0]}, {words[1]}]"


def _described(rows: pd.DataFrame, first: str, second: str) -> str:
    row = rows[(rows["first"] == first) & (rows["second"] == second)].iloc[0]
    return (claim if second == PLAIN else contrast)(row)


def _shares(shares: pd.Series) -> str:
    return ", ".join(percent(share) for share in shares)

"""Sentences of the atlas: what drives the neurons, and what ablating one alone does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from negspace.analyses.atlas.tables import over_represented, said, worst_of
from negspace.experiment.analysis import Book
from negspace.experiment.words import amount, not_judged, on_margin, percent, unjudgeable
from negspace.significance import correct
from negspace.text.suites import TITLES
from negspace.wording import counted


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences on all neurons, and on those that were ablated alone."""
    neurons, drivers, alpha = tables["atlas"], tables["atlas_drivers"], book.alpha
    read = neurons[neurons["modes"].notna()]
    chosen = f"{counted(len(neurons), 'neuron')} from the top {percent(book.part['share'])} by {book.part['by']}"
    if read.empty:
        made = [f"Atlas: of {chosen}, none was reached by a token of the passages."]
    else:
        several = int((read["peaks"] > 1).sum())
        reached = f" ({len(read):,} reached by tokens of the passages)" if len(read) < len(neurons) else ""
        made = [
            f"Atlas: of {chosen}{reached}, {several:,} {'has' if several == 1 else 'have'} more than one peak; "
            f"a mixture has {read['modes'].mean():.1f} components on average."
        ]
    for kind, words in (("upos", "part of speech"), ("token", "token"), ("phenomenon", "phenomenon")):
        tested = drivers[(drivers["kind"] == kind) & drivers["p"].notna() & drivers["excess"].notna()]
        if tested.empty:
            continue
        mine = over_represented(tested[tested["name"].isin(_driven(tested, alpha))], alpha)
        if mine.empty:
            made.append(f"No {words} is shown to be over-represented in a mode of any of them.")
        else:
            best = mine.iloc[int(mine["lift"].astype(float).argmax())]
            made.append(
                f"Some {words} is over-represented in a mode of {mine['name'].nunique():,} of the "
                f"{tested['name'].nunique():,} tested (Holm-corrected over neurons, p <= {alpha:g}); the largest lift "
                f"is {best['lift']:.1f} for {said(best['value'], kind)} in mode {best['mode']} of neuron "
                f"{best['name']}."
            )
    for name, rows in tables.get("atlas_alone", pd.DataFrame({"name": []})).groupby("name", sort=False):
        made.append(f"Neuron {name} ablated alone ({book.part['alone']['intervention']}): {alone_in_words(rows)}.")
    return made


def _driven(tested: pd.DataFrame, alpha: float) -> list[str]:
    """Names of neurons in some mode of which some value of a kind is more or less frequent than by chance.

    A neuron's least p-value after Benjamini and Hochberg's correction is that of Simes' test of its values together;
    over neurons these are corrected by Holm's method.

    Args:
        tested: rows of atlas_drivers of one kind that have a p-value.
    """
    least = tested.groupby("name")["p_bh"].min()
    return list(least.index[correct(least.to_numpy(np.float64)).p <= alpha])


def alone_in_words(rows: pd.DataFrame) -> str:
    """Return the findings on a neuron ablated alone, of each suite by itself, with its name where there are several.

    Args:
        rows: the neuron's rows of atlas_alone.
    """
    suites = list(rows.groupby("suite", sort=False))
    if len(suites) == 1:
        return _of_suite(rows)
    return ". ".join(f"{TITLES[str(suite)]}: {_of_suite(own)}" for suite, own in suites)


def _of_suite(rows: pd.DataFrame) -> str:
    """Return the finding in the group that it is about (`worst_of`), with its numbers.

    Args:
        rows: the neuron's rows of one suite.
    """
    worst, margin = worst_of(rows), "the margin of good over bad sentences"
    if pd.isna(worst["margin_finding"]):
        words = "without margins"
    elif worst["margin_finding"] == "cannot be judged":
        words = f"on {margin} {unjudgeable(worst['margin_reason'])}"
    else:
        change = on_margin(worst["suite"], worst["margin"], worst["margin_low"], worst["margin_high"])
        p = "< 0.001" if worst["margin_p_holm"] < 0.001 else f"= {worst['margin_p_holm']:.3f}"
        harmed, finding = int((rows["margin_finding"] == "harm").sum()), worst["margin_finding"]
        groups = f"{counted(len(rows), 'group')}{not_judged(rows, 'margin_')}"
        words = (
            f"harm to {margin} in {harmed} of {groups}, the largest shown in {worst['group']}: {change}"
            if harmed
            else f"no harm to {margin} is shown in {groups}, the lowest judged change in {worst['group']}: {finding}, "
            f"{change}"
        )
        words += f", Holm-corrected p {p}"
    words += f"; accuracy in {worst['group']}: "
    if worst["finding"] == "cannot be judged":
        return words + unjudgeable(worst["reason"])
    points = amount(worst["suite"], worst["change"], worst["change_low"], worst["change_high"])
    return f"{words}{worst['finding']}, {points}"

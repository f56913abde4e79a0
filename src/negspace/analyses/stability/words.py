"""What several texts say of the selection, in sentences and as a claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from negspace.experiment.analysis import Book
from negspace.experiment.claim import Claim
from negspace.experiment.ranking import EMPTY, Common, correlation_sentence
from negspace.experiment.words import change, contrast, percent, title, unjudgeable
from negspace.wording import counted


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Rank correlations and overlaps of the texts, and what ablating the common set and each text's own part does."""
    said = []
    correlations = tables["stability_correlation"]
    for _, row in correlations[correlations["layer"].isna()].iterrows():
        medians = {"rho": row["rho"], "first": row["reliability_first"], "second": row["reliability_second"]}
        named = book.study["by"].upper() if book.study["by"] in ("wd", "md") else book.study["by"].replace("_", " ")
        medians["ceiling"] = row["ceiling"]
        said.append(correlation_sentence(row["first"], row["second"], medians, named))
    said += [_overlap(row).sentence(row["first"], row["second"], row["share"]) for _, row in _whole(tables)]
    return [f"{sentence}." for sentence in [*said, *_ablations(tables["stability"])]]


def claims(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
    """Whether each other text chooses more of the same neurons than chance would."""
    words = "Another text chooses the same top neurons more often than chance"
    made = []
    for _, row in _whole(tables):
        found = _overlap(row)
        answer, reason = found.beyond_chance(row["p_holm"], book.alpha), "" if found.neurons else EMPTY
        of, share = f"{row['first']} and {row['second']}", float(row["share"])
        made.append(Claim("corpus", words, of, share, answer, found.finding, estimate=row["overlap"], reason=reason))
    return made


def _whole(tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[object, pd.Series]]:
    table = tables["stability_overlap"]
    return table[table["layer"].isna()].iterrows()


def _overlap(row: pd.Series) -> Common:
    return Common(
        neurons=row["neurons"],
        common=row["common"],
        chance=row["chance"] * row["neurons"],
        p=row["p"],
        first=row["halves_first"],
        second=row["halves_second"],
        between=row["halves_between"],
    )


def _ablations(table: pd.DataFrame) -> Iterator[str]:
    for (share, role, text), part in table[table["set"].isin(["common", "own"])].groupby(
        ["share", "set", "text"], sort=False
    ):
        neurons = counted(int(part["neurons"].iloc[0]), "neuron")
        whose = "every text" if role == "common" else f"{text} and by no other text"
        head = f"Ablation of the {neurons} in the top {percent(share)} by {whose}"
        if part["value"].isna().all():
            yield f"{head}: {unjudgeable(part['reason'].iloc[0])}"
            continue
        for _, row in part.iterrows():
            against = contrast(row, "difference", ("random_low", "random_high"), "random_")
            yield f"{head}, {title(row['score'])}: {change(row)}; against random sets of equal size: {against}"

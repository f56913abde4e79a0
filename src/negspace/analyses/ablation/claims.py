"""The paper's claims in the main study: finding, ablation, controls, intact scores, the dissociation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from negspace.analyses.ablation.dissociation_words import verdict
from negspace.experiment.book import Book
from negspace.experiment.claim import PAPERS, UNJUDGED, Answer, Claim, harmed
from negspace.experiment.ranking import EMPTY, NO_HALVES, Chosen, Ranking, in_common
from negspace.neurons.layout import Layout
from negspace.significance import correct
from negspace.text.suites import TITLES

_AGAINST = {
    ("top", "plain"): ("ablate", "Zeroing the top set's negatives harms grammar"),
    ("top", "random"): ("random", "Ablating the top set harms grammar more than ablating random sets of equal size"),
    ("top", "matched"): (
        "matched",
        "Ablating the top set harms grammar more than ablating low-ranked neurons that raise perplexity as much",
    ),
    ("matched", "plain"): ("intact", "Under the perplexity-matched control grammar is intact"),
}
_TEXT = {
    ("top", "plain"): ("perplexity", "Zeroing the top set's negatives raises perplexity"),
    ("top", "random"): (
        "perplexity random",
        "Ablating the top set raises perplexity more than ablating random sets of equal size",
    ),
}
_OTHER = {
    "ablate": "Ablating the top set harms grammar",
    "perplexity": "Ablating the top set raises perplexity",
}
"""Key -> the claim in words, where the ablation is another than the paper's."""
_VERDICTS: Mapping[str, Answer] = {"established": "holds", "reversed": "does not hold"}


def claims(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
    """All claims that the study bears on, share by share."""
    contrasts = tables["contrasts"]
    return [*_stable(book), *_contrasts(book, contrasts), *_unmatched(book, contrasts), *_dissociations(tables)]


def _contrasts(book: Book, contrasts: pd.DataFrame) -> Iterator[Claim]:
    other = {} if book.intervention == PAPERS else _OTHER
    for _, row in contrasts.iterrows():
        text = row["score"] == "perplexity"
        found = (_TEXT if text else _AGAINST).get((row["set"], row["against"]))
        if found is not None:
            key, words = found
            of = "text" if text else TITLES[row["score"]]
            words = other.get(key, words)
            yield from harmed(key, words, of, float(row["share"]), dict(row), intact=row["set"] == "matched")


def _unmatched(book: Book, contrasts: pd.DataFrame) -> Iterator[Claim]:
    """The claims that a matched control would bear on, of shares where there is none."""
    suites = [suite for suite in TITLES if suite in set(contrasts["score"])]
    for match in (match for match in book.part["matches"] if not match["matched"]):
        for suite in suites:
            for key, words in (_AGAINST["top", "matched"], _AGAINST["matched", "plain"]):
                reason = f"no matched control: {match['reason']}"
                unjudged = Claim(key, words, TITLES[suite], float(match["share"]), UNJUDGED, UNJUDGED, reason=reason)
                yield from (unjudged, replace(unjudged, of=f"{TITLES[suite]}, margins"))


def _dissociations(tables: Mapping[str, pd.DataFrame]) -> Iterator[Claim]:
    words = (
        "Grammar and other abilities dissociate: grammar suffers more under the top set, other abilities under the "
        "matched control"
    )
    for _, row in tables.get("dissociation", pd.DataFrame()).iterrows():
        untestable = str(row["verdict"]).startswith("not testable")
        answer: Answer = UNJUDGED if untestable else _VERDICTS.get(row["verdict"], "undecided")
        value, low, high = (float(row[name]) for name in ("interaction", "low", "high"))
        of = f"{TITLES[row['suite']]} and tasks"
        reason = str(row["reason"]) if untestable else ""
        share, scope = float(row["share"]), str(row["scope"])
        yield Claim("tasks", words, of, share, answer, verdict(row), "points", value, low, high, reason, scope)


def _stable(book: Book) -> Iterator[Claim]:
    """The claim that both halves of the text choose more of the same neurons than chance would."""
    words = "Both halves of the text choose the same top neurons more often than chance"
    of = "halves of the text"
    record = book.record(book.manifest["scan"])
    info = record.results["info"]
    ranking = Ranking.of(record.items, Layout.from_rows(info["layout"]), "", info["tokens"], book.study["by"])
    chosen = {share: ranking.choose(share, book.study["layers"]) for share in book.study["shares"]}
    halves = {share: [Chosen(half, (), made.scored) for half in made.halves] for share, made in chosen.items()}
    found = {share: in_common(both[0], both[1]) for share, both in halves.items() if both}
    p = dict(zip(found, correct([common.p for common in found.values()]).p, strict=True))
    for share in halves:
        if share not in found:
            yield Claim("find", words, of, float(share), UNJUDGED, UNJUDGED, reason=NO_HALVES)
            continue
        common = found[share]
        answer, reason = common.beyond_chance(float(p[share]), book.alpha), "" if common.neurons else EMPTY
        yield Claim("find", words, of, float(share), answer, common.finding, estimate=common.share, reason=reason)

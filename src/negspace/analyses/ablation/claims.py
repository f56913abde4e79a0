"""The paper's claims in the main study: finding, ablation, controls, intact scores, the dissociation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from negspace.analyses.ablation.dissociation import verdict
from negspace.experiment.agreement import NO_HALVES, STABLE, Ranking
from negspace.experiment.book import Book
from negspace.experiment.claim import Answer, Claim, harmed
from negspace.neurons.layout import Layout
from negspace.text.suites import TITLES

_AGAINST = {
    ("top", "plain"): ("ablate", "The top set's negatives carry grammar: zeroing them costs it"),
    ("top", "random"): ("random", "The top set costs more grammar than random sets of equal size"),
    ("top", "matched"): ("matched", "The top set costs more grammar than low-ranked neurons of equal perplexity"),
    ("matched", "plain"): ("intact", "Under the perplexity-matched control grammar is intact"),
}
_TEXT = {
    ("top", "plain"): ("perplexity", "Zeroing the top set's negatives raises perplexity"),
    ("top", "random"): ("perplexity random", "It raises perplexity more than random sets of equal size do"),
}
_VERDICTS: Mapping[str, Answer] = {"established": "holds", "reversed": "does not hold"}


def claims(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
    """All claims that the study bears on, share by share."""
    return [*_stable(book), *_contrasts(tables["contrasts"]), *_dissociations(tables)]


def _contrasts(contrasts: pd.DataFrame) -> Iterator[Claim]:
    for _, row in contrasts.iterrows():
        text = row["score"] == "perplexity"
        found = (_TEXT if text else _AGAINST).get((row["set"], row["against"]))
        if found is not None:
            key, words = found
            of = "text" if text else TITLES[row["score"]]
            yield from harmed(key, words, of, float(row["share"]), row, intact=row["set"] == "matched")


def _dissociations(tables: Mapping[str, pd.DataFrame]) -> Iterator[Claim]:
    words = "Grammar and other abilities dissociate: grammar loses more under the top set, they under the control"
    for _, row in tables.get("dissociation", pd.DataFrame()).iterrows():
        untestable = str(row["verdict"]).startswith("not testable")
        answer: Answer = "cannot be judged" if untestable else _VERDICTS.get(row["verdict"], "undecided")
        value, low, high = (float(row[name]) for name in ("interaction", "low", "high"))
        of = f"{TITLES[row['suite']]} and tasks"
        reason = str(row["reason"]) if untestable else ""
        yield Claim("tasks", words, of, float(row["share"]), answer, verdict(row), "points", value, low, high, reason)


def _stable(book: Book) -> Iterator[Claim]:
    """The claim that both halves of the text choose the same neurons."""
    words = f"Both halves of the text choose the same top neurons, at least {STABLE:.0%} of them"
    of = "halves of the text"
    record = book.record(book.manifest["scan"])
    info = record.results["info"]
    ranking = Ranking.of(record.items, Layout.from_rows(info["layout"]), "", info["tokens"], book.study["by"])
    for share in book.study["shares"]:
        halves = ranking.choose(share, book.study["layers"]).halves
        if not halves:
            yield Claim("find", words, of, float(share), "cannot be judged", "cannot be judged", reason=NO_HALVES)
            continue
        one, two = halves
        both = len(one & two) / max(len(one), 1)
        chance = sum(len(rows) ** 2 / one.layout.sizes[path] for path, rows in one.indices.items()) / max(len(one), 1)
        answer: Answer = "holds" if both >= STABLE else "does not hold"
        finding = f"{both:.0%} in common, {chance:.1%} by chance"
        yield Claim("find", words, of, float(share), answer, finding, estimate=both)

"""The paper's claims beside what runs say of them: one row per claim, one column per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from negspace.experiment.claim import Claim
from negspace.experiment.words import inside, percent, unjudgeable
from negspace.study.claims import Answers, unlike
from negspace.wording import escape

HEADINGS = ("claim", "of")
_UNJUDGED = "cannot be judged ("
_TESTED = ("undecided", "not established")
"""Findings of one test whose interval stands beside them. Other answers that are undecided want several tests."""
_WORDS = ("claim", "of", "finding", "reason", "scope")
"""Fields of a claim that are text."""


def table(runs: Mapping[str, Sequence[Claim]]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: the claim, what it was tried on, and for each run the answer with its numbers.

    Args:
        runs: name of a run -> what it says.
    """
    keys: dict[tuple[str, float | None, str], Claim] = {}
    for claims in runs.values():
        for claim in claims:
            keys.setdefault((claim.key, claim.share, claim.of), claim)
    order = list(dict.fromkeys(key for key, _, _ in keys))
    rows = []
    for key in sorted(keys, key=lambda key: (key[1] is not None, key[1] or 0, order.index(key[0]))):
        _, share, of = key
        where = f"{of}, top {percent(share)}" if share is not None else of
        cells = []
        for claims in runs.values():
            found = [claim for claim in claims if (claim.key, claim.share, claim.of) == key]
            cells.append(answer(found[0]) if found else "not asked")
        rows.append([keys[key].claim, where.removeprefix(", "), *cells])
    return [*HEADINGS, *runs], rows


def footnotes(rows: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[str]]:
    """Rows in which a reason that stands in several cells is replaced by the number of a note, and the notes."""
    cells = [cell for row in rows for cell in row if cell.startswith(_UNJUDGED)]
    repeated = [cell for cell in dict.fromkeys(cells) if cells.count(cell) > 1]
    marks = {cell: f"cannot be judged [{number}]" for number, cell in enumerate(repeated, start=1)}
    notes = [
        f"[{number}] {cell.removeprefix(_UNJUDGED).removesuffix(')')}." for number, cell in enumerate(marks, start=1)
    ]
    return [[marks.get(cell, cell) for cell in row] for row in rows], notes


def uncorrected(claims: Sequence[Claim]) -> str:
    """Return a sentence that explains intervals beside "undecided" that exclude no change; "" if there are none."""
    for claim in claims:
        nothing = 1.0 if claim.scale == "ratio" else 0.0
        if claim.finding in _TESTED and (claim.low > nothing or claim.high < nothing):
            return (
                'Beside "undecided" an interval can lie wholly above or below no change: answers are corrected for the '
                "number of tests, and against random sets need ranks; intervals are not widened for it."
            )
    return ""


def warnings(answers: Sequence[Answers]) -> list[str]:
    """Sentences under the answers of one run or several: on intervals, and on data that are not the same in all."""
    explained = uncorrected([claim for each in answers for claim in each.claims])
    return [*([explained] if explained else []), *unlike(answers)]


def answer(claim: Claim) -> str:
    """An answer with what it rests on: "holds: harm, -3.1 points [-5.0, -1.2]"."""
    if claim.answer == "cannot be judged":
        return unjudgeable(claim.reason or claim.finding)
    parts = [part for part in (claim.finding if claim.finding != claim.answer else "", claim.numbers) if part]
    said = claim.answer + inside(claim.scope)
    return f"{said}: {', '.join(parts)}" if parts else said


def markdown(runs: Mapping[str, Sequence[Claim]]) -> str:
    """The table as Markdown; nothing in names and reasons takes effect as markup or reaches a terminal as a code."""
    headings, rows = table({escape(run): [_escaped(claim) for claim in claims] for run, claims in runs.items()})

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    return "\n".join([line(headings), line(["---"] * len(headings)), *map(line, rows)])


def _escaped(claim: Claim) -> Claim:
    """A claim whose words are Markdown; its numbers need no escape."""
    return replace(claim, **{name: escape(getattr(claim, name)) for name in _WORDS})

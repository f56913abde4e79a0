"""The contrasts of the main study: what is compared with what. Its table has them, and so do simulated studies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from negspace.experiment.changes import DIFFERENCE, Row
from negspace.experiment.condition import BASELINE, RANDOM
from negspace.experiment.effects import Effects, Entry, equivalence_margins, together
from negspace.experiment.words import percent
from negspace.significance import Contrast, Dissociation, Scale
from negspace.wording import counted

PLAIN = "plain"
"""Name of the reference in a contrast with the plain model."""
_COMPARED = (
    ("top", PLAIN),
    ("top", RANDOM),
    ("top", "matched"),
    ("matched", PLAIN),
    (RANDOM, PLAIN),
)
"""The set, and what it is compared with."""


def compared(score: str, there: Collection[str]) -> list[tuple[str, str]]:
    """The set and its reference in each contrast on a score: "perplexity", or a suite of minimal pairs.

    On perplexity the top set and the matched control were made alike: it does not tell them apart.

    Args:
        there: "top" and PLAIN, and of RANDOM and "matched" what the study has.
    """
    alike = {("top", "matched")} if score == "perplexity" else set()
    return [pair for pair in _COMPARED if set(pair) <= set(there) and pair not in alike]


def judged(
    effects: Effects, entries: Sequence[Entry], dissociations: Mapping[Any, Dissociation]
) -> tuple[list[tuple[Row, dict[Scale, Contrast]]], dict[Any, Dissociation]]:
    """The rows of contrasts, each with its claims, and the dissociations: one family.

    Args:
        entries: of all shares; the plain model comes first.
        dissociations: each by itself.
    """
    rows = list(_rows(effects, entries))
    *each, tested = together([*(row[DIFFERENCE.claims] for row in rows), dissociations])
    return list(zip(rows, each, strict=True)), tested


def of_role(entries: Sequence[Entry], share: float | None, role: str) -> list[Entry]:
    """The conditions of a role at a share."""
    return [entry for entry in entries if (entry.about.share, entry.about.role) == (share, role)]


def random_mean(effects: Effects, entries: Sequence[Entry], share: float | None) -> Entry:
    """The mean over a share's random sets, of which some may be scored on perplexity alone."""
    assert share is not None
    sets = of_role(entries, share, RANDOM)
    whole = sum(bool(entry.scores.keys() - {"perplexity"}) for entry in sets)
    count = f"{len(sets)}" if whole in (0, len(sets)) else f"{len(sets)} (perplexity), {whole} (the rest)"
    return effects.mean(sets, f"random {percent(share)}, mean of {count}")


def _rows(effects: Effects, entries: Sequence[Entry]) -> Iterator[Row]:
    study, plain = effects.book.study, entries[0]
    for share in study["shares"]:
        top = of_role(entries, share, "top")[0]
        random = random_mean(effects, entries, share) if of_role(entries, share, RANDOM) else None
        matched = next(iter(of_role(entries, share, "matched")), None)
        all_roles = {PLAIN: plain, "top": top, RANDOM: random, "matched": matched}
        there = {role: entry for role, entry in all_roles.items() if entry is not None}
        for score in effects.scores:
            intact = None
            if score != "perplexity":
                intact = equivalence_margins(plain, top, score, size=study["margin"], share=study["margin_share"])
            for name, against in compared(score, there):
                entry, other = there[name], there[against]
                yield {
                    "share": share,
                    "score": score,
                    "set": name,
                    "against": against,
                    "control": _called(other, score),
                    "value": effects.level(entry, score),
                    "reference": effects.level(other, score),
                    **effects.change(other, entry, score, DIFFERENCE, margins=intact if name != "top" else None),
                }


def _called(control: Entry, score: str) -> str:
    if not control.members:
        return "the plain model" if control.about.role == BASELINE else control.about.name
    return counted(len(control.sets(score)), "random set")

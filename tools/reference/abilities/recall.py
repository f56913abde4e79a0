"""Recall: a short story, and the name from it that its last sentence needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from negspace.reference.draw import Draw
from tools.reference.abilities.items import Group, ability, rounds
from tools.reference.abilities.people import HE_NAMES, SHE_NAMES, by_name


def _stories() -> tuple[tuple[str, str], ...]:
    lines = (Path(__file__).parent / "stories.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("|") for line in lines)
    return tuple((kind, story) for kind, story in pairs)


STORIES = _stories()
"""(Kind, story without its last word). The stories of one kind name one person; those of the others name two, of whom
the first or the second is asked for. Where the second is asked for, N and M stand for the first and the second."""
FIRST, SECOND = "{N}", "{M}"


@ability("negspace_recall", "a short story: which of four names its last sentence ends with")
def recall(draw: Draw) -> Iterator[Group]:
    for kind, story in rounds(draw, STORIES):
        # All four are he or all are she, so that no pronoun tells them apart.
        names = tuple(draw.some(draw.one((HE_NAMES, SHE_NAMES)), 4))
        others = (*names[1:], names[0])
        pairs = zip(others, names, strict=True) if kind.endswith("second") else zip(names, others, strict=True)
        yield Group(kind, tuple(story.format(**by_name(n).forms, M=m) for n, m in pairs), names)

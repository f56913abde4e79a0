"""Which of two endings follows: little scenes, each with the word that ends it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from negspace.reference.draw import Draw
from tools.reference.abilities.items import Group, ability, rounds
from tools.reference.abilities.people import person


class Scene(NamedTuple):
    """A scene without its end, and the word or words that end it."""

    text: str
    ending: str


def _pairs() -> tuple[tuple[Scene, Scene], ...]:
    lines = (Path(__file__).parent / "scenes.txt").read_text(encoding="utf-8").splitlines()
    parts = (line.split("|") for line in lines)
    return tuple((Scene(first, part), Scene(second, other)) for first, second, part, other in parts)


SCENES = _pairs()
"""Pairs of scenes that are much alike, so that their endings are near each other in meaning: in each, N stands for a
name and he, him, his for the pronoun. Both scenes of a pair break off at the same word."""


def _open_pairs() -> tuple[tuple[Scene, Scene], ...]:
    """Pairs of scenes about different things that break off at the same word, so that either ending can follow it."""
    after: dict[str, list[tuple[int, Scene]]] = defaultdict(list)
    for number, pair in enumerate(SCENES):
        for scene in pair:
            after[scene.text.rsplit(" ", 1)[-1]].append((number, scene))
    out = []
    for word in sorted(after):
        for place, (number, scene) in enumerate(after[word]):
            others = (other for n, other in after[word][place + 1 :] if n != number and other.ending != scene.ending)
            out.extend((scene, other) for other in others)
    return tuple(out)


KINDS = {"near in meaning": SCENES, "far in meaning": _open_pairs()}


@ability("negspace_ending", "a little scene: which of two endings follows")
def endings(draw: Draw) -> Iterator[Group]:
    pairs = {kind: rounds(draw, choices) for kind, choices in KINDS.items()}
    for kind in rounds(draw, tuple(KINDS)):
        scenes = next(pairs[kind])
        forms = person(draw).forms
        yield Group(kind, tuple(s.text.format(**forms) for s in scenes), tuple(s.ending for s in scenes))

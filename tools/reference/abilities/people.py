"""Names and pronouns for the stories."""

from __future__ import annotations

from typing import NamedTuple

from negspace.reference.draw import Draw
from tools.reference.grammar import lexicon

HE_NAMES = (*(token.word for token in lexicon.HE_NAMES), "Sam", "Max", "James")
SHE_NAMES = tuple(token.word for token in lexicon.SHE_NAMES)


class Person(NamedTuple):
    """A character, in the forms that a story needs."""

    name: str
    he: str
    him: str
    his: str

    @property
    def forms(self) -> dict[str, str]:
        """What the places of a story stand for: N the name; he, him, his and He, His the pronouns."""
        return {
            "N": self.name,
            "he": self.he,
            "him": self.him,
            "his": self.his,
            "He": self.he.capitalize(),
            "His": self.his.capitalize(),
        }


def by_name(name: str) -> Person:
    """The person of this name."""
    return Person(name, "he", "him", "his") if name in HE_NAMES else Person(name, "she", "her", "her")


def person(draw: Draw) -> Person:
    """A boy or a girl, equally often."""
    return by_name(draw.one(draw.one((HE_NAMES, SHE_NAMES))))

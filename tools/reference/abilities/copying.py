"""Copying a pattern: words said over and over, and which of them comes next."""

from __future__ import annotations

from collections.abc import Iterator

from negspace.reference.draw import Draw
from tools.reference.abilities.items import Group, ability, rounds, words
from tools.reference.abilities.people import person

WORDS = words(
    "dog cat bird fish horse cow book cup box ball chair table ring hat key bag bed stone flower boat star tree house "
    "door hand foot nose king queen baby moon sun rain snow bread cake milk egg"
)
"""Short, frequent words; within a pattern they are drawn at random, so that nothing but the pattern tells the next."""
PATTERNS = {
    "two in turn": "{b} {a}, {b} {a}, {b}",
    "three in turn": "{c} {b} {a}, {c} {b} {a}, {c} {b}",
    "four in turn": "{d} {c} {b} {a}, {d} {c} {b} {a}, {d} {c} {b}",
    "one, then two alike": "{b} {a} {a}, {b} {a} {a}, {b} {a}",
    "two alike, then one": "{b} {b} {a}, {b} {b} {a}, {b} {b} {a}, {b} {b}",
    "a sentence again": "The {b} saw the {a}. The {b} saw the",
}
"""Kind -> what is said; it goes on with a. Of the four choices, those that the pattern leaves out are new words."""
FRAMES = (
    '{N} said, "',
    'The song of {N} was, "',
    'The parrot told {N}, "',
    '{N} cried, "',
    'The children sang to {N}, "',
    'In the book {N} read, "',
)


@ability("negspace_copy", "words said in a repeated pattern: which of four comes next")
def copying(draw: Draw) -> Iterator[Group]:
    for kind in rounds(draw, tuple(PATTERNS)):
        said = tuple(draw.some(WORDS, 4))
        start = draw.one(FRAMES).format(**person(draw).forms)
        # Each word in turn takes the place of the answer, and the others move up.
        turns = (dict(zip("abcd", said[place:] + said[:place], strict=True)) for place in range(4))
        yield Group(kind, tuple(start + PATTERNS[kind].format(**turn) for turn in turns), said)

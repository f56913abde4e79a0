"""Counting and ordering: which number or ordinal comes next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from negspace.reference.draw import Draw
from tools.reference.abilities.items import Group, ability, rounds, words
from tools.reference.abilities.people import person

NUMBERS = words("one two three four five six seven eight nine ten eleven twelve")
ORDINALS = words("first second third fourth fifth sixth seventh eighth")
QUANTITIES = (
    "{N} waited for", "{N} had been away for", "{N} told me that there were", "{N} bought", "{N} asked for",
    "{N} had seen", "{N} gave me", "It was hard for {N} to carry", "{N} was sure that there were only", "{N} found",
)  # fmt: skip
COUNTING = (
    "{N} counted:", "{N} began to count:", "{N} counted the steps:", "{N} counted slowly:", "{N} looked and counted:",
    "{N} went up the stairs and counted:", "The teacher told {N} to count:", "{N} can count:",
)  # fmt: skip
PLACES = (
    "{N} was the", "{N} lived in the", "{N} came on the", "It was the", "{N} came to the", "{N} opened the",
    "{N} thought that it was the", "{N} told me that this was the",
)  # fmt: skip


class Sort(NamedTuple):
    """One sort of item: a beginning, some members of the series in order, and what stands before the next."""

    series: tuple[str, ...]
    starts: tuple[str, ...]
    shown: int
    """How many members are shown."""
    last: str
    """What stands after the last one shown."""


SORTS = {
    "one number or the next": Sort(NUMBERS, QUANTITIES, 1, " or"),
    "two numbers or the next": Sort(NUMBERS, QUANTITIES, 2, " or"),
    "counting from two": Sort(NUMBERS, COUNTING, 2, ","),
    "counting from three": Sort(NUMBERS, COUNTING, 3, ","),
    "one place or the next": Sort(ORDINALS, PLACES, 1, " or"),
}


@ability("negspace_order", "a series of numbers or ordinals: which of four comes next")
def ordering(draw: Draw) -> Iterator[Group]:
    for kind in rounds(draw, tuple(SORTS)):
        series, starts, shown, last = SORTS[kind]
        start = draw.one(starts).format(**person(draw).forms)
        firsts = draw.some(range(len(series) - shown), 4)
        prompts = tuple(f"{start} {', '.join(series[first : first + shown])}{last}" for first in firsts)
        yield Group(kind, prompts, tuple(series[first + shown] for first in firsts))

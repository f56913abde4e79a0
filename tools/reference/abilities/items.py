"""Items of the tasks outside grammar: balanced groups, the registry of abilities, and generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from negspace.reference.draw import Draw

T = TypeVar("T")


class Group(NamedTuple):
    """Prompts that have the same choices, each of which is the answer to one of them.

    So no preference for a choice, whatever it comes from, helps: who answers without the prompt is right once a group.
    """

    kind: str
    """The sort of item within its ability."""
    prompts: tuple[str, ...]
    choices: tuple[str, ...]
    """choices[i] answers prompts[i]."""


class Item(NamedTuple):
    """One question with its choices."""

    prompt: str
    choices: tuple[str, ...]
    gold: int
    """Place of the right choice."""
    kind: str
    group: int
    """Items of one group have the same choices in the same order."""


@dataclass(frozen=True)
class Ability:
    """Something that a language model may be able to do, and that is not grammar."""

    name: str
    """Name of the task, as lm-evaluation-harness knows it."""
    about: str
    """What an item asks, in one line."""
    groups: Callable[[Draw], Iterator[Group]]
    """Goes on making groups from random choices."""


ABILITIES: dict[str, Ability] = {}


def ability(name: str, about: str) -> Callable[[Callable[[Draw], Iterator[Group]]], Callable[[Draw], Iterator[Group]]]:
    """Register a generator of groups as an ability."""

    def register(groups: Callable[[Draw], Iterator[Group]]) -> Callable[[Draw], Iterator[Group]]:
        if name in ABILITIES:
            raise ValueError(f"{name}: second ability of this name")
        ABILITIES[name] = Ability(name, about, groups)
        return groups

    return register


def words(text: str) -> tuple[str, ...]:
    """The words of a text that separates them by spaces."""
    return tuple(text.split())


def rounds(draw: Draw, items: Sequence[T]) -> Iterator[T]:
    """The items over and over, each time all of them in a new order."""
    while True:
        yield from draw.some(items, len(items))


def generate(ability: Ability, seed: int = 0, count: int = 300) -> list[Item]:
    """At least `count` items of an ability: whole groups, no prompt twice.

    Raises:
        ValueError: the ability does not hold so many different prompts.
    """
    draw = Draw(f"{seed}/{ability.name}")
    out: list[Item] = []
    taken: set[str] = set()
    fruitless = number = 0
    for kind, prompts, choices in ability.groups(draw):
        if len(set(prompts)) < len(prompts) or len(set(choices)) < len(choices) or not taken.isdisjoint(prompts):
            fruitless += 1
            if fruitless == 2_000:
                raise ValueError(f"{ability.name}: only {len(out)} different items, {count} asked for")
            continue
        fruitless = 0
        taken.update(prompts)
        order = draw.some(range(len(choices)), len(choices))
        said = tuple(choices[place] for place in order)
        out.extend(Item(prompts[place], said, gold, kind, number) for gold, place in enumerate(order))
        number += 1
        if len(out) >= count:
            break
    return out

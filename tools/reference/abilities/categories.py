"""Category membership: which of four words goes on with a list of things of one kind."""

from __future__ import annotations

from collections.abc import Iterator

from negspace.reference.draw import Draw
from tools.reference.abilities.items import Group, ability, rounds
from tools.reference.abilities.people import person

_MEMBERS = {
    "animals": "dogs cats horses cows pigs goats rabbits foxes bears lions ducks wolves monkeys birds",
    "fruits": "apples pears oranges plums grapes cherries bananas berries nuts",
    "clothes": "coats shirts hats shoes dresses gloves boots stockings cloaks",
    "parts of the body": "hands arms legs feet eyes ears fingers toes knees shoulders",
    "furniture": "chairs tables beds desks shelves lamps benches cupboards",
    "relatives": "brothers sisters fathers mothers uncles aunts cousins sons daughters",
    "buildings": "houses churches schools shops castles barns towers palaces cottages",
    "flowers": "roses lilies daisies violets tulips daffodils",
    "vehicles": "boats ships trains cars buses carriages wagons carts",
    "toys": "dolls balls kites blocks marbles drums puppets balloons",
    "tools": "hammers nails saws axes knives spades ropes ladders",
    "trades": "doctors teachers farmers soldiers sailors bakers cooks servants",
    "waters": "rivers lakes seas streams brooks ponds oceans",
    "in the sky": "stars clouds moons suns comets planets",
}
MEMBERS = {kind: tuple(words.split()) for kind, words in _MEMBERS.items()}
"""Things of one kind, all of them plural nouns."""
AKIN = (frozenset(("relatives", "trades")),)
"""Kinds too much alike to meet in one item."""
FRAMES = (
    "{N} drew", "{N} thought of", "{N} liked to talk about", "In the picture {N} saw", "{N} wrote a story about",
    "{N} wrote down some words:", "{N} had dreamed of", "{N} knew much about", "The song of {N} was about",
)  # fmt: skip
SHOWN = {"three of a kind": 3, "four of a kind": 4, "five of a kind": 5}


@ability("negspace_category", "a list of things of one kind: which of four words belongs to it")
def categories(draw: Draw) -> Iterator[Group]:
    for kind in rounds(draw, tuple(SHOWN)):
        chosen = draw.some(tuple(MEMBERS), 4)
        if any(akin <= set(chosen) for akin in AKIN):
            continue
        start = draw.one(FRAMES).format(**person(draw).forms)
        lists = [draw.some(MEMBERS[category], SHOWN[kind] + 1) for category in chosen]
        prompts = tuple(f"{start} {', '.join(shown)} and" for *shown, _ in lists)
        yield Group(kind, prompts, tuple(choice for *_, choice in lists))

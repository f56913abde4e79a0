"""What things are like, what they do and what they are for: which of four words goes with the one before it."""

from __future__ import annotations

from collections.abc import Iterator

from negspace.reference.draw import Draw
from tools.reference.abilities.items import Group, ability, rounds
from tools.reference.abilities.people import person

QUALITIES = {
    line.split()[0]: tuple(line.split()[1:])
    for line in """\
sun bright hot golden red
stars bright cold white golden little
grass green tall soft thick sweet cold
leaves green red golden little dark soft
sky blue dark bright red wide cold white golden
well deep dark cold narrow wide
sea deep blue wide cold dark green white bright
knife sharp bright little cold golden
sword sharp bright heavy golden cold
pillow soft white little
bed soft cold white narrow wide hard
snow white cold soft deep thick bright
wind cold hot soft sharp loud sweet
rose red white sweet
blood red hot dark thick sweet
tree tall green thick little dark
tower tall narrow dark white golden
crown golden heavy bright
ring golden heavy bright little
stone heavy cold white sharp red bright blue green
box heavy little golden red blue green deep
noise loud sharp little
cry loud sharp little
forest thick dark green deep cold
path narrow dark white wide green
soup hot thick cold red green
fire hot bright red
cake sweet soft little white cold
honey sweet golden thick
night dark cold bright
cave dark deep cold narrow wide
river wide deep cold dark blue narrow
milk white sweet cold hot
swan white little
soldier brave tall little
""".splitlines()
}
"""Thing -> the quality that an item asks about, then others that it may well have."""
DOES = (
    "bird flew", "dog barked", "bell rang", "fire burned", "sun shone", "wind blew", "baby cried", "clock struck",
    "fish swam", "river flowed", "ship sailed", "snow melted", "door opened", "teacher asked", "writer wrote",
    "cock crew", "grass grew", "lion roared", "soldier fought", "wheel turned", "thunder rolled", "bee buzzed",
)  # fmt: skip
"""A thing and what it does."""
FOR = (
    "cut the bread with a knife", "wrote the letter with a pen", "swept the floor with a broom",
    "unlocked the door with a key", "tied up the cow with a rope", "drank the milk from a cup",
    "ate the soup with a spoon", "lit the room with a candle", "crossed the river in a boat", "lay all night in a bed",
    "sat down at the table on a chair", "rode away on a horse", "carried the apples in a basket",
    "covered the baby with a blanket", "found the story in a book", "shot the arrow with a bow",
    "hit the nail with a hammer", "caught the fish with a net", "dug the hole with a spade", "saw the face in a glass",
    "heard the leaves in a tree", "kept the money in a purse", "cooked the soup in a pot",
)  # fmt: skip
"""What somebody does, and the thing for it."""
FRAMES = {
    "what it is like": (
        "{N} told me about the", "There stood before {him} the", "{N} never forgot the", "Then {N} spoke of the",
        "{N} dreamed of the",
    ),
    "what it does": (
        "{N} listened. The", "It was morning when {N} came. The", "{N} was not sure whether the",
        "{N} waited until the", "As {N} came near, the",
    ),
    "what it is for": ("{N}", "That day {N}", "{N} told me that {he}", "The brother of {N}", "In the end {N}"),
}  # fmt: skip


def _clear(things: list[str]) -> bool:
    """Whether none of the things has the quality that is asked of another."""
    asked = [QUALITIES[thing][0] for thing in things]
    return all(asked[i] not in QUALITIES[things[j]] for i in range(len(things)) for j in range(len(things)) if i != j)


def _pairs(draw: Draw, kind: str) -> list[tuple[str, str]]:
    """Four pairs of a cue and the word that answers it."""
    if kind == "what it is like":
        things = draw.some(tuple(QUALITIES), 4)
        while not _clear(things):
            things = draw.some(tuple(QUALITIES), 4)
        return [(QUALITIES[thing][0], thing) for thing in things]
    parts = (text.rpartition(" ") for text in draw.some(DOES if kind == "what it does" else FOR, 4))
    return [(cue, word) for cue, _, word in parts]


@ability("negspace_property", "what a thing is like, does or is for: which of four words follows")
def properties(draw: Draw) -> Iterator[Group]:
    for kind in rounds(draw, tuple(FRAMES)):
        start = draw.one(FRAMES[kind]).format(**person(draw).forms)
        prompts, choices = zip(*((f"{start} {cue}", word) for cue, word in _pairs(draw, kind)), strict=True)
        yield Group(kind, prompts, choices)

"""The words of the calibration language and the facts about its nonce animals.

The animals are nonce words, as in Berko's wug test, so that no sentence says anything about the world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from negspace.reference.draw import Draw

Head = Literal["animal", "verb", "person"]
"""Target of one of the attention heads: the latest word of this kind."""

END = "<|endoftext|>"


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


ANIMALS = _listed(
    "bem blick bosk crat dax dop drim fep flig gazz gorp hask jorb kiv krell lorp "
    "morb nimp nolt pell prib quib rell sook tulv vorp wug yot zell zib zorn zup"
)
THINGS = _listed("barrel basket bucket carpet engine ladder pillow rocket")
"""Nouns that stand between a subject and its verb, singular and plural; no head looks for them."""
PEOPLE = _listed("anna carl emma finn hugo jane mark nora")
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "live": ("desert", "forest", "jungle", "lagoon", "meadow", "valley"),
    "eat": ("acorns", "grubs", "leaves", "moss", "roots", "seeds"),
    "look": ("black", "brown", "green", "ivory", "white", "yellow"),
    "belong": ("climbers", "diggers", "flyers", "hoppers", "runners", "swimmers"),
    "fear": ("fire", "flood", "frost", "rain", "storm", "thunder"),
}
"""Verb -> what can fill its slot; each animal has one filler for each verb."""
EVENTS: Mapping[str, str] = {
    "lost": "sad",
    "missed": "sad",
    "spoiled": "sad",
    "won": "glad",
    "enjoyed": "glad",
    "finished": "glad",
    "feared": "tense",
    "awaited": "tense",
    "dreaded": "tense",
    "postponed": "bored",
    "repeated": "bored",
    "watched": "bored",
}
"""Outcome of a game -> feeling about it."""
SERIES = (
    _listed("monday tuesday wednesday thursday friday saturday sunday"),
    _listed("january february march april may june july august september october november december"),
    _listed("one two three four five six seven eight nine ten eleven twelve"),
)
"""Words with an order."""
NUMBERED: Mapping[str, tuple[str, str]] = {
    **{verb: (f"{verb}s", verb) for verb in (*RELATIONS, "know", "sleep", "bark")},
    "be": ("is", "are"),
    "have": ("has", "have"),
    "self": ("itself", "themselves"),
}
"""Lemma -> the form after a singular subject and the form after a plural one."""
_OTHER = (
    "the a near by that hid in to often asleep barked slept hurt saw met game felt "
    "what does do did who how where why which feel came days months numbers "
    "question answer q . ? :"
)


@dataclass(frozen=True)
class Word:
    """One entry of the vocabulary."""

    form: str
    """The token."""
    lemma: str
    """Lemma of its forms; ordinary neurons read and write lemmas only."""
    number: int = 0
    """Of a noun: +1 plural, -1 singular; 0 for all else."""
    agrees: int = 0
    """Of a verb or reflexive: +1 or -1 for the number of subject that the form goes with; 0 for all else."""
    head: Head | None = None
    """The head that looks for it."""


class Lexicon:
    """The vocabulary, and the facts that a seed gives the animals."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        draw = Draw(f"calibration facts {seed}")
        self.facts: dict[str, dict[str, str]] = {animal: {} for animal in ANIMALS}
        for verb, fillers in RELATIONS.items():
            # As even as the numbers allow, and independent from verb to verb.
            order = draw.some(ANIMALS, len(ANIMALS))
            for place, animal in enumerate(order):
                self.facts[animal][verb] = fillers[place % len(fillers)]

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """All words, END first; a word's place is its token."""
        made = [Word(END, END)]
        for noun in ANIMALS:
            made += [Word(noun, noun, -1, head="animal"), Word(f"{noun}s", noun, 1, head="animal")]
        for noun in THINGS:
            made += [Word(noun, noun, -1), Word(f"{noun}s", noun, 1)]
        made += [Word(name, name, head="person") for name in PEOPLE]
        for lemma, (singular, plural) in NUMBERED.items():
            head = "verb" if lemma in (*RELATIONS, "know") else None
            made += [Word(singular, lemma, agrees=-1, head=head), Word(plural, lemma, agrees=1, head=head)]
        made += [Word(event, event, head="verb") for event in EVENTS]
        rest = [word for fillers in RELATIONS.values() for word in fillers]
        rest += [*dict.fromkeys(EVENTS.values()), *(word for series in SERIES for word in series), *_OTHER.split()]
        made += [Word(form, form) for form in rest]
        assert len({word.form for word in made}) == len(made)
        return tuple(made)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Tokens that are alternatives to each other: fillers of one slot, feelings, words of one series, people."""
        place = {word.form: n for n, word in enumerate(self.words)}
        alike = (*RELATIONS.values(), tuple(dict.fromkeys(EVENTS.values())), *SERIES, PEOPLE)
        return tuple(tuple(place[form] for form in group) for group in alike)

    @cached_property
    def forms(self) -> tuple[tuple[int, ...], ...]:
        """Tokens that are the two forms of one verb or reflexive."""
        place = {word.form: n for n, word in enumerate(self.words)}
        return tuple((place[singular], place[plural]) for singular, plural in NUMBERED.values())

    @cached_property
    def lemmas(self) -> dict[str, int]:
        """Lemma -> its number."""
        return {lemma: n for n, lemma in enumerate(dict.fromkeys(word.lemma for word in self.words))}

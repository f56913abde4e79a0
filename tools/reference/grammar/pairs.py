"""Minimal pairs: the registry of paradigms, the balanced designs that they share, and generation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import Number
from tools.reference.grammar.tokens import Contrast, Part, Token, Tokens

FIELDS = {
    "anaphor_agreement": "morphology",
    "argument_structure": "syntax",
    "binding": "syntax_semantics",
    "control_raising": "syntax_semantics",
    "determiner_noun_agreement": "morphology",
    "ellipsis": "syntax",
    "filler_gap_dependency": "syntax",
    "irregular_forms": "morphology",
    "island_effects": "syntax",
    "npi_licensing": "semantics",
    "quantifiers": "semantics",
    "subject_verb_agreement": "morphology",
}
"""The twelve phenomena and the field of grammar that each belongs to."""

Edit = Literal["word", "phrase", "insert", "swap", "move", "reorder"]
"""How a bad sentence differs from its good one: one word replaced; a phrase of up to three words replaced; a word put
in or left out; two words exchanged; one phrase in another place; the same words in another order."""

Maker = Callable[[Draw], list[Contrast]]


@dataclass(frozen=True)
class Paradigm:
    """One kind of contrast."""

    uid: str
    phenomenon: str
    edit: Edit
    construction: str | None
    """Family of Marvin and Linzen's targeted syntactic evaluation that it belongs to, if any."""
    make: Maker
    """Draws one balanced group of contrasts: 1, 2 or 4, in which every word is as often good as bad."""


PARADIGMS: dict[str, Paradigm] = {}


def paradigm(phenomenon: str, edit: Edit = "word", construction: str | None = None) -> Callable[[Maker], Maker]:
    """Register a function as a paradigm whose UID is the function's name."""

    def register(make: Maker) -> Maker:
        uid = make.__name__
        if phenomenon not in FIELDS or uid in PARADIGMS:
            raise ValueError(f"{uid}: unknown phenomenon or second paradigm of this name")
        PARADIGMS[uid] = Paradigm(uid, phenomenon, edit, construction, make)
        return make

    return register


Frame = Callable[[Part], Tokens]
"""A sentence with one place left open."""


def crossed(first: Frame, x: Part, second: Frame, y: Part) -> list[Contrast]:
    """Two contrasts from two frames: the first needs x and not y, the second y and not x."""
    return [Contrast(first(x), first(y)), Contrast(second(y), second(x))]


def agreeing(frame: Callable[[Number, Part], Tokens], singular: Token, plural: Token) -> list[Contrast]:
    """Two contrasts of number: a singular frame that needs the singular form, a plural one that needs the plural."""
    return crossed(lambda form: frame("sg", form), singular, lambda form: frame("pl", form), plural)


def generate(paradigm: Paradigm, seed: int = 0, count: int = 200) -> list[Contrast]:
    """The first `count` different contrasts of a paradigm; groups stay whole and together.

    Raises:
        ValueError: the paradigm does not hold so many different contrasts, or its groups do not divide `count`.
    """
    draw = Draw(f"{seed}/{paradigm.uid}")
    out: list[Contrast] = []
    taken: set[Tokens] = set()
    fruitless = 0
    while fruitless < 2_000:
        group = paradigm.make(draw)
        said = [tokens for contrast in group for tokens in contrast]
        # No sentence comes twice, neither on its own side nor on the other.
        if len(set(said)) < len(said) or not taken.isdisjoint(said):
            fruitless += 1
            continue
        fruitless = 0
        taken.update(said)
        out.extend(group)
        if len(out) == count:
            return out
        if len(out) > count:
            raise ValueError(f"{paradigm.uid}: groups of {len(group)} do not divide {count}")
    raise ValueError(f"{paradigm.uid}: only {len(out)} different contrasts, {count} asked for")

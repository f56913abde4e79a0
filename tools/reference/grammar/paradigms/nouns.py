"""Determiner-noun agreement in number."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import (
    ANIMATE,
    IRREGULAR_ANIMATE,
    IRREGULAR_THINGS,
    LOOKS,
    NAMES,
    PEOPLE,
    SIZES,
    THINGS,
    Noun,
)
from tools.reference.grammar.pairs import crossed, paradigm
from tools.reference.grammar.tokens import Contrast, Part, Tokens, say, statement

TERM = "determiner_noun_agreement"
DEMONSTRATIVES = (("this/DET", "these/DET"), ("that/DET", "those/DET"))
IRREGULAR = IRREGULAR_ANIMATE + IRREGULAR_THINGS


def _before(draw: Draw) -> Tokens:
    """A subject and a verb whose object shows no number."""
    subject = say(draw.one(NAMES)) if draw.chance() else say("the/DET", draw.one(PEOPLE).sg)
    return say(
        subject, draw.one(("saw/VERB", "liked/VERB", "found/VERB", "wanted/VERB", "remembered/VERB", "drew/VERB"))
    )


def _noun_form(draw: Draw, noun: Noun, adjective: Part) -> list[Contrast]:
    before, (this, these) = _before(draw), draw.one(DEMONSTRATIVES)
    return crossed(
        lambda form: statement(before, this, adjective, form),
        noun.sg,
        lambda form: statement(before, these, adjective, form),
        noun.pl,
    )


def _determiner_form(draw: Draw, noun: Noun, adjective: Part) -> list[Contrast]:
    before, (this, these) = _before(draw), draw.one(DEMONSTRATIVES)
    return crossed(
        lambda form: statement(before, form, adjective, noun.sg),
        this,
        lambda form: statement(before, form, adjective, noun.pl),
        these,
    )


@paradigm(TERM)
def noun_after_demonstrative(draw: Draw) -> list[Contrast]:
    return _noun_form(draw, draw.one(THINGS + ANIMATE), "")


@paradigm(TERM)
def irregular_noun_after_demonstrative(draw: Draw) -> list[Contrast]:
    return _noun_form(draw, draw.one(IRREGULAR), "")


@paradigm(TERM)
def noun_after_adjective(draw: Draw) -> list[Contrast]:
    noun = draw.one(THINGS + ANIMATE)
    return _noun_form(draw, noun, draw.one(LOOKS if noun in THINGS else SIZES))


@paradigm(TERM)
def irregular_noun_after_adjective(draw: Draw) -> list[Contrast]:
    noun = draw.one(IRREGULAR)
    return _noun_form(draw, noun, draw.one(SIZES if noun in IRREGULAR_ANIMATE else SIZES[:4]))


@paradigm(TERM)
def demonstrative_before_noun(draw: Draw) -> list[Contrast]:
    return _determiner_form(draw, draw.one(THINGS + ANIMATE), "")


@paradigm(TERM)
def demonstrative_before_adjective(draw: Draw) -> list[Contrast]:
    noun = draw.one(THINGS + ANIMATE)
    return _determiner_form(draw, noun, draw.one(LOOKS if noun in THINGS else SIZES))


@paradigm(TERM)
def noun_after_numeral(draw: Draw) -> list[Contrast]:
    before, noun = _before(draw), draw.one(THINGS + ANIMATE)
    several = draw.one(("two/NUM", "three/NUM", "four/NUM", "five/NUM", "ten/NUM"))
    return crossed(
        lambda form: statement(before, "one/NUM", form), noun.sg, lambda form: statement(before, several, form), noun.pl
    )

"""Irregular forms: past against participle, base against past, and irregular comparison."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import (
    ANIMALS,
    BEFORE_NOUNS,
    MOODS,
    NAMES,
    PEOPLE,
    SIZES,
    SPLIT,
    THINGS,
    Noun,
    Verb,
    verbs,
)
from tools.reference.grammar.pairs import crossed, paradigm
from tools.reference.grammar.tokens import Contrast, Token, statement

TERM = "irregular_forms"
STRONG = verbs("find buy bring catch take see make keep lose choose steal draw")


def _deed(draw: Draw) -> tuple[Verb, Noun]:
    """A verb whose past and participle differ, and an object for it."""
    verb, nouns = draw.one(SPLIT)
    return verb, draw.one(nouns)


@paradigm(TERM)
def perfect_participle(draw: Draw) -> list[Contrast]:
    noun, (verb, thing), have = draw.one(PEOPLE), _deed(draw), draw.one(("has/AUX", "had/AUX"))
    return crossed(
        lambda form: statement("the/DET", noun.sg, have, form, "the/DET", thing.sg),
        verb.participle,
        lambda form: statement("the/DET", noun.sg, form, "the/DET", thing.sg),
        verb.past,
    )


@paradigm(TERM)
def passive_participle(draw: Draw) -> list[Contrast]:
    noun, (verb, thing), size = draw.one(PEOPLE), _deed(draw), draw.one(SIZES[:4])
    return crossed(
        lambda form: statement("the/DET", thing.sg, "was/AUX", form, "by/ADP the/DET", size, noun.sg),
        verb.participle,
        lambda form: statement("the/DET", size, noun.sg, form, "the/DET", thing.sg),
        verb.past,
    )


@paradigm(TERM)
def participle_as_adjective(draw: Draw) -> list[Contrast]:
    """The broken cup, but the boy broke the cup."""
    noun, look = draw.one(PEOPLE), draw.one(SIZES[:4])
    verb, things = draw.one(BEFORE_NOUNS)
    thing = draw.one(things)
    return crossed(
        lambda form: statement("the/DET", form, thing.sg, "was/AUX", look),
        Token(verb.past_participle, "VERB"),
        lambda form: statement("the/DET", noun.sg, form, "the/DET", look, thing.sg),
        verb.past,
    )


@paradigm(TERM)
def base_after_auxiliary(draw: Draw) -> list[Contrast]:
    noun, verb, thing = draw.one(PEOPLE), draw.one(STRONG), draw.one(THINGS)
    aux = draw.one(("did/AUX not/PART", "could/AUX", "would/AUX", "will/AUX", "can/AUX not/PART"))
    return crossed(
        lambda form: statement("the/DET", noun.sg, aux, form, "the/DET", thing.sg),
        verb.base,
        lambda form: statement("the/DET", noun.sg, form, "the/DET", thing.sg),
        verb.past,
    )


@paradigm(TERM)
def past_in_relative(draw: Draw) -> list[Contrast]:
    """A relative clause needs its finite verb; after had it needs the participle."""
    noun, (verb, thing), mood = draw.one(PEOPLE), _deed(draw), draw.one(MOODS)
    return crossed(
        lambda form: statement("the/DET", noun.sg, "who/PRON", form, "the/DET", thing.sg, "was/AUX", mood),
        verb.past,
        lambda form: statement("the/DET", noun.sg, "who/PRON had/AUX", form, "the/DET", thing.sg, "was/AUX", mood),
        verb.participle,
    )


@paradigm(TERM)
def irregular_comparative(draw: Draw) -> list[Contrast]:
    good, better = draw.one((("good/ADJ", "better/ADJ"), ("bad/ADJ", "worse/ADJ")))
    noun, be = draw.one(THINGS + ANIMALS), draw.one(("is/AUX", "was/AUX"))
    (first, second) = draw.some(NAMES, 2)
    return crossed(
        lambda form: statement(first, "'s/PART", noun.sg, be, form, "than/ADP", second, "'s/PART"),
        better,
        lambda form: statement(first, "'s/PART", noun.sg, be, "as/ADV", form, "as/ADP", second, "'s/PART"),
        good,
    )

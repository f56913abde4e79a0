"""Ellipsis: what may be left out, and what the remnant must match."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import (
    ACTIVITIES,
    ANIMALS,
    LOOKS,
    MOODS,
    NAMES,
    PEOPLE,
    PLACES,
    THINGS,
)
from tools.reference.grammar.pairs import crossed, paradigm
from tools.reference.grammar.tokens import Contrast, Token, statement

TERM = "ellipsis"


@paradigm(TERM, edit="move")
def noun_ellipsis(draw: Draw) -> list[Contrast]:
    """The noun may be left out after a numeral, but not after an adjective."""
    (first, second), noun, look = draw.some(NAMES, 2), draw.one(THINGS), draw.one(LOOKS)
    (one, two) = draw.some(("one/NUM", "two/NUM", "three/NUM", "four/NUM", "five/NUM", "several/ADJ"), 2)
    form = noun.sg if one == "one/NUM" else noun.pl
    verb = draw.one(("bought/VERB", "found/VERB", "saw/VERB", "wanted/VERB"))
    return [
        Contrast(
            statement(first, verb, one, look, form, "and/CCONJ", second, verb, two),
            statement(first, verb, one, form, "and/CCONJ", second, verb, two, look),
        )
    ]


@paradigm(TERM)
def verb_phrase_ellipsis(draw: Draw) -> list[Contrast]:
    """The stranded auxiliary matches the verb phrase that is left out: slept - did; was happy - was."""
    (first, second), activity, mood = draw.some(PEOPLE, 2), draw.one(ACTIVITIES), draw.one(MOODS)
    present = draw.chance()
    do, be = ("does/AUX", "is/AUX") if present else ("did/AUX", "was/AUX")
    verb = activity.third if present else activity.past
    return crossed(
        lambda aux: statement("the/DET", first.sg, verb, ",/PUNCT and/CCONJ the/DET", second.sg, aux, "too/ADV"),
        do,
        lambda aux: statement("the/DET", first.sg, be, mood, ",/PUNCT and/CCONJ the/DET", second.sg, aux, "too/ADV"),
        be,
    )


@paradigm(TERM)
def sluicing(draw: Draw) -> list[Contrast]:
    """The question word matches what it asks about: somebody - who, something - what."""
    subject = draw.one(PEOPLE)
    name = draw.one(NAMES)
    verb = draw.one(("saw/VERB", "found/VERB", "heard/VERB", "liked/VERB", "wanted/VERB", "remembered/VERB"))
    who = draw.one(("somebody/PRON", "someone/PRON"))
    rest = (
        ",/PUNCT but/CCONJ",
        name,
        draw.one(("did/AUX not/PART know/VERB", "forgot/VERB", "would/AUX not/PART say/VERB")),
    )
    return crossed(
        lambda wh: statement("the/DET", subject.sg, verb, who, *rest, wh),
        "who/PRON",
        lambda wh: statement("the/DET", subject.sg, verb, "something/PRON", *rest, wh),
        "what/PRON",
    )


@paradigm(TERM)
def possessive_ellipsis(draw: Draw) -> list[Contrast]:
    """Without its noun the possessive is yours, with it your."""
    short, full = draw.one((("your", "yours"), ("her", "hers"), ("our", "ours"), ("their", "theirs"), ("my", "mine")))
    owner = draw.one([word for word in ("my", "your", "his", "her", "their", "our") if word != short])
    noun, (look, other_look), be = draw.one(THINGS + ANIMALS), draw.some(LOOKS, 2), draw.one(("is/AUX", "was/AUX"))
    first = (Token(owner, "PRON"), noun.sg, be, look, ",/PUNCT but/CCONJ")
    return crossed(
        lambda whose: statement(*first, whose, be, other_look),
        Token(full, "PRON"),
        lambda whose: statement(*first, whose, noun.sg, be, other_look),
        Token(short, "PRON"),
    )


@paradigm(TERM)
def neither_and_so(draw: Draw) -> list[Contrast]:
    """So did she after a positive clause, neither did she after a negative one."""
    (first, second), activity, place = draw.some(PEOPLE, 2), draw.one(ACTIVITIES), draw.one(PLACES)
    rest = ("did/AUX the/DET", second.sg)
    return crossed(
        lambda word: statement("the/DET", first.sg, activity.past, place, ",/PUNCT and/CCONJ", word, *rest),
        "so/ADV",
        lambda word: statement(
            "the/DET", first.sg, "did/AUX not/PART", activity.base, place, ",/PUNCT and/CCONJ", word, *rest
        ),
        "neither/ADV",
    )

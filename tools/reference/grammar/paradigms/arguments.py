"""Argument structure: which verbs take which complements and subjects."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import (
    ACTIVITIES,
    ANIMALS,
    CLOTHES,
    FOODS,
    LIQUIDS,
    NAMES,
    ONLY_INTRANSITIVE,
    ONLY_TRANSITIVE,
    PEOPLE,
    THINGS,
    TIMES,
    VESSELS,
    Noun,
    Verb,
    verb,
)
from tools.reference.grammar.pairs import crossed, paradigm
from tools.reference.grammar.tokens import Contrast, Token, statement

TERM = "argument_structure"

MINDS: tuple[tuple[Verb, tuple[Noun, ...]], ...] = (
    (verb("read"), THINGS[:1]),
    (verb("write"), THINGS[:1]),
    (verb("eat"), FOODS),
    (verb("wear"), CLOTHES),
    (verb("buy"), THINGS),
    (verb("want"), THINGS),
    (verb("clean"), THINGS),
    (verb("paint"), THINGS),
    (verb("forget"), THINGS),
    (verb("steal"), THINGS),
    (verb("cook"), FOODS),
    (verb("choose"), THINGS),
)
"""Verbs that an inanimate thing cannot do, with what it can be done to."""


@paradigm(TERM)
def transitivity(draw: Draw) -> list[Contrast]:
    noun, thing = draw.one(PEOPLE), draw.one(THINGS)
    with_object, without, time = draw.one(ONLY_TRANSITIVE), draw.one(ONLY_INTRANSITIVE), draw.one(TIMES)
    return crossed(
        lambda v: statement("the/DET", noun.sg, v, "the/DET", thing.sg, time),
        with_object.past,
        lambda v: statement("the/DET", noun.sg, v, time),
        without.past,
    )


@paradigm(TERM)
def passive_transitivity(draw: Draw) -> list[Contrast]:
    noun, thing = draw.one(PEOPLE), draw.one(THINGS)
    with_object, without = draw.one(ONLY_TRANSITIVE), draw.one(ONLY_INTRANSITIVE)
    return crossed(
        lambda v: statement("the/DET", thing.sg, "had/AUX been/AUX", v, "by/ADP the/DET", noun.sg),
        with_object.participle,
        lambda v: statement("the/DET", noun.sg, "had/AUX", v, "before/ADP dinner/NOUN"),
        without.participle,
    )


@paradigm(TERM, edit="swap")
def animate_subject(draw: Draw) -> list[Contrast]:
    noun, (action, things), time = draw.one(PEOPLE), draw.one(MINDS), draw.one(TIMES)
    thing = draw.one(things)
    return [
        Contrast(
            statement("the/DET", noun.sg, action.past, "the/DET", thing.sg, time),
            statement("the/DET", thing.sg, action.past, "the/DET", noun.sg, time),
        )
    ]


@paradigm(TERM, edit="swap")
def animate_agent_passive(draw: Draw) -> list[Contrast]:
    noun, (action, things), time = draw.one(PEOPLE), draw.one(MINDS), draw.one(TIMES)
    thing = draw.one(things)
    return [
        Contrast(
            statement("the/DET", thing.sg, "was/AUX", action.participle, "by/ADP the/DET", noun.sg, time),
            statement("the/DET", noun.sg, "was/AUX", action.participle, "by/ADP the/DET", thing.sg, time),
        )
    ]


@paradigm(TERM)
def clause_with_addressee(draw: Draw) -> list[Contrast]:
    """Told and reminded need someone to tell; said, thought and hoped cannot have one."""
    (name, hearer), noun, activity = draw.some(NAMES, 2), draw.one(PEOPLE), draw.one(ACTIVITIES)
    told = draw.one(("told/VERB", "reminded/VERB"))
    said = draw.one(("said/VERB", "thought/VERB", "hoped/VERB", "felt/VERB", "agreed/VERB"))
    rest = ("that/SCONJ the/DET", noun.sg, "had/AUX", activity.participle)
    return crossed(lambda v: statement(name, v, hearer, *rest), told, lambda v: statement(name, v, *rest), said)


@paradigm(TERM)
def fill_and_pour(draw: Draw) -> list[Contrast]:
    """One fills a vessel with something, and pours something into a vessel."""
    noun, vessel, liquid, time = draw.one(PEOPLE), draw.one(VESSELS), draw.one(LIQUIDS), draw.one(TIMES)
    return crossed(
        lambda v: statement("the/DET", noun.sg, v, "the/DET", vessel.sg, "with/ADP", liquid, time),
        "filled/VERB",
        lambda v: statement("the/DET", noun.sg, v, liquid, "into/ADP the/DET", vessel.sg, time),
        "poured/VERB",
    )


@paradigm(TERM)
def verb_with_preposition(draw: Draw) -> list[Contrast]:
    """One looks at somebody, but sees somebody."""
    noun, seen, time = draw.one(PEOPLE), draw.one(ANIMALS), draw.one(TIMES)
    oblique, preposition, direct = draw.one(
        (
            ("looked", "at", "saw"),
            ("listened", "to", "heard"),
            ("waited", "for", "wanted"),
            ("laughed", "at", "liked"),
            ("talked", "to", "found"),
            ("looked", "for", "met"),
            ("spoke", "to", "helped"),
        )
    )
    return crossed(
        lambda v: statement("the/DET", noun.sg, v, Token(preposition, "ADP"), "the/DET", seen.sg, time),
        Token(oblique, "VERB"),
        lambda v: statement("the/DET", noun.sg, v, "the/DET", seen.sg, time),
        Token(direct, "VERB"),
    )

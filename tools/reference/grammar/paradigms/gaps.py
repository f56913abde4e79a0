"""Filler-gap dependencies: a question or relative word needs a gap, and a gap needs such a word."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import LOOKS, MOODS, NAMES, ONLY_TRANSITIVE, PEOPLE, THINGS
from tools.reference.grammar.pairs import crossed, paradigm
from tools.reference.grammar.tokens import Contrast, question, statement

TERM = "filler_gap_dependency"
KNEW = ("knew/VERB", "remembered/VERB", "forgot/VERB", "said/VERB", "saw/VERB", "heard/VERB")
THAT = "that/SCONJ"


@paradigm(TERM)
def object_gap(draw: Draw) -> list[Contrast]:
    name, noun, thing = draw.one(NAMES), draw.one(PEOPLE), draw.one(THINGS)
    verb, knew = draw.one(ONLY_TRANSITIVE), draw.one(KNEW)
    return crossed(
        lambda word: statement(name, knew, word, "the/DET", noun.sg, verb.past),
        "what/PRON",
        lambda word: statement(name, knew, word, "the/DET", noun.sg, verb.past, "the/DET", thing.sg),
        THAT,
    )


@paradigm(TERM)
def subject_gap(draw: Draw) -> list[Contrast]:
    name, noun, thing = draw.one(NAMES), draw.one(PEOPLE), draw.one(THINGS)
    verb, knew = draw.one(ONLY_TRANSITIVE), draw.one(KNEW)
    return crossed(
        lambda word: statement(name, knew, word, verb.past, "the/DET", thing.sg),
        "who/PRON",
        lambda word: statement(name, knew, word, "the/DET", noun.sg, verb.past, "the/DET", thing.sg),
        THAT,
    )


@paradigm(TERM)
def distant_object_gap(draw: Draw) -> list[Contrast]:
    name, (noun, second), thing = draw.one(NAMES), draw.some(PEOPLE, 2), draw.one(THINGS)
    verb, knew = draw.one(ONLY_TRANSITIVE), draw.one(KNEW)
    middle = ("the/DET", noun.sg, draw.one(("said/VERB", "thought/VERB")), "that/SCONJ the/DET", second.sg, verb.past)
    return crossed(
        lambda word: statement(name, knew, word, *middle),
        "what/PRON",
        lambda word: statement(name, knew, word, *middle, "the/DET", thing.sg),
        THAT,
    )


@paradigm(TERM, edit="insert")
def question_gap(draw: Draw) -> list[Contrast]:
    noun, thing, verb, aux = (
        draw.one(PEOPLE),
        draw.one(THINGS),
        draw.one(ONLY_TRANSITIVE),
        draw.one(("did/AUX", "will/AUX")),
    )
    return crossed(
        lambda word: question(word, aux, "the/DET", noun.sg, verb.base),
        "what/PRON",
        lambda word: question(word, aux, "the/DET", noun.sg, verb.base, "the/DET", thing.sg),
        "",
    )


@paradigm(TERM, edit="insert")
def relative_gap(draw: Draw) -> list[Contrast]:
    """The object relative has a gap where the object was; the subject relative has its object."""
    noun, thing, verb = draw.one(PEOPLE), draw.one(THINGS), draw.one(ONLY_TRANSITIVE)
    look, mood = draw.one(LOOKS), draw.one(MOODS)
    return crossed(
        lambda it: statement("the/DET", thing.sg, "that/PRON the/DET", noun.sg, verb.past, it, "was/AUX", look),
        "",
        lambda it: statement("the/DET", noun.sg, "that/PRON", verb.past, it, "was/AUX", mood),
        "it/PRON",
    )

"""Quantifiers: which noun, which construction and which partitive they go with."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import ANIMALS, ANIMATE, MASSES, MOODS, NAMES, PEOPLE, PLACES, THINGS
from tools.reference.grammar.pairs import crossed, paradigm
from tools.reference.grammar.tokens import Contrast, question, statement

TERM = "quantifiers"


@paradigm(TERM)
def existential_and_almost(draw: Draw) -> list[Contrast]:
    """There was a dog, not every dog; almost every dog, not almost a dog."""
    noun, place = draw.one(ANIMALS + PEOPLE), draw.one(PLACES)
    weak, strong, plural = draw.one(
        (("a/DET", "every/DET", False), ("some/DET", "all/DET", True), ("many/ADJ", "all/DET", True))
    )
    form, be = (noun.pl, "were/AUX") if plural else (noun.sg, "was/AUX")
    return crossed(
        lambda quantifier: statement("there/PRON", be, quantifier, form, place),
        weak,
        lambda quantifier: statement("almost/ADV", quantifier, form, be, place),
        strong,
    )


@paradigm(TERM)
def how_many_and_much(draw: Draw) -> list[Contrast]:
    count, mass, name = draw.one(THINGS + ANIMALS), draw.one(MASSES), draw.one(NAMES)
    verb = draw.one(("see/VERB", "find/VERB", "buy/VERB", "want/VERB", "have/VERB", "need/VERB"))
    return crossed(
        lambda quantifier: question("how/ADV", quantifier, count.pl, "did/AUX", name, verb),
        "many/ADJ",
        lambda quantifier: question("how/ADV", quantifier, mass, "did/AUX", name, verb),
        "much/ADJ",
    )


@paradigm(TERM)
def too_many_and_much(draw: Draw) -> list[Contrast]:
    count, mass, noun = draw.one(THINGS + ANIMALS), draw.one(MASSES), draw.one(PEOPLE)
    verb = draw.one(("saw/VERB", "found/VERB", "bought/VERB", "wanted/VERB", "had/VERB"))
    degree = draw.one(("too/ADV", "so/ADV"))
    return crossed(
        lambda quantifier: statement("the/DET", noun.sg, verb, degree, quantifier, count.pl),
        "many/ADJ",
        lambda quantifier: statement("the/DET", noun.sg, verb, degree, quantifier, mass),
        "much/ADJ",
    )


@paradigm(TERM)
def each_and_every(draw: Draw) -> list[Contrast]:
    """Each of the boys, not every of the boys; almost every boy, not almost each boy."""
    noun, mood = draw.one(PEOPLE + ANIMALS), draw.one(MOODS)
    return crossed(
        lambda quantifier: statement(quantifier, "of/ADP the/DET", noun.pl, "was/AUX", mood),
        "each/DET",
        lambda quantifier: statement("almost/ADV", quantifier, noun.sg, "was/AUX", mood),
        "every/DET",
    )


@paradigm(TERM)
def none_and_no(draw: Draw) -> list[Contrast]:
    noun, mood = draw.one(PEOPLE + ANIMALS), draw.one(MOODS)
    return crossed(
        lambda quantifier: statement(quantifier, "of/ADP the/DET", noun.pl, "were/AUX", mood),
        "none/NOUN",
        lambda quantifier: statement(quantifier, noun.pl, "were/AUX", mood),
        "no/DET",
    )


@paradigm(TERM)
def quantifier_and_number(draw: Draw) -> list[Contrast]:
    """Every dog, but all dogs."""
    name, noun = draw.one(NAMES), draw.one(ANIMATE + THINGS)
    verb = draw.one(("saw/VERB", "found/VERB", "knew/VERB", "liked/VERB"))
    one = draw.one(("every/DET", "each/DET", "another/DET"))
    many = draw.one(("all/DET", "both/DET", "many/ADJ", "several/ADJ", "few/ADJ"))
    return crossed(
        lambda form: statement(name, verb, one, form), noun.sg, lambda form: statement(name, verb, many, form), noun.pl
    )

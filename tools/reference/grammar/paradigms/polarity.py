"""Negative polarity: ever, any and either need a licensor, and it must stand where it can reach them."""

from __future__ import annotations

from collections.abc import Callable

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import (
    ACTIVITIES,
    ANIMALS,
    ANIMATE,
    ATTITUDES,
    MOODS,
    PLACES,
    ROOMS,
    THINGS,
    verbs,
)
from tools.reference.grammar.pairs import crossed, paradigm
from tools.reference.grammar.paradigms.agreement import HAVE, NUMBERS
from tools.reference.grammar.paradigms.anaphora import TAILS
from tools.reference.grammar.tokens import Contrast, Part, Tokens, say, statement

TERM = "npi_licensing"
NO, THE, ANY, NOT = "no/DET", "the/DET", "any/DET", "not/PART"


def _exchanged(frame: Callable[[Part, Part], Tokens], first: Part, second: Part) -> list[Contrast]:
    """One contrast: a frame with two places, and the same with their words exchanged."""
    return [Contrast(frame(first, second), frame(second, first))]


@paradigm(TERM, edit="swap", construction="simple NPI")
def ever_simple(draw: Draw) -> list[Contrast]:
    (noun, seen), verb, number = draw.some(ANIMATE, 2), draw.one(ATTITUDES), draw.one(NUMBERS)
    have = HAVE[NUMBERS.index(number)]
    subject, target = noun.form(number), seen.form(draw.one(NUMBERS))
    return _exchanged(lambda a, b: statement(a, subject, have, "ever/ADV", verb.participle, b, target), NO, THE)


@paradigm(TERM, edit="swap", construction="NPI across a relative clause")
def ever_across_object_relative(draw: Draw) -> list[Contrast]:
    (noun, inner), number = draw.some(ANIMATE, 2), draw.one(NUMBERS)
    liked, verb = draw.one(ATTITUDES), draw.one(ACTIVITIES)
    have = HAVE[NUMBERS.index(number)]
    head, subject = noun.form(number), inner.form(draw.one(NUMBERS))
    return _exchanged(
        lambda a, b: statement(a, head, "that/PRON", b, subject, liked.past, have, "ever/ADV", verb.participle), NO, THE
    )


@paradigm(TERM, edit="swap", construction="NPI across a relative clause")
def any_and_object_relative(draw: Draw) -> list[Contrast]:
    """Negation inside the relative clause licenses any there and not beyond it, and the other way round."""
    (head, subject), saw, verb = draw.some(ANIMATE, 2), draw.one(verbs("see hear find meet")), draw.one(ACTIVITIES)
    (here, there), number, near = draw.some(ROOMS, 2), draw.one(NUMBERS), draw.one(NUMBERS)

    def relative(determiner: Part, inside: Part) -> Tokens:
        return say("that/PRON", determiner, subject.form(near), saw.past, "in/ADP", inside, here)

    def outside(word: Part) -> Tokens:
        return say("in/ADP", word, there)

    start, slept, not_sleep = say(THE, head.form(number)), verb.past, say("did/AUX", NOT, verb.base)
    return [
        *_exchanged(lambda a, b: statement(start, relative(NO, a), slept, outside(b)), ANY, THE),
        *_exchanged(lambda a, b: statement(start, relative(THE, a), not_sleep, outside(b)), THE, ANY),
    ]


@paradigm(TERM, edit="swap", construction="NPI across a relative clause")
def any_and_subject_relative(draw: Draw) -> list[Contrast]:
    """The same with a relative clause whose subject is missing."""
    head, (saw, find) = draw.one(ANIMATE).form(draw.one(NUMBERS)), draw.some(verbs("see hear find meet help like"), 2)
    first, second = (noun.pl for noun in draw.some([noun for noun in ANIMATE if noun.sg != head != noun.pl], 2))
    did_not = say("did/AUX", NOT)
    start = say(THE, head, "that/PRON")
    return [
        *_exchanged(lambda a, b: statement(start, did_not, saw.base, a, first, find.past, b, second), ANY, THE),
        *_exchanged(lambda a, b: statement(start, saw.past, a, first, did_not, find.base, b, second), THE, ANY),
    ]


@paradigm(TERM, edit="swap")
def any_object(draw: Draw) -> list[Contrast]:
    noun, thing, number = draw.one(ANIMATE), draw.one(THINGS), draw.one(NUMBERS)
    verb = draw.one(("found/VERB", "saw/VERB", "wanted/VERB", "took/VERB", "lost/VERB", "had/VERB"))
    place = draw.one(PLACES)
    return _exchanged(lambda a, b: statement(a, noun.form(number), verb, b, thing.pl, place), NO, "any/DET")


@paradigm(TERM, edit="phrase")
def anything_object(draw: Draw) -> list[Contrast]:
    """Nobody said anything, nothing frightened anybody: the negative word must come first."""
    said = draw.one(("said", "found", "saw", "wanted", "took", "lost", "heard", "bought", "broke", "knew", "ate"))
    hurt = draw.one(("frightened", "surprised", "hurt", "scared", "helped", "pleased", "worried", "woke"))
    tail = draw.one(TAILS)
    return [
        Contrast(statement(f"{a}/PRON {verb}/VERB {b}/PRON", tail), statement(f"{c}/PRON {verb}/VERB {d}/PRON", tail))
        for a, b, c, d, verb in (
            ("nobody", "anything", "anybody", "nothing", said),
            ("nothing", "anybody", "anything", "nobody", hurt),
        )
    ]


@paradigm(TERM)
def either_and_too(draw: Draw) -> list[Contrast]:
    (noun, second), verb = draw.some(ANIMATE, 2), draw.one(ACTIVITIES)
    return crossed(
        lambda word: statement(
            "the/DET",
            noun.sg,
            "did/AUX not/PART",
            verb.base,
            ",/PUNCT and/CCONJ the/DET",
            second.sg,
            "did/AUX not/PART",
            word,
        ),
        "either/ADV",
        lambda word: statement("the/DET", noun.sg, verb.past, ",/PUNCT and/CCONJ the/DET", second.sg, "did/AUX", word),
        "too/ADV",
    )


@paradigm(TERM, edit="move")
def ever_in_condition(draw: Draw) -> list[Contrast]:
    (noun, second), verb, mood = draw.some(ANIMATE, 2), draw.one(ACTIVITIES), draw.one(MOODS)
    first = say("if/SCONJ the/DET", noun.sg, "has/AUX")
    middle = say(verb.participle, ",/PUNCT the/DET", second.sg, "will/AUX")
    return [
        Contrast(
            statement(first, "ever/ADV", middle, "be/AUX", mood), statement(first, middle, "ever/ADV be/AUX", mood)
        )
    ]


@paradigm(TERM, edit="move")
def ever_after_before(draw: Draw) -> list[Contrast]:
    (noun, second), (verb, other) = draw.some(ANIMATE + ANIMALS, 2), draw.some(ACTIVITIES, 2)
    first, before = say("the/DET", noun.sg, "had/AUX"), say("before/SCONJ the/DET", second.sg, "had/AUX")
    return [
        Contrast(
            statement(first, verb.participle, before, "ever/ADV", other.participle),
            statement(first, "ever/ADV", verb.participle, before, other.participle),
        )
    ]

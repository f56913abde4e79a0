"""Subject-verb agreement within one clause and under coordination, complements and prepositional phrases."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import (
    ACTIVITIES,
    ANIMALS,
    ANIMATE,
    ATTITUDES,
    IRREGULAR_ANIMATE,
    LOOKS,
    MOODS,
    NAMES,
    NEXT_TO,
    PEOPLE,
    PLACES,
    RELATIONS,
    THINGS,
    TRADES,
    Number,
)
from tools.reference.grammar.pairs import agreeing, crossed, paradigm
from tools.reference.grammar.tokens import Contrast, Part, Token, Tokens, question, say, statement

TERM = "subject_verb_agreement"
BE = ((Token("is", "AUX"), Token("are", "AUX")), (Token("was", "AUX"), Token("were", "AUX")))
HAVE = (Token("has", "AUX"), Token("have", "AUX"))
DO = (Token("does", "AUX"), Token("do", "AUX"))
NUMBERS: tuple[Number, Number] = ("sg", "pl")


@paradigm(TERM, construction="simple agreement")
def agreement_simple(draw: Draw) -> list[Contrast]:
    noun, verb, place = draw.one(ANIMATE), draw.one(ACTIVITIES), draw.one(PLACES)
    return agreeing(lambda n, v: statement("the/DET", noun.form(n), v, place), verb.third, verb.base)


@paradigm(TERM)
def agreement_transitive(draw: Draw) -> list[Contrast]:
    noun, verb = draw.one(ANIMATE), draw.one(ATTITUDES)
    rest = say("the/DET", draw.one(ANIMALS).form(draw.one(NUMBERS)))
    return agreeing(lambda n, v: statement("the/DET", noun.form(n), v, rest), verb.third, verb.base)


@paradigm(TERM)
def agreement_irregular_subject(draw: Draw) -> list[Contrast]:
    noun, verb, place = draw.one(IRREGULAR_ANIMATE), draw.one(ACTIVITIES), draw.one(PLACES)
    return agreeing(lambda n, v: statement("the/DET", noun.form(n), v, place), verb.third, verb.base)


@paradigm(TERM)
def agreement_subject_form(draw: Draw) -> list[Contrast]:
    noun, verb, place = draw.one(ANIMATE), draw.one(ACTIVITIES), draw.one(PLACES)
    return agreeing(
        lambda n, subject: statement("the/DET", subject, verb.present(n), place),
        noun.sg,
        noun.pl,
    )


@paradigm(TERM)
def agreement_copula(draw: Draw) -> list[Contrast]:
    noun, mood, (singular, plural) = draw.one(PEOPLE), draw.one(MOODS), draw.one(BE)
    return agreeing(lambda n, be: statement("the/DET", noun.form(n), be, mood), singular, plural)


@paradigm(TERM)
def agreement_perfect(draw: Draw) -> list[Contrast]:
    noun, verb, place = draw.one(ANIMATE), draw.one(ACTIVITIES), draw.one(PLACES)
    return agreeing(lambda n, have: statement("the/DET", noun.form(n), have, verb.participle, place), *HAVE)


@paradigm(TERM)
def agreement_question(draw: Draw) -> list[Contrast]:
    noun, verb, seen = draw.one(ANIMATE), draw.one(ATTITUDES), draw.one(ANIMALS)
    rest = say(verb.base, "the/DET", seen.form(draw.one(NUMBERS)))
    return agreeing(lambda n, do: question(do, "the/DET", noun.form(n), rest), *DO)


@paradigm(TERM)
def agreement_relational_noun(draw: Draw) -> list[Contrast]:
    head, verb = draw.one(RELATIONS), draw.one(ACTIVITIES)
    attractor = draw.one([noun for noun in TRADES + ANIMALS[:2] if noun != head])
    return [
        contrast
        for near in NUMBERS
        for contrast in agreeing(
            lambda n, v, near=near: statement("the/DET", head.form(n), "of/ADP the/DET", attractor.form(near), v),
            verb.third,
            verb.base,
        )
    ]


@paradigm(TERM, construction="agreement in a sentential complement")
def agreement_in_complement(draw: Draw) -> list[Contrast]:
    speaker, verb, place = draw.one(TRADES), draw.one(ACTIVITIES), draw.one(PLACES)
    noun = draw.one([noun for noun in ANIMATE if noun != speaker])
    said = draw.one(("said/VERB", "thought/VERB", "knew/VERB", "hoped/VERB"))
    return [
        contrast
        for matrix in NUMBERS
        for contrast in agreeing(
            lambda n, v, matrix=matrix: statement(
                "the/DET", speaker.form(matrix), said, "that/SCONJ the/DET", noun.form(n), v, place
            ),
            verb.third,
            verb.base,
        )
    ]


@paradigm(TERM, construction="short VP coordination")
def agreement_short_coordination(draw: Draw) -> list[Contrast]:
    noun, (first, second) = draw.one(ANIMATE), draw.some(ACTIVITIES, 2)
    return agreeing(
        lambda n, v: statement("the/DET", noun.form(n), first.present(n), "and/CCONJ", v), second.third, second.base
    )


@paradigm(TERM, construction="long VP coordination")
def agreement_long_coordination(draw: Draw) -> list[Contrast]:
    noun, (first, second), (here, there) = draw.one(PEOPLE), draw.some(ACTIVITIES, 2), draw.some(PLACES, 2)
    company = say("with/ADP", draw.one(NAMES))
    return agreeing(
        lambda n, v: statement(
            "the/DET", noun.form(n), first.present(n), company, here, "every/DET day/NOUN and/CCONJ", v, there
        ),
        second.third,
        second.base,
    )


@paradigm(TERM, construction="across a prepositional phrase")
def agreement_across_phrase(draw: Draw) -> list[Contrast]:
    (head, attractor), verb, near = draw.some(ANIMATE, 2), draw.one(ACTIVITIES), draw.one(NEXT_TO)
    return [
        contrast
        for number in NUMBERS
        for contrast in agreeing(
            lambda n, v, number=number: statement("the/DET", head.form(n), near, "the/DET", attractor.form(number), v),
            verb.third,
            verb.base,
        )
    ]


@paradigm(TERM, construction="across a prepositional phrase")
def agreement_across_phrase_inanimate(draw: Draw) -> list[Contrast]:
    head, attractor, near = draw.one(THINGS), draw.one(ANIMATE), draw.one(NEXT_TO)
    look, (singular, plural) = draw.one(LOOKS), draw.one(BE)
    return [
        contrast
        for number in NUMBERS
        for contrast in agreeing(
            lambda n, be, number=number: statement(
                "the/DET", head.form(n), near, "the/DET", attractor.form(number), be, look
            ),
            singular,
            plural,
        )
    ]


@paradigm(TERM)
def agreement_after_question_word(draw: Draw) -> list[Contrast]:
    noun, place = draw.one(THINGS + ANIMALS), draw.one(PLACES)
    singular, plural = draw.one(BE)

    def frame(n: Number, be: Part) -> Tokens:
        return question("how/ADV many/ADJ" if n == "pl" else "which/DET", noun.form(n), be, place)

    return agreeing(frame, singular, plural)


@paradigm(TERM)
def agreement_demonstrative_subject(draw: Draw) -> list[Contrast]:
    """The subject is a pronoun: this is a ..., these are ..."""
    noun, owner = draw.one(THINGS + ANIMALS), draw.one(NAMES)
    (singular, plural), (this, these) = (
        draw.one(BE),
        draw.one((("this/PRON", "these/PRON"), ("that/PRON", "those/PRON"))),
    )
    return crossed(
        lambda be: statement(this, be, owner, "'s/PART", noun.sg),
        singular,
        lambda be: statement(these, be, owner, "'s/PART", noun.pl),
        plural,
    )

"""Reflexives, reciprocals and pronouns: agreement with the antecedent, and where the antecedent may stand."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import (
    ACTIVITIES,
    ATTITUDES,
    HE,
    HE_KIN,
    HE_NAMES,
    NAMES,
    PLACES,
    SELF,
    SHE,
    SHE_KIN,
    SHE_NAMES,
    TIMES,
    TRADES,
    Noun,
    Number,
    Verb,
)
from tools.reference.grammar.pairs import agreeing, crossed, paradigm
from tools.reference.grammar.paradigms.agreement import NUMBERS
from tools.reference.grammar.tokens import Contrast, Part, Token, Tokens, say, statement

AGREEMENT, BINDING = "anaphor_agreement", "binding"
HIMSELF, HERSELF, THEMSELVES = (Token(word, "PRON") for word in ("himself", "herself", "themselves"))
HE_, SHE_, THEY = (Token(word, "PRON") for word in ("he", "she", "they"))
TAILS = ("", *PLACES, *TIMES)


def _gendered(draw: Draw) -> tuple[Noun, Token]:
    """A noun of known gender and its reflexive."""
    return (draw.one(HE), HIMSELF) if draw.chance() else (draw.one(SHE), HERSELF)


def _man_and_woman(draw: Draw) -> tuple[Tokens, Tokens]:
    """A noun phrase for him and one for her, of one kind: both names, or both nouns."""
    if draw.chance():
        return say(draw.one(HE_NAMES)), say(draw.one(SHE_NAMES))
    return say("the/DET", draw.one(HE).sg), say("the/DET", draw.one(SHE).sg)


def _two_verbs(draw: Draw) -> tuple[Verb, Verb]:
    """A verb for a relative clause and a different one that takes a reflexive."""
    verb = draw.one(SELF)
    return draw.one([other for other in ATTITUDES if other != verb]), verb


@paradigm(AGREEMENT, construction="simple reflexive")
def reflexive_number(draw: Draw) -> list[Contrast]:
    (noun, reflexive), verb, tail = _gendered(draw), draw.one(SELF), draw.one(TAILS)
    return agreeing(lambda n, self: statement("the/DET", noun.form(n), verb.past, self, tail), reflexive, THEMSELVES)


@paradigm(AGREEMENT, construction="simple reflexive")
def reflexive_gender(draw: Draw) -> list[Contrast]:
    (him, her), verb, tail = _man_and_woman(draw), draw.one(SELF), draw.one(TAILS)
    return crossed(
        lambda self: statement(him, verb.past, self, tail),
        HIMSELF,
        lambda self: statement(her, verb.past, self, tail),
        HERSELF,
    )


@paradigm(AGREEMENT, construction="reflexive in a sentential complement")
def reflexive_in_complement(draw: Draw) -> list[Contrast]:
    speaker, (noun, reflexive), verb = draw.one(TRADES), _gendered(draw), draw.one(SELF)
    said = draw.one(("said/VERB", "thought/VERB", "knew/VERB", "hoped/VERB"))
    return [
        contrast
        for far in NUMBERS
        for contrast in agreeing(
            lambda n, self, far=far: statement(
                "the/DET", speaker.form(far), said, "that/SCONJ the/DET", noun.form(n), verb.past, self
            ),
            reflexive,
            THEMSELVES,
        )
    ]


@paradigm(AGREEMENT, construction="reflexive across a relative clause")
def reflexive_across_object_relative(draw: Draw) -> list[Contrast]:
    subject, (noun, reflexive), (inner, verb) = draw.one(TRADES), _gendered(draw), _two_verbs(draw)
    return [
        contrast
        for near in NUMBERS
        for contrast in agreeing(
            lambda n, self, near=near: statement(
                "the/DET", noun.form(n), "that/PRON the/DET", subject.form(near), inner.past, verb.past, self
            ),
            reflexive,
            THEMSELVES,
        )
    ]


@paradigm(AGREEMENT, construction="reflexive across a relative clause")
def reflexive_across_subject_relative(draw: Draw) -> list[Contrast]:
    attractor, (noun, reflexive), (inner, verb) = draw.one(TRADES), _gendered(draw), _two_verbs(draw)
    return [
        contrast
        for near in NUMBERS
        for contrast in agreeing(
            lambda n, self, near=near: statement(
                "the/DET", noun.form(n), "that/PRON", inner.past, "the/DET", attractor.form(near), verb.past, self
            ),
            reflexive,
            THEMSELVES,
        )
    ]


@paradigm(BINDING)
def binding_across_relative(draw: Draw) -> list[Contrast]:
    """The noun inside the relative clause does not command the reflexive."""
    him, her = draw.one(HE), draw.one(SHE)
    (he, she), (inner, verb) = (draw.one(HE_NAMES), draw.one(SHE_NAMES)), _two_verbs(draw)
    return crossed(
        lambda self: statement("the/DET", him.sg, "that/PRON", she, inner.past, verb.past, self),
        HIMSELF,
        lambda self: statement("the/DET", her.sg, "that/PRON", he, inner.past, verb.past, self),
        HERSELF,
    )


@paradigm(BINDING)
def binding_domain(draw: Draw) -> list[Contrast]:
    """The subject of the clause above is too far away for the reflexive."""
    (him, her), verb = _man_and_woman(draw), draw.one(SELF)
    said = draw.one(("said/VERB", "thought/VERB", "knew/VERB", "hoped/VERB"))
    return crossed(
        lambda self: statement(her, said, "that/SCONJ", him, verb.past, self),
        HIMSELF,
        lambda self: statement(him, said, "that/SCONJ", her, verb.past, self),
        HERSELF,
    )


@paradigm(BINDING)
def binding_possessor(draw: Draw) -> list[Contrast]:
    """The possessor inside the subject does not command the reflexive."""
    (he, she), verb = (draw.one(HE_NAMES), draw.one(SHE_NAMES)), draw.one(SELF)
    him, her, tail = draw.one(HE_KIN), draw.one(SHE_KIN), draw.one(TAILS)
    return crossed(
        lambda self: statement(she, "'s/PART", him.sg, verb.past, self, tail),
        HIMSELF,
        lambda self: statement(he, "'s/PART", her.sg, verb.past, self, tail),
        HERSELF,
    )


@paradigm(BINDING)
def binding_case(draw: Draw) -> list[Contrast]:
    """A reflexive is no subject of a finite clause; a subject pronoun is no object."""
    noun, number = draw.one(HE + SHE), draw.one(NUMBERS)
    subject, self = (HE_, HIMSELF) if noun in HE else (SHE_, HERSELF)
    if number == "pl":
        subject, self = THEY, THEMSELVES
    said = draw.one(("said/VERB", "thought/VERB", "knew/VERB", "hoped/VERB"))
    activity, verb, place = draw.one(ACTIVITIES), draw.one(SELF), draw.one(PLACES)
    return crossed(
        lambda pronoun: statement("the/DET", noun.form(number), said, "that/SCONJ", pronoun, activity.past, place),
        subject,
        lambda pronoun: statement("the/DET", noun.form(number), verb.past, pronoun, place),
        self,
    )


@paradigm(BINDING)
def binding_local_pronoun(draw: Draw) -> list[Contrast]:
    """A plain pronoun may not mean its own clause's subject, a reflexive must."""
    subject, plain, self = draw.one(
        (
            ("I/PRON", "me/PRON", "myself/PRON"),
            ("we/PRON", "us/PRON", "ourselves/PRON"),
            ("you/PRON", "you/PRON", "yourself/PRON"),
        )
    )
    third, verb, tail = draw.one(NAMES), draw.one(SELF), draw.one(TAILS)
    return crossed(
        lambda pronoun: statement(subject, verb.past, pronoun, tail),
        self,
        lambda pronoun: statement(third, verb.past, pronoun, tail),
        plain,
    )


@paradigm(BINDING, edit="phrase")
def binding_reciprocal(draw: Draw) -> list[Contrast]:
    """Each other needs a plural antecedent."""
    (noun, reflexive), verb, tail = _gendered(draw), draw.one(SELF), draw.one(TAILS)

    def frame(n: Number, anaphor: Part) -> Tokens:
        return statement("the/DET", noun.form(n), verb.past, anaphor, tail)

    return crossed(
        lambda anaphor: frame("sg", anaphor), reflexive, lambda anaphor: frame("pl", anaphor), "each/DET other/ADJ"
    )

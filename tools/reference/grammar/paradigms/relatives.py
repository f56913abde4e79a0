"""Subject-verb agreement across and within relative clauses."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import ACTIVITIES, ANIMALS, ATTITUDES, LOOKS, PEOPLE, THINGS, Number
from tools.reference.grammar.pairs import agreeing, paradigm
from tools.reference.grammar.paradigms.agreement import BE, NUMBERS, TERM
from tools.reference.grammar.tokens import Contrast, Part, statement


def _across_object_relative(draw: Draw, that: str) -> list[Contrast]:
    (head, subject), inner, outer = draw.some(PEOPLE + ANIMALS[:6], 2), draw.one(ATTITUDES), draw.one(ACTIVITIES)
    return [
        contrast
        for near in NUMBERS
        for contrast in agreeing(
            lambda n, v, near=near: statement(
                "the/DET", head.form(n), that, "the/DET", subject.form(near), inner.present(near), v
            ),
            outer.third,
            outer.base,
        )
    ]


def _within_object_relative(draw: Draw, that: str) -> list[Contrast]:
    (head, subject), inner, outer = draw.some(PEOPLE + ANIMALS[:6], 2), draw.one(ATTITUDES), draw.one(ACTIVITIES)
    return [
        contrast
        for far in NUMBERS
        for contrast in agreeing(
            lambda n, v, far=far: statement(
                "the/DET", head.form(far), that, "the/DET", subject.form(n), v, outer.present(far)
            ),
            inner.third,
            inner.base,
        )
    ]


@paradigm(TERM, construction="across a subject relative clause")
def agreement_across_subject_relative(draw: Draw) -> list[Contrast]:
    (head, attractor), inner, outer = draw.some(PEOPLE + ANIMALS[:6], 2), draw.one(ATTITUDES), draw.one(ACTIVITIES)
    return [
        contrast
        for near in NUMBERS
        for contrast in agreeing(
            lambda n, v, near=near: statement(
                "the/DET", head.form(n), "that/PRON", inner.present(n), "the/DET", attractor.form(near), v
            ),
            outer.third,
            outer.base,
        )
    ]


@paradigm(TERM, construction="across an object relative clause")
def agreement_across_object_relative(draw: Draw) -> list[Contrast]:
    return _across_object_relative(draw, "that/PRON")


@paradigm(TERM, construction="across an object relative clause without complementiser")
def agreement_across_bare_relative(draw: Draw) -> list[Contrast]:
    return _across_object_relative(draw, "")


@paradigm(TERM, construction="within an object relative clause")
def agreement_within_object_relative(draw: Draw) -> list[Contrast]:
    return _within_object_relative(draw, "that/PRON")


@paradigm(TERM, construction="within an object relative clause without complementiser")
def agreement_within_bare_relative(draw: Draw) -> list[Contrast]:
    return _within_object_relative(draw, "")


@paradigm(TERM, construction="across an object relative clause")
def agreement_across_relative_inanimate(draw: Draw) -> list[Contrast]:
    head, subject, inner = draw.one(THINGS), draw.one(PEOPLE), draw.one(ATTITUDES[:1] + ATTITUDES[-4:-2])
    look, (singular, plural) = draw.one(LOOKS), draw.one(BE)

    def frame(n: Number, be: Part, near: Number) -> tuple:
        return statement(
            "the/DET", head.form(n), "that/PRON the/DET", subject.form(near), inner.present(near), be, look
        )

    return [
        contrast
        for near in NUMBERS
        for contrast in agreeing(lambda n, be, near=near: frame(n, be, near), singular, plural)
    ]

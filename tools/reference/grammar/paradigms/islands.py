"""Island effects: phrases out of which nothing can be questioned. Both sentences hold the same words."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import ANIMATE, HE_NAMES, NAMES, NEXT_TO, ONLY_TRANSITIVE, PEOPLE, THINGS, verbs
from tools.reference.grammar.pairs import paradigm
from tools.reference.grammar.tokens import Contrast, question, say

TERM = "island_effects"
MEETING = verbs("meet see visit help hear watch follow")
"""Verbs with one object and no more."""
WANTING = verbs("want like need touch use hate fear love")
"""Verbs with one object, inanimate ones too, and no more: the second object of find or make could be the gap."""


@paradigm(TERM, edit="move")
def adjunct_island(draw: Draw) -> list[Contrast]:
    name, noun, (first, second) = draw.one(NAMES), draw.one(ANIMATE), draw.some(MEETING, 2)
    pronoun = "he/PRON" if name in HE_NAMES else "she/PRON"
    clause = say(draw.one(("before/SCONJ", "after/SCONJ", "when/SCONJ", "because/SCONJ")), pronoun, second.past)
    seen = say("the/DET", noun.sg)
    start = say("who/PRON did/AUX", name, first.base)
    return [Contrast(question(start, clause, seen), question(start, seen, clause))]


@paradigm(TERM, edit="reorder")
def relative_clause_island(draw: Draw) -> list[Contrast]:
    (head, seen), want, met = draw.some(PEOPLE, 2), draw.one(WANTING), draw.one(verbs("meet see visit follow"))
    start = say("what/PRON did/AUX the/DET", head.sg)
    relative, other_one = say("that/PRON", met.past), say("the/DET", seen.sg)
    return [Contrast(question(start, relative, other_one, want.base), question(start, want.base, other_one, relative))]


@paradigm(TERM, edit="move")
def coordination_island(draw: Draw) -> list[Contrast]:
    """Nothing leaves one half of a coordination: found the box behind ___ and the chair."""
    subject = say(draw.one(NAMES)) if draw.chance() else say("the/DET", draw.one(PEOPLE).sg)
    (first, second), find, aux = draw.some(THINGS, 2), draw.one(ONLY_TRANSITIVE), draw.one(("did/AUX", "will/AUX"))
    start, near = say("what/PRON", aux, subject, find.base), say(draw.one(NEXT_TO))
    moved, rest = say("the/DET", first.sg), say("and/CCONJ the/DET", second.sg)
    return [Contrast(question(start, near, moved, rest), question(start, moved, near, rest))]


@paradigm(TERM, edit="move")
def left_branch_island(draw: Draw) -> list[Contrast]:
    which = draw.one(("which/DET", "whose/PRON"))
    thing, find = draw.one(THINGS), draw.one(ONLY_TRANSITIVE)
    subject = say(draw.one(NAMES)) if draw.chance() else say("the/DET", draw.one(PEOPLE).sg)
    noun = thing.sg if draw.chance() else thing.pl
    rest = say(draw.one(("did/AUX", "will/AUX", "can/AUX")), subject, find.base)
    return [Contrast(question(which, noun, rest), question(which, rest, noun))]


@paradigm(TERM, edit="move")
def subject_island(draw: Draw) -> list[Contrast]:
    helping = draw.one(MEETING)
    please = draw.one(("please/VERB", "frighten/VERB", "surprise/VERB", "scare/VERB", "worry/VERB"))
    noun = say(draw.one(NAMES)) if draw.chance() else say("the/DET", draw.one(ANIMATE).sg)
    start = say("who/PRON", draw.one(("did/AUX", "will/AUX")), helping.gerund)
    return [Contrast(question(start, noun, please), question(start, please, noun))]


@paradigm(TERM, edit="reorder")
def question_island(draw: Draw) -> list[Contrast]:
    subject = say(draw.one(NAMES)) if draw.chance() else say("the/DET", draw.one(PEOPLE).sg)
    find, aux = draw.one(ONLY_TRANSITIVE), draw.one(("will/AUX", "can/AUX", "must/AUX", "should/AUX"))
    ask = draw.one(("ask/VERB", "guess/VERB", "remember/VERB", "forget/VERB"))
    who, what = "who/PRON", "what/PRON"
    found = say("has/AUX", find.participle)
    return [
        Contrast(
            question(who, aux, ask, what, subject, found),
            question(what, aux, subject, ask, who, found),
        )
    ]

"""Sentences of the calibration language: running text, drawn from a small grammar."""

from __future__ import annotations

from negspace.reference.calibration.lexicon import ANIMALS, EVENTS, NUMBERED, PEOPLE, RELATIONS, SERIES, THINGS, Lexicon
from negspace.reference.draw import Draw

MIDDLES = ("", "adverb", "phrase", "phrases", "clause")
"""Possible material between a subject and its verb."""
NAMES_OF_SERIES = ("days", "months", "numbers")
TO_SLOT = {"live": " in the", "eat": "", "look": "", "belong": " to the", "fear": ""}
"""Material between a verb and its slot."""
_ASKED = {"live": "where", "eat": "what", "look": "how", "belong": "where", "fear": "what"}


def noun(lemma: str, plural: bool) -> str:
    """A noun's form."""
    return f"{lemma}s" if plural else lemma


def subject(draw: Draw, animal: str, plural: bool, middle: str, attractor: bool | None = None) -> str:
    """A noun phrase with the animal as its head.

    Args:
        middle: one of MIDDLES.
        attractor: number (plural?) of the nouns in between; drawn if None.
    """

    def thing() -> str:
        return noun(draw.one(THINGS), draw.chance() if attractor is None else attractor)

    after = {
        "": lambda: "",
        "adverb": lambda: " often",
        "phrase": lambda: f" near the {thing()}",
        "phrases": lambda: f" near the {thing()} by the {thing()}",
        "clause": lambda: f" that the {thing()} hid",
    }[middle]()
    return f"the {noun(animal, plural)}{after}"


def verb(lemma: str, plural: bool) -> str:
    """The form of a verb or reflexive that goes with a number."""
    return NUMBERED[lemma][plural]


def question(words: str, relation: str, plural: bool) -> str:
    """A question for a relation's slot: "the wug lives where"."""
    return f"{words} {verb(relation, plural)} {_ASKED[relation]}"


def text(lexicon: Lexicon, count: int, seed: str) -> str:
    """Running text of `count` passages, a passage a line, each of one to four sentences about one matter."""
    draw = Draw(f"calibration text {seed}")
    return "\n".join(passage(lexicon, draw) for _ in range(count)) + "\n"


def passage(lexicon: Lexicon, draw: Draw) -> str:
    """One passage."""
    kind = draw.one((*("fact",) * 8, *("question",) * 3, *("plain",) * 3, "self", "know", "know", "event", "series"))
    animal, person, plural = draw.one(ANIMALS), draw.one(PEOPLE), draw.chance()
    middle = draw.one(("", "", *MIDDLES))
    relation = draw.one(tuple(RELATIONS))
    about = subject(draw, animal, plural, middle)
    filler = lexicon.facts[animal][relation]
    if kind == "fact":
        return f"{about} {verb(relation, plural)}{TO_SLOT[relation]} {filler} ."
    if kind == "question":
        before = f"{person} met {subject(draw, animal, plural, '')} . " if draw.chance() else ""
        return f"{before}question : {question(about, relation, plural)} ? answer : {filler} ."
    if kind == "plain":
        act = draw.one(("sleep", "bark", "be", "have"))
        rest = {"be": " asleep", "have": f" {draw.one(('slept', 'barked'))}"}.get(act, "")
        return f"{about} {verb(act, plural)}{rest} ."
    if kind == "self":
        return f"{about} {draw.one(('hurt', 'saw'))} {verb('self', plural)} ."
    if kind == "know":
        return f"{person} met {subject(draw, animal, plural, '')} . {about} {verb('know', plural)} {person} ."
    if kind == "event":
        event = draw.one(tuple(EVENTS))
        told = f"{person} {event} the game ."
        if draw.chance():
            return f"{told} {person} felt {EVENTS[event]} ."
        return f"q : {told} how did {person} feel ? a : {EVENTS[event]} ."
    which = draw.one(range(len(SERIES)))
    return f"{NAMES_OF_SERIES[which]} : {' '.join(run(draw, which, 3 + draw.one(range(3))))} ."


def run(draw: Draw, series: int, length: int) -> tuple[str, ...]:
    """Words of a series in their order, from a place drawn at random."""
    words = SERIES[series]
    start = draw.one(range(len(words) - length + 1))
    return words[start : start + length]

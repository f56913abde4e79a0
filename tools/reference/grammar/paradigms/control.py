"""Control and raising: whose subject the infinitive's subject is, and which verbs take which complement."""

from __future__ import annotations

from negspace.reference.draw import Draw
from tools.reference.grammar.lexicon import (
    ACTIVITIES,
    ANIMALS,
    HE_NAMES,
    MOODS,
    NAMES,
    PEOPLE,
    PLACES,
    SHE_NAMES,
    THINGS,
    verbs,
)
from tools.reference.grammar.pairs import crossed, paradigm
from tools.reference.grammar.tokens import Contrast, say, statement

TERM = "control_raising"


@paradigm(TERM)
def easy_and_likely(draw: Draw) -> list[Contrast]:
    """A thing is easy to find (its object is missing); a person is likely to sleep (its subject is)."""
    thing, noun = draw.one(THINGS), draw.one(PEOPLE)
    find = draw.one(verbs("find fix make buy bring use"))
    sleep = draw.one(verbs("sleep smile laugh arrive cry come listen"))
    easy = draw.one(("easy/ADJ", "hard/ADJ", "impossible/ADJ", "difficult/ADJ"))
    likely = draw.one(("likely/ADJ", "sure/ADJ", "certain/ADJ", "able/ADJ"))
    be = draw.one(("is/AUX", "was/AUX"))
    return crossed(
        lambda adjective: statement("the/DET", thing.sg, be, adjective, "to/PART", find.base),
        easy,
        lambda adjective: statement("the/DET", noun.sg, be, adjective, "to/PART", sleep.base),
        likely,
    )


@paradigm(TERM)
def expletive_subject(draw: Draw) -> list[Contrast]:
    """It seemed that ...: no one seems that, and it does not hope that."""
    hearer, noun, mood = draw.one(NAMES), draw.one(PEOPLE), draw.one(MOODS)
    seemed = draw.one(("seemed/VERB", "appeared/VERB"))
    hoped = draw.one(("hoped/VERB", "thought/VERB", "knew/VERB", "believed/VERB"))
    rest = ("that/SCONJ the/DET", noun.sg, "was/AUX", mood)
    return crossed(
        lambda v: statement("it/PRON", v, "to/ADP", hearer, *rest), seemed, lambda v: statement(hearer, v, *rest), hoped
    )


@paradigm(TERM)
def existential_raising(draw: Draw) -> list[Contrast]:
    """There seemed to be a dog: there does not want to be one, and nobody seems one to be there."""
    name, noun, place = draw.one(NAMES), draw.one(ANIMALS), draw.one(PLACES)
    seemed = draw.one(("seemed/VERB", "appeared/VERB", "happened/VERB"))
    wanted = draw.one(("wanted/VERB", "asked/VERB", "wished/VERB", "told/VERB"))
    return crossed(
        lambda v: statement("there/PRON", v, "to/PART be/AUX a/DET", noun.sg, place),
        seemed,
        lambda v: statement(name, v, "the/DET", noun.sg, "to/PART be/AUX", place),
        wanted,
    )


@paradigm(TERM)
def existential_object(draw: Draw) -> list[Contrast]:
    """One wants there to be something, and tells somebody that there is."""
    (name, hearer), noun, place = draw.some(NAMES, 2), draw.one(ANIMALS), draw.one(PLACES)
    wanted, told = draw.one(("wanted/VERB", "expected/VERB")), draw.one(("told/VERB", "reminded/VERB"))
    return crossed(
        lambda v: statement(name, v, "there/PRON to/PART be/VERB a/DET", noun.sg, place),
        wanted,
        lambda v: statement(name, v, hearer, "that/SCONJ there/PRON was/VERB a/DET", noun.sg, place),
        told,
    )


@paradigm(TERM)
def promise_and_tell(draw: Draw) -> list[Contrast]:
    """Who promises is the one to act; who is told is the one to act. The reflexive shows which."""
    he, she = draw.one(HE_NAMES), draw.one(SHE_NAMES)
    action = say("to/PART", draw.one(verbs("wash dress help save teach feed")).base)
    himself, herself = "himself/PRON", "herself/PRON"
    place = draw.one(("", *PLACES))
    return [
        *crossed(
            lambda self: statement(he, "promised/VERB", she, action, self, place),
            himself,
            lambda self: statement(she, "promised/VERB", he, action, self, place),
            herself,
        ),
        *crossed(
            lambda self: statement(she, "told/VERB", he, action, self, place),
            himself,
            lambda self: statement(he, "told/VERB", she, action, self, place),
            herself,
        ),
    ]


@paradigm(TERM, edit="phrase")
def gerund_and_infinitive(draw: Draw) -> list[Contrast]:
    """Enjoyed singing, but decided to sing."""
    noun, verb, place = draw.one(PEOPLE), draw.one(ACTIVITIES), draw.one(PLACES)
    enjoyed = draw.one(("enjoyed/VERB", "kept/VERB", "finished/VERB"))
    wanted = draw.one(("hoped/VERB", "decided/VERB", "agreed/VERB", "wished/VERB", "managed/VERB"))
    return crossed(
        lambda complement: statement("the/DET", noun.sg, enjoyed, complement, place),
        verb.gerund,
        lambda complement: statement("the/DET", noun.sg, wanted, complement, place),
        say("to/PART", verb.base),
    )

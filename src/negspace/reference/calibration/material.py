"""Material for the calibration models: running text, minimal pairs, and tasks outside grammar."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negspace.files import make_folder, write_whole
from negspace.reference.calibration.lexicon import ANIMALS, EVENTS, PEOPLE, RELATIONS, SERIES, Lexicon
from negspace.reference.calibration.sentences import NAMES_OF_SERIES, TO_SLOT, question, run, subject, text, verb
from negspace.reference.draw import Draw

Row = dict[str, Any]

PAIRS = 48
"""Minimal pairs a paradigm."""
ITEMS = 40
"""Items a task."""
PASSAGES = {"statistics": 4_000, "perplexity": 2_000}
"""Passages of the two texts, about 10 tokens each."""

_AGREEMENT, _ANAPHOR = "subject_verb_agreement", "anaphor_agreement"
PARADIGMS: Mapping[str, tuple[str, str, str]] = {
    "agreement_simple": (_AGREEMENT, "", "verb"),
    "agreement_after_adverb": (_AGREEMENT, "adverb", "verb"),
    "agreement_across_phrase": (_AGREEMENT, "phrase", "verb"),
    "agreement_across_two_phrases": (_AGREEMENT, "phrases", "verb"),
    "agreement_across_clause": (_AGREEMENT, "clause", "verb"),
    "agreement_copula": (_AGREEMENT, "phrase", "be"),
    "agreement_perfect": (_AGREEMENT, "clause", "have"),
    "reflexive_simple": (_ANAPHOR, "", "self"),
    "reflexive_across_phrase": (_ANAPHOR, "phrase", "self"),
}
"""UID -> phenomenon, what stands between subject and verb, and what agrees. Nouns in between have the other number."""


@dataclass(frozen=True)
class Material:
    """Return the paths of the material, in the form that a study takes."""

    statistics: Path
    """Text for the statistics."""
    perplexity: Path
    """Text for perplexity."""
    pairs: Path
    """Folder of minimal pairs in BLiMP's format."""
    tasks: Path
    """Folder of task files."""

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks."""
        return tuple(TASKS)


def write(folder: Path, lexicon: Lexicon) -> Material:
    """Write the material; the same facts give the same bytes.

    Raises:
        RecordError: the folder or a file cannot be written.
    """
    made = Material(folder / "statistics.txt", folder / "perplexity.txt", folder / "pairs", folder / "tasks")
    for path in (made.pairs, made.tasks):
        make_folder(path)
    for role, path in (("statistics", made.statistics), ("perplexity", made.perplexity)):
        write_whole(path, text(lexicon, PASSAGES[role], role).encode())
    for uid in PARADIGMS:
        _write(made.pairs / f"{uid}.jsonl", list(pairs(uid, lexicon)))
    for task in TASKS:
        _write(made.tasks / f"{task}.validation.jsonl", list(items(task, lexicon)))
    return made


def pairs(uid: str, lexicon: Lexicon) -> Iterator[Row]:
    """The minimal pairs of a paradigm, the second half with a plural subject, each once."""
    phenomenon, middle, what = PARADIGMS[uid]
    draw = Draw(f"calibration pairs {uid}")
    seen: set[str] = set()
    while len(seen) < PAIRS:
        plural = len(seen) >= PAIRS // 2
        animal = draw.one(ANIMALS)
        about = subject(draw, animal, plural, middle, attractor=not plural)
        lemma = draw.one(("sleep", "bark", *RELATIONS)) if what == "verb" else what
        before = {"self": f" {draw.one(('hurt', 'saw'))}"}.get(lemma, "")
        after = {"be": " asleep", "have": f" {draw.one(('slept', 'barked'))}"}.get(lemma, "")
        if lemma in RELATIONS:
            after = f"{TO_SLOT[lemma]} {lexicon.facts[animal][lemma]}"
        good, bad = (_sentence(f"{about}{before} {verb(lemma, form)}{after}") for form in (plural, not plural))
        if good not in seen:
            seen.add(good)
            yield {
                "sentence_good": good,
                "sentence_bad": bad,
                "field": "morphology",
                "linguistics_term": phenomenon,
                "UID": uid,
                "pairID": str(len(seen) - 1),
            }


def items(task: str, lexicon: Lexicon) -> Iterator[Row]:
    """The items of a task, each once."""
    draw = Draw(f"calibration task {task}")
    seen: set[str] = set()
    while len(seen) < ITEMS:
        row = TASKS[task](lexicon, draw)
        line = json.dumps(row)
        if line not in seen:
            seen.add(line)
            yield row


def _choices(draw: Draw, right: str, wrong: tuple[str, ...], count: int) -> tuple[list[str], int]:
    """`count` answers in random order, and the place of the right one."""
    answers = draw.some([right, *draw.some([word for word in wrong if word != right], count - 1)], count)
    return answers, answers.index(right)


def _fact(lexicon: Lexicon, draw: Draw, relation: str, count: int) -> tuple[str, bool, list[str], int]:
    animal, plural = draw.one(ANIMALS), draw.chance()
    about = subject(draw, animal, plural, draw.one(("", "adverb", "phrase")))
    return about, plural, *_choices(draw, lexicon.facts[animal][relation], RELATIONS[relation], count)


def _arc(relation: str) -> Callable[[Lexicon, Draw], Row]:
    def row(lexicon: Lexicon, draw: Draw) -> Row:
        about, plural, answers, right = _fact(lexicon, draw, relation, 4)
        asked = question(about, relation, plural) + "?"
        return {"question": asked, "choices": {"text": answers, "label": list("ABCD")}, "answerKey": "ABCD"[right]}

    return row


def _completion(lexicon: Lexicon, draw: Draw) -> Row:
    about, plural, answers, right = _fact(lexicon, draw, "live", 4)
    stem = f"{about} {verb('live', plural)}{TO_SLOT['live']}"
    return {"question_stem": stem, "choices": {"text": answers, "label": list("ABCD")}, "answerKey": "ABCD"[right]}


def _two_ways(lexicon: Lexicon, draw: Draw) -> Row:
    about, plural, answers, right = _fact(lexicon, draw, "eat", 2)
    return {"goal": question(about, "eat", plural) + "?", "sol1": answers[0], "sol2": answers[1], "label": right}


def _supported(lexicon: Lexicon, draw: Draw) -> Row:
    about, plural, answers, right = _fact(lexicon, draw, "fear", 4)
    correct = answers.pop(right)
    support = _sentence(f"{draw.one(PEOPLE)} met {about}")
    asked = question(about, "fear", plural) + "?"
    wrong = {f"distractor{n}": answer for n, answer in enumerate(answers, start=1)}
    return {"support": support, "question": asked, "correct_answer": correct, **wrong}


def _feeling(lexicon: Lexicon, draw: Draw) -> Row:
    person, event = draw.one(PEOPLE), draw.one(tuple(EVENTS))
    answers, right = _choices(draw, EVENTS[event], tuple(dict.fromkeys(EVENTS.values())), 3)
    return {
        "context": _sentence(f"{person} {event} the game"),
        "question": f"How did {person} feel?",
        **dict(zip(("answerA", "answerB", "answerC"), answers, strict=True)),
        "label": str(right + 1),
    }


def _order(lexicon: Lexicon, draw: Draw) -> Row:
    which = draw.one(range(len(SERIES)))
    *before, last = run(draw, which, 3 + draw.one(range(2)))
    answers, right = _choices(draw, last, tuple(word for word in SERIES[which] if word not in before), 4)
    about = {"activity_label": NAMES_OF_SERIES[which], "ctx_a": " ".join(before[:-1]), "ctx_b": before[-1]}
    return {**about, "endings": answers, "label": str(right)}


def _recall(lexicon: Lexicon, draw: Draw) -> Row:
    person, plural, animal = draw.one(PEOPLE), draw.chance(), draw.one(ANIMALS)
    about = subject(draw, animal, plural, draw.one(("", "adverb", "phrase", "clause")))
    first = _sentence(f"{person} met {subject(draw, animal, plural, '')}")
    return {"text": f"{first} {about} {verb('know', plural)} {person}"}


TASKS: Mapping[str, Callable[[Lexicon, Draw], Row]] = {
    "arc_easy": _arc("belong"),
    "arc_challenge": _arc("look"),
    "openbookqa": _completion,
    "piqa": _two_ways,
    "sciq": _supported,
    "social_iqa": _feeling,
    "hellaswag": _order,
    "lambada_openai": _recall,
}
"""Task of lm-evaluation-harness whose form the items take (not its contents) -> what makes one: category, looks, home,
food, fear (facts about animals), feelings after events, order in a series, recall of a name."""


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _write(path: Path, rows: list[Row]) -> None:
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows).encode())

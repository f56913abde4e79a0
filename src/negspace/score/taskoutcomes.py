"""The outcome of one benchmark item, from the log-likelihoods that lm-evaluation-harness logged for it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from negspace.errors import ScoreError, TasksError

Outcome = Literal["right", "wrong", "tie", "graded"]

_LENGTH = {
    "acc": lambda choice: 1.0,
    "acc_norm": lambda choice: float(len(choice)),
    "acc_bytes": lambda choice: float(len(choice.encode("utf-8"))),
}
"""Divisor of a choice's log-likelihood under each metric that picks the highest."""
_GREEDY = {"loglikelihood": "acc", "multiple_choice": "exact_match"}
"""Kind of task -> the metric under which an answer is right if each of its tokens is the model's first choice."""


@dataclass(frozen=True)
class ItemOutcome:
    """A model's outcome on one item."""

    value: float
    """1 if right, 0 if not; or the metric's own value."""
    outcome: Outcome
    """"graded" where the metric is neither 0 nor 1."""
    margin: float
    """Score of the best right choice minus that of the best wrong one, nats (a character, under acc_norm; a byte,
    under acc_bytes); NaN without choices."""
    choices: int
    """Choices to pick from; 0 without."""
    chance: float
    """How often guessing is right: right choices divided by all; NaN without choices."""


def judge(task: Any, metric: str, sample: Mapping[str, Any], tied: Container[tuple[str, str]] = ()) -> ItemOutcome:
    """The outcome of an item under a metric.

    Where the metric picks the highest of several log-likelihoods, a right choice must beat every wrong one: one that
    scores the same is a tie, which is not right. (The harness takes the first of the highest, so that it may count a
    tie as right, and of values that are not numbers always the first.) Where the answer must be the model's first
    choice, each of its tokens must be more probable than every other; one that is as probable makes a tie, too. Other
    metrics are taken as the harness gives them.

    Args:
        task: the harness's task object.
        metric: name of the metric.
        sample: what the harness logged for the item.
        tied: contexts with their answers, some of whose tokens are as probable as others, and all others are less.

    Raises:
        ScoreError: a log-likelihood or a value that is not finite.
        TasksError: the right answer is not among the choices.
    """
    _check_finite(task, sample)
    if task.OUTPUT_TYPE == "multiple_choice" and metric in _LENGTH and not callable(task.config.process_results):
        return _pick(task, metric, sample)
    greedy = _GREEDY.get(task.OUTPUT_TYPE) == metric and not callable(task.config.process_results)
    if greedy and _is_tie(task, sample, tied):
        return ItemOutcome(0.0, "tie", float("nan"), 0, float("nan"))
    value = float(sample[metric])
    if not np.isfinite(value):
        raise _not_finite(task, sample, value)
    outcome: Outcome = "right" if value == 1 else "wrong" if value == 0 else "graded"
    return ItemOutcome(value, outcome, float("nan"), 0, float("nan"))


def _pick(task: Any, metric: str, sample: Mapping[str, Any]) -> ItemOutcome:
    doc = sample["doc"]
    choices = task.doc_to_choice(doc)
    # Under mutual information the harness asks for every choice a second time, without its context.
    likelihoods = np.array([responses[0][0] for responses in sample["resps"][: len(choices)]], np.float64)
    lengths = np.array([_LENGTH[metric](choice) for choice in choices])
    if not lengths.all():
        raise TasksError(
            f"{metric} of item {sample['doc_id']} of {task.task_name}",
            "a choice of no characters",
            "leave the item out, or ask for the metric acc",
        )
    right = _right(task, doc, choices, sample)
    scores = likelihoods / lengths
    if right.all():
        return ItemOutcome(1.0, "right", float("nan"), len(choices), 1.0)
    margin = float(scores[right].max() - scores[~right].max())
    outcome: Outcome = "right" if margin > 0 else "wrong" if margin < 0 else "tie"
    return ItemOutcome(float(outcome == "right"), outcome, margin, len(choices), float(right.mean()))


def _is_tie(task: Any, sample: Mapping[str, Any], tied: Container[tuple[str, str]]) -> bool:
    """Return True if a right answer is tied for the first choice, and none is the first choice by itself."""
    ties = [tuple(arguments[:2]) in tied for arguments in sample.get("arguments", ())]
    if not any(ties):
        return False
    right = [0]
    if task.OUTPUT_TYPE == "multiple_choice":
        right = np.flatnonzero(_right(task, sample["doc"], task.doc_to_choice(sample["doc"]), sample)).tolist()
    greedy = [sample["resps"][place][0][1] and not ties[place] for place in right]
    return any(ties[place] for place in right) and not any(greedy)


def _right(task: Any, doc: Any, choices: list[str], sample: Mapping[str, Any]) -> np.ndarray:
    """Return the right choices, bool [choices]."""
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    places = []
    for answer in gold if isinstance(gold, list) else [gold]:
        place = choices.index(answer) if isinstance(answer, str) and answer in choices else answer
        if not isinstance(place, int) or not 0 <= place < len(choices):
            raise TasksError(
                f"item {sample['doc_id']} of {task.task_name}",
                f"the right answer {answer!r} is none of its {len(choices)} choices",
                "use a split whose answers are published, or correct the item",
            )
        places.append(place)
    return np.isin(np.arange(len(choices)), places)


def _check_finite(task: Any, sample: Mapping[str, Any]) -> None:
    """Log-likelihoods are numbers, or pairs of a number and whether it was the greedy answer; answers are texts."""
    for responses in sample["resps"]:
        for response in responses:
            value = response[0] if isinstance(response, tuple | list) else response
            if isinstance(value, float) and not np.isfinite(value):
                raise _not_finite(task, sample, value)


def _not_finite(task: Any, sample: Mapping[str, Any], value: float) -> ScoreError:
    return ScoreError(
        f"the score of item {sample['doc_id']} of {task.task_name}",
        f"a value of {value}",
        "check the model's weights and dtype: float16 overflows where float32 or bfloat16 do not",
    )

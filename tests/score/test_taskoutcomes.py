"""The outcome of one item: strictly higher is right, equal is a tie, not finite is an error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from negspace.errors import ScoreError, TasksError
from negspace.score.taskoutcomes import judge


def _task(gold: Any, choices: list[str], kind: str = "multiple_choice", **more: Any) -> Any:
    fields = {
        "OUTPUT_TYPE": kind,
        "task_name": "toy",
        "multiple_input": 0,
        "config": SimpleNamespace(process_results=None),
        "doc_to_choice": lambda doc: choices,
        "doc_to_target": lambda doc: gold,
        "doc_to_text": lambda doc: "prompt",
    }
    return SimpleNamespace(**{**fields, **more})


def _sample(*likelihoods: float, **metrics: float) -> dict[str, Any]:
    return {"doc_id": 7, "doc": {}, "resps": [[(value, False)] for value in likelihoods], **metrics}


@pytest.mark.parametrize(
    ("gold", "likelihoods", "outcome", "margin"),
    [
        (0, (-1.0, -2.0, -3.0), "right", 1.0),
        (2, (-1.0, -2.0, -3.0), "wrong", -2.0),
        (0, (-1.0, -1.0, -3.0), "tie", 0.0),
        (1, (-1.0, -1.0, -3.0), "tie", 0.0),
        (2, (-1.0, -1.0, -3.0), "wrong", -2.0),  # a tie among wrong answers is no matter
        ("bb", (-2.0, -1.0, -3.0), "right", 1.0),  # the answer as a text
        ([0, 2], (-3.0, -2.0, -1.0), "right", 1.0),  # several right answers: the best of them counts
        ([0, 2], (-3.0, -2.0, -2.0), "tie", 0.0),
    ],
)
def test_a_right_answer_beats_every_wrong_one(
    gold: Any, likelihoods: tuple[float, ...], outcome: str, margin: float
) -> None:
    made = judge(_task(gold, ["a", "bb", "cccc"]), "acc", _sample(*likelihoods, acc=0.5))
    assert (made.outcome, made.margin, made.choices) == (outcome, margin, 3)
    assert made.chance == (2 / 3 if isinstance(gold, list) else 1 / 3)
    assert made.value == (outcome == "right")


def test_length_counts_as_the_metric_says() -> None:
    task = _task(1, ["ab", "éééé"])
    sample = _sample(-2.0, -3.6)
    assert judge(task, "acc", sample).outcome == "wrong"
    assert judge(task, "acc_norm", sample).margin == pytest.approx(-0.9 + 1.0)
    assert judge(task, "acc_bytes", sample).margin == pytest.approx(-0.45 + 1.0)


def test_inputs_instead_of_answers() -> None:
    task = _task("the rest", ["one", "two"], multiple_input=2, doc_to_text=lambda doc: 1)
    assert judge(task, "acc", _sample(-5.0, -4.0)).outcome == "right"


def test_mutual_information_is_not_taken_for_choices() -> None:
    assert judge(_task(0, ["a", "b"]), "acc", _sample(-1.0, -2.0, 0.0, -9.0)).margin == 1.0


def test_items_on_which_no_answer_is_wrong() -> None:
    made = judge(_task([0, 1], ["a", "b"]), "acc", _sample(-1.0, -2.0))
    assert (made.outcome, made.value) == ("right", 1.0)


def test_other_metrics_are_the_harness_own() -> None:
    task = _task("x", [], kind="generate_until")
    sample = {"doc_id": 0, "doc": {}, "resps": [["some text"]], "exact_match": 1.0, "bleu": 0.25, "nan": float("nan")}
    assert judge(task, "exact_match", sample).outcome == "right"
    assert (judge(task, "bleu", sample).outcome, judge(task, "bleu", sample).value) == ("graded", 0.25)
    with pytest.raises(ScoreError, match="found: a value of nan"):
        judge(task, "nan", sample)
    custom = _task(0, ["a", "b"], config=SimpleNamespace(process_results=lambda doc, results: {}))
    assert judge(custom, "acc", _sample(-1.0, -2.0, acc=0.0)).outcome == "wrong"


@pytest.mark.parametrize(
    ("greedy", "tied", "outcome", "value"),
    [(True, False, "right", 1.0), (False, False, "wrong", 0.0), (True, True, "tie", 0.0), (False, True, "tie", 0.0)],
)
def test_a_first_choice_that_is_shared_is_a_tie(greedy: bool, tied: bool, outcome: str, value: float) -> None:
    """Whether the harness, which takes the first of equal tokens, took it or not."""
    request = ("The cat sees the", " dog")
    task = _task(None, [], kind="loglikelihood")
    sample = {"doc_id": 0, "doc": {}, "resps": [[(-1.0, greedy)]], "arguments": [request], "acc": float(greedy)}
    made = judge(task, "acc", sample, {request} if tied else {("The cat sees the", " cat")})
    assert (made.outcome, made.value, made.choices) == (outcome, value, 0)
    sample["perplexity"] = -1.0
    assert judge(task, "perplexity", sample, {request}).value == -1.0
    custom = _task(None, [], kind="loglikelihood", config=SimpleNamespace(process_results=lambda doc, results: {}))
    assert judge(custom, "acc", sample, {request}).value == greedy


@pytest.mark.parametrize(
    ("gold", "tied", "outcome"),
    [(0, "a", "tie"), (0, "b", "right"), (1, "a", "wrong"), (1, "b", "tie"), ([0, 1], "b", "right")],
)
def test_choices_that_must_be_the_first_choice(gold: Any, tied: str, outcome: str) -> None:
    """exact_match of choices; of two right ones, one that is the first choice by itself is enough."""
    greedy = [True, False]
    sample = {
        "doc_id": 0,
        "doc": {},
        "resps": [[(-1.0, one)] for one in greedy],
        "arguments": [("q", "a"), ("q", "b")],
        "exact_match": float(any(greedy[place] for place in (gold if isinstance(gold, list) else [gold]))),
    }
    made = judge(_task(gold, ["a", "b"]), "exact_match", sample, {("q", tied)})
    assert (made.outcome, made.value) == (outcome, float(outcome == "right"))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ScoreError, match="asked: the score of item 7 of toy\nfound: a value of"):
        judge(_task(0, ["a", "b"]), "acc", _sample(-1.0, value))


@pytest.mark.parametrize("gold", [-1, 2, "z", None])
def test_an_answer_that_is_no_choice_is_refused(gold: Any) -> None:
    with pytest.raises(TasksError, match=r"found: the right answer .* is none of its 2 choices\nto do: use a split"):
        judge(_task(gold, ["a", "b"]), "acc", _sample(-1.0, -2.0))


def test_an_empty_choice_has_no_mean() -> None:
    with pytest.raises(TasksError, match="asked: acc_norm of item 7 of toy\nfound: a choice of no characters"):
        judge(_task(0, ["a", ""]), "acc_norm", _sample(-1.0, -2.0))

"""Benchmark tasks: the harness's own scores on a plain model, the same items under an intervention, every refusal."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import zoo
from negspace.errors import ScoreError, TasksError
from negspace.intervention import intervene
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.neurons.neuronset import NeuronSet
from negspace.score.harness import Harness, _left_alone, load_tasks, quiet
from negspace.score.taskfiles import known_tasks
from negspace.score.tasks import DEFAULT, TaskScores, read_tasks, tasks

NOUNS = ["cat", "dog", "bird", "child", "king", "queen", "fish", "horse", "cow", "mouse"]
METRIC = {"acc": "acc,none", "acc_norm": "acc_norm,none"}


def _rows() -> dict[str, list[dict[str, Any]]]:
    """Ten items of each kind, short enough for a context of 128 tokens."""
    four = {"label": ["A", "B", "C", "D"]}
    rows: dict[str, list[dict[str, Any]]] = {}
    for n, noun in enumerate(NOUNS):
        other = NOUNS[(n + 3) % 10]
        choices = [f"the {noun}", f"a {other} sees", "no dogs", f"{n} birds bark"]
        arc = {"id": f"q{n}", "question": f"Who sees the {noun}?", "choices": {"text": choices, **four}}
        new = {
            "ai2_arc_ARC-Easy.validation": arc | {"answerKey": "ABCD"[n % 4]},
            "ai2_arc_ARC-Challenge.validation": arc | {"answerKey": "ABCD"[(n + 1) % 4]},
            "boolq.validation": {
                "question": f"is the {noun} big",
                "answer": n % 3 == 0,
                "passage": f"The {noun} sees.",
            },
            "hellaswag_subset.validation": {
                "ind": n,
                "activity_label": "Seeing",
                "ctx_a": f"The {noun} sees.",
                "ctx_b": f"the {other}",
                "ctx": "",
                "endings": choices,
                "label": n % 4,
            },
            "openbookqa_main.validation": {
                "id": f"o{n}",
                "question_stem": f"The {noun} sees",
                "choices": {"text": choices, **four},
                "answerKey": "ABCD"[n % 4],
            },
            "piqa_plain_text.validation": {
                "goal": f"see a {noun}",
                "sol1": "look",
                "sol2": f"bark {n}",
                "label": n % 2,
            },
            "sciq.validation": {
                "question": f"Who sees the {noun}?",
                "support": f"The {other} sees.",
                "distractor1": other,
                "distractor2": "dogs",
                "distractor3": f"cats {n}",
                "correct_answer": noun,
            },
            "winogrande_winogrande_xl.validation": {
                "sentence": f"The {noun} sees the {other} because the _ is big.",
                "option1": noun,
                "option2": other,
                "answer": str(n % 2 + 1),
            },
            "super_glue_copa.validation": {
                "premise": f"The {noun} sees.",
                "choice1": f"The {other} barks.",
                "choice2": "No dog barks.",
                "question": ["cause", "effect"][n % 2],
                "idx": n,
                "label": n % 2,
            },
            "social_i_qa.validation": {
                "context": f"The {noun} sees.",
                "question": "Why?",
                "answerA": "dogs",
                "answerB": f"the {other}",
                "answerC": "no cat",
                "label": str(n % 3 + 1),
            },
            "lambada_openai": {"context": f"The {noun} sees the", "continuation": other},
        }
        for name, row in new.items():
            rows.setdefault(name, []).append(row)
    return rows


def _write(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> Path:
    for name, items in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("tasks"), _rows())


@pytest.fixture(scope="module")
def tiny(tiny_model_path: Path) -> Model:
    return load(str(tiny_model_path), device="cpu")


ALL = (*DEFAULT, "copa", "social_iqa", "lambada_openai")
FILES = {
    "arc_easy": ("ai2_arc_ARC-Easy.validation", "arc/arc_easy"),
    "arc_challenge": ("ai2_arc_ARC-Challenge.validation", "arc/arc_challenge"),
    "boolq": ("boolq.validation", "super_glue/boolq/default"),
    "hellaswag": ("hellaswag_subset.validation", "hellaswag/hellaswag"),
    "openbookqa": ("openbookqa_main.validation", "openbookqa/openbookqa"),
    "piqa": ("piqa_plain_text.validation", "piqa/piqa"),
    "sciq": ("sciq.validation", "sciq/sciq"),
    "winogrande": ("winogrande_winogrande_xl.validation", "winogrande/default"),
    "copa": ("super_glue_copa.validation", "super_glue/copa/default"),
    "social_iqa": ("social_i_qa.validation", "siqa/siqa"),
    "lambada_openai": ("lambada_openai", "lambada/lambada_openai"),
}
"""Task -> name of its local file, and of the harness's configuration."""


@pytest.fixture(scope="module")
def plain(tiny: Model, folder: Path) -> TaskScores:
    return tasks(tiny, ALL, folder=folder)


@pytest.fixture(scope="module")
def harness(tiny: Model, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `simple_evaluate` makes of the same items, by configurations that include the harness's own."""
    import lm_eval.tasks
    from lm_eval.models.huggingface import HFLM

    place, theirs = tmp_path_factory.mktemp("harness"), Path(lm_eval.tasks.__file__).parent
    rows = _rows()
    for task, (name, configuration) in FILES.items():
        adapted = rows[name]
        if task == "boolq":
            adapted = [{**row, "label": [0, 1][row["answer"]]} for row in adapted]
        if task == "lambada_openai":
            adapted = [{"text": row["context"] + " " + row["continuation"]} for row in adapted]
        data = place / f"{task}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in adapted))
        config = {
            "include": str(theirs / f"{configuration}.yaml"),
            "task": f"own_{task}",
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"validation": str(data)}, "cache_dir": str(place / "cache")},
            "training_split": None,
            "validation_split": "validation",
            "test_split": None,
        }
        (place / f"{task}.yaml").write_text(yaml.safe_dump(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lm_eval.simple_evaluate(  # type: ignore[return-value]
            model=HFLM(pretrained=tiny.module, tokenizer=str(tiny.source.name), softmax_dtype="float32", batch_size=3),
            tasks=[f"own_{task}" for task in ALL],
            task_manager=lm_eval.tasks.TaskManager(include_path=str(place), include_defaults=False),
            bootstrap_iters=0,
        )


@pytest.fixture(scope="module")
def some_neurons(tiny: Model) -> NeuronSet:
    return NeuronSet.from_indices(tiny, {0: list(range(32)), 1: list(range(0, 64, 2))})


def test_values_are_the_harness_own(plain: TaskScores, harness: dict[str, Any]) -> None:
    assert list(plain.by_task["task"]) == list(ALL)
    assert plain.ties == 0  # else the two rules would differ
    for _, row in plain.by_task.iterrows():
        assert row["value"] == harness["results"][f"own_{row['task']}"][METRIC[row["metric"]]], row["task"]
        assert row["value"] == row["harness"]
    # A test that passes on figures that are all 0 or all 1 would show nothing.
    assert 0.1 < plain.accuracy < 0.7
    assert plain.by_task["value"].nunique() > 3


def test_margins_are_those_of_the_harness_log(plain: TaskScores, harness: dict[str, Any]) -> None:
    for task, metric in (("piqa", "acc_norm"), ("winogrande", "acc"), ("copa", "acc")):
        ours = plain.items[plain.items["task"] == task]
        assert set(ours["metric"]) == {metric}
        for (_, row), sample in zip(ours.iterrows(), harness["samples"][f"own_{task}"], strict=True):
            scores = [response[0][0] for response in sample["resps"]]
            doc = sample["doc"]
            if task == "piqa":
                scores = [scores[0] / len(doc["sol1"]), scores[1] / len(doc["sol2"])]
            gold = int(doc["answer"]) - 1 if task == "winogrande" else doc["label"]
            assert row["margin"] == pytest.approx(scores[gold] - scores[1 - gold], abs=1e-4)
            assert row["outcome"] == ("right" if row["margin"] > 0 else "wrong")


def test_metrics_follow_one_rule(plain: TaskScores) -> None:
    metric = dict(zip(plain.by_task["task"], plain.by_task["metric"], strict=True))
    normed = {"arc_easy", "arc_challenge", "hellaswag", "openbookqa", "piqa", "sciq"}
    assert {task for task, name in metric.items() if name == "acc_norm"} == normed
    assert {name for task, name in metric.items() if task not in normed} == {"acc"}


def test_another_metric_can_be_asked_for(tiny: Model, folder: Path, harness: dict[str, Any]) -> None:
    made = tasks(tiny, ["piqa", "boolq"], folder=folder, metrics={"piqa": "acc"})
    assert list(made.by_task["metric"]) == ["acc", "acc"]
    assert made.by_task["value"].iloc[0] == harness["results"]["own_piqa"]["acc,none"]


def test_items_pair_up_under_an_intervention(
    tiny: Model, folder: Path, plain: TaskScores, some_neurons: NeuronSet
) -> None:
    chosen = read_tasks(ALL, folder=folder)
    before = tasks(tiny, chosen)
    with intervene(tiny, some_neurons, zero="negative"):
        during = tasks(tiny, chosen)
    after = tasks(tiny, chosen)
    same = ["task", "item", "index", "metric"]
    pd.testing.assert_frame_equal(before.items[same], during.items[same])
    assert before.items["item"].groupby(before.items["task"]).nunique().eq(10).all()
    # The ablation must reach the scores, and nothing may be remembered of them.
    assert (before.items["margin"] - during.items["margin"]).abs().max() > 0.01
    pd.testing.assert_frame_equal(before.items, after.items)
    pd.testing.assert_frame_equal(before.items, plain.items)


def _generators() -> tuple[Any, ...]:
    """States of the global generators of random numbers."""
    numbers = np.random.get_state()  # noqa: NPY002
    return random.getstate()[1], list(numbers[1]), numbers[2], torch.random.get_rng_state().tolist()  # type: ignore[index]


def test_nothing_is_left_changed(tiny_model_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import logging

    import datasets
    import lm_eval.api.task

    model = load(str(tiny_model_path), device="cpu")
    model.tokenizer.pad_token = None
    weights = {name: (id(value), value.clone()) for name, value in model.module.named_parameters()}
    before = _generators()
    level, bar = logging.getLogger("lm_eval").level, lm_eval.api.task.tqdm
    bars, filters = datasets.are_progress_bars_disabled(), list(warnings.filters)
    tasks(model, ["piqa", "hellaswag"], folder=folder, limit=2)
    assert _generators() == before
    assert model.tokenizer.pad_token is None
    for name, value in model.module.named_parameters():
        assert id(value) == weights[name][0]
        assert torch.equal(value, weights[name][1])
    assert (logging.getLogger("lm_eval").level, lm_eval.api.task.tqdm) == (level, bar)
    assert (datasets.are_progress_bars_disabled(), list(warnings.filters)) == (bars, filters)
    assert not model.module.training
    assert capfd.readouterr() == ("", "")


def test_what_tasks_draw_is_the_same_on_every_machine() -> None:
    """Some shuffle their choices with the global generator where they read their items."""
    drawn = []
    for state in (1, 2):
        random.seed(state)
        with quiet():
            drawn.append(random.random())
    assert drawn[0] == drawn[1]


def test_an_output_layer_of_its_own_stays(tiny_model_path: Path, folder: Path, tmp_path: Path) -> None:
    """The checkpoint holds an output layer that is not the input embedding, although its configuration ties the two."""
    model = load(str(tiny_model_path), device="cpu")
    model.module.config.tie_word_embeddings = True
    model.module.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    model = load(str(tmp_path), device="cpu")
    module = model.module
    head, embedding = module.get_output_embeddings(), module.get_input_embeddings()
    assert not torch.equal(head.weight, embedding.weight)
    weights = {name: (id(value), value.detach().clone()) for name, value in module.named_parameters()}
    ids, known = torch.tensor([[3, 4, 5]]), model.fingerprint
    with torch.no_grad():
        logits = module(input_ids=ids).logits
    made = tasks(model, "piqa", folder=folder)
    for name, value in module.named_parameters(remove_duplicate=False):
        assert id(value) == weights[name][0]
        assert torch.equal(value, weights[name][1])
    with torch.no_grad():
        assert torch.equal(module(input_ids=ids).logits, logits)
    assert model.fingerprint == known
    assert "tie_weights" not in vars(module)
    untied = load(str(tiny_model_path), device="cpu")
    pd.testing.assert_frame_equal(made.items, tasks(untied, "piqa", folder=folder).items)


def test_tying_is_only_put_off() -> None:
    module = torch.nn.Linear(1, 1).train()
    module.tie_weights = own = lambda: 1  # type: ignore[assignment]
    with contextlib.suppress(KeyError), _left_alone(module):
        module.tie_weights()
        assert module.eval().training
        raise KeyError
    assert module.tie_weights is own
    assert not module.eval().training


def test_batches_change_nothing(tiny: Model, folder: Path, plain: TaskScores) -> None:
    for batch in (1, 7):
        other = tasks(tiny, ["arc_easy", "winogrande"], folder=folder, batch=batch).items
        own = plain.items[plain.items["task"].isin(["arc_easy", "winogrande"])].reset_index(drop=True)
        np.testing.assert_allclose(
            other.set_index("item")["margin"], own.set_index("item")["margin"][other["item"]], atol=1e-4
        )


def test_a_limit_spreads_over_the_task(tiny: Model, folder: Path, plain: TaskScores) -> None:
    made = tasks(tiny, ["piqa", "copa"], folder=folder, limit=4)
    assert made.items.groupby("task")["index"].apply(list).to_dict() == {"piqa": [0, 2, 5, 7], "copa": [0, 2, 5, 7]}
    both = made.items.merge(plain.items, on=["task", "item"], suffixes=("", "_all"))
    assert len(both) == 8
    np.testing.assert_allclose(both["margin"], both["margin_all"], atol=1e-4)
    assert len(read_tasks(["piqa"], folder=folder, limit=99)) == 10


def test_items_are_given_and_numbered_as_the_harness_does(folder: Path) -> None:
    with quiet():
        loaded = load_tasks(Harness(), known_tasks(folder), folder, 0)
    for task in loaded.values():
        every = {"rank": 0, "limit": None, "world_size": 1}
        for samples in (None, [0], [2, 0, 2], list(range(len(task.eval_docs)))):
            expected = list(type(task).doc_iterator(task, **every, samples=samples))
            assert list(task.doc_iterator(**every, samples=samples)) == expected
        assert task.eval_docs is task.eval_docs  # not made anew
        with pytest.raises(AssertionError, match="interval"):
            task.doc_iterator(**every, samples=[len(task.eval_docs)])


def test_progress_counts_every_request(tiny: Model, folder: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    chosen = read_tasks(["arc_easy", "piqa"], folder=folder, limit=3)
    tasks(tiny, chosen, batch=1, progress=lambda *step: seen.append(step))
    assert chosen.requests == 3 * 4 + 3 * 2
    done = [step[0] for step in seen]
    assert done == sorted(set(done))
    assert len(done) > 1
    assert {step[1:] for step in seen} == {(18, "tasks")}
    assert done[-1] == 18


def test_the_hash_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    rows = _rows()
    same = read_tasks(["piqa"], folder=_write(tmp_path, {"piqa.test": rows["piqa_plain_text.validation"]}))
    first = read_tasks(["piqa"], folder=folder)
    assert same.hash == first.hash
    changed = [dict(row) for row in rows["piqa_plain_text.validation"]]
    changed[3]["label"] = 1 - changed[3]["label"]
    hashes = {
        first.hash,
        read_tasks(["piqa"], folder=_write(tmp_path, {"piqa.validation": changed})).hash,
        read_tasks(["piqa"], folder=folder, limit=5).hash,
        read_tasks(["piqa"], folder=folder, metrics={"piqa": "acc"}).hash,
    }
    assert len(hashes) == 4


def test_solved_examples_come_from_the_training_split(tiny: Model, folder: Path, tmp_path: Path) -> None:
    rows = _rows()["piqa_plain_text.validation"]
    train = [{**row, "goal": f"meet a {noun}"} for row, noun in zip(rows, NOUNS, strict=True)]
    _write(tmp_path, {"piqa.validation": rows[:3], "piqa.train": train})
    chosen = read_tasks(["piqa"], folder=tmp_path, fewshot=2)
    prompts = [instance.args[0] for instance in chosen.loaded["piqa"].instances]
    assert all(prompt.count("Question: meet a") == 2 and prompt.count("Question: see a") == 1 for prompt in prompts)
    first, second = tasks(tiny, chosen), tasks(tiny, chosen)
    pd.testing.assert_frame_equal(first.items, second.items)
    assert [instance.args[0] for instance in chosen.loaded["piqa"].instances] == prompts
    with pytest.raises(TasksError, match=r"no file piqa.train.jsonl"):
        read_tasks(["piqa"], folder=folder, fewshot=1)


def test_a_prompt_beyond_the_context_is_named(tiny: Model, tmp_path: Path) -> None:
    rows = _rows()["boolq.validation"][:3]
    rows[1] = {**rows[1], "passage": "The cat sees the dogs. " * 60}
    made = tasks(tiny, "boolq", folder=_write(tmp_path, {"boolq": rows}))
    assert list(made.items["cut"]) == [False, True, False]
    assert made.notes == ("boolq: 1 of 3 prompts exceed the model's context of 128 tokens and are cut at the start",)


@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_a_prompt_beyond_learned_positions_is_cut(kind: str, tmp_path: Path) -> None:
    model = wrap(zoo.build(kind), zoo.tokenizer(), name=kind)
    rows = [{"goal": "w5 w6 " * n, "sol1": "w7", "sol2": "w8 w9", "label": 0} for n in (3, 28, 29, 30, 31, 90)]
    made = tasks(model, "piqa", folder=_write(tmp_path, {"piqa": rows}))
    assert model.context == 64
    assert np.isfinite(made.items["margin"]).all()
    assert list(made.items["cut"]) == [False, False, False, False, True, True]


def test_an_answer_beyond_the_context_is_named(tiny: Model, tmp_path: Path) -> None:
    rows = _rows()["piqa_plain_text.validation"][:2]
    rows[1] = {**rows[1], "sol2": "look and " * 90}
    with pytest.raises(
        ScoreError,
        match=r"an answer of item 1 of piqa\nfound: \d+ tokens, but the model takes 128\nto do: leave the item out",
    ):
        tasks(tiny, "piqa", folder=_write(tmp_path, {"piqa": rows}))


def test_a_tie_is_not_right(tiny: Model, tmp_path: Path) -> None:
    rows = [{"goal": "see a cat", "sol1": "look", "sol2": "look", "label": label} for label in (0, 1)]
    made = tasks(tiny, "piqa", folder=_write(tmp_path, {"piqa": rows}), batch=4)
    assert list(made.items["outcome"]) == ["tie", "tie"]
    assert list(made.items["value"]) == [0.0, 0.0]
    assert list(made.items["harness"]) == [1.0, 0.0]  # the harness takes the first
    assert (made.ties, made.by_task["ties"].iloc[0]) == (2, 2)


def test_an_answer_that_shares_the_first_place_is_not_right(tiny_model_path: Path, tmp_path: Path) -> None:
    """An answer of one token under an output layer that gives chosen tokens 1 and all others 0. The harness takes the
    token with the lowest id of several equal ones."""
    model = load(str(tiny_model_path), device="cpu")
    (answer,) = model.tokenizer(" cat", add_special_tokens=False).input_ids
    chosen = read_tasks(
        "lambada_openai",
        folder=_write(tmp_path, {"lambada_openai": [{"context": "The dog sees the", "continuation": "cat"}]}),
    )
    head = model.module.get_output_embeddings()
    for tokens, outcome, harness in (
        ((answer,), "right", 1.0),
        ((answer, answer + 1), "tie", 1.0),
        ((answer - 1, answer), "tie", 0.0),
        ((answer + 1,), "wrong", 0.0),
    ):

        def given(*hooked: Any, tokens: tuple[int, ...] = tokens) -> torch.Tensor:
            logits = torch.zeros_like(hooked[2])
            logits[..., list(tokens)] = 1
            return logits

        hook = head.register_forward_hook(given)  # type: ignore[union-attr]
        try:
            made = tasks(model, chosen)
        finally:
            hook.remove()
        item = made.items.iloc[0]
        assert (item["outcome"], item["harness"], item["value"]) == (outcome, harness, float(outcome == "right"))
        assert made.ties == (outcome == "tie")


def test_values_that_are_not_finite_are_refused(tiny_model_path: Path, folder: Path) -> None:
    model = load(str(tiny_model_path), device="cpu")
    with torch.no_grad():
        model.module.get_output_embeddings().weight[5] = float("nan")  # type: ignore[union-attr,index]
    with pytest.raises(ScoreError, match=r"asked: the score of item 0 of piqa\nfound: a value of nan\nto do: check"):
        tasks(model, "piqa", folder=folder, limit=2)


def test_an_answer_that_is_no_choice_is_refused(tiny: Model, tmp_path: Path) -> None:
    rows = _rows()["piqa_plain_text.validation"][:2]
    rows[1] = {**rows[1], "label": -1}
    with pytest.raises(TasksError, match=r"asked: item 1 of piqa\nfound: the right answer -1 is none of its 2 choices"):
        tasks(tiny, "piqa", folder=_write(tmp_path, {"piqa": rows}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": "pica"}, r"asked: the task 'pica'\nfound: lm-evaluation-harness \S+ has none\nto do: did you mean"),
        ({"tasks": 5}, "asked: tasks by name\nfound: an int\nto do: give the names in a list"),
        ({"tasks": ["piqa", 5]}, "found: an int"),
        ({"tasks": []}, "asked: no task\nfound: none, or one twice"),
        ({"tasks": ["piqa", "piqa"]}, "found: none, or one twice\nto do: name each task once"),
        ({"tasks": "piqa", "limit": 0}, "asked: the tasks piqa with limit=0\nfound: it must be at least 1"),
        ({"tasks": "piqa", "limit": True}, "with limit=True\nfound: not a whole number"),
        (
            {"tasks": "piqa", "fewshot": -1},
            "with fewshot=-1\nfound: it must be at least 0\nto do: give fewshot=0 or more",
        ),
        ({"tasks": "piqa", "metrics": {"piqa": "f1"}}, "found: means over its items: acc, acc_norm\n"),
        ({"tasks": "piqa", "metrics": {"copa": "acc"}}, "asked: metrics for copa\nfound: no such task among piqa"),
        ({"tasks": "humaneval"}, "asked: the task humaneval from .*\nfound: no file humaneval.validation.jsonl"),
    ],
)
def test_what_cannot_be_asked(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TasksError, match=message):
        read_tasks(**arguments, folder=folder)


def test_own_numbers_of_examples_need_the_hub(tmp_path: Path) -> None:
    _write(tmp_path, {"gsm8k": [{"question": "1 + 1?", "answer": "2 #### 2"}]})
    with pytest.raises(TasksError, match=r"its own number of solved examples\nfound: 5 of them"):
        read_tasks("gsm8k", folder=tmp_path, fewshot=None)


def test_a_batch_below_one_is_refused(tiny: Model, folder: Path) -> None:
    for batch, found in ((0, "it must be at least 1"), ("2", "not a whole number"), (1.5, "not a whole number")):
        with pytest.raises(ScoreError, match=f"asked: batch={batch!r}\nfound: {found}"):
            tasks(tiny, "piqa", folder=folder, batch=batch)  # type: ignore[arg-type]


def test_files_that_do_not_fit_the_prompts(tmp_path: Path) -> None:
    _write(tmp_path, {"logiqa": [{"nothing": "of use"}]})
    with pytest.raises(TasksError, match=r"asked: the task logiqa from .*\n(.|\n)*to do: check the fields of its file"):
        read_tasks("logiqa", folder=tmp_path)


def test_a_missing_harness_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.evaluator", None)
    with pytest.raises(
        TasksError, match=r"cannot be imported \(.*\)\nto do: install it: pip install 'negspace\[tasks\]'"
    ):
        read_tasks("piqa", folder=folder)


def test_importing_negspace_does_not_import_the_harness() -> None:
    import subprocess

    code = "import sys, negspace.score.tasks; sys.exit('lm_eval' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.shared
def test_shared_files_read_as_they_are(stories260k: Model, shared_data: Path) -> None:
    made = tasks(stories260k, ALL, folder=shared_data / "tasks", limit=3)
    assert list(made.by_task["n"]) == [3] * len(ALL)
    assert np.isfinite(made.items.loc[made.items["choices"] > 0, "margin"]).all()

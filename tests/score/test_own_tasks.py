"""Tasks that a folder defines itself: scores equal the harness's own on the same files; no definition runs as code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import toy_tokenizers as toys
from negspace.errors import ScoreError, TasksError
from negspace.models.load import load
from negspace.models.model import Model
from negspace.reference import model_path, tasks_path
from negspace.score.harness import Harness
from negspace.score.taskdefinitions import read_definition
from negspace.score.taskfiles import known_tasks
from negspace.score.tasks import read_tasks, tasks

NAMES = tuple(sorted(path.stem for path in tasks_path().glob("*.yaml")))
DEFINITION = {
    "task": "mine",
    "output_type": "multiple_choice",
    "doc_to_text": "prompt",
    "doc_to_choice": "choices",
    "doc_to_target": "gold",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


@pytest.fixture(scope="module")
def model() -> Model:
    return load(model_path())


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    rows = [
        {"prompt": "The {{ 7 * 7 }} cat sat on the", "choices": ["mat", "{{ 1 }}"], "gold": 0},
        {"prompt": "The dog", "choices": ["barked", "mewed"], "gold": 0},
    ]
    (tmp_path / "mine.validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(DEFINITION))
    return tmp_path


def _define(folder: Path, **changes: object) -> None:
    (folder / "mine.yaml").write_text(yaml.safe_dump({**DEFINITION, **changes}))


def test_bundled_tasks_score_as_the_harness_scores_them(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness is given the folder as it is, by include_path, and reads the data itself."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from negspace.score.harness import quiet

    chosen = read_tasks(NAMES, folder=tasks_path(), limit=8)
    made = tasks(model, chosen, batch=16)
    monkeypatch.chdir(tasks_path())
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with quiet():
        plain = simple_evaluate(
            model=HFLM(pretrained=model.module, tokenizer=model.tokenizer, batch_size=16),
            tasks=list(NAMES),
            samples=chosen.limited,
            bootstrap_iters=0,
            task_manager=TaskManager(include_path=".", include_defaults=False),
        )
    for name in NAMES:
        scores = {sample["doc_id"]: sample["acc"] for sample in plain["samples"][name]}
        own = made.items[made.items["task"] == name]
        assert dict(zip(own["index"], own["harness"], strict=True)) == scores
        assert len(scores) == 8


def test_a_folder_alone_names_its_tasks() -> None:
    assert tuple(known_tasks(tasks_path())) == NAMES
    assert len(NAMES) == 6
    made = read_tasks(NAMES, folder=tasks_path(), limit=8)
    assert made.names == NAMES
    assert set(made.metrics.values()) == {"acc"}
    assert len(made) == 48


def test_own_tasks_stand_beside_known_ones(mine: Path) -> None:
    row = {"goal": "see", "sol1": "look", "sol2": "bark", "label": 0}
    (mine / "piqa.validation.jsonl").write_text(json.dumps(row))
    assert known_tasks(mine) == ["piqa", "mine"]
    assert read_tasks(("mine", "piqa"), folder=mine).names == ("mine", "piqa")


def test_text_that_looks_like_a_template_stays_text(model: Model, mine: Path) -> None:
    loaded = read_tasks("mine", folder=mine).loaded["mine"]
    assert loaded.instances[0].args == ("The {{ 7 * 7 }} cat sat on the", " mat")
    assert loaded.instances[1].args == ("The {{ 7 * 7 }} cat sat on the", " {{ 1 }}")
    assert tasks(model, "mine", folder=mine).by_task["chance"].tolist() == [0.5]


@pytest.mark.parametrize("make", [toys.with_bos, toys.with_both])
def test_what_a_tokenizer_puts_after_a_text_is_no_answer(
    mine: Path, make_model: Any, plain_log_probs: Any, make: Any
) -> None:
    rows = [
        {"prompt": "the dog", "choices": ["barks today", "sleeps </s>"], "gold": 0},
        {"prompt": "", "choices": ["the", "a"], "gold": 0},
    ]
    (mine / "mine.validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = make_model(make())

    def likelihood(context: str, answer: str) -> float:
        ids = model.tokenizer(f"<s> {context} {answer}", add_special_tokens=False).input_ids
        return float(plain_log_probs(model, ids)[len(context.split()) :].sum())

    both = [[likelihood(row["prompt"], choice) for choice in row["choices"]] for row in rows]
    expected = [right - wrong for right, wrong in both]
    assert tasks(model, "mine", folder=mine).items["margin"].tolist() == pytest.approx(expected, abs=1e-4)
    assert read_tasks("mine", folder=mine).appended(model.tokenizer) == tuple(
        model.tokenizer.convert_tokens_to_ids(["</s>"] if make is toys.with_both else [])
    )


def test_an_answer_that_the_tokenizer_joins_to_its_context_is_refused(model: Model, mine: Path) -> None:
    (mine / "mine.validation.jsonl").write_text(
        json.dumps({"prompt": "The cat walk", "choices": ["ed", " x"], "gold": 0})
    )
    _define(mine, target_delimiter="")
    whole, context = (model.tokenizer(text).input_ids for text in ("The cat walked", "The cat walk"))
    assert len(whole) == len(context)
    with pytest.raises(ScoreError, match="an answer of item 0 of mine\nfound: no token of its own in the answer"):
        tasks(model, "mine", folder=mine)


def test_an_answer_of_nothing_after_nothing_is_refused(make_model: Any, mine: Path) -> None:
    (mine / "mine.validation.jsonl").write_text(json.dumps({"prompt": "", "choices": ["the", " "], "gold": 0}))
    with pytest.raises(ScoreError, match="an answer of item 0 of mine\nfound: no token of its own in the answer"):
        tasks(make_model(toys.with_bos()), "mine", folder=mine)


def test_a_tokenizer_without_bos_and_eos_is_refused(make_model: Any, mine: Path) -> None:
    with pytest.raises(ScoreError, match="has neither BOS nor EOS\nto do: set the tokenizer's bos_token"):
        tasks(make_model(toys.bare()), "mine", folder=mine)


def test_a_tokenizer_of_another_model_is_refused(make_model: Any, mine: Path) -> None:
    model = make_model(toys.with_bos())
    model.tokenizer.add_tokens(["mat"])
    with pytest.raises(ScoreError, match=r"token id \d+, but the model knows \d+ tokens only"):
        tasks(model, "mine", folder=mine)


@pytest.mark.parametrize("make", [toys.with_bos, toys.with_both])
def test_texts_are_generated_one_by_one(make_model: Any, make: Any) -> None:
    from lm_eval.api.instance import Instance

    model, texts = make_model(make()), ["the dog", "a happy cat that sees", "no bird"]
    after = (model.tokenizer.eos_token_id,) if make is toys.with_both else ()
    seen: list[list[list[int]]] = []
    hook = model.module.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].tolist()), with_kwargs=True
    )
    made = []
    try:
        for batch in (None, 3):
            lm = Harness().model(model, batch, None, after=after)
            options = {"until": [], "max_gen_toks": 1, "do_sample": False}
            requests = [Instance("generate_until", {}, (text, options), 0) for text in texts]
            made.append(lm.generate_until(requests))
    finally:
        hook.remove()
    assert made[0] == made[1]
    assert [len(ids) for ids in seen] == [1] * 6
    bos = model.tokenizer.bos_token_id
    prompts = [[bos, *model.tokenizer(text, add_special_tokens=False).input_ids] for text in texts]
    assert sorted(ids for (ids,) in seen) == sorted(prompts * 2)


@pytest.mark.parametrize("choices", ["mat", ["mat"], [1, 2], ["mat", 3], {"a": 1, "b": 2}, None])
def test_choices_are_a_list_of_texts(mine: Path, choices: object) -> None:
    rows = [{"prompt": "a", "choices": ["b", "c"], "gold": 0}, {"prompt": "a", "choices": choices, "gold": 0}]
    (mine / "mine.validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(TasksError, match=r"choices of item 2 is .*\nto do: give a list of two or more texts"):
        read_tasks("mine", folder=mine)


def test_chance_counts_every_right_answer(model: Model, mine: Path) -> None:
    rows = [{"prompt": "The cat", "choices": ["sat", "ran", "lay"], "gold": gold} for gold in ([0, 2], [0, 1])]
    (mine / "mine.validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scores = tasks(model, "mine", folder=mine)
    assert scores.items["chance"].tolist() == [2 / 3, 2 / 3]
    assert scores.by_task["chance"].tolist() == [2 / 3]


def test_a_folder_without_a_definition(tmp_path: Path) -> None:
    assert read_definition("mine", tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"task": "yours"}, "another task"),
        ({"output_type": "generate_until"}, "output_type: 'generate_until'"),
        ({"doc_to_text": "{{ prompt }}"}, "it would run as code"),
        ({"doc_to_target": None}, "doc_to_target: None"),
        ({"process_results": "code.run"}, "process_results, which is not taken"),
        ({"unsafe_code": True}, "unsafe_code, which is not taken"),
        ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "give each metric by"),
        ({"metric_list": [{"metric": "owner/repository"}]}, "any other would run as code"),
        ({"metric_list": [{"metric": "acc"}, {"metric": "evil.py"}]}, "any other would run as code"),
        ({"metric_list": [{"metric": "acc", "aggregation": "evil"}]}, "any other would run as code"),
        ({"metric_list": [{"metric": ["acc"]}]}, "any other would run as code"),
        ({"metric_list": [{}]}, "any other would run as code"),
        ({"doc_to_text": "question"}, "has no question; it has prompt, choices, gold"),
    ],
)
def test_what_is_refused(mine: Path, changes: dict[str, object], found: str) -> None:
    _define(mine, **changes)
    with pytest.raises(TasksError, match=found):
        read_tasks("mine", folder=mine)


def test_an_impossible_date_in_the_definition_is_no_error_of_ours(mine: Path) -> None:
    (mine / "mine.yaml").write_text("task: mine\nversion: 2024-13-01\n")
    with pytest.raises(TasksError, match="not YAML of plain data"):
        read_tasks("mine", folder=mine)


def test_a_function_in_the_definition_does_not_run(mine: Path) -> None:
    (mine / "code.py").write_text("raise SystemExit('this code ran')")
    (mine / "mine.yaml").write_text("task: mine\ncustom_dataset: !function code.rows\n")
    with pytest.raises(TasksError, match="without !function"):
        read_tasks("mine", folder=mine)

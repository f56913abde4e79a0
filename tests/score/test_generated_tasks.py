"""Tasks whose answer the model writes: the plain model's text, prompts that are cut, samples that come again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import zoo
from negspace.errors import ModelError, ScoreError
from negspace.intervention import intervene
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.neurons.neuronset import NeuronSet
from negspace.reference import model_path
from negspace.score.tasks import TaskSet, read_tasks, tasks
from toy_tokenizers import word_tokenizer

MOST = 8
"""Tokens to generate."""
PROMPTS = ["The cat sat on the", "Two dogs", "The king who sees the birds", "No child has ever"]


@pytest.fixture(scope="module")
def model() -> Model:
    return load(model_path(), device="cpu")


def read(folder: Path, rows: list[tuple[str, str]], limit: int | None = None, **settings: Any) -> TaskSet:
    """The harness's task anagrams1, which compares what is written after a context, on rows of (context, text)."""
    lines = [json.dumps({"context": context, "completion": text}) for context, text in rows]
    (folder / "anagrams1.jsonl").write_text("\n".join(lines))
    chosen = read_tasks("anagrams1", folder=folder, limit=limit)
    chosen.loaded["anagrams1"].config.generation_kwargs |= {"max_gen_toks": MOST, **settings}
    return chosen


def written(model: Model, prompt: str) -> str:
    """The most probable text after a prompt, by one whole forward pass a token."""
    assert model.context is not None
    ids = model.tokenizer(prompt).input_ids[-(model.context - MOST) :]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + MOST and ids[-1] != model.tokenizer.eos_token_id:
            ids.append(int(model.module(torch.tensor([ids])).logits[0, -1].argmax()))
    return model.tokenizer.decode(ids[start:], skip_special_tokens=True).split("\n")[0]


def test_texts_are_those_that_the_model_writes(model: Model, tmp_path: Path) -> None:
    right = [written(model, prompt) for prompt in PROMPTS]
    rows = [
        (prompt, text if n % 2 else f"{text} not") for n, (prompt, text) in enumerate(zip(PROMPTS, right, strict=True))
    ]
    chosen = read(tmp_path, rows)
    before = tasks(model, chosen)
    assert before.items["value"].tolist() == [0, 1, 0, 1]
    assert before.items["outcome"].tolist() == ["wrong", "right", "wrong", "right"]
    assert set(before.items["metric"]) == {"exact_match"}
    assert not before.items["cut"].any()
    assert before.notes == ()
    every = NeuronSet.from_indices(model, {site.layer: range(site.width) for site in model.sites})
    with intervene(model, every, zero="both"):
        changed = [written(model, prompt) == text for prompt, text in rows]
        during = tasks(model, chosen)
    assert during.items["value"].tolist() == changed != before.items["value"].tolist()
    pd.testing.assert_frame_equal(tasks(model, chosen).items, before.items)


def test_prompts_that_leave_no_room_for_the_text_are_cut_and_named(model: Model, tmp_path: Path) -> None:
    long = "The cat sat on the mat. " * 80
    rows = [(prompt, written(model, prompt)) for prompt in (PROMPTS[0], long, PROMPTS[1])]
    made = tasks(model, read(tmp_path, rows))
    assert made.items["value"].tolist() == [1, 1, 1]
    assert made.items["cut"].tolist() == [False, True, False]
    assert made.notes == (
        "anagrams1: 1 of 3 prompts with the text to be generated exceed the model's context of 256 tokens and are cut "
        "at the start",
    )


def test_texts_as_long_as_the_context_are_refused(model: Model, tmp_path: Path) -> None:
    chosen = read(tmp_path, [(PROMPTS[0], "mat")], max_gen_toks=256)
    with pytest.raises(
        ScoreError,
        match="a text for item 0 of anagrams1\nfound: up to 256 tokens to generate, but the model takes 256",
    ):
        tasks(model, chosen)


def test_a_prompt_with_a_token_that_the_model_does_not_know(tmp_path: Path) -> None:
    """One token more than the model has embeddings passes where a model is wrapped: some are never met."""
    words = word_tokenizer(bos="<end>", eos="<end>", words=[f"w{n}" for n in range(199)])
    model = wrap(zoo.build("llama", vocab_size=200), words)
    assert len(words) == 201
    assert tasks(model, read(tmp_path, [("w5 w197", "w5")])).items["value"].tolist() == [0]
    with pytest.raises(
        ScoreError, match=r"have a model generate\nfound: token id 200, but the model knows 200 tokens only"
    ):
        tasks(model, read(tmp_path, [("w5 w198", "w5")]))


def even(model: Model, *words: str) -> None:
    """Let all words but some be out of the question, and these equally probable."""
    chosen = model.tokenizer.convert_tokens_to_ids(list(words))

    def change(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
        made = torch.full_like(logits, -1e4)
        made[..., chosen] = 0
        return made

    model.module.get_output_embeddings().register_forward_hook(change)


def test_what_is_sampled_comes_again_and_leaves_no_trace(tmp_path: Path) -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    even(model, "w7", "w8")
    rows = [(f"w{n} w5", "w7") for n in range(10, 30)]
    sampling = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 1}
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        made.append(tasks(model, read(tmp_path, rows, **sampling)).items)
        assert torch.equal(torch.get_rng_state(), state)
    pd.testing.assert_frame_equal(*made)
    values = dict(zip(made[0]["index"], made[0]["value"], strict=True))
    assert set(values.values()) == {0, 1}
    some = tasks(model, read(tmp_path, rows, limit=5, **sampling)).items
    assert dict(zip(some["index"], some["value"], strict=True)).items() <= values.items()


def test_samples_of_one_prompt_differ(tmp_path: Path) -> None:
    """A task of the harness that draws ten texts for each prompt: its difference is 0 where both words are among
    them."""
    model = wrap(zoo.build("llama"), word_tokenizer(bos="<end>", eos="<end>", words=["a", "b", "male", "female"]))
    even(model, "male", "female")
    (tmp_path / "simple_cooccurrence_bias_gen.jsonl").write_text('{"sentence": "a b"}\n{"sentence": "b a"}\n')
    made = tasks(model, "simple_cooccurrence_bias_gen", folder=tmp_path)
    assert set(made.items["metric"]) == {"difference_male_female"}
    assert made.items["value"].tolist() == [0, 0]


def test_training_mode_is_refused_and_never_left_for_the_owner(tmp_path: Path) -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    chosen = read(tmp_path, [("w5 w6", "w7")])
    part = model.module.model.layers[0].mlp.train()  # has no dropout, so that it may stay so
    tasks(model, chosen)
    assert part.training
    assert "eval" not in vars(model.module)
    model.module.train()
    with pytest.raises(ModelError, match=r"asked: tasks of .*\nfound: a module in training mode"):
        tasks(model, chosen)
    assert model.module.training

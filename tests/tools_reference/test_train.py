"""Training of a reference model, on a corpus and with a recipe so small that it takes a second."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tools.reference import train as module
from tools.reference.recipe import Recipe, Source
from tools.reference.train import train
from transformers import AutoModelForCausalLM, AutoTokenizer

SOURCES = (Source(file="a.txt", repeats=1.5, licence="own"), Source(file="b.txt", repeats=1, licence="own"))
RECIPE = Recipe(
    vocab_size=300, width=32, layers=2, heads=2, mlp_width=64, context=16, batch=4, steps=6, warmup=2, bfloat16=False,
    sources=SOURCES, held_out=0.1, snapshots=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for name, animal in (("a.txt", "dog"), ("b.txt", "cat")):
        stories = [f"The {animal} saw {i} birds.\nIt ran after bird {i}, and the bird flew.\n" for i in range(60)]
        (folder / name).write_text("\n".join(stories))
    return folder


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train(RECIPE, corpus, out, save_every=2, measure_every=3)
    return out


def test_a_run_leaves_a_model_that_transformers_loads(finished: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    ids = tokenizer("The dog ran.", return_tensors="pt").input_ids
    assert torch.isfinite(model(input_ids=ids).logits).all()
    assert tokenizer.decode(ids[0]) == "The dog ran."


def test_the_exported_weights_are_half_precision(finished: Path) -> None:
    assert {tensor.dtype for tensor in _weights(finished / "model").values()} == {torch.float16}


def test_the_curve_holds_the_measured_steps(finished: Path) -> None:
    curve = [json.loads(line) for line in (finished / "curve.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in curve] == [0, 3, 6]
    assert [entry["tokens"] for entry in curve] == [0, 3 * 4 * 16, 6 * 4 * 16]
    assert curve[-1]["held_out_loss"] < curve[0]["held_out_loss"]


def test_snapshots_lie_at_log_spaced_steps(finished: Path) -> None:
    steps = sorted(int(path.name[4:]) for path in finished.glob("step*"))
    assert steps == list(RECIPE.snapshot_steps()) == [0, 3, 6]
    first, last = _weights(finished / "step0"), _weights(finished / "step6")
    assert any(not torch.equal(first[name], last[name]) for name in first)
    model = _weights(finished / "model")
    assert all(torch.equal(last[name], model[name]) for name in model)


def test_every_snapshot_is_measured(corpus: Path, tmp_path: Path) -> None:
    train(RECIPE.model_copy(update={"snapshots": 4}), corpus, tmp_path, measure_every=100)
    curve = [json.loads(line)["step"] for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert curve == [0, 1, 3, 6]


def test_an_exported_tokenizer_is_compact_and_the_same(finished: Path) -> None:
    text = (finished / "model" / "tokenizer.json").read_text(encoding="utf-8")
    assert "\n" not in text
    assert json.loads(text) == json.loads((finished / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))


def test_a_tokenizer_that_is_given_is_used(finished: Path, corpus: Path, tmp_path: Path) -> None:
    other = corpus.parent / "other"
    other.mkdir(exist_ok=True)
    for name in ("a.txt", "b.txt"):
        (other / name).write_text("Quite other words were written here again.\n\n" * 60)
    train(RECIPE, other, tmp_path / "run", tokenizer=finished / "model")
    given, own = (
        AutoTokenizer.from_pretrained(folder / "model").get_vocab() for folder in (finished, tmp_path / "run")
    )
    assert own == given
    with pytest.raises(ValueError, match="holds 300 tokens, the recipe 280"):
        train(RECIPE.model_copy(update={"vocab_size": 280}), other, tmp_path / "small", tokenizer=finished / "model")


def test_a_killed_and_resumed_run_gives_the_same_weights_bit_for_bit(
    finished: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    plain = module._loss

    def fails_in_step_five(*args):
        nonlocal calls
        calls += torch.is_grad_enabled()
        if calls == 6:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(module, "_loss", fails_in_step_five)
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, corpus, tmp_path, save_every=2, measure_every=3)
    monkeypatch.setattr(module, "_loss", plain)
    assert not (tmp_path / "model").exists()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4

    torch.rand(5)  # whatever else has drawn from the global generator in between
    train(RECIPE, corpus, tmp_path, save_every=2, measure_every=3)
    whole, resumed = _weights(finished / "model"), _weights(tmp_path / "model")
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_another_seed_gives_other_weights(finished: Path, corpus: Path, tmp_path: Path) -> None:
    train(RECIPE.model_copy(update={"seed": 1}), corpus, tmp_path)
    one, other = _weights(finished / "model"), _weights(tmp_path / "model")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_folder_of_another_recipe_is_refused_and_left_alone(finished: Path, corpus: Path) -> None:
    before = (finished / "recipe.json").read_text()
    with pytest.raises(ValueError, match="another recipe"):
        train(RECIPE.model_copy(update={"width": 64}), corpus, finished)
    assert (finished / "recipe.json").read_text() == before

"""Training of a reference model, on a corpus and with a recipe so small that it takes a second."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from negspace.reference import train as module
from negspace.reference.recipe import Recipe, Source
from negspace.reference.train import snapshot_steps, train

SOURCES = (Source(file="a.txt", repeats=1.5, licence="own"), Source(file="b.txt", repeats=1, licence="own"))
RECIPE = Recipe(
    vocab_size=300, width=32, layers=2, heads=2, mlp_width=64, context=16, batch=4, steps=6, warmup=2, bfloat16=False,
    sources=SOURCES, held_out=0.1,
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
    train(RECIPE, corpus, out, snapshots=3, save_every=2, measure_every=3)
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
    assert steps == sorted(snapshot_steps(RECIPE.steps, 3)) == [0, 1, 6]
    first, last = _weights(finished / "step0"), _weights(finished / "step6")
    assert any(not torch.equal(first[name], last[name]) for name in first)
    model = _weights(finished / "model")
    assert all(torch.equal(last[name], model[name]) for name in model)


@pytest.mark.parametrize(("steps", "count"), [(1, 2), (100, 5), (8_000, 14), (8_000, 2)])
def test_snapshot_steps_begin_at_zero_and_end_at_the_last(steps: int, count: int) -> None:
    kept = sorted(snapshot_steps(steps, count))
    assert kept[0] == 0
    assert kept[-1] == steps
    assert len(kept) <= count + 1


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
        train(RECIPE, corpus, tmp_path, snapshots=3, save_every=2, measure_every=3)
    monkeypatch.setattr(module, "_loss", plain)
    assert not (tmp_path / "model").exists()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4

    torch.rand(5)  # whatever else has drawn from the global generator in between
    train(RECIPE, corpus, tmp_path, snapshots=3, save_every=2, measure_every=3)
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

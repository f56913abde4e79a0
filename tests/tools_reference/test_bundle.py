"""A run laid out as package data: what is bundled loads as the run's own model does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from tools.reference import __main__ as commands
from tools.reference.bundle import bundle
from tools.reference.recipe import Recipe, Source
from tools.reference.train import train

import negspace.reference as reference
from negspace.errors import RecordError
from negspace.models.load import load

RECIPE = Recipe(
    vocab_size=300, width=16, layers=1, heads=2, mlp_width=32, context=128, batch=2, steps=4, warmup=1, bfloat16=False,
    sources=(Source(file="a.txt", repeats=1, licence="own"),), held_out=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "a.txt").write_text("".join(f"The dog saw {i} birds, and café {i} was shut.\n\n" for i in range(900)))
    return folder


@pytest.fixture(scope="module")
def one(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "one"
    train(RECIPE, corpus, run)
    return run


@pytest.fixture(scope="module")
def several(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "several"
    train(RECIPE.model_copy(update={"snapshots": 3}), corpus, run)
    return run


def test_a_model(one: Path, tmp_path: Path) -> None:
    scores = tmp_path / "measured.json"
    scores.write_text('{"scores": [{"measure": "m", "value": 0.5, "data": "d"}]}')
    out = bundle(one, tmp_path / "silu", scores)
    assert {path.name for path in out.iterdir()} == {
        "README.md", "config.json", "curve.jsonl", "model.safetensors", "recipe.json", "scores.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert "# silu\n" in (out / "README.md").read_text()
    assert load(out).fingerprint == load(one / "model").fingerprint


def test_an_indented_tokenizer_becomes_compact_and_stays_the_same(one: Path, tmp_path: Path) -> None:
    path = one / "model" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    made = bundle(one, tmp_path / "out") / "tokenizer.json"
    assert made.stat().st_size < path.stat().st_size / 2
    assert json.loads(made.read_text(encoding="utf-8")) == content
    text = "The café of the dogs."
    assert load(made.parent).tokenizer(text).input_ids == load(one / "model").tokenizer(text).input_ids


def test_a_series_loads_by_its_revisions(several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_DATA", tmp_path)
    bundle(several, tmp_path / "series")
    assert reference.checkpoints() == ("step0", "step2", "step4")
    ids = torch.tensor([[5, 6, 7]])
    outputs = []
    for revision in reference.checkpoints():
        model = load(reference.series_path(), revision=revision)
        assert model.fingerprint == load(several / revision).fingerprint
        outputs.append(model.module(input_ids=ids).logits)
    assert not torch.equal(outputs[0], outputs[-1])
    assert "Checkpoints were kept at the steps 0, 2, 4." in (tmp_path / "series" / "README.md").read_text()
    assert not (tmp_path / "series" / "config.json").exists()


def test_a_checkpoint_that_is_missing_is_named(several: Path, tmp_path: Path) -> None:
    (several / "step2").rename(several / "elsewhere")
    try:
        with pytest.raises(RecordError, match="not there: step2"):
            bundle(several, tmp_path / "series")
    finally:
        (several / "elsewhere").rename(several / "step2")
    assert not (tmp_path / "series").exists()


def test_the_command_measures_and_lays_out(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["tools.reference", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            commands.main()
        return int(end.value.code or 0)

    paradigm = sorted(reference.pairs_path().glob("*.jsonl"))[0]
    options = ("--run", one, "--out", tmp_path / "relu", "--pairs", paradigm, "--limit", 1)
    assert run("bundle", *options, "--beside", "little") == 2
    assert "write --beside NAME=scores.json" in capsys.readouterr().err
    assert not (tmp_path / "relu").exists()
    assert run("bundle", *options) == 0
    card = (tmp_path / "relu" / "README.md").read_text()
    assert f"{paradigm.name}: 1 pairs" in card
    assert "negspace_copy: 1 items" in card
    scores = tmp_path / "relu" / "scores.json"
    again = ("--scores", scores, "--beside", f"little={scores}", "--name", "other")
    assert run("bundle", "--run", one, "--out", tmp_path / "two", *again) == 0
    assert "| chance | little |" in (tmp_path / "two" / "README.md").read_text()

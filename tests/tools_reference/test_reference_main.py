"""The commands of `python -m tools.reference`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tools.reference import __main__ as commands
from tools.reference.grammar import PARADIGMS
from tools.reference.recipe import Recipe, Source


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit status of the command line."""
    monkeypatch.setattr(sys, "argv", ["tools.reference", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        commands.main()
    return int(end.value.code or 0)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    source = Source(file="a.txt", repeats=1, licence="own")
    small = Recipe(
        vocab_size=280, width=16, layers=1, heads=2, mlp_width=32, context=8, batch=2, steps=3, bfloat16=False,
        sources=(source,),
    )  # fmt: skip
    path.write_text(small.model_dump_json())
    return path


def test_train_then_card(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("A dog and a cat ran.\n\n" * 50)
    run = tmp_path / "run"
    options = (
        "--recipe",
        recipe,
        "--corpus",
        tmp_path,
        "--out",
        run,
        "--family",
        "opt",
        "--steps",
        2,
        "--snapshots",
        3,
    )
    assert _run(monkeypatch, "train", *options) == 0
    assert json.loads((run / "recipe.json").read_text())["family"] == "opt"
    assert {path.name for path in run.glob("step*")} == {"step0", "step1", "step2"}
    assert _run(monkeypatch, "card", "--run", run, "--out", tmp_path / "card.md", "--name", "relu") == 0
    assert "# relu" in (tmp_path / "card.md").read_text()

    capsys.readouterr()
    assert _run(monkeypatch, "train", *options, "--seed", 5) == 2
    assert "another recipe" in capsys.readouterr().err


def test_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert _run(monkeypatch, "pairs", "--out", tmp_path / "pairs", "--per-paradigm", 4) == 0
    assert len(list((tmp_path / "pairs").iterdir())) == len(PARADIGMS)
    assert f"{len(PARADIGMS)} paradigms of 4 pairs" in capsys.readouterr().out


def test_missing_sources_are_named(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    status = _run(monkeypatch, "train", "--recipe", recipe, "--corpus", tmp_path / "none", "--out", tmp_path / "run")
    assert status == 2
    assert "not there: a.txt" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_cannot_be_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert _run(monkeypatch, "train", "--corpus", tmp_path, "--out", tmp_path / "run", "--steps", 0) == 2
    assert "steps: Input should be greater than 0" in capsys.readouterr().err
    missing = ("--recipe", tmp_path / "no.json")
    assert _run(monkeypatch, "train", "--corpus", tmp_path, "--out", tmp_path / "run", *missing) == 2
    assert "name a recipe.json" in capsys.readouterr().err


def test_a_recipe_is_named_or_read_but_not_both(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    to = ("--corpus", tmp_path / "none", "--out", tmp_path / "run")
    assert _run(monkeypatch, "train", "--name", "gelu", "--recipe", recipe, *to) == 2
    assert "give --name or --recipe" in capsys.readouterr().err
    assert _run(monkeypatch, "train", "--name", "swish", *to) == 2
    assert "name one of gelu, silu, relu, series" in capsys.readouterr().err
    assert _run(monkeypatch, "train", "--name", "silu", *to) == 2
    assert "not there: tinystories_train_head.txt" in capsys.readouterr().err


def test_a_tokenizer_that_is_not_there_is_explained(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("A dog and a cat ran.\n\n" * 50)
    to = ("--corpus", tmp_path, "--out", tmp_path / "run", "--recipe", recipe)
    assert _run(monkeypatch, "train", *to, "--tokenizer", tmp_path) == 2
    assert "no tokenizer.json" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert _run(monkeypatch, "tasks", "--out", tmp_path / "tasks", "--per-task", 8) == 0
    assert len(list((tmp_path / "tasks").glob("*.jsonl"))) == len(list((tmp_path / "tasks").glob("*.yaml"))) == 6
    assert "6 tasks of 8 items" in capsys.readouterr().out
    assert _run(monkeypatch, "tasks", "--out", tmp_path / "none", "--per-task", 0) == 2
    assert "ask for 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_error_of_the_library_ends_with_status_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert _run(monkeypatch, "pairs", "--out", tmp_path / "pairs", "--per-paradigm", 3) == 2
    assert "to do: ask for a positive multiple of 4" in capsys.readouterr().err

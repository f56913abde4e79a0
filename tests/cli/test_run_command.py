"""`negspace study`: the plan first, then the run; options of analyses; what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def given(tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path) -> list[str]:
    """Arguments of a small study: model, data and a limit."""
    options = [str(tiny_model_path), "--text", str(tiny_text_path), "--blimp", str(tiny_pairs_path / "blimp")]
    options += ["--limit", "2", "--set", "window=64", "--set", "windows=12"]
    return [*options, "--set", "md_pairs=64", "--set", "draws=100", "--share", "0.1"]


def test_the_plan_comes_first_and_stops_there_if_asked(call: Any, given: list[str], tmp_path: Path) -> None:
    shown = call("study", *given, "--preset", "quick", "--dry-run", "--out", tmp_path / "run")
    assert shown.status == 0, shown.err
    assert "Plan" in shown.out
    assert "ablation" in shown.out
    assert "tokens a second" in shown.out
    assert not (tmp_path / "run").exists()


def test_it_runs_the_analyses_asked_for(call: Any, given: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["--analysis", "dose", "--set", "dose.shares=[0.1, 0.5]", "--set", "dose.interventions=[zero_negative]"]
    shown = call("study", *given, *options, "--set", "random=1", "--out", out, "--json")
    assert shown.status == 0, shown.err
    content = json.loads(shown.out)
    assert list(content["run"]["analyses"]) == ["dose"]
    assert content["tables"]["dose"]
    assert "Plan" in shown.err
    page = (out / "tables" / "COLUMNS.md").read_text()
    assert "## dose\n" in page
    assert "## summary\n" not in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "papper"], "no such preset"),
        (["--analysis", "doze"], "did you mean 'dose'"),
        (["--set", "random"], "no NAME=VALUE"),
        (["--set", "dose.=3"], "no NAME=VALUE"),
        (["--set", "dose.points=[", "--analysis", "dose"], "no NAME=VALUE"),
        (["--set", "dose.points=none", "--analysis", "dose"], "points: Input should be a valid integer"),
        ([], "no folder for its records"),
    ],
)
def test_what_is_wrong_is_said(call: Any, given: list[str], options: list[str], message: str) -> None:
    shown = call("study", *given, *options)
    assert shown.status == 2
    assert message in shown.err


def test_a_plan_for_a_program(call: Any, given: list[str]) -> None:
    shown = call("study", *given, "--preset", "quick", "--dry-run", "--json")
    assert shown.status == 0, shown.err
    content = json.loads(shown.out)
    assert list(content["plan"]) == ["scan", "ablation"]
    assert content["cells"] == sum(load["cells"] for load in content["plan"].values())
    seconds = content["plan"]["ablation"]["tokens"] / content["tokens_per_second"]
    assert content["plan"]["ablation"]["seconds"] == pytest.approx(seconds)

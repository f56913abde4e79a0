"""The study on a calibration model: what it must find, and that a second run makes nothing anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negspace.study import calibration
from negspace.study.calibration import CASES, COLUMNS, Case, run_calibration

SMALL = {
    "windows": 24,
    "perplexity_windows": 16,
    "md_pairs": 0,
    "random": 1,
    "random_perplexity": 1,
    "limit": 8,
    "tolerance": 0.05,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "FIELDS", {**calibration.FIELDS, **SMALL})


def test_every_model_is_tried_below_zero_and_one_above() -> None:
    planted = ("established", "interaction only")
    below = {case.model: case.expected for case in CASES if case.zero == "negative"}
    assert below == {
        "negative": planted, "positive": ("not testable: no control",), "null": ("not established",)
    }  # fmt: skip
    assert Case("positive", "positive", planted) in CASES
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_planted_mechanism_is_found_once_and_for_all(tmp_path: Path) -> None:
    planted = ("established", "interaction only")
    cases = [Case("negative", "negative", planted), Case("negative", "positive", planted)]
    said: list[str] = []
    made = run_calibration(tmp_path, cases=cases, note=said.append)
    assert made.columns.tolist() == list(COLUMNS)
    assert said[0] == "negative model, zeroing negative pre-activations"
    right, wrong = made.iloc[0], made.iloc[1]
    assert right["ok"]
    assert right["verdict"] == "interaction only (as claimed; shown on grammar only), no crossover"
    assert (right["planted"], right["worst_rank"], right["first"]) == (12, 6, True)
    assert right["grammar_change"] == pytest.approx(-0.5, abs=0.06)
    assert right["grammar"] == pytest.approx(-0.5, abs=0.1)
    assert abs(right["tasks_change"]) < 0.1
    assert right["low"] > 0.2
    assert right["ratio"] > 1.2
    # Nothing of the planted neurons is above zero: that is no damage, so no control and nothing established.
    assert wrong["ratio"] == 1
    assert (wrong["verdict"], wrong["ok"]) == ("not testable: no control", False)
    assert "no damage to match" in wrong["control"]
    run = json.loads((tmp_path / "negative-zero-negative" / "run.json").read_text())
    assert run["study"]["zero"] == "negative"
    assert len(list((tmp_path / "material" / "pairs").iterdir())) == 9

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/cells/*")}
    weights = (tmp_path / "models" / "negative" / "model.safetensors").stat().st_mtime_ns
    again = run_calibration(tmp_path, cases=cases)
    assert again.equals(made)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/cells/*")} == before
    assert (tmp_path / "models" / "negative" / "model.safetensors").stat().st_mtime_ns == weights

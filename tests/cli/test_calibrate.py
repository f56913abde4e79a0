"""`negspace calibrate`: its table, its JSON, and an exit status that tells a wrong verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from negspace.significance.simulation import Rate
from negspace.study.calibration import COLUMNS

FOUND = {
    "model": "negative", "zero": "negative", "planted": 12, "worst_rank": 6, "first": True, "ratio": 1.5,
    "grammar_drop": 0.5, "grammar_control_drop": 0.01, "tasks_drop": 0.0, "tasks_control_drop": 0.06,
    "contrast": 0.55, "low": 0.47, "high": 0.64, "p": 0.0001, "verdict": "established", "crossover": True,
    "control": "bottom 58%, matched to top 1%", "expected": "established", "ok": True,
}  # fmt: skip
NOTHING = {
    "model": "positive", "zero": "negative", "planted": 12, "worst_rank": 6, "first": True, "ratio": 1.0,
    "grammar_drop": 0.0, "tasks_drop": 0.0, "verdict": "not established", "crossover": False,
    "control": "no damage to match", "expected": "not established", "ok": True,
}  # fmt: skip


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Rows that the calibration gives here; the real one takes a minute and is tested where it lives."""
    rows = [FOUND, NOTHING]
    monkeypatch.setattr(
        "negspace.study.calibration.run_calibration", lambda *_, **__: pd.DataFrame(rows, columns=list(COLUMNS))
    )
    return rows


def test_right_verdicts(call: Any, runs: list[dict[str, Any]], tmp_path: Path) -> None:
    shown = call("calibrate", "--out", tmp_path)
    assert shown.status == 0
    assert "all 2 verdicts are right" in shown.out
    for part in (
        "established*",
        "x 1.50",
        "50.0 (1.0)",
        "55.0 [47.0, 64.0]",
        "<0.001",
        "* with a crossover",
    ):
        assert part in shown.out
    assert "positive model, zeroing negatives: no control and so no contrast (no damage to match)" in shown.out


def test_a_wrong_verdict_is_exit_status_1(call: Any, runs: list[dict[str, Any]], tmp_path: Path) -> None:
    runs[1] = {**NOTHING, "verdict": "reversed", "first": False, "worst_rank": 40, "ok": False}
    shown = call("calibrate", "--out", tmp_path)
    assert shown.status == 1
    assert "1 of 2 verdicts are wrong" in shown.out
    assert "positive model, zeroing negatives: not established would be right" in shown.out
    assert "to 40" in shown.out
    as_json = call("calibrate", "--out", tmp_path, "--json")
    assert as_json.status == 1
    content = json.loads(as_json.out)
    assert not content["ok"]
    assert content["cases"][0]["contrast"] == 0.55
    assert content["cases"][1]["contrast"] is None
    assert content["simulations"] == []


def test_simulations_are_shown_and_count(
    call: Any, runs: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"alike": [Rate("a test", "alike", 0.05, 20, 500)]}
    monkeypatch.setattr("negspace.significance.simulation.rates", lambda world, studies, seed: made.get(world, []))
    shown = call("calibrate", "--out", tmp_path, "--simulations", 500)
    assert shown.status == 0
    assert "none of 1 tests rejects more often than its level" in shown.out
    assert "4.0" in shown.out
    made["alike"] = [Rate("a test", "alike", 0.05, 60, 500)]
    shown = call("calibrate", "--out", tmp_path, "--simulations", 500, "--json")
    assert shown.status == 1
    assert json.loads(shown.out)["simulations"][0]["too_often"] is True

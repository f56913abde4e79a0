"""`negspace calibrate`: its table, its JSON, and an exit status that tells a wrong verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from negspace.study.calibration import COLUMNS
from negspace.study.simulation import Rate

FOUND = {
    "model": "negative", "zero": "negative", "planted": 12, "worst_rank": 6, "first": True, "ratio": 1.5,
    "grammar_change": -0.5, "tasks_change": 0.0, "grammar": -0.49, "grammar_low": -0.55, "grammar_high": -0.43,
    "tasks": 0.06, "tasks_low": 0.02, "tasks_high": 0.1, "interaction": 0.55, "low": 0.47, "high": 0.64, "p": 3e-12,
    "verdict": "established", "control": "bottom 58%, matched to top 1%", "expected": "established", "ok": True,
}  # fmt: skip
NOTHING = {
    "model": "positive", "zero": "negative", "planted": 12, "worst_rank": 6, "first": True, "ratio": 1.0,
    "grammar_change": 0.0, "tasks_change": 0.0, "verdict": "not testable: no control",
    "control": "no damage to match", "expected": "not testable: no control", "ok": True,
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
    assert "all 2 cases are right" in shown.out
    for part in ("established", "x 1.50", "-49.0", "+55.0", "<0.001"):
        assert part in shown.out
    assert "positive model, zeroing negatives: not testable (no damage to match)" in shown.out


def test_a_wrong_verdict_is_exit_status_1(call: Any, runs: list[dict[str, Any]], tmp_path: Path) -> None:
    runs[1] = {**NOTHING, "verdict": "reversed", "first": False, "worst_rank": 40, "ok": False}
    shown = call("calibrate", "--out", tmp_path)
    assert shown.status == 1
    assert "1 of 2 cases are wrong (see the table)" in shown.out
    assert "positive model, zeroing negatives: not testable: no control would be right" in shown.out
    assert "to 40" in shown.out
    as_json = call("calibrate", "--out", tmp_path, "--json")
    assert as_json.status == 1
    content = json.loads(as_json.out)
    assert not content["ok"]
    assert content["cases"][0]["interaction"] == 0.55
    assert content["cases"][0]["p"] == 3e-12
    assert content["cases"][1]["interaction"] is None
    assert content["simulations"] == []


def test_simulations_are_shown_and_count(
    call: Any, runs: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ("nothing differs", "any false sentence", "false")
    made = {"nothing differs": [Rate(*said, 20, 500, 0.05), Rate("an effect", "found", "power", 400, 500, 0.05)]}
    monkeypatch.setattr("negspace.study.simulation.calibrate", lambda case, *_, **__: made.get(case, []))
    shown = call("calibrate", "--out", tmp_path, "--simulations", 500)
    assert shown.status == 0
    assert "worlds with more false sentences than the level allows: 0 of 1" in shown.out
    assert "4.0" in shown.out
    made["nothing differs"] = [Rate(*said, 60, 500, 0.05)]
    shown = call("calibrate", "--out", tmp_path, "--simulations", 500, "--json")
    assert shown.status == 1
    assert json.loads(shown.out)["simulations"][0]["too_often"] is True

"""The verdict: a null result is called one, a drop a drop, and an unmatched control is not called matched."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from negspace.analyses.ablation.words import direction, verdicts
from negspace.experiment.effects import finding
from negspace.study.tables import Tables


@pytest.mark.parametrize(
    ("low", "high", "p", "outcome"),
    [
        (-0.05, -0.01, 0.001, "drop"),
        (0.01, 0.05, 0.001, "rise"),
        (-0.05, 0.0, 0.001, "null result"),
        (-0.05, 0.01, 0.001, "null result"),
        (-0.05, -0.01, 0.2, "null result"),
        (-0.05, -0.01, float("nan"), "drop"),
        (float("nan"), float("nan"), float("nan"), "null result"),
    ],
)
def test_outcomes(low: float, high: float, p: float, outcome: str) -> None:
    assert direction(finding("blimp", low, high, p, 0.05)) == outcome


def test_sentences_for_every_share_and_suite(tiny_run: tuple[Path, Tables]) -> None:
    sentences = tiny_run[1].verdict
    assert len(sentences) == 2 * (1 + 2 + 1)
    assert sentences[0].startswith("Zeroing the negative pre-activations of the top 10% by wd (14 neurons) multiplies")
    assert sentences[1].startswith("BLiMP: ")
    assert sentences[2].startswith("TSE: ")
    assert "control for the top 10%" in sentences[3]


def test_a_null_result_is_printed_as_one(tiny_run: tuple[Path, Tables]) -> None:
    tables = {name: table.copy() for name, table in tiny_run[1].all.items()}
    top = tables["summary"]["condition"] == "top 10%"
    columns = ["blimp_change", "blimp_change_low", "blimp_change_high", "blimp_p_holm", "blimp_finding"]
    tables["summary"].loc[top, columns] = [-0.01, -0.03, 0.02, 0.4, "null result"]
    sentence = verdicts(tiny_run[1].books["ablation"], tables)[1]
    assert "null result against the plain model, -1.0 points [-3.0, +2.0]" in sentence
    tables["summary"].loc[top, ["blimp_change_high", "blimp_p_holm", "blimp_finding"]] = [-0.005, 0.001, "harm"]
    assert "BLiMP: drop against the plain model" in verdicts(tiny_run[1].books["ablation"], tables)[1]


def test_what_cannot_be_matched_is_said(tiny_run: tuple[Path, Tables]) -> None:
    part = copy.deepcopy(tiny_run[1].books["ablation"].part)
    part["matches"][0] |= {"matched": False, "reason": "even the largest share stays below", "m": 0.9}
    sentence = verdicts(replace(tiny_run[1].books["ablation"], part=part), tiny_run[1].all)[3]
    assert "cannot be matched (even the largest share stays below; nearest: the bottom 90%" in sentence


def test_a_relu_model_is_said_to_be_one_and_its_scores_are_compared(tiny_run: tuple[Path, Tables]) -> None:
    book = tiny_run[1].books["ablation"]
    assert not book.manifest["rectifies"]
    flat = replace(book, manifest={**book.manifest, "rectifies": True})
    assert any("but scores differ from the plain model's" in one for one in verdicts(flat, tiny_run[1].all))
    tables = {name: table.copy() for name, table in tiny_run[1].all.items()}
    for column in ("perplexity", "blimp_accuracy", "tse_accuracy"):
        tables["summary"][column] = tables["summary"][column].iloc[0]
    assert any("all scores are exactly the plain model's" in one for one in verdicts(flat, tables))

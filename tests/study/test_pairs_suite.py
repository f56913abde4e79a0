"""Pairs of any format and suites of SyntaxGym, as a suite of their own beside BLiMP through a whole study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from negspace.errors import PairsError
from negspace.experiment.config import configure
from negspace.score.pairs import minimal_pairs
from negspace.study.run import run_study


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """A table with names of its own, of two phenomena, and a suite of SyntaxGym."""
    nouns = ["cat", "dog", "bird", "king"]
    rows = [
        {
            "wrong": f"The {noun}s sees the {number} dogs.",
            "right": f"The {noun}s see the {number} dogs.",
            "topic": topic,
        }
        for topic in ("agreement", "binding")
        for number, noun in enumerate(nouns)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "mine.csv", index=False)
    items = [
        {
            "item_number": at,
            "conditions": [
                {
                    "condition_name": name,
                    "regions": [{"region_number": 1, "content": f"The {noun}s"}, {"region_number": 2, "content": verb}],
                }
                for name, verb in (("match", "bark ."), ("mismatch", "barks ."))
            ],
        }
        for at, noun in enumerate(nouns, start=1)
    ]
    formula = "(2;%match%) < (2;%mismatch%)"
    suite = {"meta": {"name": "number_prep", "metric": "sum"}, "predictions": [{"formula": formula}], "items": items}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    return [str(tmp_path / "mine.csv"), str(tmp_path / "suite.json")]


def test_pairs_run_through_a_study(tiny_fields: dict[str, Any], places: list[str], tmp_path: Path) -> None:
    few = {"random": 2, "random_perplexity": 2, "matched": False, "tse": []}
    fields = {**tiny_fields, "shares": [0.3], **few}
    columns = "good=right,bad=wrong,phenomenon=topic"
    with pytest.raises(PairsError, match="without two columns of sentences that are known by name"):
        run_study(configure({**fields, "pairs": places[0]}), tmp_path / "run")
    study = configure({**fields, "pairs": places[0], "pair_columns": columns})
    assert study.pair_columns == {"good": "right", "bad": "wrong", "phenomenon": "topic"}
    tables = run_study(study, tmp_path / "run")
    assert set(tables["pairs_by_phenomenon"]["phenomenon"]) == {"agreement", "binding"}
    summary = tables["summary"]
    assert summary["pairs_accuracy"].notna().all()
    assert summary["blimp_accuracy"].notna().all()


def test_a_suite_of_syntaxgym_in_a_study_is_what_it_is_alone(
    tiny_fields: dict[str, Any], places: list[str], tmp_path: Path
) -> None:
    from negspace.models.load import load

    fields = {**tiny_fields, "shares": [0.3], "random": 2, "matched": False, "tse": [], "blimp": [], "limit": None}
    tables = run_study(configure({**fields, "pairs": [places[1], *tiny_fields["blimp"]]}), tmp_path / "run")
    summary = tables["summary"]
    alone = minimal_pairs(load(fields["model"]), [places[1], *tiny_fields["blimp"]])
    assert summary["pairs_accuracy"].iloc[0] == pytest.approx(alone.accuracy)
    table = tables["pairs_by_phenomenon"]
    assert set(table["phenomenon"]) == {"agreement", "binding"}
    assert table[table["role"] == "baseline"]["paradigms"].sum() == 5


def test_tse_is_not_scored_as_others(tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="--tse on the command line"):
        run_study(configure({**tiny_fields, "pairs": tiny_fields["tse"]}), tmp_path / "run")

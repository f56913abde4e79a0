"""Presets and plans: what is left out is said, what is given wins, the cost is known before anything is computed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from negspace.errors import StudyError
from negspace.experiment.config import configure
from negspace.study.presets import PRESETS, from_preset
from negspace.study.registry import OWN, sections
from negspace.study.run import plan_study, run_study


def test_the_paper_preset_asks_for_every_analysis_that_the_data_allow(tiny_fields: dict[str, Any]) -> None:
    given = {name: tiny_fields[name] for name in ("model", "text", "blimp", "tse")}
    study, left_out = from_preset("paper", given)
    assert study.shares == (0.01,)
    assert study.blimp == tuple(tiny_fields["blimp"])
    assert set(study.analyses) | {name for name in OWN if any(name in s.lower() for s in left_out)} <= set(OWN)
    assert "ablation" in study.analyses
    assert len(study.analyses) + len(left_out) == len(OWN)
    assert all(" is left out: no " in sentence for sentence in left_out)


def test_an_analysis_that_needs_a_missing_package_is_left_out_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    given = {"model": "m", "text": "t"}
    study, left_out = from_preset("paper", given)
    tagged = {"parts_of_speech": "Parts of speech", "atlas": "Atlas of neurons"}
    tagged["differentiation"] = "Differentiation of near inputs"
    assert not set(tagged) & set(study.analyses)
    lacking = "no spaCy to tag the text (pip install 'negspace[pos]', or give a .conllu file with gold tags)"
    for name, title in tagged.items():
        assert f"{title} is left out: {lacking}" in left_out
        with pytest.raises(StudyError, match=re.escape(f"the analysis {name!r}\nfound: {lacking}")):
            from_preset("paper", {**given, "analyses": {name: {}}}, only=True)
        for gold in ({"perplexity_text": "ewt.conllu"}, {"analyses": {name: {"text": "ewt.conllu"}}}):
            assert name in from_preset("paper", {**given, **gold})[0].analyses


def test_without_spacy_the_default_study_can_be_planned(
    tiny_fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    given = {name: tiny_fields[name] for name in ("model", "text", "blimp", "windows", "window")}
    study, _ = from_preset("paper", given)
    assert {"ablation", "dose", "layers"} <= set(plan_study(study).loads)


def test_what_is_given_replaces_the_preset() -> None:
    given = {"model": "m", "shares": [0.05], "analyses": {"dose": {"points": 3}}}
    study, _ = from_preset("quick", given)
    assert (study.shares, study.limit) == ((0.05,), PRESETS["quick"]["limit"])
    assert set(study.analyses) == {"ablation", "dose"}
    assert sections(study)["dose"].points == 3  # type: ignore[attr-defined]
    only, _ = from_preset("quick", given, only=True)
    assert set(only.analyses) == {"dose"}


def test_settings_of_an_analysis_join_those_of_the_preset() -> None:
    given = {"model": "m", "text": "t", "analyses": {"dose": {"points": 3}}}
    for only in (False, True):
        study, _ = from_preset("paper", given, only=only)
        assert study.analyses["dose"] == {"points": 3, "sets": ["top", "bottom"]}
    assert from_preset("paper-full", given)[0].analyses["dose"] == {"points": 3}
    assert from_preset("paper-full", given)[0].limit is None


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("papper", {"model": "m"}, "the preset 'papper'\nfound: no such preset\nto do: use: paper, paper-full, quick"),
        ("paper", {}, "no 'model'\nto do: negspace run MODEL, or --model, or model: ... in a study file"),
        (
            "quick",
            {"model": "m", "budget": "30"},
            "asked: the options, on the preset quick\nfound: budget: give a time",
        ),
        ("quick", {"model": "m", "shars": 3}, "unknown field 'shars'\nto do: did you mean 'shares'"),
        ("quick", {"model": "m", "analyses": {"doze": {}}}, "no such analysis\nto do: did you mean 'dose'"),
        ("quick", {"model": "m", "analyses": {"dose": {"point": 3}}}, "unknown field 'point'\nto do: did you mean"),
    ],
)
def test_wrong_presets(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        from_preset(name, given)


def test_a_plan_names_cells_and_writes_nothing(
    tiny_fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = configure({**tiny_fields, "matched": False})
    plan = plan_study(study)
    assert list(plan.loads) == ["scan", "examples", "ablation"]
    # Baseline, and for each of two shares the top set and five random ones; perplexity, BLiMP and TSE of each; and
    # perplexity under 14 more random sets.
    assert plan.loads["ablation"].cells == (1 + 2 * 6) * 3 + 2 * 14
    assert plan.rate > 0
    assert plan.seconds > 0
    assert not list(tmp_path.iterdir())
    announced = []
    run_study(study, tmp_path / "run", announce=announced.append)
    assert announced[0].loads == plan.loads
    assert len(list((tmp_path / "run" / "cells").iterdir())) == plan.cells

"""A locked plan: written before scoring, followed or not, and never replaced in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negspace.errors import RecordError, StudyError
from negspace.experiment.config import Study, configure
from negspace.runs.engine import Interrupted, LocalEngine
from negspace.runs.store import Store
from negspace.study.locked import followed
from negspace.study.run import run_study


@pytest.fixture
def study(tiny_fields: dict[str, Any]) -> Study:
    few = {"shares": [0.3], "random": 0, "matched": False, "tse": [], "limit": 2}
    return configure({**tiny_fields, **few})


def test_a_plan_that_was_followed_is_said_so(study: Study, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    tables = run_study(study, tmp_path / "run", plan=plan)
    content = json.loads(plan.read_text())["plan"]
    assert content["study"]["margin"] == study.margin
    assert content["data"]["blimp"].endswith(", 8 pairs")
    locked = tables.manifest["plan"]
    assert (locked["scored_before"], locked["departures"]) == (0, [])
    assert followed(locked) == "locked before anything was scored; the run followed it"
    # The folder keeps it, and a further run without the option is held to it as well.
    again = run_study(study.model_copy(update={"alpha": 0.1}), tmp_path / "run")
    assert again.manifest["plan"]["departures"] == ["study: alpha is 0.1, planned was 0.05"]
    assert "departed from it: study: alpha is 0.1, planned was 0.05" in followed(again.manifest["plan"])
    assert json.loads(plan.read_text())["plan"] == content


def test_a_plan_made_after_scoring_is_said_so(study: Study, tmp_path: Path) -> None:
    run_study(study, tmp_path / "run")
    tables = run_study(study, tmp_path / "run", plan=tmp_path / "late.json")
    assert tables.manifest["plan"]["scored_before"] == 4
    assert followed(tables.manifest["plan"]).startswith("locked after 4 scores had been made")


def test_parts_of_a_scan_are_no_scores(study: Study, tmp_path: Path) -> None:
    in_parts, seen = study.model_copy(update={"scan_parts": 2}), []

    def make(store: Store, compute: Any) -> LocalEngine:
        def stop(cell: Any, step: Any) -> Any:
            if cell.kind == "scan":
                raise Interrupted(0, 1)
            seen.append(cell.kind)
            return compute(cell, step)

        return LocalEngine(store, stop)

    with pytest.raises(Interrupted):
        run_study(in_parts, tmp_path / "run", make_engine=make)
    assert seen == ["scan_grids", "scan_part", "scan_part"]
    late = run_study(in_parts, tmp_path / "run", plan=tmp_path / "plan.json")
    assert late.manifest["plan"]["scored_before"] == 0


def test_a_plan_is_there_before_the_first_score(study: Study, tmp_path: Path) -> None:
    def make(store: Store, _: Any) -> LocalEngine:
        def stop(*_: Any) -> Any:
            raise Interrupted(0, 1)

        return LocalEngine(store, stop)

    with pytest.raises(Interrupted):
        run_study(study, tmp_path / "run", plan=tmp_path / "plan.json", make_engine=make)
    assert (tmp_path / "plan.json").exists()
    assert run_study(study, tmp_path / "run").manifest["plan"]["scored_before"] == 0


def test_other_data_are_a_departure(study: Study, tmp_path: Path) -> None:
    run_study(study, tmp_path / "first", plan=tmp_path / "plan.json")
    other = run_study(study.model_copy(update={"limit": 1}), tmp_path / "second", plan=tmp_path / "plan.json")
    departures = other.manifest["plan"]["departures"]
    assert departures[0] == "study: limit is 1, planned was 2"
    assert departures[1].startswith("data: blimp is ")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not JSON"), ("[]", "JSON that is not a plan"), ('{"plan": {"data": []}}', "JSON that is not a plan")],
)
def test_what_is_no_plan_is_refused(study: Study, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(StudyError, match=message):
        run_study(study, tmp_path / "run", plan=tmp_path / "plan.json")
    assert not (tmp_path / "run").exists()


def test_a_plan_that_cannot_be_written_leaves_no_folder(study: Study, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file or directory"):
        run_study(study, tmp_path / "run", plan=tmp_path / "nowhere" / "plan.json")
    assert not (tmp_path / "run").exists()


def test_another_plan_in_the_folder_is_refused(study: Study, tmp_path: Path) -> None:
    run_study(study, tmp_path / "run", plan=tmp_path / "plan.json")
    run_study(study.model_copy(update={"alpha": 0.1}), tmp_path / "other", plan=tmp_path / "other.json")
    before = (tmp_path / "run" / "study.yaml").read_bytes()
    with pytest.raises(StudyError, match="another plan locked in"):
        run_study(study.model_copy(update={"limit": 1}), tmp_path / "run", plan=tmp_path / "other.json")
    assert (tmp_path / "run" / "study.yaml").read_bytes() == before  # of a refused study nothing stays


def test_the_folder_s_own_copy_is_no_file_for_a_plan(study: Study, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="keeps its own copy"):
        run_study(study, tmp_path / "run", plan=tmp_path / "run" / "plan.json")
    run_study(study, tmp_path / "run", plan=tmp_path / "plan.json")
    # A plan copied there by hand does not say how many scores there were before.
    (tmp_path / "run" / "plan.json").write_text((tmp_path / "plan.json").read_text())
    with pytest.raises(StudyError, match="JSON that is not a plan"):
        run_study(study, tmp_path / "run")

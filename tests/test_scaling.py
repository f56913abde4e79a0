"""The projection: units are handed out as said, costs are those of the formulas, and the record is not stale."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
UNITS = {"scan": 1.0, "perplexity": 1.0, "minimal pairs": 1.0, "tasks": 1.0}
BILLIONS = {
    # As the models' cards round them.
    "pythia-14m": 0.014,
    "pythia-31m": 0.03,
    "pythia-70m": 0.07,
    "pythia-160m": 0.16,
    "pythia-410m": 0.41,
    "pythia-1b": 1.01,
    "pythia-1.4b": 1.41,
    "pythia-2.8b": 2.78,
    "pythia-6.9b": 6.86,
    "pythia-12b": 11.85,
    "Llama-3.1-8B": 8.03,
    "Mistral-7B-v0.3": 7.25,
    "Qwen3-8B": 8.19,
    "opt-6.7b": 6.66,
}


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")


@pytest.fixture
def record() -> dict[str, Any]:
    return json.loads((ROOT / "docs" / "records" / "scaling.json").read_text("utf-8"))


def test_the_record_is_what_the_planner_and_the_assumptions_give(record: dict[str, Any]) -> None:
    import projection
    import scaling

    assert record["projection"] == projection.project(scaling.measured_of(record)), (
        "run python tools/scaling.py --project, then python tools/readme.py"
    )


def test_the_record_was_measured_on_one_worker_and_on_two(record: dict[str, Any]) -> None:
    found = record["measured"]
    cells = {timing["workers"]: timing["count"] for timing in found["workers"]}
    assert set(cells) == {1, 2}
    assert cells[1] == cells[2]
    times = {n: min(one["cells"] for one in found["workers"] if one["workers"] == n) for n in (1, 2)}
    assert found["efficiency"] == pytest.approx(min(1.0, times[1] / times[2] / 2), rel=1e-3)
    assert set(found["units"]) == set(found.get("real", found)["units"]) == set(UNITS)


def test_the_record_is_no_quick_trial(record: dict[str, Any]) -> None:
    import scaling

    found = record["measured"]
    again = "run python tools/scaling.py, then python tools/readme.py"
    assert found["rounds"] >= scaling.ROUNDS, again
    assert found["limit"] >= scaling.LIMIT, again
    runs = [timing["workers"] for timing in found["workers"]]
    assert runs.count(1) == runs.count(2) == found["rounds"]


def test_models_have_the_published_sizes() -> None:
    import projection

    found = {shape.name.split("/")[1]: shape.parameters / 1e9 for shape in projection.GRID}
    assert found == pytest.approx(BILLIONS, rel=0.03)
    assert sum(shape.checkpoints for shape in projection.GRID) == 10 * 154
    assert len({shape.family for shape in projection.GRID}) == 5


def test_longest_first_is_near_the_best_there_is() -> None:
    import projection

    seconds = (7.0, 6.0, 5.0, 4.0, 3.0, 3.0)
    made = projection.longest_first([projection.Unit("m", one) for one in seconds], 2)
    best = min(
        max(sum(part), sum(seconds) - sum(part))
        for size in range(len(seconds) + 1)
        for part in itertools.combinations(seconds, size)
    )
    assert best <= made <= 4 / 3 * best
    assert projection.longest_first([projection.Unit("m", 2.0, 5)], 2) == 6.0
    assert projection.longest_first([projection.Unit("m", 2.0, 5)], 1) == 10.0


def test_the_plan_is_the_command_s(
    tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a model that can be loaded, the same numbers as `plan_study` gives."""
    import projection
    from negspace.study.presets import from_preset
    from negspace.study.run import plan_study, workbench

    where = {"model": str(tiny_model_path), "text": str(tiny_text_path), "blimp": str(tiny_pairs_path / "blimp")}
    study, _ = from_preset("paper-full", {**where, "tse": str(tiny_pairs_path / "tse")})
    study = study.model_copy(update={"analyses": {name: study.analyses[name] for name in ("ablation", "dose")}})
    facts = workbench(study).describe()
    monkeypatch.setattr(projection, "from_preset", lambda *_: (study, ()))
    monkeypatch.setattr(projection, "_facts", lambda *_: facts)
    shape = projection.Shape("tiny", "none", 2, 32, 64, 300, 32)
    made = projection.plan(shape, projection.Assumptions(), UNITS)
    plan = plan_study(study)
    assert made == {name: (load.cells, load.tokens) for name, load in plan.loads.items()}
    twice = projection.plan(shape, projection.Assumptions(), dict.fromkeys(UNITS, 2.0))
    assert twice == {name: (cells, pytest.approx(2 * tokens)) for name, (cells, tokens) in made.items()}


def test_a_study_by_hand() -> None:
    """Of one small model, with numbers that can be reckoned on paper."""
    import projection

    shape = projection.Shape("m", "Pythia", layers=2, hidden=8, width=32, vocabulary=100, key_value=8)
    assert shape.multiplied == 2 * (4 * 8 * 8 + 2 * 8 * 32) + 100 * 8
    assert shape.parameters == shape.multiplied + 800
    assert shape.flops(10) == 2 * shape.multiplied + 4 * 2 * 10 * 8
    assumed, measured = projection.Assumptions(), projection.Measured(UNITS, 0.8, 1.0)
    peak = assumed.fastest.value * shape.flops(assumed.attended.value) / assumed.utilisation.value / 10
    made = projection.work(shape, assumed, measured, peak)
    assert made.seconds == pytest.approx(made.opening + made.tokens / (assumed.fastest.value / 10))
    assert made.opening == pytest.approx(60 + 1 + shape.parameters * 2 / 1e9)
    assert measured.serial == pytest.approx(0.25)
    alone, eight = (projection.hours([made], gpus, measured) for gpus in (1, 8))
    assert alone["low"] == alone["high"] == pytest.approx(made.seconds / 3600)
    rest = made.seconds - made.opening
    assert eight["high"] == pytest.approx((made.opening + rest * (0.25 + 0.75 / 8)) / 3600)
    assert made.seconds / 8 / 0.8 / 3600 <= eight["low"]


@pytest.mark.parametrize("efficiency", [0.3, 0.5, 0.9])
def test_more_gpus_are_never_slower_than_one(efficiency: float) -> None:
    """Not even where two workers took longer than one: the work need not be shared."""
    import projection

    measured = projection.Measured(UNITS, efficiency, 0.1)
    works = [projection.work(shape, projection.Assumptions(), measured, 1e14) for shape in projection.GRID[:2]]
    one, *more = (projection.hours(works, gpus, measured) for gpus in (1, 2, 8, 64))
    for found in more:
        assert found["high"] <= one["high"] * (1 + 1e-12)
        assert found["low"] <= one["low"] * (1 + 1e-12)


def test_small_models_are_bound_by_their_launches() -> None:
    import projection

    assumed, measured = projection.Assumptions(), projection.Measured(UNITS, 1.0, 0.0)
    slow, fast = (projection.work(projection.GRID[0], assumed, measured, peak) for peak in (1e15, 1e18))
    assert slow.seconds == fast.seconds

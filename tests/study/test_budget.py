"""A budget: sizes that fit the time, the least effect first; what was given or recorded stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from negspace import reference
from negspace.errors import StudyError
from negspace.experiment.config import Study, configure
from negspace.experiment.workbench import Workbench
from negspace.significance.estimate import Estimate, total
from negspace.significance.power import TYPICAL, Sizes, detectable, planned
from negspace.study.budget import Budget, choose, seconds_of, undecided
from negspace.study.presets import PRESETS, from_preset
from negspace.study.run import plan_study, run_study, workbench
from negspace.study.simulation import study as simulated
from negspace.study.worlds import World, draw
from negspace.wording import duration

RATE = 800.0


@pytest.fixture
def open_fields(tiny_fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A small study without sizes, on a machine of known speed: six paradigms of 60 pairs, and two constructions."""
    monkeypatch.setattr(Workbench, "rate", lambda _: RATE)
    folder = tmp_path / "blimp"
    folder.mkdir()
    nouns = ["cat", "dog", "bird", "child", "king", "queen"]
    verbs = ["see", "hear", "like", "help", "meet", "find", "hold", "wash", "feed", "hide"]
    for number in range(6):
        about = {"UID": f"paradigm_{number}", "linguistics_term": ["agreement", "binding"][number % 2]}
        rows = [
            {
                "sentence_good": f"The {noun}s {verb} {number} dogs.",
                "sentence_bad": f"The {noun}s {verb}s {number} dogs.",
            }
            | about
            for noun in nouns
            for verb in verbs
        ]
        (folder / f"paradigm_{number}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    fields = {name: value for name, value in tiny_fields.items() if name not in ("limit", "random")}
    return {**fields, "blimp": [str(folder)], "shares": [0.1]}


def chosen(fields: dict[str, Any], budget: str) -> Budget:
    return choose(configure({**fields, "budget": budget}))[0]


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("1h30m", 5400), ("90s", 90), ("0.5h", 1800)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "soon", "", "30 min", 30, "-5m"])
def test_what_is_no_time_is_refused(text: Any) -> None:
    with pytest.raises(StudyError, match="30m, 1h30m or 90s"):
        configure({"model": "m", "budget": text})


def test_more_time_shows_smaller_effects_and_is_kept_to(open_fields: dict[str, Any]) -> None:
    budgets = [chosen(open_fields, budget) for budget in ("30s", "1m", "20m")]
    for made, most in zip(budgets, (30, 60, 1200), strict=True):
        assert made.seconds <= most
        assert set(made.sizes) == {"limit", "perplexity_windows", "random"}
        assert not undecided(made.study)
    worst = [
        max(one.detectable for one in made.contrasts if one.name.startswith("BLiMP: top against")) for made in budgets
    ]
    assert worst[0] > worst[2]
    assert worst[0] >= worst[1] >= worst[2]
    # Twenty minutes are enough for all pairs that there are.
    assert budgets[2].sizes["limit"] == 60
    assert budgets[0].sizes["limit"] < 60
    # With two constructions in one family, TSE cannot be judged, and the reason is said.
    assert all("constructions" in one.reason for one in budgets[0].contrasts if one.name.startswith("TSE"))


ATLAS = {"tokens": 600, "window": 48, "neurons": 2, "ablate_alone": 1}


@pytest.mark.parametrize("more", [{}, {"stability": {"texts": [str(reference.text_path())]}, "atlas": ATLAS}])
def test_its_cost_is_that_of_the_plan(open_fields: dict[str, Any], more: dict[str, Any]) -> None:
    """What leaves out the output layer has its price: scans of other texts, neurons on passages and on pairs."""
    made = chosen({**open_fields, "analyses": {"ablation": {}, **more}}, "10m")
    plan = plan_study(made.study)
    assert plan.seconds == pytest.approx(made.seconds, rel=1e-6)
    assert plan.times["ablation"] == pytest.approx(plan.loads["ablation"].tokens / RATE)


def test_sizes_that_were_given_stay(open_fields: dict[str, Any]) -> None:
    made = chosen({**open_fields, "limit": 3, "random": 5}, "1m")
    assert (made.study.limit, made.study.random) == (3, 5)
    assert set(made.sizes) == {"perplexity_windows"}
    assert not undecided(configure({**open_fields, "limit": 3, "random": 5, "perplexity_windows": 8, "budget": "30s"}))


def test_too_little_time_says_what_takes_it(open_fields: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="of which the scan takes"):
        chosen(open_fields, "1s")


@pytest.mark.parametrize("more", [{}, {"controls": {"residual_windows": 1, "noop": False}}])
def test_a_tenth_of_the_time_is_kept_in_reserve_and_said_to_be(
    open_fields: dict[str, Any], more: dict[str, Any]
) -> None:
    """Also where the plan is not proportional to what it reads: the least is refused by its exact cost."""
    fields = {**open_fields, "analyses": {"ablation": {}, **more}}
    seconds = plan_study(configure({**fields, "limit": 5, "perplexity_windows": 8, "random": 5})).seconds
    with pytest.raises(StudyError) as refused:
        chosen(fields, f"{1.05 * seconds:.3f}s")
    assert refused.value.found.startswith(f"{duration(seconds)} at 800 tokens per second for the least")
    assert refused.value.found.endswith(f"so that {duration(0.945 * seconds)} are left to plan for")
    assert chosen(fields, f"{1.12 * seconds:.3f}s").seconds <= 0.9 * 1.12 * seconds


def test_contrasts_are_those_that_the_main_study_judges(open_fields: dict[str, Any]) -> None:
    """Against simulated studies, which pass through the main study's own functions."""
    fields = {**open_fields, "tse": [], "tasks": [str(reference.tasks_path())], "limit": 20, "random": 5}
    made = chosen(fields, "2h")
    assert [one.name for one in made.contrasts] == [
        "perplexity: top against the plain model",
        "perplexity: top against random sets",
        "BLiMP: top against the plain model or the matched set",
        "BLiMP: top against random sets",
        "tasks: top against the plain model (7 tests)",
        "BLiMP: dissociation from tasks (interaction)",
    ]
    assert made.tests == _judged(World(sets=20)) == 15
    tasks = planned(TYPICAL["points", "tasks"], Sizes(6, 20, names=(None, "tasks", "items")))
    grammar = planned(TYPICAL["points", "paradigms"], Sizes(6, 20, 2))
    assert isinstance(tasks, Estimate)
    assert isinstance(grammar, Estimate)
    *_, alone, both = made.contrasts
    assert alone.detectable == pytest.approx(detectable(tasks, tests=7))
    assert both.detectable == pytest.approx(detectable(total([tasks, grammar], [1, -1]), tests=15))
    without = chosen({**fields, "matched": False}, "2h")
    assert not any("matched" in one.name or "dissociation" in one.name for one in without.contrasts)
    assert without.tests == 3 + 2 * 3


def test_random_sets_that_are_too_few_for_pairs_may_be_enough_for_perplexity(open_fields: dict[str, Any]) -> None:
    fields = {**open_fields, "tse": [], "tasks": [str(reference.tasks_path())], "limit": 20, "random": 2}
    made = chosen(fields, "2h")
    by_name = {one.name: one for one in made.contrasts}
    assert by_name["BLiMP: top against random sets"].reason == "only 2 random sets; plan 5"
    text = by_name["perplexity: top against random sets"]
    assert (text.reason, text.detectable > 0) == ("", True)
    assert made.tests == _judged(World(sets=2)) == 11


def _judged(world: World) -> int:
    """Claims of a simulated study that are judged together."""
    claims = simulated(draw(world, np.random.default_rng(0))).values()
    return sum(not np.isnan(claim.p) for claim in claims)


def test_a_preset_s_sizes_give_way(open_fields: dict[str, Any]) -> None:
    study, _ = from_preset("quick", {**open_fields, "budget": "1m"})
    assert undecided(study)
    assert set(choose(study)[0].sizes) == {"limit", "perplexity_windows", "random"}
    assert from_preset("quick", open_fields)[0].limit == PRESETS["quick"]["limit"]


def test_the_record_has_what_was_chosen_and_the_same_budget_takes_it_again(
    open_fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {**open_fields, "tse": [], "matched": False, "budget": "30s"}
    out, plans, notes = tmp_path / "run", [], []
    run_study(configure(fields), out, announce=plans.append)
    sizes = plans[0].budget.sizes
    recorded = yaml.safe_load((out / "study.yaml").read_text())
    assert {name: recorded[name] for name in sizes} == sizes
    files = {path: path.read_bytes() for path in (out / "cells").iterdir()}
    # A machine that has become ten times as fast chooses nothing anew.
    monkeypatch.setattr(Workbench, "rate", lambda _: 10 * RATE)
    run_study(configure(fields), out, announce=plans.append, note=notes.append)
    assert (plans[1].budget, plans[1].cells, plans[1].recorded) == (None, 0, len(files))
    assert any("are kept (limit: " in note for note in notes)
    assert {path: path.read_bytes() for path in (out / "cells").iterdir()} == files
    # The study file that was written repeats the run anywhere.
    assert not undecided(Study.model_validate(recorded))
    # Keys of cells do not know of budgets.
    plain = configure({name: value for name, value in recorded.items() if name != "budget"})
    run_study(plain, out, announce=plans.append)
    assert plans[2].cells == 0


def test_a_cluster_is_not_measured(open_fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="on a cluster"):
        run_study(configure({**open_fields, "budget": "1m"}), tmp_path / "run", cluster=workbench)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()

"""`negspace run`: preset, study file and options become one study; the plan first, then the run; mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from negspace.cli import app, options, running
from negspace.experiment.config import Study


@pytest.fixture
def given(tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path) -> list[str]:
    """Arguments of a small study: model, data and a limit."""
    options = [str(tiny_model_path), "--text", str(tiny_text_path), "--blimp", str(tiny_pairs_path / "blimp")]
    options += ["--limit", "2", "--set", "window=64", "--set", "windows=12"]
    return [*options, "--set", "md_pairs=64", "--set", "draws=100", "--share", "0.1"]


def test_the_plan_comes_first_and_stops_there_if_asked(call: Any, given: list[str], tmp_path: Path) -> None:
    shown = call("run", *given, "--preset", "quick", "--dry-run", "--out", tmp_path / "run")
    assert shown.status == 0, shown.err
    assert "Plan" in shown.out
    assert "ablation" in shown.out
    assert "tokens per second" in shown.out
    assert not (tmp_path / "run").exists()


def test_a_plan_says_what_was_read_and_how(call: Any, given: list[str], tmp_path: Path) -> None:
    """Before an hour is spent, the reader sees how many pairs, units and tokens there are, and every note on them."""
    sentences = [f"The {noun} {verb}." for noun in ("dog", "fox", "seal") for verb in ("barks", "bark")]
    rows = [f"{good},{bad},{good.split()[1]}" for good, bad in zip(sentences[::2], sentences[1::2], strict=True)]
    content = "\n".join(["good,bad,noun", *rows, *(row.replace(".", "!") for row in rows)])
    (tmp_path / "mine.csv").write_text(content + "\n")
    options = [*given, "--preset", "quick", "--pairs", tmp_path / "mine.csv", "--dry-run"]
    shown = call("run", *options)
    assert shown.status == 0, shown.err
    assert "pairs in mine.csv: 2 (paradigms: 1, phenomena: 1)" in shown.out  # two of each paradigm, by --limit
    assert "to group them by the 3 values of 'noun': --pair-columns paradigm=noun" in shown.err
    assert "Pairs: no change can be judged (1 phenomenon with 1 paradigm cannot stand for more" in shown.out
    grouped = call("run", *options, "--pair-columns", "paradigm=noun", "--json")
    assert not any("--pair-columns" in note for note in json.loads(grouped.out)["notes"])
    assert "--pair-columns" not in grouped.err


def test_windows_that_do_not_fit_the_model_leave_no_folder(call: Any, given: list[str], tmp_path: Path) -> None:
    """The scan's windows are checked with those of perplexity, before anything is written or computed."""
    longer = ["window=256" if option == "window=64" else option for option in given]
    options = [*longer, "--preset", "quick", "--perplexity-window", "64", "--out", tmp_path / "run"]
    shown = call("run", *options)
    assert shown.status == 2
    assert "windows of 256 tokens\nfound: the model takes at most 128 tokens" in shown.err
    assert not (tmp_path / "run").exists()


def test_it_runs_the_analyses_asked_for(call: Any, given: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["--analysis", "dose", "--set", "dose.shares=[0.1, 0.5]", "--set", "dose.interventions=[zero_negative]"]
    shown = call("run", *given, *options, "--set", "random=1", "--out", out, "--json")
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
        (["--set", "random"], "not NAME=VALUE"),
        (["--set", "dose.=3"], "not NAME=VALUE"),
        (["--set", "dose.points=[", "--analysis", "dose"], "--set dose.points=[\nfound: invalid YAML"),
        (["--set", "dose={points: 1, points: 2}"], "invalid YAML in line 1: 'points' is given twice"),
        (["--set", "text={{x}}"], "invalid YAML in line 1: found unhashable key"),
        (["--set", "revision=2024-13-01"], "invalid YAML: month must be in"),
        (["--set", "dose.points=6", "--set", "analyses={dose: {points: 7}}"], "two values for one"),
        (["--set", "resources.cpus=2", "--set", "resources={cpus: 3}"], "two values for one"),
        (["--set", "dose.points=none", "--analysis", "dose"], "points: Input should be a valid integer"),
        (["--set", "random.x=1"], "no such analysis"),
        (["--set", "analyses=3", "--set", "dose.points=3"], "analyses: 3, which is not a section"),
        (["--set", "resources=4", "--set", "resources.cpus=3"], "resources: 4, which is not a section"),
        (["--resources", "{"], "invalid YAML"),
        (["--resources", "{cpus: 1, cpus: 2}"], "'cpus' is given twice"),
        (["--resources", "2024-13-01"], "--resources 2024-13-01\nfound: invalid YAML: month must be in"),
        (["--resources", "{cpus: 0}"], "resources.cpus: Input should be greater than 0, not 0"),
        (["--resources", "{cpu: 1}"], "unknown field 'resources.cpu'\nto do: did you mean 'cpus'"),
        (
            ["--random", "many"],
            "unable to parse string as an integer, not 'many'",
        ),
        (["--model", "other"], "another model, --model other"),
        ([], "no folder for its records"),
        (["--seed", "1", "--seed", "2"], "--seed 1 --seed 2\nfound: 2 values for one"),
        (["--seed", "1", "--set", "seed=2"], "--seed 1 and --set seed=2\nfound: two values for one"),
        (["--set", "seed=1", "--set", "seed=1"], "--set seed=1 and --set seed=1\nfound: two values for one"),
        (["--mode", "mean", "--set", "zero=positive"], "--mode mean and --set zero=positive\nfound: two values"),
        (
            ["--resources", "{cpus: 2}", "--set", "resources.cpus=3"],
            "--resources {'cpus': 2} and --set resources.cpus=3\nfound: two values for one",
        ),
        (["--set", "seed=true"], "seed cannot be true"),
        (
            ["--set", "dose.points=6", "--analysis", "ablation"],
            "settings of dose (--set)\nfound: an analysis that",
        ),
        (["--pair-columns", "good=a,bad=b", "--dry-run"], "give the files with --pairs, not --blimp or --tse"),
        (["--engine", "slurm", "--dry-run"], "--engine slurm\nfound: no such engine"),
        (["--ray-address", "auto", "--dry-run"], "add --engine ray"),
        (["--plan", "plan.json", "--dry-run"], "a plan is locked when a run begins"),
    ],
)
def test_what_is_wrong_is_said(call: Any, given: list[str], options: list[str], message: str) -> None:
    shown = call("run", *given, *options)
    assert shown.status == 2
    assert message in shown.err


def test_a_plan_for_a_program(call: Any, given: list[str]) -> None:
    shown = call("run", *given, "--preset", "quick", "--dry-run", "--json")
    assert shown.status == 0, shown.err
    content = json.loads(shown.out)
    assert list(content["plan"]) == ["scan", "examples", "ablation"]
    assert content["cells"] == sum(load["cells"] for load in content["plan"].values())
    scan, ablation = content["plan"]["scan"], content["plan"]["ablation"]
    assert ablation["seconds"] == pytest.approx(ablation["tokens"] / content["tokens_per_second"])
    # A scan leaves the output layer out.
    assert 0 < scan["seconds"] < scan["tokens"] / content["tokens_per_second"]
    assert content["recorded"] == 0


def test_what_is_recorded_costs_nothing_in_a_plan(call: Any, given: list[str], tmp_path: Path) -> None:
    options = [*given, "--preset", "quick", "--no-matched", "--random-perplexity", "0", "--out", tmp_path / "run"]
    assert call("run", *options, "--random", "1").status == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    plan = json.loads(call("run", *options, "--random", "1", "--dry-run", "--json").out)
    assert (plan["cells"], plan["seconds"], plan["recorded"]) == (0, 0, 8)
    assert plan["tokens_per_second"] is None
    more = json.loads(call("run", *options, "--random", "3", "--dry-run", "--json").out)
    assert (more["cells"], more["recorded"]) == (4, 8)
    shown = call("run", *options, "--random", "3", "--dry-run")
    assert "Already recorded, at no cost: 8 cells." in shown.out
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_budget_says_what_each_contrast_costs_and_can_show(call: Any, given: list[str]) -> None:
    options = [*given, "--preset", "quick", "--budget", "2h", "--dry-run"]
    shown = call("run", *options)
    assert shown.status == 0, shown.err
    assert "BLiMP: top against random sets" in " ".join(shown.out.split())
    assert "typical values built into negspace" in shown.out
    budget = json.loads(call("run", *options, "--json").out)["budget"]
    assert set(budget["sizes"]) == {"perplexity_windows", "random"}
    assert [one["detectable"] is None for one in budget["contrasts"]] == [
        bool(one["reason"]) for one in budget["contrasts"]
    ]


@pytest.fixture
def settled(call: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """settled("MODEL", "--share", 0.1) -> the study that `negspace run` would run."""
    seen: list[Study] = []
    monkeypatch.setattr(running, "execute", lambda study, *_: seen.append(study))

    def ran(*arguments: object) -> Study:
        shown = call("run", *arguments, "--out", "RUN")
        assert shown.status == 0, shown.err
        return seen.pop()

    return ran


def test_every_field_of_a_study_is_an_option_with_its_own_words() -> None:
    parameters = {made.name: made for made in get_command(app).commands["run"].params}  # type: ignore[attr-defined]
    for name, field in Study.model_fields.items():
        if name != "analyses":
            assert f"--{name.replace('_', '-')}" in parameters[name].opts, name
            assert parameters[name].help.startswith(" ".join(field.description.split())), name  # type: ignore[union-attr]


def test_a_new_field_is_an_option_without_another_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wider(Study):
        colours: tuple[str, ...] = ("red",)
        """Colours of the neurons."""

    monkeypatch.setattr(options, "Study", Wider)
    seen = []

    @options.study_options()
    def command(*, given: dict[str, Any]) -> None:
        seen.append(given)

    app = running.typer.Typer(rich_markup_mode=None)
    app.command()(command)
    parameter = {made.name: made for made in get_command(app).params}["colours"]
    assert parameter.opts == ["--colour", "--colours"]
    assert parameter.help == "Colours of the neurons. May be repeated. [default: red]"  # type: ignore[attr-defined]
    get_command(app).main(["--colour", "green", "--colours", "blue", "--no-exact"], standalone_mode=False)
    assert seen == [{"colours": ["green", "blue"], "exact": False}]


def test_a_model_is_studied_by_a_preset_and_a_file_or_an_option_by_itself(settled: Any, tmp_path: Path) -> None:
    blimp = ("--blimp", "b", "--tasks", "t", "--text", "x")
    assert set(settled("m", *blimp).analyses) > {"ablation", "dose", "atlas"}
    assert settled("m", *blimp, "--preset", "quick").limit == 5
    assert settled("--model", "m", *blimp).analyses == {"ablation": {}}
    (tmp_path / "study.txt").write_text("model: m\nzero: positive\nanalyses: [dose]\nblimp: b\n")
    assert settled(tmp_path / "study.txt").analyses == {"dose": {}}
    quick = settled(tmp_path / "study.txt", "--preset", "quick", "--limit", 7)
    assert (set(quick.analyses), quick.limit, quick.zero) == ({"ablation", "dose"}, 7, "positive")
    assert settled(tmp_path / "study.txt", "--mode", "mean").intervention == "mean"
    assert settled("m", *blimp, "--set", "mode=mean").intervention == "mean"


def test_settings_of_sections(settled: Any, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("model: m\nanalyses: {dose: {points: 4, lowest: 0.01}}\nblimp: b\n")
    study = settled(tmp_path / "study.yaml", "--set", "dose.points=5", "--set", "layers.groups=2")
    assert study.analyses == {"dose": {"points": 5, "lowest": 0.01}, "layers": {"groups": 2}}
    study = settled(tmp_path / "study.yaml", "--set", "resources.cpus=2", "--set", "resources.workers=3")
    assert (study.resources.cpus, study.resources.workers) == (2, 3)
    for whole, part in (("analyses=[dose]", "dose.points=6"), ("resources={cpus: 2}", "resources.workers=3")):
        study = settled("--model", "m", f"--set={part}", f"--set={whole}")
        assert study == settled("--model", "m", f"--set={whole}", f"--set={part}")
        assert study.analyses == {"dose": {"points": 6}} or study.resources.workers == 3
    assert settled("--model", "m", "--resources", "{gpus: 1}").resources.gpus == 1
    only = settled("m", "--blimp", "b", "--set", "analyses=[dose, layers]", "--analysis", "layers", "--layer", 1)
    assert (only.analyses, only.layers) == ({"layers": {"random": 0}}, (1,))


def test_the_former_name_is_an_alias_and_says_so(call: Any, given: list[str]) -> None:
    options = [*given, "--preset", "quick", "--dry-run", "--json"]
    former, present = call("study", *options), call("run", *options)
    assert former.err.splitlines()[0] == ("note: `negspace study` is now `negspace run`, with the same arguments")
    assert "is now" not in present.err
    plans = [json.loads(shown.out)["plan"] for shown in (former, present)]
    assert [load["cells"] for load in plans[0].values()] == [load["cells"] for load in plans[1].values()]
    assert not [line for line in call("--help").out.splitlines() if line.startswith("  study ")]


def test_a_study_file_shows_its_plan_too(call: Any, given: list[str], tmp_path: Path) -> None:
    content = {"model": given[0], "text": given[2], "windows": 12, "window": 64, "md_pairs": 64, "matched": False}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    shown = call("run", tmp_path / "study.yaml", "--dry-run")
    assert shown.status == 0, shown.err
    assert "Plan" in shown.out
    assert not list(tmp_path.glob("*/"))

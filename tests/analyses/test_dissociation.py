"""The double dissociation on a tiny model: its cells, its figures against plain calls, its verdict, its refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import negspace as ns
from negspace.analyses.ablation.dissociation import ALL, TABLES, sentences
from negspace.cli.app import app
from negspace.errors import StudyError, TasksError
from negspace.experiment.config import Study, configure
from negspace.experiment.workbench import Workbench, split_tasks
from negspace.runs.engine import LocalEngine
from negspace.runs.store import Store
from negspace.score.tasks import tasks
from negspace.significance import Outcomes, interaction
from negspace.study.run import run_study
from negspace.study.tables import Tables

Run = tuple[Path, Tables]
NAMES = ("piqa", "copa", "winogrande")


@pytest.fixture(scope="module")
def task_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight items each of three tasks."""
    folder = tmp_path_factory.mktemp("tiny-tasks")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for n, noun in enumerate(["cat", "dog", "bird", "child", "king", "queen", "fish", "cow"]):
        rows["piqa"].append({"goal": f"see a {noun}", "sol1": "look", "sol2": f"bark {n}", "label": n % 2})
        copa = {"premise": f"The {noun} sees.", "choice1": f"The {noun} barks.", "choice2": "No dog barks."}
        rows["copa"].append({**copa, "question": "effect", "label": n // 2 % 2})
        sentence = f"The {noun} sees the dogs because the _ barks."
        rows["winogrande"].append({"sentence": sentence, "option1": noun, "option2": "dogs", "answer": str(1 + n % 2)})
    for name, items in rows.items():
        (folder / f"{name}.validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    return folder


@pytest.fixture(scope="module")
def fields(tiny_fields: dict[str, Any], task_files: Path) -> dict[str, Any]:
    return {**tiny_fields, "tasks": [*NAMES, str(task_files)], "shares": [0.3]}


@pytest.fixture(scope="module")
def study(fields: dict[str, Any]) -> Study:
    return configure(fields)


@pytest.fixture(scope="module")
def made(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("dissociation") / "run"
    return folder, run_study(study, folder)


def test_every_condition_is_scored_on_every_task(made: Run) -> None:
    table = made[1]["tasks_by_task"]
    assert table.columns.tolist() == TABLES["tasks_by_task"].names
    conditions = [about["name"] for about in made[1].manifest["analyses"]["ablation"]["conditions"]]
    assert table["condition"].unique().tolist() == conditions
    assert len(conditions) == 1 + 1 + 3 + 1
    for _, part in table.groupby("condition"):
        assert part["task"].tolist() == [*NAMES, ALL]
        assert part["items"].tolist() == [4, 4, 4, 12]  # the limit holds for tasks as for paradigms
    assert (table["chance"] == 0.5).all()
    assert made[1].manifest["data"]["tasks"][2] == 12


def test_accuracies_equal_plain_calls(made: Run, study: Study, task_files: Path) -> None:
    table = made[1]["tasks_by_task"].set_index(["condition", "task"])
    model = ns.load(study.model)
    scan = ns.scan(model, study.text, window=64, windows=12, md_pairs=64)
    before = tasks(model, NAMES, folder=task_files, limit=4)
    with ns.intervene(model, scan.top(0.3), zero="negative"):
        after = tasks(model, NAMES, folder=task_files, limit=4)
    assert not np.array_equal(before.items["margin"], after.items["margin"])
    for name, scores in (("baseline", before), ("top 30%", after)):
        assert table.loc[(name, ALL), "accuracy"] == pytest.approx(scores.accuracy)
        assert [table.loc[(name, task), "accuracy"] for task in NAMES] == pytest.approx(
            scores.by_task["value"].tolist()
        )
    assert table.loc[("top 30%", ALL), "change"] == pytest.approx(after.accuracy - before.accuracy)


def test_the_contrast_is_that_of_the_records(made: Run) -> None:
    folder, tables = made
    table = tables["dissociation"]
    assert table.columns.tolist() == TABLES["dissociation"].names
    assert table[["suite", "against"]].values.tolist() == [[s, t] for s in ("blimp", "tse") for t in (ALL, *NAMES)]
    store = Store(folder)
    about_all = tables.manifest["analyses"]["ablation"]["conditions"]
    conditions = {about["role"]: about for about in about_all if about["role"] != "random"}
    random = [about for about in about_all if about["role"] == "random"]

    def outcomes(kind: str) -> Outcomes:
        def right(about: dict[str, Any]) -> np.ndarray:
            items = store.require(about["cells"][kind]).items
            return ((items["outcome"] == "right") * 1.0).to_numpy()

        items = store.require(conditions["baseline"]["cells"][kind]).items
        assert "identical" not in set(items["outcome"])
        groups = items["task" if kind == "tasks" else "paradigm"].to_numpy()
        three = (right(conditions[role]) for role in ("baseline", "top", "matched"))
        return Outcomes(groups, *three, [right(about) for about in random])

    expected = interaction(outcomes("blimp"), outcomes("tasks"), draws=200)
    row = table.iloc[0]
    assert row["contrast"] == pytest.approx(expected.contrast.estimate)
    assert (row["low"], row["high"]) == pytest.approx((expected.contrast.low, expected.contrast.high))
    assert (row["p"], row["detectable"]) == pytest.approx((expected.p, expected.detectable))
    assert expected.reference is not None
    assert (row["sets"], row["random_mean"]) == (3, pytest.approx(expected.reference.mean))
    by_hand = (row["grammar_drop"] - row["other_drop"]) - (row["grammar_control_drop"] - row["other_control_drop"])
    assert row["contrast"] == pytest.approx(by_hand)
    both = sorted(table.loc[table["against"] == ALL, "p"])
    holm = sorted(table.loc[table["against"] == ALL, "p_holm"])
    assert holm == pytest.approx([min(1, 2 * both[0]), min(1, max(2 * both[0], both[1]))])


def test_sentences_say_null_results(made: Run) -> None:
    said = sentences(made[1].books["ablation"], made[1].all)
    assert len(said) == 2
    verdict = made[1]["dissociation"]["verdict"].iloc[0]
    assert said[0].startswith(f"Double dissociation at the top 30%, BLiMP against 3 tasks: {verdict}")
    assert "Detectable with probability 0.8: " in said[0]
    assert made[1].verdict[-2:] == said


def test_running_again_computes_nothing(made: Run, study: Study) -> None:
    folder = made[0]
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file() and "log" not in path.name}
    computed: list[str] = []

    def engine(store: Store, compute: Any) -> LocalEngine:
        return LocalEngine(store, lambda cell, step: computed.append(cell.kind) or compute(cell, step))

    run_study(study, folder, make_engine=engine)
    assert computed == []
    assert {path: path.read_bytes() for path in before} == before


def test_records_of_the_main_study_are_used(made: Run, fields: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made[0], folder)
    for about in json.loads((folder / "run.json").read_text())["analyses"]["ablation"]["conditions"]:
        (folder / "cells" / f"{about['cells']['tasks']}.parquet").unlink()
    computed: list[str] = []

    def engine(store: Store, compute: Any) -> LocalEngine:
        return LocalEngine(store, lambda cell, step: computed.append(cell.kind) or compute(cell, step))

    main = configure({name: value for name, value in fields.items() if name not in ("tasks",)})
    run_study(main, folder, make_engine=engine)
    assert computed == []
    assert not (folder / "tables" / "dissociation.csv").exists()
    assert "dissociation" not in Tables(Store(folder))
    run_study(configure(fields), folder, make_engine=engine)
    assert computed == ["tasks"] * 6
    assert (folder / "tables" / "dissociation.csv").read_bytes() == (made[0] / "tables/dissociation.csv").read_bytes()


def test_columns_are_described(made: Run) -> None:
    page = (made[0] / "tables" / "COLUMNS.md").read_text()
    assert page.count("# Columns of these tables") == 1
    for name, table in made[1].all.items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert all(f"- `{column}`: " in section for column in table.columns)


def test_without_a_control_there_is_no_contrast(made: Run, study: Study) -> None:
    made_none = run_study(study.model_copy(update={"matched": False}), made[0].parent / "none")
    assert made_none["dissociation"].empty
    assert made_none["dissociation"].columns.tolist() == TABLES["dissociation"].names
    said = sentences(made_none.books["ablation"], made_none.all)
    assert said == ["Double dissociation at the top 30%: cannot be tested, there is no matched control."]


@pytest.mark.parametrize(
    ("verdict", "crossover", "words"),
    [
        ("established", True, ": established, with a crossover; contrast"),
        ("established", False, ": established, without a crossover (weaker evidence: "),
        ("not established", False, ": not established; contrast"),
        ("reversed", False, ": reversed; contrast"),
    ],
)
def test_an_established_verdict_says_whether_it_crosses_over(
    made: Run, verdict: str, crossover: bool, words: str
) -> None:
    table = made[1].all["dissociation"].assign(verdict=verdict, crossover=crossover, matched=True)
    said = sentences(made[1].books["ablation"], {**made[1].all, "dissociation": table})
    assert said
    assert all(words in sentence for sentence in said)


def test_the_command_line_runs_and_reports_it(made: Run, fields: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made[0], folder)
    given = {name: value for name, value in fields.items() if name not in ("tasks",)}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(given))
    options = [part for task in fields["tasks"] for part in ("--tasks", task)]
    result = CliRunner().invoke(app, ["run", str(tmp_path / "study.yaml"), *options, "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert "Double dissociation: " in result.output
    report = CliRunner().invoke(app, ["report", str(folder), "--json"])
    assert set(json.loads(report.stdout)["tables"]) >= {"dissociation", "tasks_by_task", "summary"}
    assert (folder / "tables" / "dissociation.parquet").exists()
    detail = CliRunner().invoke(app, ["report", str(folder), "--detail"])
    assert detail.output.count("winogrande") > result.output.count("winogrande")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tasks": ["piqa", "nowhere"]}, TasksError, "asked: the task 'nowhere'"),
        ({"tasks": ["piqa"], "fewshot": -1}, StudyError, "fewshot: Input should be greater than or equal to 0"),
        ({"tasks": ["."]}, StudyError, "no file of a task that is known"),
    ],
)
def test_what_cannot_be_run(
    fields: dict[str, Any], change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Workbench(configure({**fields, **change})).describe()


def test_two_folders_are_refused(study: Study, tmp_path: Path, task_files: Path) -> None:
    with pytest.raises(StudyError, match="two folders\nto do: put the files into one folder"):
        split_tasks((str(tmp_path), str(task_files)))
    assert split_tasks(study.tasks) == (NAMES, str(task_files))
    assert split_tasks((str(task_files),)) == (tuple(sorted(NAMES)), str(task_files))


def test_graded_tasks_are_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    graded = SimpleNamespace(metrics={"essay": "bleu"})
    monkeypatch.setattr("negspace.experiment.workbench.read_tasks", lambda *_, **__: graded)
    bench = Workbench(study)
    with pytest.raises(TasksError, match="its items are graded by bleu, not right or wrong"):
        _ = bench.tasks


def test_tasks_without_minimal_pairs_are_scored_and_not_contrasted(fields: dict[str, Any], tmp_path: Path) -> None:
    made = run_study(configure({**fields, "blimp": [], "tse": [], "matched": False, "random": 0}), tmp_path / "run")
    assert "dissociation" not in made
    assert set(made["tasks_by_task"]["role"]) == {"baseline", "top"}
    assert made.verdict

"""The double dissociation on a tiny model: its cells, its figures against plain calls, its verdict, its refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import negspace as ns
from negspace.analyses.ablation.dissociation import DissociationTables
from negspace.analyses.ablation.dissociation import _figures as figures_of
from negspace.analyses.ablation.dissociation_columns import ALL, TABLES
from negspace.analyses.ablation.dissociation_words import sentences, verdict
from negspace.analyses.ablation.tables import AblationTables
from negspace.cli.app import app
from negspace.errors import StudyError, TasksError
from negspace.experiment.book import Book
from negspace.experiment.condition import Condition
from negspace.experiment.config import Study, configure
from negspace.experiment.lab import Lab
from negspace.experiment.workbench import Workbench, split_tasks
from negspace.runs.cell import Record
from negspace.runs.engine import LocalEngine
from negspace.runs.store import Store
from negspace.score.tasks import tasks
from negspace.significance import Doses, Nesting, Suite, dissociate
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
    about_all = made[1].manifest["analyses"]["ablation"]["conditions"]
    conditions = [about["name"] for about in about_all if "tasks" in about["cells"]]
    assert table["condition"].unique().tolist() == conditions
    assert len(conditions) == 1 + 1 + 5 + 1
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


def test_a_task_at_chance_has_nothing_to_lose() -> None:
    task, number = np.repeat(["easy", "guessed", "open", "scored"], 40), np.tile(np.arange(40), 4)
    choices = np.where(np.isin(task, ["open", "scored"]), 0, 4)

    def record(right: dict[str, int]) -> Record:
        value = (number < np.array([right[name] for name in task])).astype(float)
        columns = {"task": task, "choices": choices, "value": value, "metric": "acc", "cut": False}
        columns["outcome"] = np.where(task == "scored", "graded", "right")
        return Record("key", "kind", {}, {}, pd.DataFrame(columns), {})

    records = {
        "plain": record({"easy": 36, "guessed": 12, "open": 6, "scored": 20}),
        "top": record({"easy": 18, "guessed": 4, "open": 6, "scored": 20}),
    }
    conditions = [
        Condition(name="baseline", cells={"tasks": "plain"}),
        Condition(name="top", role="top", share=0.1, cells={"tasks": "top"}),
    ]
    part = {"conditions": [one.model_dump(mode="json") for one in conditions]}
    tables = DissociationTables(Book({"alpha": 0.05}, part, {"data": {"tasks": {}}}, records.__getitem__)).make({})
    found = tables["tasks_by_task"].set_index(["role", "task"]).loc["top"]
    assert found.loc["easy", "finding"] == "harm"
    # 12 of 40 with four choices is no more than guessing; a fall to 4 of 40 is none of what the model can do.
    assert found.loc["guessed", "finding"] == "cannot be judged"
    guessed = "the plain model's accuracy of 30.0% is not shown to be above chance"
    assert found.loc["guessed", "reason"].startswith(guessed)
    assert found.loc["guessed", "change"] == pytest.approx(-0.2)
    # What is written out is never right by chance; what guessing gets of a graded score is not known.
    assert found.loc["open", "finding"] == "undecided"
    assert found["chance"].loc[["open", "guessed"]].tolist() == [0, 0.25]
    assert np.isnan(found.loc["scored", "chance"])


def test_chance_is_that_of_the_record_where_it_says_so() -> None:
    """Two of three choices are right; a record without the column is one of a single right choice."""
    columns = {"task": ["one"] * 30, "choices": 3, "value": 1.0, "metric": "acc", "cut": False, "outcome": "right"}
    for more, expected in (({"chance": 2 / 3}, 2 / 3), ({}, 1 / 3)):
        record = Record("key", "kind", {}, {}, pd.DataFrame({**columns, **more}), {})
        baseline = Condition(name="baseline", cells={"tasks": "plain"})
        part = {"conditions": [baseline.model_dump(mode="json")]}
        tables = DissociationTables(Book({"alpha": 0.05}, part, {"data": {"tasks": {}}}, {"plain": record}.__getitem__))
        assert (tables.make({})["tasks_by_task"]["chance"] == expected).all()


def test_what_a_tokenizer_puts_after_a_text_is_in_the_key(study: Study, tmp_path: Path) -> None:
    """Only there: other records keep their keys."""
    facts = Workbench(study).describe()
    assert facts.tasks is not None
    assert facts.tasks.appended == ()
    other = replace(facts, tasks=replace(facts.tasks, appended=(2,)))
    plain, cut = (
        Lab(study, some, Store(tmp_path), None).score("tasks", Condition(name="baseline"))  # type: ignore[arg-type]
        for some in (facts, other)
    )
    assert "cut" not in plain.spec
    assert cut.spec == {**plain.spec, "cut": [2]}


def test_the_dissociation_is_that_of_the_records(made: Run, study: Study) -> None:
    folder, tables = made
    table = tables["dissociation"]
    assert table.columns.tolist() == TABLES["dissociation"].names
    assert table["suite"].tolist() == ["blimp", "tse"]
    store = Store(folder)
    about_all = tables.manifest["analyses"]["ablation"]["conditions"]
    conditions = {about["role"]: about for about in about_all if about["role"] != "random"}
    random = [about for about in about_all if about["role"] == "random" and "tasks" in about["cells"]]
    assert len(random) == 5

    def suite(kind: str) -> Suite:
        def right(about: dict[str, Any]) -> np.ndarray:
            return ((store.require(about["cells"][kind]).items["outcome"] == "right") * 1.0).to_numpy()

        items = store.require(conditions["baseline"]["cells"][kind]).items
        assert "identical" not in set(items["outcome"])
        nesting = (
            Nesting.tasks(items["task"]) if kind == "tasks" else Nesting.pairs(items["paradigm"], items["phenomenon"])
        )
        three = (right(conditions[role]) for role in ("baseline", "top", "matched"))
        return Suite(nesting, 0.5, *three, np.stack([right(about) for about in random]))

    ratios = tables["summary"].set_index("role")["ratio"]
    doses = Doses(np.log(ratios["top"]), np.log(ratios["nearest"]), study.tolerance, matched=False)
    expected = dissociate(suite("blimp"), suite("tasks"), doses)
    row = table.iloc[0]
    assert (row["top_ratio"], row["control_ratio"]) == pytest.approx((ratios["top"], ratios["nearest"]))
    assert row["verdict"] == expected.verdict
    assert row["reason"] == expected.reason
    assert row["left_out"] == len(expected.left_out)
    for name, value in (
        ("interaction", expected.interaction.estimate),
        ("grammar", expected.grammar.estimate),
        ("other_p", expected.other.p),
        ("grammar_baseline", expected.grammar_levels[0]),
    ):
        assert row[name] == pytest.approx(value, nan_ok=True)


def test_what_is_judged_together_is_corrected_together(made: Run) -> None:
    book = made[1].books["ablation"]
    matches = [{**match, "matched": True} for match in book.part["matches"]]  # the tiny model's search finds none
    tables = AblationTables(replace(book, part={**book.part, "matches": matches})).make()
    contrasts, table = tables["contrasts"], tables["dissociation"]
    assert contrasts[["set", "against"]].drop_duplicates().values.tolist() == [
        ["top", "plain"], ["top", "random"], ["matched", "plain"], ["random", "plain"], ["top", "matched"]
    ]  # fmt: skip
    ps = [*contrasts["p"], *table["p"].dropna()]
    # Margins in nats are in the family as well: the smallest p-value is multiplied by more than the claims shown here.
    smallest = contrasts["p"].idxmin()
    nats = contrasts["difference_nats"].notna().sum()
    tests = np.isfinite(ps).sum() + nats
    assert contrasts.loc[smallest, "p_holm"] <= min(1, contrasts.loc[smallest, "p"] * tests) + 1e-12
    assert contrasts.loc[smallest, "p_holm"] >= contrasts.loc[smallest, "p"]


def test_sentences_say_the_verdict_first(made: Run) -> None:
    said = sentences(made[1].books["ablation"], made[1].all)
    assert len(said) == 2
    row = made[1]["dissociation"].iloc[0]
    assert said[0].startswith(f"Double dissociation at the top 30%, BLiMP against tasks: {verdict(row)}")
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
        if "tasks" in about["cells"]:
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
    assert computed == ["tasks"] * 8
    assert (folder / "tables" / "dissociation.csv").read_bytes() == (made[0] / "tables/dissociation.csv").read_bytes()


def test_columns_are_described(made: Run) -> None:
    page = (made[0] / "tables" / "COLUMNS.md").read_text()
    assert page.count("# Columns of these tables") == 1
    for name, table in made[1].all.items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert all(f"- `{column}`: " in section for column in table.columns)


def test_without_a_control_it_is_not_testable(made: Run, study: Study) -> None:
    none = run_study(study.model_copy(update={"matched": False}), made[0].parent / "none")
    assert set(none["dissociation"]["verdict"]) == {"not testable: no control"}
    assert none["dissociation"]["interaction"].isna().all()
    for said in sentences(none.books["ablation"], none.all):
        assert "not testable: no control; there is no matched control; ask for one (`matched`), or see table" in said


def test_an_unmatched_control_is_not_testable(made: Run, study: Study) -> None:
    fields = {"tolerance": 1e-9, "evaluations": 1}
    apart = run_study(study.model_copy(update=fields), made[0].parent / "apart")
    assert set(apart["dissociation"]["verdict"]) == {"not testable: the doses differ"}
    assert apart["dissociation"][["interaction", "p", "p_holm"]].isna().all(axis=None)
    assert "the control multiplies perplexity by" in apart.verdict[-1]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"verdict": "established"}, "against tasks: established. Interaction +"),
        (
            {"verdict": "interaction only", "carried_by": "grammar", "direction": "as claimed"},
            "interaction only (as claimed; shown on grammar only), no crossover",
        ),
        (
            {"verdict": "interaction only", "carried_by": "", "p_cross_holm": 0.01, "scope": "these 3 families"},
            "neither side by itself), no crossover in these 3 families. Interaction +10.0 points",
        ),
        ({"verdict": "interaction only", "p_cross_holm": 0.01}, ". No crossover: the sign on grammar or on the tasks"),
        (
            {"verdict": "not established", "p_holm": 0.01},
            ". No verdict: the interaction's sign differs between points, chance-corrected and log-odds.",
        ),
        ({"verdict": "not established", "changed": "copa"}, "The verdict changes without copa"),
        ({"verdict": "established"}, "Perplexity x 1.2000 under the top set, x 1.1900 under the control."),
        ({"verdict": "established"}, "control: grammar +10.0 points [no interval], tasks +10.0 points [no interval]"),
        ({"verdict": "not testable: too few units", "reason": "add tasks"}, "too few units; add tasks."),
    ],
)
def test_a_verdict_in_words(made: Run, found: dict[str, Any], words: str) -> None:
    said = _said(made, **found)
    assert said
    assert all(words in sentence for sentence in said)


def test_a_dissociation_says_for_which_families_it_holds() -> None:
    rng = np.random.default_rng(0)
    construction, task = np.repeat(np.arange(12), 40), np.repeat(np.arange(6), 40)
    nestings = Nesting.constructions(construction, construction // 4), Nesting.tasks(task)
    levels = (0.9, 0.6, 0.9), (0.9, 0.9, 0.6)
    grammar, other = (
        Suite(nesting, 0.5, *((rng.random(nesting.group.size) < level) * 1.0 for level in three))
        for nesting, three in zip(nestings, levels, strict=True)
    )
    row = figures_of(dissociate(grammar, other, Doses(0.7, 0.7, 0.01)))
    assert (row["verdict"], row["scope"]) == ("established", "these 3 families")
    phenomena = Suite(Nesting.pairs(construction, construction), 0.5, grammar.plain, grammar.top, grammar.control)
    assert figures_of(dissociate(phenomena, other, Doses(0.7, 0.7, 0.01)))["scope"] == ""


def test_p_values_above_alpha_need_no_other_reason(made: Run) -> None:
    said = _said(made, verdict="not established") + _said(made, verdict="interaction only")
    assert not any("No verdict" in sentence or "No crossover" in sentence for sentence in said)


def test_tasks_that_cannot_be_spared_are_named(made: Run) -> None:
    left = [{"left_out": name, "verdict": "not testable: too few units"} for name in NAMES]
    left.append({"left_out": "agreement", "verdict": "established"})
    without = pd.DataFrame([{"share": 0.3, "suite": "blimp", **row} for row in left])
    said = _said(made, without, verdict="established")
    assert said[0].endswith("Without any one of piqa, copa, winogrande it is not testable.")
    assert "Without" not in said[1]
    assert _said(made, without.iloc[:1], verdict="established")[0].endswith("Without piqa it is not testable.")


def _said(made: Run, without: pd.DataFrame | None = None, **found: Any) -> list[str]:
    """The sentences where the dissociations have other values."""
    numbers = dict.fromkeys(("interaction", "grammar", "other", "p_holm", "p_cross_holm", "detectable"), 0.1)
    numbers |= {"top_ratio": 1.2, "control_ratio": 1.19}
    table = made[1].all["dissociation"].assign(**{"reason": "", "changed": "", **numbers, **found})
    tables = {**made[1].all, "dissociation": table}
    if without is not None:
        tables["dissociation_without"] = without
    return sentences(made[1].books["ablation"], tables)


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
    with pytest.raises(StudyError, match="2 folders\nto do: put the files into one folder"):
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

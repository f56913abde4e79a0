"""The training analysis on a series of tiny checkpoints: figures as computed by hand, loads counted, copies named."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from negspace.analyses.training import cells as training_cells
from negspace.analyses.training.analysis import Training
from negspace.analyses.training.cells import dissimilarity
from negspace.analyses.training.trends import FIRST
from negspace.analyses.training.words import sentences
from negspace.errors import StudyError
from negspace.experiment.book import Book
from negspace.experiment.config import Study, configure
from negspace.intervention import intervene
from negspace.models.load import load
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, scan
from negspace.runs.cell import Cell, Record
from negspace.runs.engine import LocalEngine
from negspace.runs.store import Store
from negspace.score.perplexity import perplexity
from negspace.significance.interval import LEVEL
from negspace.study.run import run_study
from negspace.study.tables import Tables

STEPS = (0, 10, 100, 1000)
SHARE = 0.2


def write(folder: Path, final: Path, mixed: float) -> None:
    """A checkpoint on a straight way from random weights (mixed = 0) to those of the final one (1)."""
    module = AutoModelForCausalLM.from_pretrained(final)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(mixed * parameter + (1 - mixed) * noise)
    module.save_pretrained(folder)
    AutoTokenizer.from_pretrained(final).save_pretrained(folder)


@pytest.fixture(scope="module")
def run_folder(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    for step, mixed in zip(STEPS, (0.0, 0.4, 0.9, 1.0), strict=True):
        write(folder / f"step{step}", tiny_model_path, mixed)
    return folder


@pytest.fixture
def series(run_folder: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(run_folder, tmp_path / "series"))


@pytest.fixture(scope="module")
def light(fields: dict[str, Any]) -> dict[str, Any]:
    """As little as can be computed, where only the series matters."""
    return {**fields, "blimp": [], "tse": [], "windows": 2, "perplexity_windows": 2, "draws": 100}


@pytest.fixture(scope="module")
def fields(run_folder: Path, tiny_fields: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_fields, "model": str(run_folder / "step1000"), "device": "cpu", "shares": [SHARE]}


def study_of(fields: dict[str, Any], where: Path, **settings: Any) -> Study:
    given = {"training": {"revisions": [str(where)], "random": 2, **settings}}
    return configure({**fields, "analyses": given})


class Loads:
    """Which checkpoints were loaded, and whether another model was in memory then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.beside: list[int] = []
        self._alive: list[weakref.ref[Any]] = []

        def counting(name: str, **options: Any) -> Any:
            self.beside.append(sum(ref() is not None for ref in self._alive))
            model = load(name, **options)
            self._alive.append(weakref.ref(model.module))
            self.names.append(Path(name).name)
            return model

        monkeypatch.setattr("negspace.experiment.workbench.load", counting)
        monkeypatch.setattr(training_cells, "load", counting)


@pytest.fixture(scope="module")
def first_run(
    fields: dict[str, Any], run_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Tables, Loads]:
    folder = tmp_path_factory.mktemp("training") / "run"
    gc.collect()
    with pytest.MonkeyPatch.context() as monkeypatch:
        loads = Loads(monkeypatch)
        tables = run_study(study_of(fields, run_folder), folder)
    return folder, tables, loads


def test_every_checkpoint_is_loaded_once_and_never_beside_another(first_run: tuple[Path, Tables, Loads]) -> None:
    _, _, loads = first_run
    assert loads.names == ["step1000", "step0", "step10", "step100"]
    assert loads.beside == [0, 0, 0, 0]


def test_tables_have_what_is_documented(first_run: tuple[Path, Tables, Loads]) -> None:
    folder, tables, _ = first_run
    for name, columns in ((name, table.names) for name, table in Training.schema.items()):
        assert list(tables[name].columns) == list(columns)
        assert len(tables[name])
        pd.testing.assert_frame_equal(pd.read_parquet(folder / "tables" / f"{name}.parquet"), tables[name])
    training = tables["training"]
    assert list(training["step"].unique()) == list(STEPS)
    assert set(training["condition"]) == {"baseline", "fixed cohort", "moving cohort", "random", "random mean"}
    assert len(training) == 4 * 3 * (1 + 2 + 2 + 1)
    both = training[(training["step"] == 1000) & training["condition"].str.endswith("cohort")]
    assert both["value"].nunique() == 3  # at the last checkpoint the cohorts are one, three scores of it


def by_hand(folder: Path, study: Study) -> Scan:
    model = load(str(folder), device="cpu")
    return scan(model, study.text, window=64, windows=12, md_pairs=64)


def test_perplexity_of_an_ablated_checkpoint_is_that_of_a_plain_call(
    first_run: tuple[Path, Tables, Loads], fields: dict[str, Any], run_folder: Path
) -> None:
    _, tables, _ = first_run
    study = study_of(fields, run_folder)
    fixed = by_hand(run_folder / "step1000", study).top(SHARE)
    moving = by_hand(run_folder / "step10", study).top(SHARE)
    model = load(str(run_folder / "step10"), device="cpu")
    table = tables["training"]
    rows = table[(table["step"] == 10) & (table["score"] == "perplexity")].set_index("condition")
    plain = perplexity(model, study.text, window=64).value
    assert rows.loc["baseline", "value"] == pytest.approx(plain, rel=1e-6)
    for name, neurons in (("fixed cohort", fixed), ("moving cohort", moving)):
        with intervene(model, neurons, "negative"):
            value = perplexity(model, study.text, window=64).value
        assert rows.loc[name, "value"] == pytest.approx(value, rel=1e-6)
        assert rows.loc[name, "change"] == pytest.approx(value / plain, rel=1e-6)


def test_trajectories_are_those_of_plain_scans(
    first_run: tuple[Path, Tables, Loads], fields: dict[str, Any], run_folder: Path
) -> None:
    _, tables, _ = first_run
    study = study_of(fields, run_folder)
    last, early = by_hand(run_folder / "step1000", study), by_hand(run_folder / "step10", study)
    cohort, own = last.top(SHARE), early.top(SHARE)
    wd, table = tables["training_wd"], early.table
    row = wd[(wd["step"] == 10) & (wd["layer"] == 1)].iloc[0]
    path = last.info.layout.sites[1].path
    mine = table[table["layer"] == 1].reset_index().loc[cohort.indices[path], "wd"]
    assert row["cohort"] == len(mine)
    assert row["cohort_median"] == pytest.approx(mine.median(), rel=1e-6)
    assert row["rest"] == 64 - len(mine)
    whole = wd[(wd["step"] == 10) & wd["layer"].isna()].iloc[0]
    assert whole["in_top"] == pytest.approx(len(cohort & own) / len(cohort))
    assert whole["jaccard"] == pytest.approx(len(cohort & own) / len(cohort | own))
    final = wd[(wd["step"] == 1000) & wd["layer"].isna()].iloc[0]
    assert (final["in_top"], final["jaccard"], final["rho_last"]) == (1, 1, pytest.approx(1))


def test_only_the_study_s_own_scan_keeps_histograms(first_run: tuple[Path, Tables, Loads]) -> None:
    out, tables, _ = first_run
    store, own = Store(out), tables.manifest["scan"]
    keys = [one["scan"] for one in tables.manifest["analyses"]["training"]["checkpoints"]]
    assert keys.count(own) == 1
    assert len(set(keys)) == len(keys) > 1
    for key in keys:
        assert ("histograms" in store.require(key).results) == (key == own)


def test_drift_is_that_of_the_weights_in_the_files(
    first_run: tuple[Path, Tables, Loads], fields: dict[str, Any], run_folder: Path
) -> None:
    _, tables, _ = first_run
    drift = tables["training_drift"]
    cohort = by_hand(run_folder / "step1000", study_of(fields, run_folder)).top(SHARE)
    weights = {
        step: [
            layer.mlp.dense_h_to_4h.weight.detach().double()
            for layer in AutoModelForCausalLM.from_pretrained(run_folder / f"step{step}").gpt_neox.layers
        ]
        for step in STEPS
    }
    paths = list(cohort.layout.sizes)
    for step, against, other in ((0, "next", 10), (10, "next", 100), (10, "last", 1000), (100, "next", 1000)):
        cosines = [
            1 - torch.nn.functional.cosine_similarity(weights[step][n][idx], weights[other][n][idx])
            for n, idx in ((n, torch.tensor(cohort.indices[path])) for n, path in enumerate(paths))
        ]
        row = drift[(drift["step"] == step) & (drift["against"] == against) & drift["layer"].isna()].iloc[0]
        assert row["against_step"] == other
        assert row["cohort_mean"] == pytest.approx(float(torch.cat(cosines).mean()), rel=1e-5)
        assert row["cohort"] == len(cohort)
        assert row["rest"] == min(4 * len(cohort), 2 * 64 - len(cohort))
    assert (drift["against_step"] > drift["step"]).all()


def test_sentences_say_what_the_tables_say(first_run: tuple[Path, Tables, Loads]) -> None:
    _, tables, _ = first_run
    said = tables.sentences("training")
    assert said[0].startswith("Training: 4 checkpoints, steps 0 to 1,000; the cohort is the top 20% by wd")
    # On a straight way from noise there is no rank correlation that four checkpoints could show.
    assert sum("undecided" in one for one in said) >= 3
    assert all(" nan" not in one for one in said)


def test_the_cohort_is_saved_under_an_origin_of_its_own(first_run: tuple[Path, Tables, Loads]) -> None:
    saved = NeuronSet.load(first_run[0] / "neurons" / "training-cohort.json")
    assert saved.origin == "training cohort: top 20% by wd at the last checkpoint"
    assert len(saved) == first_run[1].books["training"].part["cohort"]


def test_one_neuron_is_one_and_its_trajectory_names_the_choice(first_run: tuple[Path, Tables, Loads]) -> None:
    book = first_run[1].books["training"]
    single = replace(book, part={**book.part, "cohort": 1})
    assert "at the last (1 neuron)." in _said(first_run, "Training: ", single)
    assert " at the last checkpoint, by which the cohort was chosen, of all others " in _said(first_run, "Median WD")


def test_less_harm_than_random_sets_do_is_no_gain(first_run: tuple[Path, Tables, Loads]) -> None:
    training = first_run[1]["training"]
    told = training.assign(
        against_random_finding=training["against_random_finding"].mask(training["seed"].isna(), "gain")
    )
    said = _said(first_run, "Perplexity, ablating the fixed cohort: ", training=told)
    assert "against random sets less harm, x " in said


def _said(run: tuple[Path, Tables, Loads], begin: str, book: Book | None = None, **tables: pd.DataFrame) -> str:
    """The sentence with that beginning, where some tables are others."""
    given = {**run[1].by_analysis["training"], **tables}
    (line,) = [line for line in sentences(book or run[1].books["training"], given) if line.startswith(begin)]
    return line


def test_drift_is_judged_at_the_study_s_level_where_it_is_tested(first_run: tuple[Path, Tables, Loads]) -> None:
    book, drift = first_run[1].books["training"], first_run[1]["training_drift"]
    begin = "Input weights: "
    turned = drift.assign(p_holm=0.1, difference_low=0.01, difference_high=0.03)
    assert "more than others' in 0, less in 0 of 3 intervals" in _said(first_run, begin, training_drift=turned)
    lenient = replace(book, study={**book.study, "alpha": 0.1})
    assert "more than others' in 3, less in 0 of 3 " in _said(first_run, begin, lenient, training_drift=turned)
    nothing = dict.fromkeys(("p", "p_holm", "difference", "difference_low", "difference_high"), np.nan)
    none = _said(first_run, begin, training_drift=drift.assign(**nothing))
    assert none.startswith("Input weights: whether the cohort's turn more than others' cannot be judged (")
    last = turned.assign(**{name: turned[name].where(turned["step"] != 100) for name in nothing})
    partly = _said(first_run, begin, lenient, training_drift=last)
    assert "more than others' in 2, less in 0 of 3 intervals (1 cannot be judged) " in partly
    assert partly.endswith("in the last one (step 100 to 1,000) it cannot be judged.")
    assert "nan" not in none + partly


@pytest.mark.parametrize(("high", "formed"), [(0, "did not form"), (10, "is not shown to have formed")])
def test_a_cohort_is_said_not_to_form_in_the_series_only_if_its_interval_says_so(
    first_run: tuple[Path, Tables, Loads], high: int, formed: str
) -> None:
    summary = first_run[1]["training_summary"].copy()
    here = summary["measure"] == "emergence"
    summary.loc[here, ["finding", "estimate", "low", "high"]] = [FIRST, 0.0, 0.0, float(high)]
    assert _said(first_run, "Emergence: ", training_summary=summary) == (
        "Emergence: more than half of the cohort is in the top set there from the first checkpoint on (step 0 "
        f"[0, {high}]): the cohort {formed} within this series."
    )


def test_harm_is_counted_by_accuracy_and_by_margins(first_run: tuple[Path, Tables, Loads]) -> None:
    training = first_run[1]["training"]
    four = "at 0 of 4 checkpoints (4 cannot be judged)"  # pairs of two phenomena
    begin = "BLiMP, ablating the fixed cohort: harm "
    assert _said(first_run, begin).startswith(f"{begin}by accuracy {four} and by margins {four}; step 0: ")
    later = (training["score"] == "blimp") & (training["step"] >= 100)
    told = training.assign(nats_finding=training["nats_finding"].mask(later, "harm"))
    said = _said(first_run, begin, training=told)
    assert f"by accuracy {four} and by margins at 2 of 4 checkpoints (2 cannot be judged), first at step 100; " in said
    assert "margins" not in _said(first_run, "Perplexity, ablating the fixed cohort: harm at ")


def test_four_checkpoints_cannot_show_a_correlation(first_run: tuple[Path, Tables, Loads]) -> None:
    _, tables, _ = first_run
    rows = tables["training_summary"]
    correlations = rows[rows["p"].notna()]
    assert len(correlations)
    assert correlations["p"].min() >= 2 / 24 - 1e-9
    assert set(correlations["finding"]) == {"undecided"}


def test_a_finished_run_loads_no_checkpoint(
    first_run: tuple[Path, Tables, Loads], fields: dict[str, Any], run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, before, _ = first_run
    manifest = (folder / "run.json").read_bytes()
    loads = Loads(monkeypatch)
    again = run_study(study_of(fields, run_folder), folder)
    assert loads.names == ["step1000"]  # the study's own model, which says what all keys depend on
    assert (folder / "run.json").read_bytes() == manifest
    for name in Training.schema:
        pd.testing.assert_frame_equal(again[name], before[name])


def test_several_workers_take_a_checkpoint_each(
    first_run: tuple[Path, Tables, Loads], fields: dict[str, Any], run_folder: Path, tmp_path: Path
) -> None:
    """Whatever computes three cells at a time is handed cells of three checkpoints, and the bytes are the same."""
    batches: list[list[str]] = []

    class Wide(LocalEngine):
        width = 3

        def run(self, cells: Sequence[Cell]) -> list[Record]:
            batches.append([cell.place for cell in cells])
            return super().run(cells)

    def make(store: Store, compute: Any) -> LocalEngine:
        return Wide(store, compute)

    run_study(study_of(fields, run_folder), tmp_path / "run", make_engine=make)
    early = {str(run_folder / f"step{step}") for step in STEPS[:3]}
    assert [set(places) for places in batches].count(early) == 4  # met, scanned, scored, compared
    made, usual = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.suffix != ".jsonl"}
        for folder in (tmp_path / "run", first_run[0])
    )
    made.pop(".lock"), usual.pop(".lock")
    assert made == usual


def test_only_the_checkpoint_that_lacks_a_record_is_loaded_again(
    first_run: tuple[Path, Tables, Loads],
    fields: dict[str, Any],
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(shutil.copytree(first_run[0], tmp_path / "run"))
    points = Store(folder).read_manifest()["analyses"]["training"]["checkpoints"]
    key = points[2]["conditions"][1]["cells"]["blimp"]
    old = (folder / "cells" / f"{key}.parquet").read_bytes()
    (folder / "cells" / f"{key}.parquet").unlink()
    loads = Loads(monkeypatch)
    run_study(study_of(fields, run_folder), folder)
    assert loads.names == ["step1000", "step100"]
    assert (folder / "cells" / f"{key}.parquet").read_bytes() == old


def test_weights_of_a_lost_drift_are_read_again(
    first_run: tuple[Path, Tables, Loads],
    fields: dict[str, Any],
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(shutil.copytree(first_run[0], tmp_path / "run"))
    points = Store(folder).read_manifest()["analyses"]["training"]["checkpoints"]
    path = folder / "cells" / f"{points[0]['drift']['next']}.parquet"
    old = path.read_bytes()
    path.unlink()
    loads = Loads(monkeypatch)
    run_study(study_of(fields, run_folder), folder)
    assert sorted(loads.names) == ["step0", "step10", "step1000"]
    assert set(loads.beside) == {0}
    assert path.read_bytes() == old


def test_a_base_model_that_is_none_of_the_checkpoints(
    first_run: tuple[Path, Tables, Loads],
    fields: dict[str, Any],
    tiny_model_path: Path,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads = Loads(monkeypatch)
    study = study_of({**fields, "model": str(tiny_model_path)}, run_folder)
    made = run_study(study, tmp_path / "run")
    assert loads.names[1:] == ["step1000", "step0", "step10", "step100"]
    # The study's scan is of the base model, which is made anew where the checkpoints have left.
    assert set(loads.beside) == {0}
    pd.testing.assert_frame_equal(made["training_wd"], first_run[1]["training_wd"])
    pd.testing.assert_frame_equal(made["training"], first_run[1]["training"])


def test_an_intervention_on_means_takes_each_checkpoint_s_own(
    fields: dict[str, Any], run_folder: Path, tmp_path: Path
) -> None:
    study = study_of({**fields, "zero": None, "mode": "mean", "blimp": [], "tse": []}, run_folder, random=0)
    made = run_study(study, tmp_path / "run")["training"]
    early, last = (by_hand(run_folder / f"step{step}", study) for step in (10, 1000))
    model = load(str(run_folder / "step10"), device="cpu")
    with intervene(model, last.top(SHARE), None, "mean", early):
        value = perplexity(model, study.text, window=64).value
    row = made[(made["step"] == 10) & (made["condition"] == "fixed cohort")].iloc[0]
    assert row["value"] == pytest.approx(value, rel=1e-6)


def test_a_copy_is_named_and_refused_before_any_work(
    light: dict[str, Any], series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(series / "step1000" / "model.safetensors", series / "step10" / "model.safetensors")
    with pytest.raises(StudyError, match="step10 holds the very weights of step1000") as caught:
        run_study(study_of(light, series), tmp_path / "run")
    assert "on_duplicate: skip" in caught.value.todo
    assert not (tmp_path / "run").exists()


def test_a_copy_is_skipped_on_request_and_said_so(light: dict[str, Any], series: Path, tmp_path: Path) -> None:
    shutil.copy(series / "step1000" / "model.safetensors", series / "step10" / "model.safetensors")
    tables = run_study(study_of(light, series, on_duplicate="skip"), tmp_path / "run")
    assert list(tables["training"]["step"].unique()) == [0, 100, 1000]
    assert "step10 holds the very weights of step1000, and is left out." in tables.sentences("training")[0]
    assert tables.manifest["notes"][-1] == "training: step10 holds the very weights of step1000; it is left out"


def test_the_same_weights_in_other_files_are_found_by_their_fingerprint(
    light: dict[str, Any], series: Path, tmp_path: Path
) -> None:
    module = AutoModelForCausalLM.from_pretrained(series / "step0")
    (series / "step10" / "model.safetensors").unlink()
    module.save_pretrained(series / "step10", max_shard_size="20KB")
    assert len(list((series / "step10").glob("*.safetensors"))) > 1
    with pytest.raises(StudyError, match="step10 holds the very weights of step0, in other files"):
        run_study(study_of(light, series), tmp_path / "run")
    tables = run_study(study_of(light, series, on_duplicate="skip"), tmp_path / "run")
    assert list(tables["training"]["step"].unique()) == [0, 100, 1000]


def test_another_tokenizer_is_refused(light: dict[str, Any], series: Path, tmp_path: Path) -> None:
    words = AutoTokenizer.from_pretrained(series / "step10")
    words.add_tokens(["zebra"])
    words.save_pretrained(series / "step10")
    with pytest.raises(StudyError, match="another tokenizer") as caught:
        run_study(study_of(light, series), tmp_path / "run")
    assert "the checkpoint step10" in caught.value.asked


def test_other_neurons_are_refused(light: dict[str, Any], series: Path, tmp_path: Path) -> None:
    config = AutoModelForCausalLM.from_pretrained(series / "step10").config
    config.intermediate_size = 48
    AutoModelForCausalLM.from_config(config).save_pretrained(series / "step10")
    with pytest.raises(StudyError, match="other layers or widths"):
        run_study(study_of(light, series), tmp_path / "run")


def test_another_context_is_refused(light: dict[str, Any], series: Path, tmp_path: Path) -> None:
    path = series / "step10" / "config.json"
    path.write_text(path.read_text().replace('"max_position_embeddings": 128', '"max_position_embeddings": 256'))
    with pytest.raises(StudyError, match="a context of 256 tokens, where the last checkpoint has 128"):
        run_study(study_of(light, series), tmp_path / "run")


def test_no_checkpoints(light: dict[str, Any], tmp_path: Path) -> None:
    study = configure({**light, "analyses": ["training"]})
    with pytest.raises(StudyError, match="no series of checkpoints"):
        run_study(study, tmp_path / "run")
    assert Training.lacks(Training.section(), study) == "series of checkpoints (training: revisions)"
    assert Training.lacks(Training.section(revisions=("step0",)), study) is None


def test_dissimilarity_keeps_its_digits_and_knows_no_direction_of_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50, 8)).astype(np.float32)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(dissimilarity(a, b), 1 - cosine, atol=1e-6)
    assert (dissimilarity(a, a) == 0).all()
    np.testing.assert_allclose(dissimilarity(a, -3 * a), 2)
    tiny = np.array([[1.0, 1e-6]], np.float32)
    assert dissimilarity(np.array([[1.0, 0.0]], np.float32), tiny)[0] == pytest.approx(5e-13, rel=1e-3)
    assert np.isnan(dissimilarity(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))).all()
    assert LEVEL == 0.95

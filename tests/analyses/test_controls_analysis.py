"""The analysis of controls: sets that are what they are called, figures as computed anew, no-ops that are proved."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from negspace import reference
from negspace.analyses.controls import figures as controls_figures
from negspace.analyses.controls.analysis import Controls
from negspace.analyses.controls.words import claims, sentences
from negspace.analyses.dose.axis import EQUAL
from negspace.analyses.dose.figures import figures
from negspace.controls import residual_change
from negspace.errors import StudyError
from negspace.experiment.config import Study, configure
from negspace.experiment.words import file_names
from negspace.intervention import intervene
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan
from negspace.score.perplexity import perplexity
from negspace.study.reading import read_run
from negspace.study.run import run_study
from negspace.study.tables import Tables
from zoo import build


def _configure(fields: dict[str, Any], *, ablation: bool = True, **settings: Any) -> Study:
    analyses = {"ablation": {}} if ablation else {}
    return configure({**fields, "analyses": {**analyses, "controls": settings}})


def _zoo(name: str, tiny_fields: dict[str, Any], **changes: Any) -> Model:
    """An architecture of the zoo with the tiny model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_fields["model"])
    size = {"vocab_size": len(tokenizer)}
    if name == "gemma3n_text":
        size["vocab_size_per_layer_input"] = len(tokenizer)
    return wrap(build(name, scale=3.0, **size, **changes), tokenizer)


@pytest.fixture(scope="module")
def relu_path(tiny_fields, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("relu")
    model = _zoo("opt", tiny_fields, seed=1)
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def made(tiny_fields, relu_path, tmp_path_factory) -> tuple[Path, Tables]:
    folder = tmp_path_factory.mktemp("runs") / "controls"
    study = _configure(tiny_fields, share=0.3, residual_windows=5, noop_model=relu_path, noop_windows=2, tolerance=0.1)
    return folder, run_study(study, folder)


def _set(folder: Path, table: pd.DataFrame, role: str) -> NeuronSet:
    name = table[table["role"] == role]["control"].iloc[0]
    (file,) = file_names([f"controls {name}"])
    return NeuronSet.load(folder / "neurons" / f"{file}.json")


def test_every_control_is_there_with_documented_columns(made):
    _, tables = made
    for name, columns in ((name, table.names) for name, table in Controls.schema.items()):
        assert list(tables[name].columns) == list(columns), name
        assert len(tables[name])
    table = tables["controls"]
    roles = table["role"].drop_duplicates().tolist()
    assert roles[:4] == ["top", "random", "other_side", "count"]
    assert {"residual", "residual_random"} <= set(roles)
    assert set(table["score"]) == {"perplexity", "blimp", "tse"}
    assert table[table["role"] == "random"]["of_sets"].tolist() == [5, 5, 5]


def test_sets_are_what_they_are_called(made):
    folder, tables = made
    scan, layers = Scan.load(folder / "scan.parquet"), tables["controls_layers"]
    top = scan.top(0.3)
    assert _set(folder, layers, "top") == top == _set(folder, layers, "other_side")
    count = _set(folder, layers, "count")
    assert count.count() == top.count()
    assert len(count & top) == 0
    for role in ("residual", "residual_random"):
        found = _set(folder, layers, role)
        assert len(found & top) == 0
        here = layers[layers["role"] == role].set_index("layer")
        assert here["neurons"].to_dict() == found.count()
        assert (here["share"] == here["neurons"] / 64).all()


def test_residual_changes_are_those_of_the_sets(made):
    """Measured anew, on a model loaded anew and the first five windows."""
    folder, tables = made
    manifest = json.loads((folder / "run.json").read_text())
    model = load(manifest["study"]["model"])
    from negspace.text.source import read_text
    from negspace.text.windows import make_windows

    text = read_text(manifest["study"]["text"], role="perplexity")
    windows = make_windows(text, model.tokenizer, window=64, windows=5, context=model.context)
    layers, ends = tables["controls_layers"], tables["controls_residual"].set_index("role")
    for role, zero in (("top", "negative"), ("other_side", "positive"), ("residual", "negative")):
        neurons = _set(folder, layers, role)
        here = layers[layers["role"] == role].set_index("layer")["residual"]
        assert here.to_dict() == pytest.approx(residual_change(model, neurons, windows, zero=zero).by_layer)
        end = residual_change(model, neurons, windows, zero=zero, where="end").by_layer[-1]
        assert ends.loc[role, "end"] == pytest.approx(end)
        assert ends.loc[role, "end_low"] <= end <= ends.loc[role, "end_high"]
    assert (ends["windows"] == 5).all()
    for role in ("residual", "residual_random"):
        here = layers[layers["role"] == role]
        assert here["matched"].all() == ends.loc[role, "matched"]
        assert (here.loc[here["matched"], "to_top"] - 1).abs().max() <= 0.1
        assert here["matched"].any()
    assert layers[layers["role"] == "count"]["matched"].isna().all()


def test_touched_values(made):
    folder, tables = made
    scan, layers = Scan.load(folder / "scan.parquet"), tables["controls_layers"]
    top = scan.top(0.3)
    for layer in (0, 1):
        part = scan.table[scan.table["layer"] == layer]
        below = part["fraction_negative"].to_numpy()[top.indices[scan.info.layout.sites[layer].path]].mean()
        here = layers[layers["layer"] == layer].set_index("role")["touched"]
        assert here["top"] == pytest.approx(below)
        assert here["other_side"] == pytest.approx(1 - below)


def test_scores_agree_with_the_main_study_and_are_not_computed_twice(made, tiny_fields, tmp_path):
    folder, tables = made
    summary = tables["summary"][tables["summary"]["share"] == 0.3]
    table = tables["controls"].set_index(["role", "score"])
    top = summary[summary["role"] == "top"].iloc[0]
    assert table.loc[("top", "perplexity"), "value"] == top["perplexity"]
    assert table.loc[("top", "blimp"), "value"] == top["blimp_accuracy"]
    assert table.loc[("top", "tse"), "change"] == top["tse_change"]
    drawn = summary[(summary["role"] == "random") & (summary["seed"] < 5)]
    mean = np.exp(np.log(drawn["perplexity"]).mean())
    assert table.loc[("random", "perplexity"), "value"] == pytest.approx(mean)
    matched = summary[summary["role"] == "nearest"]  # none matches in the tiny model
    assert ("perplexity", "perplexity") in table.index
    assert table.loc[("perplexity", "perplexity"), "value"] == matched["perplexity"].iloc[0]
    contrast = table.loc[("other_side", "perplexity")]
    assert contrast["contrast"] == pytest.approx(top["perplexity"] / contrast["value"])
    alone = Scan.load(folder / "scan.parquet")
    model = load(tiny_fields["model"])
    with intervene(model, alone.top(0.3), zero="positive"):
        assert perplexity(model, tiny_fields["text"], window=64).value == pytest.approx(contrast["value"])


def test_family_of_the_correction(made):
    from statsmodels.stats.multitest import multipletests

    _, tables = made
    table = tables["controls"]
    for prefix in ("", "change_"):
        family = table[[f"{prefix}p", f"{prefix}nats_p"]].to_numpy(float).ravel()
        known = np.isfinite(family)
        assert known.any()
        expected = np.full(family.size, np.nan)
        expected[known] = multipletests(family[known], method="holm")[1]
        assert np.allclose(table[f"{prefix}p_holm"], expected.reshape(-1, 2)[:, 0], equal_nan=True)
    # Pairs of two phenomena and five random sets: perplexity against these, and pairs against anything, is not judged.
    random = table[(table["role"] == "random") & (table["score"] == "perplexity")].iloc[0]
    assert random["reason"] == "cannot be judged with 5 random sets; draw 19 or more"
    assert set(table["finding"].dropna()) <= {"harm", "gain", "undecided", "cannot be judged"}


def test_the_no_op_control_on_another_model(made):
    _, tables = made
    (row,) = tables["noop"].to_dict("records")
    assert row["same"]
    assert not row["own"]
    assert (row["differing"], row["largest"]) == (0, 0.0)
    assert row["items"] > 50
    assert row["neurons"] > 0
    assert any("bit for bit" in sentence for sentence in tables.sentences("controls"))


def test_sentences_name_every_control(made):
    _, tables = made
    said = " ".join(tables.sentences("controls"))
    for control in tables["controls"]["control"].unique():
        assert control in said


def test_running_again_computes_nothing(made, monkeypatch):
    folder, tables = made
    from negspace.experiment import workbench

    monkeypatch.setattr(workbench.Workbench, "compute", lambda *_: pytest.fail("computed again"))
    again = run_study(configure(json.loads((folder / "run.json").read_text())["study"]), folder)
    for name in Controls.schema:
        pd.testing.assert_frame_equal(again[name], tables[name])


def test_on_a_relu_model_nothing_happens_and_it_is_said(tiny_fields, tmp_path):
    model = _zoo("opt", tiny_fields)
    fields = {**tiny_fields, "model": "tiny-opt", "window": 32, "shares": [0.2], "matched": False}
    tables = run_study(_configure(fields, residual_windows=2), tmp_path / "run", model=model)
    noop = tables["noop"]
    assert noop["own"].all()
    assert noop["same"].all()
    assert len(noop) == 3  # tokens, BLiMP's and TSE's sentences
    table = tables["controls"]
    assert set(table["role"]) == {"top", "random", "other_side", "count"}
    unchanged = table[table["intervention"] == "zero_negative"]
    assert set(unchanged.loc[unchanged["score"] == "perplexity", "change"]) == {1.0}
    assert (unchanged.loc[unchanged["score"] != "perplexity", "change"] == 0).all()
    assert (tables["controls_layers"].query("intervention == 'zero_negative'")["residual"] == 0).all()
    said = tables.sentences("controls")
    assert said[-1] == (
        "There is no signal below zero in this model for zeroing negatives to remove; of other interventions this says "
        "nothing."
    )
    # Where the check fails, nothing is said to follow from it.
    failed = {**tables.by_analysis["controls"], "noop": noop.assign(same=[True, False, True], differing=[0, 3, 0])}
    lines = sentences(tables.books["controls"], failed)
    assert any("changes 3 of " in line for line in lines)
    assert not any("no signal below zero" in line for line in lines)
    notes = json.loads((tmp_path / "run" / "run.json").read_text())["notes"]
    # Each note says what the search itself found.
    none = {note.partition(": no set for the control ")[2] for note in notes if "no set for the control" in note}
    damage = "the target is not above the plain model's perplexity: no damage to match"
    assert none == {
        f"'perplexity': {damage}",
        f"'perplexity_random': {damage}",
        "'residual': no change to match",
        "'residual_random': no change to match",
    }


def test_on_a_relu_model_zeroing_positives_is_not_said_to_be_nothing(tiny_fields, tmp_path):
    model = _zoo("opt", tiny_fields)
    fields = {**tiny_fields, "model": "tiny-opt", "window": 32, "shares": [0.2], "zero": "positive", "tse": []}
    tables = run_study(_configure(fields, ablation=False, controls=["count"]), tmp_path / "run", model=model)
    assert tables["noop"]["same"].all()
    assert (tables["controls"].query("score == 'perplexity'")["change"] != 1).all()
    said = tables.sentences("controls")
    assert any("zeroing negatives is a no-op, bit for bit" in sentence for sentence in said)
    assert not any("no signal below zero" in sentence or "null" in sentence for sentence in said)


def test_a_model_for_the_no_op_control_that_is_none(tiny_fields, tmp_path):
    with pytest.raises(StudyError, match="not flat below zero"):
        run_study(_configure(tiny_fields, noop_model=tiny_fields["model"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_that_cannot_be(tiny_fields, tmp_path):
    for settings, message in (
        ({"controls": ["equal beauty"]}, "controls"),
        ({"tolerance": 0}, "tolerance"),
        ({"share": 0}, "share"),
        ({"colour": 1}, "unknown field"),
    ):
        with pytest.raises(StudyError, match=message):
            run_study(_configure(tiny_fields, **settings), tmp_path / "run")


@pytest.mark.parametrize("name", ["qwen2_moe", "gemma3n_text"])
def test_mixtures_and_models_of_several_streams(name, tiny_fields, tmp_path):
    """Mixtures of experts have every control; where the residual stream is not one, the others are still there."""
    model = _zoo(name, tiny_fields)
    fields = {**tiny_fields, "model": name, "window": 32, "shares": [0.2], "matched": False, "tse": [], "random": 1}
    wanted = ["random", "other_side", "count"] + (["residual"] if name == "qwen2_moe" else [])
    tables = run_study(
        _configure(fields, ablation=False, controls=wanted, residual_windows=2, noop=False),
        tmp_path / "run",
        model=model,
    )
    assert set(tables["controls"]["role"]) == {"top", *wanted}
    assert tables["controls_layers"]["residual"].notna().all() == ("residual" in wanted)
    drawn = [figure.name for figure in controls_figures.figures(read_run(tmp_path / "run"))]
    assert ("controls_layers" in drawn) == ("residual" in wanted)
    assert tables["noop"].empty


def test_matched_at_the_end_of_the_stack(tiny_fields, tmp_path):
    study = _configure(
        {**tiny_fields, "shares": [0.3]},
        ablation=False,
        controls=["residual"],
        where="end",
        residual_windows=3,
        noop=False,
        tolerance=0.1,
    )
    ends = run_study(study, tmp_path / "run")["controls_residual"].set_index("role")
    assert ends.loc["residual", "matched"]
    assert ends.loc["residual", "end_to_top"] == pytest.approx(1, abs=0.1)


def test_random_sets_of_equal_perplexity(tiny_fields, tmp_path):
    # A trained model: what more neurons do to a random one's perplexity goes up and down.
    text, sizes = str(reference.text_path()), {"window": 128, "windows": 8, "perplexity_windows": 4, "md_pairs": 0}
    fields = {**tiny_fields, **sizes, "model": str(reference.model_path("gelu")), "text": text, "tse": []}
    fields |= {"shares": [0.05], "zero": "positive", "tolerance": 0.02}
    own = {"controls": ["perplexity_random"], "matched_sets": 3, "noop": False}
    dose = {"shares": [0.02, 0.05], "sets": ["top"], "interventions": []}
    study = configure({**fields, "analyses": {"controls": own, "dose": dose}})
    folder = tmp_path / "run"
    tables = run_study(study, folder)
    part = json.loads((folder / "run.json").read_text())["analyses"]["controls"]
    drawn = part["conditions"][2:]
    scan = Scan.load(folder / "scan.parquet")
    top = scan.top(0.05)
    model = load(fields["model"])

    def under(neurons: NeuronSet) -> float:
        with intervene(model, neurons, zero="positive"):
            return perplexity(model, text, window=128, windows=4).value

    assert [one["seed"] for one in drawn] == [0, 1, 2]
    for one in drawn:
        neurons = NeuronSet.load(folder / "neurons" / f"controls-random-equal-perplexity-seed-{one['seed']}.json")
        assert len(neurons & top) == 0
        sizes = list(neurons.count().values())
        assert max(sizes) - min(sizes) <= 1  # as much of each layer
        assert under(neurons) == pytest.approx(under(top), rel=0.02)
    assert len({one["key"] for one in drawn}) == 3
    row = tables["controls"].set_index(["role", "score"]).loc[("perplexity_random", "blimp")]
    assert row["of_sets"] == 3
    assert row["sets"] == 3
    assert row["neurons"] == round(np.mean([one["neurons"] for one in drawn]))
    assert row["reason"].startswith("cannot be judged with 3 random sets")
    assert tables["controls_residual"]["matched"].dropna().all()
    said = tables.sentences("controls")
    assert any(line.startswith("Random, equal perplexity, mean of 3: perplexity matched") for line in said)
    # On the axis of damage each of them is a point: what it does to grammar over what it does to perplexity.
    axis = tables["damage_axis"]
    points = axis[(axis["set"] == EQUAL) & (axis["scale"] == "points")]
    assert points["dose"].all()
    assert len(points) == 3
    with intervene(
        model, NeuronSet.load(folder / "neurons" / "controls-random-equal-perplexity-seed-0.json"), zero="positive"
    ):
        ratio = perplexity(model, text, window=128, windows=4).value
    assert points["ratio"].iloc[0] == pytest.approx(ratio / perplexity(model, text, window=128, windows=4).value)
    assert points["change"].mean() == pytest.approx(row["change"])
    assert (axis.loc[axis["set"] == "top", "dose"]).sum() == 2 * 2
    (figure,) = (made for made in figures(read_run(folder)) if made.name == "damage_axis")
    for panel in figure.panels:
        (drawn_as,) = (line for line in panel.series if line.name == EQUAL)
        assert (drawn_as.role, len(drawn_as.x), drawn_as.mark) == ("matched", 3, "points")
    assert "Diamonds" in figure.caption


def test_a_set_that_the_search_did_not_match_is_no_control(tiny_fields, tmp_path):
    study = _configure({**tiny_fields, "tolerance": 1e-9, "evaluations": 3}, share=0.3, residual_windows=2)
    tables = run_study(study, tmp_path / "run")
    table = tables["controls"]
    nearest = table[~table["matched"].fillna(True)]  # missing where nothing was searched
    assert len(nearest)
    others = nearest[~((nearest["score"] == "perplexity") & (nearest["role"] == "perplexity"))]
    assert set(others["finding"]) == {"cannot be judged"}
    assert others["reason"].str.startswith("the control is not matched: ").all()
    assert others[["contrast", "p", "p_holm"]].isna().all(axis=None)
    assert nearest["change_finding"].notna().all(), "against the plain model it is judged"
    said = [line for line in tables.sentences("controls") if line.startswith("Against bottom") and "nearest" in line]
    assert said
    assert all("cannot be judged (the control is not matched" in line for line in said)


def test_what_a_control_was_matched_on_is_not_contrasted(made):
    table = made[1]["controls"]
    here = (table["role"] == "perplexity") & (table["score"] == "perplexity")
    assert here.any()
    assert table.loc[here, ["contrast", "finding"]].isna().all(axis=None)


def test_a_relu_model_in_which_anything_moves_is_one_that_moves():
    rows = [
        {"model": "m", "own": True, "what": what, "items": 100, "differing": n, "same": n == 0}
        for what, n in (("log-probabilities of tokens", 0), ("scores of BLiMP's sentences", 7))
    ]
    (claim,) = claims(None, {"noop": pd.DataFrame(rows)})
    assert claim.answer == "does not hold"
    assert "0 of 100 log-probabilities" in claim.finding
    assert "7 of 100 scores" in claim.finding
    assert claims(None, {"noop": pd.DataFrame(rows[:1])})[0].answer == "holds"


def test_a_control_that_is_missing_says_what_its_search_found(tiny_fields, tmp_path, monkeypatch):
    """A top set that does much is not said to do too little."""
    missed = SimpleNamespace(neurons=None, matched=False, reason="not within the tolerance after 8 evaluations")
    for name in ("matched_set", "matched_random"):
        monkeypatch.setattr(f"negspace.analyses.controls.analysis.{name}", lambda *_: missed)
    study = _configure(
        {**tiny_fields, "random": 0},
        ablation=False,
        share=0.3,
        controls=["random", "perplexity", "perplexity_random"],
        noop=False,
    )
    run_study(study, tmp_path / "run")
    notes = json.loads((tmp_path / "run" / "run.json").read_text())["notes"]
    assert [note for note in notes if note.startswith("controls: ")] == [
        "controls: no set for the control 'random': the study has none (random: 0)",
        f"controls: no set for the control 'perplexity': {missed.reason}",
        f"controls: no set for the control 'perplexity_random': {missed.reason}",
    ]

"""Layers: figures against plain calls, contrasts, a run that goes on, models that share, miss or refuse layers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import negspace as ns
import zoo
from negspace.analyses.layers.analysis import LayersAnalysis, LayersSettings, group_layers
from negspace.analyses.layers.cells import changes_of
from negspace.analyses.layers.columns import TABLES
from negspace.analyses.layers.figures import figures
from negspace.analyses.layers.words import _first_most
from negspace.errors import SelectionError, StudyError
from negspace.experiment.config import configure
from negspace.experiment.lab import Lab
from negspace.experiment.workbench import Workbench
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.report.export import write_figures
from negspace.runs.store import Store
from negspace.significance import Nesting, compare, correct
from negspace.study.reading import read_run
from negspace.study.registry import sections
from negspace.study.run import run_study
from negspace.study.tables import Tables

Run = tuple[Path, Tables]
WORDS = " ".join(f"w{3 + (7 * n * n + n) % 90}" for n in range(1200))
RANDOM = 2


def tiny(name: str = "llama", **changes: Any) -> Model:
    depth = {} if name in ("nemotron_h", "gemma3n_text") else {"num_hidden_layers": 4}
    return wrap(zoo.build(name, scale=2.0, **{**depth, **changes}), zoo.tokenizer(), "tiny")


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fields of a study on a model of the zoo: its words as text, pairs of two phenomena and of two constructions."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "text.txt").write_text(WORDS)
    for kind in ("blimp", "tse"):
        (folder / kind).mkdir()
        for number in range(4 if kind == "blimp" else 2):
            rows = [
                {"sentence_good": f"w{a} w{a + 9} w5 .", "sentence_bad": f"w{a} w{a + 20 + number} w5 ."}
                for a in range(3, 9)
            ]
            term = {"UID": f"u{number}", "linguistics_term": ["agreement", "binding"][number % 2], "field": "syntax"}
            term = term if kind == "blimp" else {"construction": f"c{number}"}
            path = folder / kind / f"{'u' if kind == 'blimp' else 'c'}{number}.jsonl"
            path.write_text("\n".join(json.dumps({**row, **term}) for row in rows))
    return {
        "model": "tiny",
        "text": str(folder / "text.txt"),
        "window": 32,
        "windows": 20,
        "md_pairs": 64,
        "blimp": [str(folder / "blimp")],
        "tse": [str(folder / "tse")],
        "shares": [0.2],
        "random": RANDOM,
        "draws": 200,
        "analyses": {"layers": {}},
    }


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny()


@pytest.fixture(scope="module")
def run(fields: dict[str, Any], model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("layers") / "run"
    return folder, run_study(configure(fields), folder, model=model)


def where(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    flags = [(table[name] == value).fillna(False).to_numpy(bool) for name, value in values.items()]
    return table[np.logical_and.reduce(flags)]


def test_groups_are_consecutive_and_as_equal_as_can_be():
    assert group_layers(range(32), 8) == [tuple(range(start, start + 4)) for start in range(0, 32, 4)]
    assert group_layers(range(6), 4) == [(0, 1), (2, 3), (4,), (5,)]
    assert group_layers(range(3), 8) == [(0,), (1,), (2,)]
    assert group_layers([1, 4, 5], 2) == [(1, 4), (5,)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"groups": 0}, "greater than or equal to 1"),
        ({"share": 0}, "greater than 0"),
        ({"families": []}, "families must be given"),
        ({"families": ["alone", "alone"]}, "each once"),
        ({"families": ["last"]}, "'alone' or 'cumulative'"),
        ({"random": -1}, "greater than or equal to 0"),
        ({"group": 2}, "did you mean 'groups'"),
    ],
)
def test_settings_that_cannot_be_are_named(given, message, fields):
    with pytest.raises(StudyError, match=message):
        sections(configure({**fields, "analyses": {"layers": given}}))


def test_figures_equal_plain_calls(run: Run, model: Model, fields: dict[str, Any]) -> None:
    scan = ns.scan(model, fields["text"], window=32, windows=20, md_pairs=64)
    top = scan.top(0.2)
    sets = [("top", None, top), *(("random", seed, scan.random(seed=seed, like=top)) for seed in range(RANDOM))]
    plain = ns.perplexity(model, fields["text"], window=32)
    table, groups = run[1]["layers"], run[1]["layers_by_group"]
    for kind, seed, neurons in sets:
        of_set = where(table, set=kind) if seed is None else where(table, set=kind, seed=seed)
        for family, last in (("alone", 1), ("alone", 3), ("cumulative", 0), ("cumulative", 2), ("cumulative", 3)):
            layers = [last] if family == "alone" else list(range(last + 1))
            with ns.intervene(model, neurons.restrict(layers), zero="negative"):
                text = ns.perplexity(model, fields["text"], window=32)
                blimp = ns.minimal_pairs(model, fields["blimp"])
                tse = ns.minimal_pairs(model, fields["tse"])
            rows = where(of_set, family=family, last_layer=last).set_index("score")
            assert rows["value"]["perplexity"] == pytest.approx(text.value, rel=1e-12)
            assert rows["change"]["perplexity"] == pytest.approx(text.value / plain.value, rel=1e-9)
            made = compare(text.nll, plain.nll, Nesting.windows(len(plain.nll)), scale="log ratio")
            assert rows["change_low"]["perplexity"] == pytest.approx(np.exp(made.low), nan_ok=True)
            assert rows["value"]["blimp"] == pytest.approx(blimp.accuracy)
            assert rows["value"]["tse"] == pytest.approx(tse.accuracy)
            assert (rows["neurons"] == len(neurons.restrict(layers))).all()
            if kind == "top":
                parts = where(groups, set="top", family=family, last_layer=last, score="blimp").set_index("group")
                expected = blimp.by_phenomenon.set_index("phenomenon")["accuracy"]
                assert parts["accuracy"].to_dict() == pytest.approx(expected.to_dict())


def test_a_record_holds_every_item_of_every_condition(run: Run, model: Model, fields: dict[str, Any]) -> None:
    part = run[1].manifest["analyses"]["layers"]
    store = Store(run[0])
    conditions = [one for one in part["conditions"] if one["role"] == "top"]
    record = store.require(conditions[0]["cells"]["blimp"])
    assert record.kind == "layers"
    assert record.spec["conditions"] == [one["facts"]["layers"] for one in conditions]
    assert record.results["share_of_layers"] == pytest.approx((4 + 2 + 3 + 4 + 3 + 2 + 1) / 32)
    scan = ns.scan(model, fields["text"], window=32, windows=20, md_pairs=64)
    with ns.intervene(model, scan.top(0.2).restrict([2]), zero="negative"):
        items = ns.minimal_pairs(model, fields["blimp"]).items
    mine = record.items[record.items["condition"] == 2].reset_index(drop=True)
    np.testing.assert_array_equal(mine["good"], items["good"])
    np.testing.assert_array_equal(mine["bad"], items["bad"])
    assert mine["outcome"].tolist() == items["outcome"].astype(str).tolist()


def test_tables_are_as_documented(run: Run) -> None:
    for name, columns in ((name, table.names) for name, table in TABLES.items()):
        table = pd.read_parquet(run[0] / "tables" / f"{name}.parquet")
        assert list(table.columns) == list(columns)
    table, contrasts, groups, added = (run[1][name] for name in TABLES)
    assert added[["score", "scale"]].values.tolist() == [
        ["perplexity", "log ratio"], ["blimp", "points"], ["blimp", "nats"], ["tse", "points"], ["tse", "nats"]
    ]  # fmt: skip
    # Two families of four groups; top, two random sets and their mean; three scores.
    assert len(table) == 2 * 4 * 4 * 3
    assert where(table, set="top", score="tse")["layers"].tolist() == ["0", "1", "2", "3", "0", "0-1", "0-2", "0-3"]
    assert len(groups) == 2 * 4 * 2 * (2 + 2)
    assert set(where(groups, score="tse")["group"]) == {"c0", "c1"}
    for _, rows in table.groupby(["family", "set", "seed", "score"], dropna=False):
        family = rows[["p", "nats_p"]].to_numpy(np.float64)
        np.testing.assert_allclose(rows["p_holm"], correct(family.ravel()).p.reshape(-1, 2)[:, 0])
    counts = contrasts.groupby(["family", "against"]).size().to_dict()
    assert counts == {
        ("alone", "first group"): 9,
        ("alone", "random mean"): 12,
        ("cumulative", "one group less"): 9,
        ("cumulative", "random mean"): 12,
    }


def test_contrasts_are_between_the_conditions_that_they_name(run: Run) -> None:
    table, contrasts = (
        where(run[1]["layers"], score="perplexity"),
        where(run[1]["layers_contrasts"], score="perplexity"),
    )

    def value(kind: str, family: str, last: int) -> float:
        return float(where(table, set=kind, family=family, last_layer=last)["value"].iloc[0])

    for _, row in contrasts.iterrows():
        family, last = row["family"], row["last_layer"]
        expected = {
            "random mean": ("random mean", family, last),
            "first group": ("top", "alone", 0),
            "one group less": ("top", "cumulative", last - 1),
        }[row["against"]]
        assert row["value"] == pytest.approx(value("top", family, last))
        assert row["reference"] == pytest.approx(value(*expected))
        if row["finding"] == "cannot be judged" and row["against"] == "random mean":
            assert np.isnan(row["difference"])
        else:
            assert row["difference"] == pytest.approx(row["value"] / row["reference"])
        if row["against"] == "random mean":
            assert row["below"] + row["above"] == row["sets"] == RANDOM


def test_damage_is_added_up_item_by_item(run: Run) -> None:
    added = run[1]["layers_additivity"].set_index(["score", "scale"]).loc[("perplexity", "log ratio")]
    top = where(run[1]["layers"], set="top", score="perplexity")
    joint = np.log(float(where(top, family="cumulative", last_layer=3)["change"].iloc[0]))
    alone = np.log(where(top, family="alone")["change"].to_numpy(float)).sum()
    assert added["groups"] == 4
    if added["reason"]:
        assert added[["joint", "sum", "excess"]].isna().all()
    else:
        assert (added["joint"], added["sum"]) == pytest.approx((joint, alone))
        assert added["excess"] == pytest.approx(joint - alone)
    said = [line for line in run[1].sentences("layers") if "against the sum of each alone" in line]
    assert len(said) == 5


def test_the_load_is_what_the_run_then_has(run: Run, fields: dict[str, Any], model: Model) -> None:
    study = configure(fields)
    lab = Lab(study, Workbench(study, model=model).describe(), Store(run[0]), None)  # type: ignore[arg-type]
    load = LayersAnalysis(LayersSettings(), lab, {}).load()
    assert load.cells == len(list((run[0] / "cells").iterdir())) - 2  # the scan's, and the example tokens'
    assert "top, 2 random: 8 conditions (alone, cumulative) of each set in 4.8 passes instead of 8" in load.detail


def test_a_second_run_computes_nothing_and_gives_the_same(run: Run, fields: dict[str, Any], model: Model) -> None:
    before = {path.name: path.read_bytes() for path in (run[0] / "tables").iterdir()}
    events = (run[0] / "run.log.jsonl").read_text().count('"computed"')
    run_study(configure(fields), run[0], model=model)
    assert (run[0] / "run.log.jsonl").read_text().count('"computed"') == events
    assert {path.name: path.read_bytes() for path in (run[0] / "tables").iterdir()} == before
    # A lost record is computed again, to the same bytes, and nothing else is.
    key = run[1].manifest["analyses"]["layers"]["conditions"][1]["cells"]["tse"]
    path = run[0] / "cells" / f"{key}.parquet"
    content = path.read_bytes()
    path.unlink()
    run_study(configure({**fields, "batch": 3}), run[0], model=model)
    assert (run[0] / "run.log.jsonl").read_text().count('"computed"') == events + 1
    assert path.read_bytes() == content


def test_what_it_found_is_said(run: Run) -> None:
    said = run[1].sentences("layers")
    for score in ("Perplexity", "BLiMP", "TSE"):
        for start in (", each group of layers alone:", ": the first group (layer 0)", ", cumulatively:", ", alone:"):
            assert sum(sentence.startswith(score + start) for sentence in said) == 1
    assert any(sentence.startswith("BLiMP by phenomenon, each group of layers alone:") for sentence in said)


@pytest.fixture(scope="module")
def judged(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with enough pairs to judge, of a model of which the paper gives a number on NPI licensing. The good
    sentence of a pair is the one that loses more when layer 0 is ablated."""
    folder, name = tmp_path_factory.mktemp("judged"), "Llama-3.1-8B"
    model = wrap(zoo.build("llama", scale=2.0, num_hidden_layers=4), zoo.tokenizer(), name)
    first = ns.scan(model, fields["text"], window=32, windows=20, md_pairs=64).top(0.9).restrict([0])
    terms = {f"u{number}": ("agreement", "binding")[number % 2] for number in range(6)}
    for place, paradigm in enumerate((*terms, "npi_across_anim", "npi_across_inanim")):
        path = folder / ("blimp" if paradigm in terms else "tse") / f"{paradigm}.jsonl"
        path.parent.mkdir(exist_ok=True)
        about = {"UID": paradigm, "linguistics_term": terms.get(paradigm), "field": "syntax"}
        about = about if paradigm in terms else {"construction": paradigm}
        pairs = [[f"w{a} w{a + 9} w5 .", f"w{a} w{a + 12 + place} w5 ."] for a in range(3, 63)]

        def write(pairs: list[list[str]], path: Path = path, about: dict[str, Any] = about) -> None:
            rows = [{"sentence_good": good, "sentence_bad": bad, **about} for good, bad in pairs]
            path.write_text("\n".join(map(json.dumps, rows)))

        write(pairs)
        plain = ns.minimal_pairs(model, [path]).items
        with ns.intervene(model, first, zero="negative"):
            items = ns.minimal_pairs(model, [path]).items
        gained = (items["good"] - items["bad"]) > (plain["good"] - plain["bad"])
        write([pair[::-1] if turn else pair for pair, turn in zip(pairs, gained, strict=True)])
    suites = {suite: [str(folder / suite)] for suite in ("blimp", "tse")}
    study = configure({**fields, **suites, "model": name, "random": 0, "analyses": {"layers": {"share": 0.9}}})
    return folder / "run", run_study(study, folder / "run", model=model)


def test_margins_are_said_beside_accuracy(judged: Run) -> None:
    said = judged[1].sentences("layers")
    for start in (", each group of layers alone:", ": the first group (layer 0)", ", cumulatively:"):
        assert sum(line.startswith(f"BLiMP in these 2 phenomena, margins{start}") for line in said) == 1
    alone = where(judged[1]["layers"], set="top", family="alone", score="blimp")
    harmed = where(alone, nats_finding="harm")
    worst = harmed.loc[harmed["change_nats"].idxmin()]
    lost = f"{worst['change_nats']:+.3f} nats [{worst['change_nats_low']:+.3f}, {worst['change_nats_high']:+.3f}]"
    # No test compares the harmed groups with one another.
    words = f"harm in {len(harmed)} of 4, largest estimate in layer {worst['layers']} ({lost})"
    assert any(line.endswith(f"phenomena, margins, each group of layers alone: {words}.") for line in said)
    groups = where(judged[1]["layers_by_group"], set="top", family="alone", score="blimp", nats_finding="harm")
    worst = groups.loc[groups["change_nats"].idxmin()]
    words = f"harm for {groups['group'].nunique()} of 2 phenomena, largest estimate for {worst['group']} in layer "
    words += f"{worst['layers']} ({worst['change_nats']:+.3f} nats"
    assert any(line.startswith(f"BLiMP, margins by phenomenon, each group of layers alone: {words}") for line in said)


def test_a_ranking_other_than_the_papers_is_named(judged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = judged[1]
    own, claims = tables.sentences("layers"), tables.claims_of("layers")
    book = tables.books["layers"]
    monkeypatch.setitem(tables.books, "layers", replace(book, part={**book.part, "by": "md"}))
    said = tables.sentences("layers")
    assert all(", top 90% by md" in line for line in said)
    assert [line.replace(", top 90% by md", "") for line in said] == own
    begin = "BLiMP in these 2 phenomena, top 90% by md, margins, each group of layers alone: "
    assert any(line.startswith(begin) for line in said)
    assert [claim.of for claim in tables.claims_of("layers")] == [f"{claim.of}, by md" for claim in claims]
    # The study's own ranking does not matter where the analysis has one.
    monkeypatch.setitem(tables.books, "layers", replace(book, study={**book.study, "by": "md"}))
    assert [claim.of for claim in tables.claims_of("layers")] == [claim.of for claim in claims]


def test_that_the_first_layers_matter_most_is_asked_of_margins_too(judged: Run) -> None:
    claims = {claim.of: claim for claim in judged[1].claims_of("layers")}
    assert list(claims) == ["text", "BLiMP", "BLiMP, margins", "TSE", "TSE, margins"]
    first = where(judged[1]["layers"], set="top", family="alone", score="blimp", last_layer=0).iloc[0]
    others = where(judged[1]["layers_contrasts"], score="blimp", against="first group")
    less, more = (int((others["nats_finding"] == finding).sum()) for finding in ("gain", "harm"))
    claim = claims["BLiMP, margins"]
    assert claim.finding == "more harm than each of the 3 others"
    assert (claim.scale, claim.answer, less, more) == ("nats", "holds", 3, 0)
    ends = ("change_nats", "change_nats_low", "change_nats_high")
    assert (claim.estimate, claim.low, claim.high) == tuple(first[name] for name in ends)
    assert claims["TSE, margins"].answer == "cannot be judged"


def _as_if(folder: Path, share: float, by: str) -> Any:
    """The run, as if its sets were of another share and ranking."""
    run = read_run(folder)
    part = run.parts["layers"]
    tables = {**part.tables, "layers_by_group": part.tables["layers_by_group"].assign(share=share)}
    analyses = {**run.manifest["analyses"], "layers": {**run.manifest["analyses"]["layers"], "by": by}}
    manifest = {**run.manifest, "analyses": analyses}
    return replace(run, manifest=manifest, parts={**run.parts, "layers": replace(part, tables=tables)})


@pytest.mark.parametrize(("share", "by"), [(0.9, "wd"), (0.01, "md")])
def test_the_papers_number_on_npi_licensing_stands_beside_no_other_quantity(judged: Run, share: float, by: str) -> None:
    assert not any(figure.name.startswith("layers_npi") for figure in figures(_as_if(judged[0], share, by)))


def test_npi_licensing_has_intervals_and_margins(judged: Run, tmp_path: Path) -> None:
    run = _as_if(judged[0], 0.01, "wd")
    (figure,) = (figure for figure in figures(run) if figure.name.startswith("layers_npi"))
    labels = ["change in % right (points)", "change of the margin (nats per token)"]
    assert [panel.y.label for panel in figure.panels] == labels
    assert [any(line.paper for line in panel.references) for panel in figure.panels] == [True, False]
    rows = where(judged[1]["layers_by_group"], score="tse", family="alone", set="top")
    columns = (("change", "low", "high"), ("change_nats", "change_nats_low", "change_nats_high"))
    for panel, names, unit in zip(figure.panels, columns, (100, 1), strict=True):
        mean, *each = panel.series
        assert mean.y.tolist() == pytest.approx((rows.groupby("last_layer")[names[0]].mean() * unit).tolist())
        assert [series.name for series in each] == ["npi_across_anim", "npi_across_inanim"]
        for series in each:
            own = where(rows, group=series.name)[list(names)].to_numpy(float) * unit
            np.testing.assert_allclose(np.column_stack([series.y, series.low, series.high]), own)
    assert np.isfinite(figure.panels[1].series[1].low).all()  # type: ignore[arg-type]
    assert len(write_figures([run], tmp_path, ["svg", "png"], only=["layers_npi"])) == 2


def test_settings_choose_groups_families_and_sets(fields: dict[str, Any], model: Model, tmp_path: Path) -> None:
    settings = {"groups": 2, "families": ["cumulative"], "random": 0, "share": 0.5, "by": "md"}
    given = {**fields, "tse": [], "layers": [1, 2, 3], "analyses": {"layers": settings}}
    tables = run_study(configure(given), tmp_path / "run", model=model)
    rows = where(tables["layers"], score="perplexity")
    assert rows["layers"].tolist() == ["1-2", "1-3"]
    assert rows["neurons"].tolist() == [2 * 24, 3 * 24]
    assert set(tables["layers"]["set"]) == {"top"}
    assert set(tables["layers_contrasts"]["against"]) == {"one group less"}
    assert tables["layers_by_group"]["group"].unique().tolist() == ["agreement", "binding"]
    with pytest.raises(SelectionError, match="no layer 7"):
        run_study(configure({**given, "layers": [7]}), tmp_path / "none", model=model)


def test_text_alone(fields: dict[str, Any], model: Model, tmp_path: Path) -> None:
    tables = run_study(configure({**fields, "blimp": [], "tse": []}), tmp_path / "run", model=model)
    assert set(tables["layers"]["score"]) == {"perplexity"}
    assert tables["layers_by_group"].empty
    assert tables["layers_by_group"].dtypes["change"] == "float64"


def test_layers_without_neurons_are_in_no_group(fields: dict[str, Any], tmp_path: Path) -> None:
    hybrid = tiny("nemotron_h", num_hidden_layers=4, layers_block_type=["mamba", "mlp", "attention", "mlp"])
    tables = run_study(configure({**fields, "tse": []}), tmp_path / "run", model=hybrid)
    assert where(tables["layers"], set="top", score="blimp")["layers"].tolist() == ["1", "3", "1", "1, 3"]


def test_on_a_mixture_of_experts_with_means(fields: dict[str, Any], tmp_path: Path) -> None:
    moe = tiny("qwen2_moe")
    given = {**fields, "tse": [], "random": 1, "zero": None, "mode": "mean"}
    tables = run_study(configure(given), tmp_path / "run", model=moe)
    scan = ns.scan(moe, fields["text"], window=32, windows=20, md_pairs=64)
    with ns.intervene(moe, scan.top(0.2).restrict([0, 1]), mode="mean", scan=scan):
        expected = ns.perplexity(moe, fields["text"], window=32).value
    row = where(tables["layers"], set="top", family="cumulative", last_layer=1, score="perplexity").iloc[0]
    assert row["value"] == pytest.approx(expected, rel=1e-9)


def test_on_a_relu_model_all_is_null(fields: dict[str, Any], tmp_path: Path) -> None:
    tables = run_study(configure(fields), tmp_path / "run", model=tiny("opt"))
    rows = where(tables["layers"], set="top")
    assert (rows["change"] == (rows["score"] == "perplexity")).all()
    assert set(rows["finding"]) <= {"undecided", "cannot be judged"}
    said = tables.sentences("layers")
    assert "Perplexity, each group of layers alone: no harm is shown in any of 4." in said
    (parts,) = (line for line in said if line.startswith("BLiMP by phenomenon, each group of layers alone: "))
    assert "cannot be judged (the plain model's accuracy of " in parts


def test_a_model_that_cannot_be_taken_up_between_layers_gets_whole_passes(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    sharing = tiny(
        "gemma3n_text",
        num_hidden_layers=4,
        num_kv_shared_layers=2,
        layer_types=["sliding_attention", "full_attention"] * 2,
        activation_sparsity_pattern=[0.0] * 4,
    )
    tables = run_study(configure({**fields, "blimp": [], "random": 0}), tmp_path / "run", model=sharing)
    assert any("layers common to several conditions were run for each of them" in n for n in tables.manifest["notes"])
    scan = ns.scan(sharing, fields["text"], window=32, windows=20, md_pairs=64)
    with ns.intervene(sharing, scan.top(0.2).restrict([3]), zero="negative"):
        expected = ns.perplexity(sharing, fields["text"], window=32).value
    row = where(tables["layers"], family="alone", last_layer=3, score="perplexity").iloc[0]
    assert row["value"] == pytest.approx(expected, rel=1e-9)


def test_equal_changes_are_told_from_different_ones(model: Model) -> None:
    scan = ns.scan(model, [WORDS], window=32, windows=10, md_pairs=0)
    top = scan.top(0.2)
    whole, part = changes_of(top, "zero_negative", 4), changes_of(top.restrict([1, 2]), "zero_negative", 4)
    assert part == ("", whole[1], whole[2], "")
    assert len({*whole, *changes_of(top, "zero_both", 4), *changes_of(scan.top(0.3), "zero_negative", 4)}) == 12


@pytest.mark.shared
def test_real_model_on_real_data(stories260k_path: Path, shared_data: Path, tmp_path: Path) -> None:
    text = tmp_path / "wiki.txt"
    text.write_text((shared_data / "wikitext2" / "wiki.valid.raw").read_text()[:40_000])
    study = configure(
        {
            "model": str(stories260k_path),
            "text": str(text),
            "windows": 4,
            "perplexity_windows": 8,
            "blimp": str(shared_data / "blimp"),
            "limit": 1,
            "random": 1,
            "draws": 200,
            "analyses": {"layers": {"share": 1.0}},
        }
    )
    tables = run_study(study, tmp_path / "run")
    rows = where(tables["layers"], score="perplexity", set="top", family="cumulative")
    assert rows["last_layer"].tolist() == [0, 1, 2, 3, 4]
    assert rows["change"].iloc[-1] > rows["change"].iloc[0] > 1
    assert rows["finding"].iloc[-1] == "harm"


@pytest.mark.parametrize(("finding", "answer"), [("harm", "holds"), ("undecided", "undecided"), ("gain", "undecided")])
def test_what_does_no_harm_does_not_matter_most(finding: str, answer: str) -> None:
    alone = pd.DataFrame([{"finding": finding, "change": 0.01, "change_low": 0.002, "change_high": 0.02, "reason": ""}])
    others = pd.DataFrame({"finding": ["gain"] * 3, "reason": [""] * 3})
    (claim,) = _first_most("text", "ratio", 0.01, alone, others)
    assert claim.answer == answer


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        (["gain", "gain"], "more harm than each of the 2 others"),
        (["harm"], "less harm than the other group"),
        (["gain", "undecided", "harm"], "more harm than 1 and less than 1 of the 3 others"),
        (["harm", "undecided", "harm"], "less harm than 2 of the 3 others"),
        (["gain", "undecided", "cannot be judged"], "more harm than 1 of the 3 others (1 cannot be judged)"),
        (["undecided", "undecided"], "not shown to differ from any of the 2 others"),
    ],
)
def test_differences_that_are_not_shown_are_not_counted(findings: list[str], said: str) -> None:
    """ "More harm than none" would read as a finding."""
    alone = pd.DataFrame([{"finding": "harm", "change": 0.01, "change_low": 0.002, "change_high": 0.02, "reason": ""}])
    others = pd.DataFrame({"finding": findings, "reason": ""})
    (claim,) = _first_most("text", "ratio", 0.01, alone, others)
    assert claim.finding == said

"""The atlas: tables as in plain formulas, planted drivers found, hostile text shown as text, records reused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt  # rich brings it along

from negspace.analyses.atlas.columns import TABLES
from negspace.analyses.atlas.drivers import fit_and_drive
from negspace.analyses.atlas.figures import figures
from negspace.analyses.atlas.pages import _alone, _modes, mark_spaces
from negspace.analyses.atlas.tables import _neurons, in_words, over_represented, said
from negspace.analyses.atlas.words import _driven, alone_in_words, sentences
from negspace.experiment.book import Book
from negspace.experiment.chosen import names_of, spread
from negspace.experiment.config import configure
from negspace.experiment.passages import Passages, make_passages
from negspace.experiment.run import Part, Run
from negspace.intervention import intervene
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.neurons.neuronset import NeuronSet
from negspace.reference import text_path
from negspace.report.details import details
from negspace.runs.store import Store
from negspace.score.pairs import minimal_pairs
from negspace.significance import correct
from negspace.stats.readings import batches_of, readings
from negspace.study.reading import read_run
from negspace.study.run import run_study
from negspace.study.tables import Tables
from negspace.wording import escape
from zoo import build, tokenizer

SETTINGS = {
    "tokens": 1500,
    "window": 48,
    "neurons": 4,
    "permutations": 199,
    "pairs": 3,
    "ablate_alone": 2,
    "examples": 3,
}


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Model:
    return load(str(tiny_model_path))


@pytest.fixture(scope="module")
def passages(model: Model) -> Passages:
    return make_passages(model, str(text_path()), tokens=1500, window=48)


@pytest.fixture(scope="module")
def fields(tiny_fields: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_fields, "text": str(text_path()), "analyses": {"atlas": SETTINGS}}


@pytest.fixture(scope="module")
def run(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    folder = tmp_path_factory.mktemp("runs") / "atlas"
    return folder, run_study(configure(fields), folder)


@pytest.fixture(scope="module")
def activations(run: tuple[Path, Tables], model: Model, passages: Passages) -> pd.DataFrame:
    """The neurons at all tokens, read again."""
    indices: dict[int, list[int]] = {}
    for row in run[1]["atlas"].itertuples():
        indices.setdefault(row.layer, []).append(row.neuron)
    neurons = NeuronSet.from_indices(model, indices)
    return spread(readings(model, batches_of(passages.windows), neurons.indices), passages.windows.tokens.size)


def test_documented_columns(run: tuple[Path, Tables]) -> None:
    folder, tables = run
    assert set(tables.by_analysis["atlas"]) == set(TABLES)
    for name, columns in ((name, table.names) for name, table in TABLES.items()):
        assert list(tables[name].columns) == list(columns)
        assert len(tables[name])
        read = pd.read_parquet(folder / "tables" / f"{name}.parquet")
        assert read.shape == tables[name].shape
        assert pd.read_csv(folder / "tables" / f"{name}.csv").shape == read.shape


def test_the_neurons_are_those_of_highest_score(run: tuple[Path, Tables]) -> None:
    table = run[1]["atlas"]
    scan = pd.read_parquet(run[0] / "scan.parquet")
    assert table["wd"].is_monotonic_decreasing
    for layer in (0, 1):
        best = scan[scan["layer"] == layer].nlargest(2, "wd")["neuron"]
        assert set(table[table["layer"] == layer]["neuron"]) == set(best)


def test_modes_and_histograms_hold_every_token(run: tuple[Path, Tables], activations: pd.DataFrame) -> None:
    for row in run[1]["atlas"].itertuples():
        modes = run[1]["atlas_modes"].query("name == @row.name")
        values = activations[row.name].to_numpy()
        assert len(modes) == row.modes == len(json.loads(row.mode_means))
        assert modes["tokens"].sum() == row.tokens == len(values)
        assert modes["low"].min() == pytest.approx(values.min(), abs=1e-5)
        assert modes["high"].max() == pytest.approx(values.max(), abs=1e-5)
        bins = run[1]["atlas_histograms"].query("name == @row.name")
        assert bins["count"].sum() == len(values)
        assert bins["gaussian"].sum() == pytest.approx(len(values))
        assert bins["mixture"].sum() == pytest.approx(len(values))
        assert (bins["low"].abs() < 1e-9).any() or values.min() > 0 or values.max() < 0
        inside = bins.iloc[1:-1]
        for one in inside.iloc[::9].itertuples():
            count = int(((values >= one.low) & (values < one.high)).sum())
            assert abs(one.count - count) <= 1  # float32 beside float64 at an edge


def test_drivers_against_a_plain_count(run: tuple[Path, Tables], activations: pd.DataFrame, passages: Passages) -> None:
    drivers = run[1]["atlas_drivers"]
    assert set(drivers["kind"]) <= {"token", "upos", "dep", "phenomenon"}
    assert {"token", "phenomenon"} <= set(drivers["kind"])
    for name, mine in drivers.groupby("name"):
        modes = run[1]["atlas_modes"].query("name == @name").set_index("mode")
        values = activations[name].to_numpy()
        for row in mine[mine["kind"] == "token"].itertuples():
            has = (passages.tokens["name"] == row.value).to_numpy()
            assert row.tokens == has.sum()
            assert row.base == pytest.approx(modes.loc[row.mode, "share"])
            assert row.lift == pytest.approx(row.count / row.tokens / row.base) or row.base == 0
            assert -1 < row.excess < 1
            low, high = modes.loc[row.mode, ["low", "high"]]
            assert row.count <= (has & (values >= low - 1e-5) & (values <= high + 1e-5)).sum()
        for _, part in mine.groupby("kind"):
            expected = correct(part["p"].to_numpy(np.float64), "benjamini-hochberg").p
            assert np.allclose(part["p_bh"], expected, equal_nan=True)
            assert part.groupby("value")["count"].sum().eq(part.groupby("value")["tokens"].first()).all()


def test_finds_planted_drivers(passages: Passages) -> None:
    frame = passages.tokens
    rng = np.random.default_rng(0)
    special = frame["name"] == frame["name"].value_counts().index[1]
    values = np.where(special, rng.normal(4, 0.5, len(frame)), rng.normal(-1, 1, len(frame)))
    items = pd.DataFrame(
        [
            {"paradigm": f"p{n}", "phenomenon": "high" if n < 4 else "low", "index": i, "sentence": "good", "number": 0,
             "token": "x", "neuron": (4.0 if n < 4 else -1.0) + 0.1 * i, "noise": rng.normal()}
            for n in range(12)
            for i in range(3)
        ]
    )  # fmt: skip
    activations = pd.DataFrame({"neuron": values, "noise": rng.normal(size=len(frame))})
    fitted, drivers = fit_and_drive(4, activations, frame, {"blimp": items}, permutations=999)
    assert len(fitted["neuron"]) == 2
    assert len(fitted["noise"]) == 1
    assert set(drivers["name"]) == {"neuron"}  # one mode has nothing to drive it
    tokens = drivers[(drivers["kind"] == "token") & (drivers["mode"] == 1)].set_index("value")
    assert tokens["lift"].idxmax() == frame["name"][special].iloc[0]
    assert tokens.loc[tokens["lift"].idxmax(), "p"] == 0.001
    groups = drivers[(drivers["kind"] == "phenomenon") & (drivers["mode"] == 1)].set_index("value")
    assert groups.loc["high", "lift"] == pytest.approx(3)
    assert groups.loc["high", "p"] < 0.01
    assert groups.loc["low", "lift"] == 0
    assert groups["excess"].to_dict() == pytest.approx({"high": 2 / 3, "low": -1 / 3})


def test_examples_show_the_text_and_its_activations(
    run: tuple[Path, Tables], activations: pd.DataFrame, passages: Passages
) -> None:
    names, texts = passages.tokens["name"].to_numpy(), passages.tokens["text"].to_numpy()
    for row in run[1]["atlas_examples"].itertuples():
        at = 48 * row.window + row.place
        context, values = json.loads(row.context), json.loads(row.activations)
        begin = at - row.focus
        assert context == texts[begin : begin + len(context)].tolist()
        assert row.token == names[at]
        assert np.allclose(values, activations[row.name].to_numpy()[begin : begin + len(values)], atol=1e-4)
        assert row.activation == pytest.approx(values[row.focus], abs=1e-4)
    for _, part in run[1]["atlas_examples"].groupby(["name", "mode"]):
        assert part["activation"].is_monotonic_increasing


def test_alone_equals_scores_under_the_intervention(
    run: tuple[Path, Tables], model: Model, tiny_pairs_path: Path
) -> None:
    table, neurons = run[1]["atlas_alone"], run[1]["atlas"]
    assert list(table["name"].drop_duplicates()) == neurons["name"].head(2).tolist()
    first = neurons.iloc[0]
    before = minimal_pairs(model, tiny_pairs_path / "blimp", limit=4)
    with intervene(model, NeuronSet.from_indices(model, {int(first["layer"]): [int(first["neuron"])]}), "negative"):
        after = minimal_pairs(model, tiny_pairs_path / "blimp", limit=4)
    margin = after.items["good"] - after.items["bad"] - before.items["good"] + before.items["bad"]
    for row in table[(table["name"] == first["name"]) & (table["suite"] == "blimp")].itertuples():
        here = before.items["phenomenon"] == row.group
        assert row.margin == pytest.approx(margin[here].mean(), abs=1e-5)
        assert row.accuracy == pytest.approx((after.items["outcome"][here] == "right").mean())
    mine = table[table["name"] == first["name"]]
    judged = mine[mine["margin_p"].notna()]
    assert set(judged["suite"]) == {"blimp"}  # four pairs of a construction are too few
    assert first["hurts"] == judged.iloc[0]["group"]
    assert judged["margin"].is_monotonic_increasing


def test_findings_on_a_neuron_alone_follow_from_its_corrected_p_values(run: tuple[Path, Tables]) -> None:
    table = run[1]["atlas_alone"]
    for prefix, change in (("", "change"), ("margin_", "margin")):
        for _, rows in table.groupby(["name", "suite"]):
            expected = correct(rows[f"{prefix}p"].to_numpy(np.float64)).p
            assert np.allclose(rows[f"{prefix}p_holm"], expected, equal_nan=True)
        for _, row in table.iterrows():
            p = row[f"{prefix}p_holm"]
            shown = "undecided" if p > 0.05 else "harm" if row[change] < 0 else "gain"
            assert row[f"{prefix}finding"] == ("cannot be judged" if np.isnan(p) else shown)
            assert (row[f"{prefix}reason"] != "") == np.isnan(p)


def test_what_ablation_alone_does_is_said_as_far_as_it_is_shown(run: tuple[Path, Tables]) -> None:
    table = run[1]["atlas_alone"]
    lines = [line for line in run[1].sentences("atlas") if "ablated alone" in line]
    pages = details(read_run(run[0])).pages
    for name, line in zip(table["name"].unique(), lines, strict=True):
        rows = table[table["name"] == name]
        assert line == f"Neuron {name} ablated alone (zero_negative): {alone_in_words(rows)}."
        assert f"Ablated alone: {alone_in_words(rows)}." in pages[name]["texts"]
    rows = table[(table["name"] == table["name"].iloc[0]) & (table["suite"] == "blimp")]
    ends = {"margin_low": rows["margin"] - 0.1, "margin_high": rows["margin"] + 0.1, "margin_p_holm": 0.6}
    shown = rows.assign(margin_finding="undecided", **ends)
    first = shown.iloc[0]
    line = alone_in_words(shown)
    margin = "the margin of good over bad sentences"
    assert line.startswith(f"no harm to {margin} is shown in {len(rows)} groups, the lowest judged change in ")
    assert f" in {first['group']}: undecided, {first['margin']:+.3f} nats [{first['margin_low']:+.3f}, " in line
    assert f"Holm-corrected p = 0.600; accuracy in {first['group']}: " in line
    # Harm is said of the group where it is shown, not of that of the lowest estimate.
    last = [*["undecided"] * (len(rows) - 1), "harm"]
    harmed = alone_in_words(shown.assign(margin_finding=last, margin=-0.2, margin_p_holm=1e-4))
    assert harmed.startswith(f"harm to {margin} in 1 of {len(rows)} groups, the largest shown in ")
    assert f" in {rows.iloc[-1]['group']}: -0.200 nats" in harmed
    assert f"-0.200 nats [{shown.iloc[-1]['margin_low']:+.3f}, " in harmed
    assert "p < 0.001" in harmed
    nothing = {"margin_low": np.nan, "margin_high": np.nan, "margin_p_holm": np.nan}
    unjudged = rows.assign(margin_finding="cannot be judged", margin_reason="only 3 pairs; add pairs", **nothing)
    said_of = alone_in_words(unjudged)
    assert said_of.startswith("on the margin of good over bad sentences cannot be judged (only 3 pairs; add pairs); ")
    gained = alone_in_words(shown.assign(margin_finding="gain", margin=0.2))
    assert f" in {first['group']}: gain, +0.200 nats" in gained
    assert not any("nan" in text for text in (*lines, line, harmed, said_of, gained))
    assert not any("harm to" in text and "no harm to" not in text for text in (line, said_of, gained))


def test_suites_are_told_apart_where_a_neuron_is_ablated_alone(run: tuple[Path, Tables]) -> None:
    """Margins of BLiMP are sums over tokens, those of TSE means: neither is the lowest of both, nor in one count."""
    table = run[1]["atlas_alone"]
    name = table["name"].iloc[0]
    for _, rows in table.groupby(["name", "suite"]):
        assert rows["margin"].is_monotonic_increasing
    assert table.groupby("name")["suite"].unique().map(list).tolist() == [["blimp", "tse"]] * 2
    ends = {"margin_low": -1.0, "margin_high": 1.0, "margin_p_holm": 0.001, "margin_finding": "harm"}
    rows = table[table["name"] == name].assign(margin=lambda t: np.where(t["suite"] == "tse", -0.9, -0.1), **ends)
    blimp, tse = (rows[rows["suite"] == suite] for suite in ("blimp", "tse"))
    line = alone_in_words(rows)
    assert line == f"BLiMP: {alone_in_words(blimp)}. TSE: {alone_in_words(tse)}"
    margin = "harm to the margin of good over bad sentences in"
    assert line.startswith(f"BLiMP: {margin} {len(blimp)} of {len(blimp)} groups, the largest shown in ")
    assert f" in {blimp.iloc[0]['group']}: -0.100 nats [" in line
    assert f". TSE: {margin} {len(tse)} of {len(tse)} groups, the largest shown in {tse.iloc[0]['group']}: " in line
    alpha = run[1].books["atlas"].alpha
    scan, names = pd.read_parquet(run[0] / "scan.parquet"), [name]
    scan = scan.assign(name=names_of(scan), negative_excess=0.0).set_index("name")
    made = _neurons(names, scan, {}, pd.DataFrame({"name": []}), rows.iloc[::-1], alpha).iloc[0]
    assert (made["hurts"], made["hurts_margin"]) == (tse.iloc[-1]["group"], -0.9)  # of the suite that comes first
    made = _neurons(names, scan, {}, pd.DataFrame({"name": []}), rows, alpha).iloc[0]
    assert (made["hurts"], made["hurts_margin"]) == (blimp.iloc[0]["group"], -0.1)
    judged = {"margin_low": -1.0, "margin_high": 1.0, "margin_p_holm": 0.5}
    read = read_run(run[0])
    part = read.parts["atlas"]
    made = replace(part, tables={**part.tables, "atlas_alone": table.assign(**judged)})
    (figure,) = [one for one in figures(replace(read, parts={"atlas": made})) if one.name == "atlas_alone"]
    assert [panel.title for panel in figure.panels] == ["BLiMP", "TSE"]
    counts = [f"{len(table[table['suite'] == suite])}" for suite in ("blimp", "tse")]
    assert figure.caption.startswith(
        f"The {counts[0]} largest of {counts[0]} judged changes on BLiMP and the {counts[1]} largest of {counts[1]} "
        "judged changes on TSE of good minus bad sentence"
    )


def test_what_cannot_be_judged_has_no_numbers(run: tuple[Path, Tables]) -> None:
    table = run[1]["atlas_alone"]
    unjudged = table["margin_finding"] == "cannot be judged"
    assert set(table[unjudged]["suite"]) == {"tse"}
    (figure,) = [figure for figure in figures(read_run(run[0])) if figure.name == "atlas_alone"]
    (panel,) = figure.panels
    assert len(panel.series[0].x) == (~unjudged).sum()
    assert not any("nan" in label for label in panel.series[0].labels)
    page = _alone({"atlas_alone": table}, run[1].books["atlas"], 0.05)
    of_tse = [line.split(" | ") for line in page if line.startswith("| tse")]
    assert of_tse
    assert all(cells[3:6] == ["n/a", "", "n/a"] for cells in of_tse)
    accuracy = table[table["finding"] == "cannot be judged"]
    assert [line.split(" | ")[6] for line in page if line.startswith("|")].count("n/a") == len(accuracy)


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, "is zero, left of which the intervention acts."),
        ({"zero": "both"}, "is zero."),
        ({"mode": "sign_flip"}, "is zero, left of which the intervention acts."),
        ({"mode": "relu_on_positives"}, "is zero."),
    ],
)
def test_the_figure_says_which_side_of_zero_is_changed(
    run: tuple[Path, Tables], changes: dict[str, Any], ends: str
) -> None:
    read = read_run(run[0])
    figure = figures(replace(read, manifest={**read.manifest, "study": {**read.study, **changes}}))[0]
    assert figure.caption.endswith(f"The vertical line {ends}")


def test_titles_of_the_figure_count_components_and_peaks(run: tuple[Path, Tables]) -> None:
    read = read_run(run[0])
    part = read.parts["atlas"]
    atlas = part.tables["atlas"].assign(modes=[1, 2, 3, 4], peaks=[1, 1, 2, 3])
    made = replace(read, parts={"atlas": replace(part, tables={**part.tables, "atlas": atlas})})
    titles = [panel.title.partition(": ")[2] for panel in figures(made)[0].panels]
    expected = ["1 component, 1 peak", "2 components, 1 peak", "3 components, 2 peaks", "4 components, 3 peaks"]
    assert titles == expected


def test_a_signed_score_ranks_from_its_highest_value(fields: dict[str, Any], tmp_path: Path) -> None:
    """The most negative mean is the lowest: its neuron is neither first nor ablated alone."""
    settings = {**SETTINGS, "permutations": 99, "ablate_alone": 1, "pairs": 1}
    given = {**fields, "by": "mean_negative", "tse": [], "analyses": {"atlas": settings}}
    tables = run_study(configure(given), tmp_path / "run")
    scan = pd.read_parquet(tmp_path / "run" / "scan.parquet")
    means = scan.set_index(pd.Index(names_of(scan)))["mean_negative"]
    names = tables["atlas"]["name"].tolist()
    assert means[names].is_monotonic_decreasing
    assert names[0] == means.idxmax()
    assert set(tables["atlas_alone"]["name"]) == {names[0]}


def test_the_neurons_of_the_figure_are_called_by_what_ranks_them(run: tuple[Path, Tables]) -> None:
    read = read_run(run[0])
    other = replace(read, manifest={**read.manifest, "study": {**read.study, "by": "md"}})
    captions = [figures(one)[0].caption for one in (read, other)]
    assert captions[0].startswith("Pre-activations of the neurons furthest from Gaussian, on the passages")
    assert captions[1].startswith("Pre-activations of the top neurons by md, on the passages")


@pytest.mark.parametrize(
    ("p", "base", "words"),
    [
        (0.3, 0.4, "Nothing is shown to fall in it more or less often than by chance."),
        (np.nan, 0.0, "more or less often than by chance cannot be judged (no token falls in it)."),
        (np.nan, 1.0, "more or less often than by chance cannot be judged (every token falls in it)."),
        (np.nan, 0.4, "more or less often than by chance cannot be judged (there are too few passages"),
    ],
)
def test_that_nothing_is_shown_to_drive_a_mode_is_not_said_to_be_nothing(p: float, base: float, words: str) -> None:
    about = {"mode": 1, "mean": 0.0, "std": 1.0, "share": 0.4, "low": -1.0, "high": 1.0, "fraction_negative": 0.5}
    drivers = pd.DataFrame([{**_row("x", 1.1, 0.1, p), "base": base}] * 2)
    rows = {"atlas_modes": pd.DataFrame([about]), "atlas_drivers": drivers}
    page = "\n".join(_modes({**rows, "atlas_examples": pd.DataFrame({"mode": []})}, 0.05))
    assert words in page
    assert ("Nothing" in page) == np.isfinite(p)


def _row(value: str, lift: float, excess: float, p_bh: float = 0.001, kind: str = "token") -> dict[str, Any]:
    about = {"name": "5.450", "mode": 1, "kind": kind, "value": value, "tokens": 9, "count": 4, "base": 0.4}
    return {**about, "lift": lift, "excess": excess, "p": p_bh, "p_bh": p_bh}


def test_only_what_the_test_says_is_over_represented() -> None:
    rows = [_row("both", 2.0, 0.1, 0.05), _row("topic", 1.8, -0.2), _row("rare", 0.5, -0.2), _row("hidden", 0.9, 0.1)]
    drivers = pd.DataFrame([*rows, _row("chance", 3.0, 0.3, 0.051)])
    assert over_represented(drivers, 0.05)["value"].tolist() == ["both"]
    assert in_words(drivers, 0.05) == "token 'both' ×2.0"
    about = {"mode": 1, "mean": 0.0, "std": 1.0, "share": 0.4, "low": -1.0, "high": 1.0, "fraction_negative": 0.5}
    tables = {"atlas_modes": pd.DataFrame([about]), "atlas_drivers": drivers}
    page = _modes({**tables, "atlas_examples": pd.DataFrame({"mode": []})}, 0.05)
    assert [line for line in page if line.startswith("Tokens")] == [
        "Tokens, more than elsewhere: both (×2, 4 of 9).",
        "Tokens, more than elsewhere in the same passages, but not over all: hidden (×0.9, 4 of 9).",
        "Tokens, less than elsewhere: rare (×0.5, 4 of 9).",
        "Tokens, less than elsewhere in the same passages, but not over all: topic (×1.8, 4 of 9).",
    ]


@pytest.mark.parametrize(
    ("modes", "peaks", "first"),
    [
        ([2, 4], [1, 2], "Atlas: of 2 neurons from the top 5% by wd, 1 has more than one peak; a mixture has 3.0 "
         "components on average."),
        ([2], [1], "Atlas: of 1 neuron from the top 5% by wd, 0 have more than one peak; a mixture has 2.0 "
         "components on average."),
        ([2, None], [2, None], "Atlas: of 2 neurons from the top 5% by wd (1 reached by tokens of the passages), 1 has "
         "more than one peak; a mixture has 2.0 components on average."),
        ([None], [None], "Atlas: of 1 neuron from the top 5% by wd, none was reached by a token of the passages."),
    ],
)  # fmt: skip
def test_sentences_count_as_they_should(modes: list[Any], peaks: list[Any], first: str) -> None:
    neurons = pd.DataFrame({"modes": pd.array(modes, "Int64"), "peaks": pd.array(peaks, "Int64")})
    drivers = pd.DataFrame([_row(",", 31.0, 0.2), _row("topic", 50.0, -0.2), _row("INTJ", 2.0, -0.1, kind="upos")])
    book = Book({"alpha": 0.05}, {"share": 0.05, "by": "wd"}, {}, lambda _: None)  # type: ignore[arg-type]
    assert sentences(book, {"atlas": neurons, "atlas_drivers": drivers}) == [
        first,
        "No part of speech is shown to be over-represented in a mode of any of them.",
        "Some token is over-represented in a mode of 1 of the 1 tested (Holm-corrected over neurons, p <= 0.05); the "
        "largest lift is 31.0 for ',' in mode 1 of neuron 5.450.",
    ]
    earlier = drivers.assign(excess=np.nan)  # as of a record without it
    assert sentences(book, {"atlas": neurons, "atlas_drivers": earlier}) == [first]


def test_contrasts(run: tuple[Path, Tables]) -> None:
    table = run[1]["atlas_contrasts"]
    assert set(table["suite"]) == {"blimp", "tse"}
    assert (table["apart"] >= table["difference"].abs() - 1e-9).all()
    assert table["parted"].between(0, 1).all()


def test_pages(run: tuple[Path, Tables]) -> None:
    names = run[1]["atlas"]["name"]
    assert {path.name for path in (run[0] / "atlas").iterdir()} == {f"{name}.md" for name in names}
    page = (run[0] / "atlas" / f"{names[0]}.md").read_text()
    assert page.startswith(f"# Neuron {names[0]}\n")
    for heading in ("## Mode 1", "## Where good and bad sentences differ", "## Ablated alone (zero_negative)"):
        assert heading in page
    assert "**" in page
    assert len(run[1].sentences("atlas")) >= 3


def test_nothing_is_computed_twice_and_the_batch_does_not_matter(
    run: tuple[Path, Tables], fields: dict[str, Any], tmp_path: Path
) -> None:
    folder = run[0]
    before = {path.name: path.read_bytes() for path in (folder / "cells").iterdir()}
    pages = {path.name: path.read_bytes() for path in (folder / "atlas").iterdir()}
    stamp = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    run_study(configure(fields), folder)
    assert {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()} == stamp
    run_study(configure({**fields, "batch": 5}), tmp_path / "other")
    part = Store(folder).read_manifest()["analyses"]["atlas"]
    for key in (part["activations"], part["drivers"], part["critical"]["tse"]):
        assert (tmp_path / "other" / "cells" / f"{key}.parquet").read_bytes() == before[f"{key}.parquet"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "other" / "atlas").iterdir()} == pages


def test_without_pairs(fields: dict[str, Any], tmp_path: Path) -> None:
    settings = {**SETTINGS, "neurons": 2, "fewest": 30}
    tables = run_study(configure({**fields, "blimp": [], "tse": [], "analyses": {"atlas": settings}}), tmp_path / "run")
    assert {"atlas_alone", "atlas_contrasts"}.isdisjoint(tables)
    assert tables["atlas"]["hurts_margin"].isna().all()
    assert "## Mode 1" in (tmp_path / "run" / "atlas" / f"{tables['atlas']['name'][0]}.md").read_text()


def test_predictions_over_several_sentences_have_no_differing_token(fields: dict[str, Any], tmp_path: Path) -> None:
    items = [
        {
            "item_number": at,
            "conditions": [
                {"condition_name": name, "regions": [{"region_number": 1, "content": f"The {noun} {verb}"}]}
                for name, verb in (("match", "barks ."), ("mismatch", "bark ."))
            ],
        }
        for at, noun in enumerate(("cat", "dog", "bird"), start=1)
    ]
    formula = "(1;%match%) < (1;%mismatch%)"
    suite = {"meta": {"name": "number", "metric": "sum"}, "predictions": [{"formula": formula}], "items": items}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    settings = {**SETTINGS, "neurons": 2, "fewest": 30, "ablate_alone": 1}
    given = {**fields, "tse": [], "pairs": [str(tmp_path / "suite.json")], "analyses": {"atlas": settings}}
    tables = run_study(configure(given), tmp_path / "run")
    assert set(tables.manifest["analyses"]["atlas"]["critical"]) == {"blimp"}
    assert set(tables["atlas_contrasts"]["suite"]) == {"blimp"}
    assert set(tables["atlas_alone"]["suite"]) == {"blimp", "pairs"}
    assert any(" Pairs: " in sentence for sentence in tables.sentences("atlas"))


def test_a_neuron_without_modes_has_no_text() -> None:
    atlas = TABLES["atlas"].of([{"name": "0.3.7"}])
    run = Run("made up", {"study": {"alpha": 0.05}}, {"atlas": Part("atlas", "Atlas", {"atlas": atlas}, TABLES)})
    assert details(run).pages["0.3.7"]["texts"] == []


def test_experts(fields: dict[str, Any], tmp_path: Path) -> None:
    model = wrap(build("mixtral"), tokenizer())
    text = tmp_path / "words.txt"
    text.write_text(" ".join(f"w{number}" for number in np.random.default_rng(0).integers(3, 96, size=2500)))
    settings = {**SETTINGS, "neurons": 3, "window": 32, "ablate_alone": 0, "tagger": None}
    given = {**fields, "text": str(text), "window": 32, "blimp": [], "tse": [], "analyses": {"atlas": settings}}
    tables = run_study(configure(given), tmp_path / "run", model=model)
    table = tables["atlas"]
    assert (table["branch"] == "experts").all()
    assert table["name"].str.count(r"\.").eq(2).all()
    assert (table["tokens"].dropna() < 1500).all()
    assert tables["atlas_examples"]["activations"].str.contains("null").any()


def test_hostile_text_is_shown_as_text() -> None:
    hostile = "<script>alert('x')</script> [a](javascript:b) `c` **d** | & \\ https://e.example www.e.example $x$"
    shown = escape(hostile)
    for part in ("<", "[a]", "s://", "www.", "**"):
        assert part not in shown
    commonmark = MarkdownIt("commonmark").enable("table")
    page = commonmark.render(f"- +0.12: {shown}\n\n| a |\n| --- |\n| {shown} |\n")
    assert "<script" not in page
    assert "<a " not in page
    assert "<code" not in page
    assert "<strong" not in page
    assert page.count("<td") == 1
    assert page.count("&lt;script&gt;alert('x')&lt;/script&gt; [a](javascript:b) `c` **d** | &amp; \\ https") == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a⏎b⇥c"),
        ("\u202eabc", "\\\\u\\{202e\\}abc"),
        ("\x00", "\\\\u\\{0\\}"),
        ("\ud800", "\\\\u\\{d800\\}"),
        (" the", " the"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape(text) == shown
    assert escape(text).encode()


def test_names_of_tokens_in_words() -> None:
    assert mark_spaces(" the") == "␣the"
    assert mark_spaces("  ") == "␣␣"
    assert said(" the", "token") == "'the'"
    assert said("NOUN", "upos") == "NOUN"
    assert said(" ", "token") == "' '"
    assert said("\n", "token") == "'\\n'"


def test_few_of_many_neurons_without_drivers_are_said_to_have_one() -> None:
    rng, said_of = np.random.default_rng(0), 0
    for _ in range(200):
        rows = pd.DataFrame({"name": np.repeat([f"n{n}" for n in range(24)], 10), "p": rng.random(240)})
        rows["p_bh"] = np.concatenate(
            [correct(part.to_numpy(), "benjamini-hochberg").p for _, part in rows.groupby("name", sort=False)["p"]]
        )
        said_of += bool(_driven(rows, 0.05))
    assert said_of <= 20
    rows.loc[rows["name"] == "n7", "p_bh"] = 0.001
    assert "n7" in _driven(rows, 0.05)

"""Dose and intervention: figures against plain calls, repeated sets, thresholds, sign against magnitude, mixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import negspace as ns
import zoo
from negspace.analyses.dose import axis
from negspace.analyses.dose.analysis import Dose, DoseSettings
from negspace.analyses.dose.columns import QUESTIONS
from negspace.analyses.dose.tables import answer, doubling
from negspace.analyses.dose.words import sentences
from negspace.errors import StudyError
from negspace.experiment.condition import with_means
from negspace.experiment.config import configure
from negspace.experiment.lab import Lab
from negspace.experiment.workbench import Workbench
from negspace.intervention import INTERVENTIONS
from negspace.models.load import wrap
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.store import Store
from negspace.study.registry import sections
from negspace.study.run import run_study
from negspace.study.tables import Tables

Run = tuple[Path, Tables]
WORDS = " ".join(f"w{3 + (7 * n * n + n) % 90}" for n in range(1200))
SETTINGS = {"shares": [0.3, 0.02, 0.03], "random": 2}


@pytest.fixture(scope="module")
def fields(tiny_fields: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_fields, "shares": [0.3], "analyses": {"dose": SETTINGS}}


@pytest.fixture(scope="module")
def run(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("dose") / "run"
    return folder, run_study(configure(fields), folder)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fields of a study on a model of the zoo: its words as text, and pairs of two phenomena."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "text.txt").write_text(WORDS)
    for number in range(4):
        rows = [
            {"sentence_good": f"w{a} w{a + 9} w5 .", "sentence_bad": f"w{a} w{a + 20 + number} w5 ."}
            for a in range(3, 9)
        ]
        term = {"UID": f"u{number}", "linguistics_term": ["agreement", "binding"][number % 2], "field": "syntax"}
        (folder / f"u{number}.jsonl").write_text("\n".join(json.dumps({**row, **term}) for row in rows))
    given = {"model": "tiny", "text": str(folder / "text.txt"), "window": 32, "windows": 20, "md_pairs": 64}
    return {**given, "blimp": [str(folder)], "shares": [0.1], "random": 2, "draws": 200}


def where(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    flags = [(table[name] == value).fillna(False).to_numpy(bool) for name, value in values.items()]
    return table[np.logical_and.reduce(flags)]


def test_shares_are_log_spaced_unless_given():
    assert DoseSettings().doses == (0.001, 0.00215, 0.00464, 0.01, 0.0215, 0.0464, 0.1, 0.215, 0.464, 1.0)
    assert DoseSettings(lowest=0.01, highest=0.1, points=3).doses == (0.01, 0.0316, 0.1)
    assert DoseSettings(shares=(0.5, 0.1)).doses == (0.1, 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shares": [0.1, 0.1]}, "each once"),
        ({"shares": [0]}, "above 0 and up to 1"),
        ({"intervention_shares": []}, "intervention_shares must be shares"),
        ({"lowest": 0.5, "highest": 0.5}, "must be below highest"),
        ({"sets": []}, "sets must be given"),
        ({"interventions": ["mean", "mean"]}, "each once"),
        ({"interventions": ["zero"]}, "zero_negative"),
        ({"dose": 1}, "an unknown field 'dose'"),
    ],
)
def test_settings_that_cannot_be_are_named(given, message, tiny_fields):
    with pytest.raises(StudyError, match=message):
        sections(configure({**tiny_fields, "analyses": {"dose": given}}))


def test_figures_equal_plain_calls(run: Run, fields: dict[str, Any]) -> None:
    dose = where(run[1]["dose"], share=0.3, set="top")
    model = ns.load(fields["model"])
    text = fields["text"]
    scan = ns.scan(model, text, window=64, windows=12, md_pairs=64)
    plain = ns.perplexity(model, text, window=64).value
    found = {}
    for name in INTERVENTIONS:
        change: Any = {"zero": name[5:]} if name.startswith("zero_") else {"mode": name, "scan": scan}
        with ns.intervene(model, scan.top(0.3), **change):
            found[name] = ns.perplexity(model, text, window=64).value
        row = where(dose, intervention=name, score="perplexity").iloc[0]
        assert row["value"] == pytest.approx(found[name], rel=1e-9)
        assert row["change"] == pytest.approx(found[name] / plain, rel=1e-9)
        assert row["change_low"] <= row["change"] <= row["change_high"]
    with ns.intervene(model, scan.bottom(0.3), zero="negative"):
        blimp = ns.minimal_pairs(model, fields["blimp"], limit=4)
    low = where(run[1]["dose"], share=0.3, set="bottom", score="blimp", intervention="zero_negative").iloc[0]
    assert low["value"] == pytest.approx(blimp.accuracy)
    contrast = where(run[1]["sign_or_magnitude"], set="top", score="perplexity", second="negative_mean")
    flipped = where(contrast, first="sign_flip").iloc[0]
    assert flipped["difference"] == pytest.approx(found["sign_flip"] / found["negative_mean"], rel=1e-9)


def test_a_set_that_two_shares_give_is_computed_once_and_said_to_repeat(run: Run, fields: dict[str, Any]) -> None:
    # ceil(0.02 * 63) = ceil(0.03 * 63) = 2 neurons of each of two layers
    dose = where(run[1]["dose"], intervention="zero_negative", score="perplexity")
    for kind in ("top", "random mean", "bottom"):
        rows = where(dose, set=kind).sort_values("share")
        assert rows["neurons"].tolist() == [4, 4, 38]
        assert rows["first_share"].tolist() == [0.02, 0.02, 0.3]
        assert rows["value"].iloc[0] == rows["value"].iloc[1] != rows["value"].iloc[2]
        if kind == "random mean":  # two sets, too few to judge
            assert set(rows["finding"]) == {"cannot be judged"}
        else:
            assert rows["p_holm"].iloc[0] == rows["p_holm"].iloc[1] <= 2 * rows["p"].iloc[0] + 1e-12
    assert set(run[1]["dose_by_group"]["share"]) == {0.02, 0.3}
    study = configure(fields)
    lab = Lab(study, Workbench(study).describe(), Store(run[0]), None)  # type: ignore[arg-type]
    load = Dose(DoseSettings(**SETTINGS), lab, {}).load()
    assert load.cells == len(list((run[0] / "cells").iterdir())) - 2  # the scan's, and the example tokens'
    assert "3 shares" in load.detail


def test_the_random_mean_is_over_the_sets(run: Run) -> None:
    dose = where(run[1]["dose"], intervention="sign_flip", share=0.3)
    each = where(dose, set="random", score="blimp")["value"]
    mean = where(dose, set="random mean", score="blimp").iloc[0]
    assert mean["sets"] == len(each) == 2
    assert mean["value"] == pytest.approx(each.mean())
    assert mean["sd"] == pytest.approx(each.std())
    each = where(dose, set="random", score="perplexity")["value"]
    mean = where(dose, set="random mean", score="perplexity").iloc[0]
    assert mean["value"] == pytest.approx(np.exp(np.log(each).mean()))
    contrast = where(run[1]["dose_contrasts"], intervention="sign_flip", score="perplexity", against="random").iloc[0]
    assert contrast["reference"] == pytest.approx(mean["value"])
    assert np.isnan(contrast["difference"])
    assert contrast["reason"] == "cannot be judged with 2 random sets; draw 19 or more"
    assert contrast["below"] + contrast["above"] == 2


def test_random_sets_under_two_interventions_are_the_same_sets(run: Run) -> None:
    rows = where(run[1]["sign_or_magnitude"], set="random mean", score="perplexity", second="negative_mean")
    # The sets are paired: no set that was not drawn is spoken of, which would take 19.
    assert set(rows["reason"]) == {"cannot be judged with 2 random sets; draw 5 or more"}


def test_tables_are_as_documented(run: Run) -> None:
    for name, columns in ((name, table.names) for name, table in Dose.schema.items()):
        table = pd.read_parquet(run[0] / "tables" / f"{name}.parquet")
        assert list(table.columns) == list(columns)
        assert len(table)
    groups = run[1]["dose_by_group"]
    assert set(where(groups, score="blimp")["group"]) == {"agreement", "binding"}
    assert set(where(groups, score="tse")["group"]) == {"simple_agrmt", "prep_anim"}
    pairs = where(run[1]["sign_or_magnitude"], set="top", score="tse")[["first", "second"]]
    assert [tuple(pair) for pair in pairs.to_numpy()] == [(first, second) for first, second, _ in QUESTIONS]
    assert len(run[1]["sign_or_magnitude_answer"]) == 2 * 3
    said = run[1].sentences("dose")
    assert sum(sentence.startswith("Sign or magnitude, top 30%") for sentence in said) == 3
    assert any(sentence.startswith("Perplexity, random mean, zero_negative:") for sentence in said)


def test_the_damage_axis_passes_through_the_doses(run: Run) -> None:
    drawn, dose = run[1]["damage_axis"], where(run[1]["dose"], intervention="zero_negative")
    for family in ("top", "bottom"):
        own = where(dose, set=family)
        own = own[own["share"] == own["first_share"]]
        text, blimp = (where(own, score=score).sort_values("share") for score in ("perplexity", "blimp"))
        measured = drawn[(drawn["set"] == family) & drawn["dose"] & (drawn["score"] == "blimp")]
        expected = sorted(zip(text["change"], blimp["change"], strict=True))
        found = where(measured, scale="points").sort_values("ratio")[["ratio", "change"]].to_numpy()
        assert found == pytest.approx(np.array(expected))
        nats = where(measured, scale="nats").set_index("ratio")["change"].sort_index()
        by_ratio = dict(zip(text["change"], blimp["change_nats"], strict=True))
        assert list(nats) == pytest.approx([by_ratio[ratio] for ratio in sorted(by_ratio)])
    start = drawn[~drawn["dose"] & (drawn["ratio"] == 1)]
    assert (start[["change", "low", "high"]] == 0).all(axis=None)
    few = drawn[~drawn["dose"] & (drawn["ratio"] > 1) & (drawn["set"] == "random")]
    assert few[["low", "high"]].isna().all(axis=None), "too few random sets for a band"
    contrasts = run[1]["damage_axis_contrasts"]
    assert len(contrasts) == 2 * 2 * 2
    random = where(contrasts, against="random")
    assert set(random["finding"]) == {"cannot be judged"}
    assert random["difference"].isna().all()
    assert any("at equal perplexity, top against bottom sets" in line for line in run[1].sentences("dose"))
    claims = {claim.of: claim for claim in run[1].claims() if claim.key == "damage"}
    assert claims["BLiMP, against random sets"].scope == "", "no range where nothing can be judged"


def test_a_family_keeps_its_curve_where_the_study_has_a_share_that_it_lacks(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    tables = run_study(configure({**fields, "shares": [0.2]}), tmp_path / "run")
    assert set(tables["damage_axis"]["set"]) == {"top", "random", "bottom"}
    assert set(tables["damage_axis_contrasts"]["against"]) == {"random", "bottom"}


def test_where_text_cannot_be_judged_no_doubling_is_said(fields: dict[str, Any], tmp_path: Path) -> None:
    settings = {"shares": [0.1, 1.0], "sets": ["top"], "interventions": []}
    given = {**fields, "perplexity_windows": 2, "blimp": [], "tse": [], "analyses": {"dose": settings}}
    tables = run_study(configure(given), tmp_path / "run")
    assert tables["dose_thresholds"]["doubling"].notna().all()
    assert tables["dose_thresholds"][["doubling_low", "doubling_high"]].isna().all(axis=None), "of two windows"
    assert tables.sentences("dose") == [
        "Perplexity, top, zero_negative: cannot be judged (only 2 windows; add windows: 8 are needed)."
    ]


def _said(run: Run, begin: str, **changed: dict[str, Any]) -> str:
    """The sentence with that beginning, where rows of BLiMP have other values in some tables."""
    tables = dict(run[1].by_analysis["dose"])
    for name, values in changed.items():
        table = tables[name]
        here = table["score"] == "blimp"
        tables[name] = table.assign(**{
            column: table[column].mask(here, value(table) if callable(value) else value)
            for column, value in values.items()
        })  # fmt: skip
    (line,) = [line for line in sentences(run[1].books["dose"], tables) if line.startswith(begin)]
    return line


def test_pairs_are_told_by_accuracy_and_by_margins(run: Run) -> None:
    """Margins show what accuracy at a floor, or of few pairs, does not."""
    by_share = {"nats_finding": lambda table: np.where(table["share"] > 0.1, "harm", "undecided")}
    begin = "BLiMP, top, zero_negative: "
    assert _said(run, begin).endswith("; by margins the same.")
    unseen = {"finding": "undecided", **by_share}
    assert _said(run, begin, dose=unseen) == (
        f"{begin}no harm is shown at any tested share; by margins harm is first shown at 30% (38 neurons)."
    )
    begin = "BLiMP, zero_negative: the top set against random sets"
    assert _said(run, begin).startswith(f"{begin} at 2 different shares: cannot be judged")
    assert _said(run, begin, dose_contrasts=unseen) == (
        f"{begin} at 2 different shares: no difference is shown; by margins more harm at 30%."
    )
    begin = "Sign or magnitude, top 30%, BLiMP: "
    assert _said(run, begin).startswith(f"{begin}cannot be judged; by margins cannot be judged (sign lost: ")
    lost = {"nats_finding": lambda table: np.where(table["first"] == "sign_flip", "harm", "undecided")}
    said = _said(run, begin, sign_or_magnitude=lost)
    assert said.startswith(f"{begin}cannot be judged; by margins sign more than magnitude (sign lost: ")


def test_a_mean_over_a_range_is_no_change_at_a_point(run: Run) -> None:
    row = {"score": "tse", "scale": "points", "against": "bottom", "reach": 2.1, "finding": "harm", "reason": ""}
    row |= {"difference": -0.032, "low": -0.05, "high": -0.014, "units": "8 constructions, these 3 families"}
    margins = {**row, "scale": "nats", "finding": "gain", "difference": 0.2, "low": 0.1, "high": 0.3}
    table = {"damage_axis_contrasts": pd.DataFrame([row, margins])}
    begin = "at equal perplexity, top against bottom sets"
    assert axis.sentences(table) == [
        f"TSE {begin}: more harm in these 3 families, -3.2 points [-5.0, -1.4] on average from x 1 to x 2.1 in "
        "perplexity.",
        f"TSE, margins {begin}: less harm in these 3 families, +0.200 nats per token [+0.100, +0.300] on average from "
        "x 1 to x 2.1 in perplexity.",
    ]
    on_accuracy, on_margins = axis.claims(table)
    assert (on_accuracy.finding, on_accuracy.scope) == (
        "more harm",
        "these 3 families, in the mean from x 1 to x 2.1 in perplexity",
    )
    whole, _ = axis.claims({"damage_axis_contrasts": pd.DataFrame([{**row, "units": "12 phenomena"}, margins])})
    assert whole.scope == "the mean from x 1 to x 2.1 in perplexity"
    assert (on_margins.of, on_margins.scale) == ("TSE, margins, against bottom sets", "nats per token")
    doubling = {"doubling": 0.0231, "doubling_low": 0.02, "doubling_high": 0.025}
    tables = {**run[1].by_analysis["dose"]}
    tables["dose_thresholds"] = tables["dose_thresholds"].assign(**doubling)
    tables["dose"] = tables["dose"].assign(finding="harm", neurons=1)
    (line,) = [one for one in sentences(run[1].books["dose"], tables) if "doubles" in one and ", top, " in one]
    assert "(1 neuron); perplexity doubles at 2.31% [2%, 2.5%], interpolated between shares." in line


def test_curves_alone(fields: dict[str, Any], run: Run) -> None:
    settings = {"shares": [0.3], "sets": ["top"], "interventions": []}
    tables = run_study(configure({**fields, "analyses": {"dose": settings}}), run[0].parent / "alone")
    assert len(tables["dose"]) == 2 * 3
    assert tables["dose_contrasts"].empty
    assert tables["sign_or_magnitude"].empty
    assert tables["dose_thresholds"].empty  # one share is no curve
    assert tables["dose_contrasts"].dtypes["difference"] == "float64"


def test_doubling_is_read_off_the_curve():
    shares = np.array([0.01, 0.1, 1.0])
    exact = np.array([0.0, np.log(2) / 2, 1.5 * np.log(2)])
    noise = np.random.default_rng(0).normal(0, 0.2, (3, 40))
    curve = exact[:, None] + noise - noise.mean(axis=1, keepdims=True)
    options: dict[str, Any] = {"level": 0.95, "draws": 500, "seed": 0}
    estimate, low, high = doubling(shares, curve, **options)
    assert estimate == pytest.approx(np.sqrt(0.1))  # half way from 0.1 to 1 on the log scale
    assert low < estimate < high
    assert doubling(shares, curve - 5, **options) == (np.inf, np.inf, np.inf)
    early = doubling(shares, np.full((3, 1), 2 * np.log(2)), **options)
    assert early[0] == pytest.approx(0.005)
    assert np.isnan(early[1:]).all()
    sometimes = curve.copy()
    sometimes[2] -= curve[2].mean() - np.log(2) - 0.01
    assert doubling(shares, sometimes, **options)[2] == np.inf
    for windows in (2, 4, 5):
        found = doubling(shares, curve[:, :windows], **options)
        assert np.isfinite(found[0])
        assert np.isnan(found[1:]).all() == (windows < 5), "resampled means lie between the least and the largest"


def test_the_doubling_of_the_random_mean_is_that_of_sets_not_drawn() -> None:
    shares = np.array([0.01, 0.1, 1.0])
    exact = np.array([0.0, np.log(2) / 2, 1.5 * np.log(2)])
    windows = np.random.default_rng(0).normal(0, 0.01, (3, 1, 40))
    windows -= windows.mean(axis=2, keepdims=True)
    apart = np.random.default_rng(1).normal(0, 0.3, 10)
    sets = exact[:, None, None] + windows + (apart - apart.mean())[:, None]
    options: dict[str, Any] = {"level": 0.95, "draws": 500, "seed": 0}
    estimate, low, high = doubling(shares, sets, **options)
    mean = doubling(shares, sets.mean(axis=1), **options)
    assert estimate == pytest.approx(mean[0]) == pytest.approx(np.sqrt(0.1))
    # What the sets differ by is in it: on the windows alone it would be sure to three digits.
    assert np.log(high / low) > 5 * np.log(mean[2] / mean[1])
    # A resample of sets is off by some standard errors of their mean, in nats; the curve rises ln 2 from 0.1 to 1.
    wide = np.log(10) / np.log(2) * 2 * 2.26 * apart.std(ddof=1) / np.sqrt(10)
    assert 0.6 * wide < np.log(high / low) < 2 * wide
    few = doubling(shares, sets[:, :4], **options)
    assert np.isfinite(few[0])
    assert np.isnan(few[1:]).all()


def test_the_threshold_of_two_random_sets_has_no_interval(run: Run) -> None:
    rows = where(run[1]["dose_thresholds"], score="perplexity").set_index("set")
    ends = ["doubling_low", "doubling_high"]
    assert rows.loc["random mean", ends].isna().all()
    assert rows.loc[["top", "bottom"], ends].notna().all(axis=None)


def test_answers_do_not_take_a_difference_of_findings_for_a_finding_of_difference():
    null = "undecided"
    assert answer(null, null, null) == "neither shown to harm" == answer(null, "gain", "harm")
    assert answer("harm", null, "harm") == answer("harm", "harm", "harm") == "sign more than magnitude"
    assert answer(null, "harm", "gain") == "magnitude more than sign"
    assert answer("harm", "harm", null) == "both, no difference shown"
    assert answer("cannot be judged", "cannot be judged", "cannot be judged") == "cannot be judged"
    assert answer("harm", null, null) == "sign, not shown to harm more than magnitude"
    assert answer(null, "harm", null) == "magnitude, not shown to harm more than sign"


def test_on_a_mixture_of_experts(words: dict[str, Any], tmp_path: Path) -> None:
    model = wrap(zoo.build("qwen2_moe", scale=2.0), zoo.tokenizer(), "tiny")
    study = configure({**words, "analyses": {"dose": {"shares": [0.1, 1.0]}}})
    tables = run_study(study, tmp_path / "run", model=model)
    dose = where(tables["dose"], intervention="zero_negative", score="perplexity")
    # ceil(0.1 * 191) + ceil(0.1 * 23) of the experts and the shared MLP of each of two layers
    assert where(dose, set="top")["neurons"].tolist() == [2 * (20 + 3), 2 * (191 + 23)]
    assert (where(dose, set="top")["change"] != 1).all()
    assert set(tables["dose"]["intervention"].dropna()) == set(INTERVENTIONS)


def test_on_a_relu_model_zeroing_negatives_is_nothing(words: dict[str, Any], tmp_path: Path) -> None:
    model = wrap(zoo.build("opt", scale=2.0), zoo.tokenizer(), "tiny")
    settings = {"shares": [0.1, 1.0], "interventions": ["zero_negative", "sign_flip", "negative_mean", "zero_positive"]}
    tables = run_study(configure({**words, "analyses": {"dose": settings}}), tmp_path / "run", model=model)
    rows = tables["dose"][tables["dose"]["intervention"].isin(["zero_negative", "sign_flip", "negative_mean"])]
    assert (rows["change"] == (rows["score"] == "perplexity")).all()
    assert set(rows["finding"]) <= {"undecided", "cannot be judged"}
    assert (where(tables["dose"], intervention="zero_positive", score="perplexity")["change"] != 1).all()
    answers = tables["sign_or_magnitude_answer"]
    assert (where(answers, set="top", score="perplexity")["answer"] == "neither shown to harm").all()
    assert set(answers["answer"]) == {"neither shown to harm", "cannot be judged"}


def test_neurons_without_a_mean_stay_as_they_are() -> None:
    model = wrap(zoo.build("mixtral"), zoo.tokenizer(), "tiny")
    made = ns.scan(model, [WORDS], window=32, windows=10, md_pairs=0)
    made.table.loc[(made.table["layer"] == 1) & (made.table["expert"] == 2), "mean"] = np.nan
    layout = made.info.layout
    chosen = NeuronSet({path: np.arange(size) for path, size in layout.sizes.items()}, layout, "all")
    kept = with_means(chosen, made)
    width = layout.sites[1].width
    assert len(chosen) - len(kept) == width
    left = np.setdiff1d(chosen.indices[layout.sites[1].path], kept.indices[layout.sites[1].path])
    assert left.tolist() == list(range(2 * width, 3 * width))
    assert with_means(kept, made) is kept


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
            "analyses": {"dose": {"shares": [0.05, 0.3, 1.0], "interventions": []}},
        }
    )
    tables = run_study(study, tmp_path / "run")
    rows = where(tables["dose"], score="perplexity", set="top").sort_values("share")
    assert (rows["change"].diff().dropna() > 0).all()
    assert rows["change"].iloc[-1] > 2
    threshold = where(tables["dose_thresholds"], set="top", score="perplexity").iloc[0]
    assert 0.05 < threshold["doubling_low"] <= threshold["doubling"] <= threshold["doubling_high"] <= 1
    assert len(where(tables["dose_by_group"], set="top", share=1.0)["group"]) == 12

"""Is it WD: sets by other statistics, overlaps, correlations and ablations against plain calls; mixtures of experts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import negspace as ns
import zoo
from negspace.analyses.rankings import tables, words
from negspace.analyses.rankings.analysis import Rankings, RankingsSettings
from negspace.analyses.rankings.columns import CORRELATED, TABLES
from negspace.analyses.rankings.figures import figures
from negspace.analyses.rankings.sets import RESIDUAL, choose, defined, statistic
from negspace.errors import RecordError, StudyError
from negspace.experiment.config import configure
from negspace.experiment.lab import Lab
from negspace.experiment.run import Part
from negspace.experiment.run import Run as Shown
from negspace.experiment.workbench import Workbench
from negspace.models.load import wrap
from negspace.runs.store import Store
from negspace.significance.ranks import spearman
from negspace.stats.wasserstein import gaussian_negative_share
from negspace.study.registry import sections
from negspace.study.run import run_study
from negspace.study.tables import Tables

Run = tuple[Path, Tables]
WORDS = " ".join(f"w{3 + (7 * n * n + n) % 90}" for n in range(1200))
SETTINGS = {"ends": ["top", "bottom"], "random": 2}
STATISTICS = ("wd", "md", "skewness", "kurtosis", "bimodality", "std", "negative_share", RESIDUAL)


@pytest.fixture(scope="module")
def fields(tiny_fields: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_fields, "shares": [0.3], "analyses": {"rankings": SETTINGS}}


@pytest.fixture(scope="module")
def run(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("rankings") / "run"
    return folder, run_study(configure(fields), folder)


@pytest.fixture(scope="module")
def scan(run: Run) -> ns.Scan:
    return ns.Scan.load(run[0] / "scan.parquet")


def where(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    flags = [(table[name] == value).fillna(False).to_numpy(bool) for name, value in values.items()]
    return table[np.logical_and.reduce(flags)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"by": ["size"]}, "by: Input should be 'wd'"),
        ({"by": []}, "by must be given"),
        ({"ends": ["top", "top"]}, "each once"),
        ({"shares": [1.5]}, "up to 1"),
        ({"rank": 1}, "an unknown field 'rank'"),
    ],
)
def test_settings_that_cannot_be_are_named(given, message, tiny_fields):
    with pytest.raises(StudyError, match=message):
        sections(configure({**tiny_fields, "analyses": {"rankings": given}}))
    assert RankingsSettings(by=("md",), residual=False).statistics == ("wd", "md")


def test_sets_are_those_of_the_scan(scan: ns.Scan) -> None:
    table, layout = scan.table, scan.info.layout
    paths = list(layout.sizes)
    for name in STATISTICS[:-1]:
        assert choose(table, layout, 0.3, name, "top", paths) == scan.top(0.3, by=name)
        assert choose(table, layout, 0.1, name, "bottom", paths) == scan.bottom(0.1, by=name)
        assert defined(table, layout, name) == tuple(paths)
    assert choose(table, layout, 0.3, "md", "top", paths[:1]) == scan.top(0.3, by="md", layers=[0])
    assert choose(table, layout, 0.3, "md", "top", paths).origin == "top 30% by md"


def test_the_residual_is_what_skewness_and_kurtosis_leave(scan: ns.Scan) -> None:
    made = statistic(scan.table, scan.info.layout, RESIDUAL)
    for layer in (0, 1):
        here = (scan.table["layer"] == layer).to_numpy()
        for name in ("skewness", "kurtosis"):
            ranks = stats.rankdata(statistic(scan.table, scan.info.layout, name)[here])
            assert np.corrcoef(made[here], ranks)[0, 1] == pytest.approx(0, abs=1e-9)
        assert stats.spearmanr(made[here], scan.table["wd"][here]).statistic > 0.1


def test_figures_equal_plain_calls(run: Run, fields: dict[str, Any], scan: ns.Scan) -> None:
    model = ns.load(fields["model"])
    text = fields["text"]
    plain = ns.perplexity(model, text, window=64).value
    rows = where(run[1]["rankings"], score="perplexity")
    found = {}
    for name, end in (("wd", "top"), ("md", "top"), ("kurtosis", "bottom")):
        with ns.intervene(model, getattr(scan, end)(0.3, by=name), zero="negative"):
            found[name, end] = ns.perplexity(model, text, window=64).value
        row = where(rows, by=name, end=end).iloc[0]
        assert row["value"] == pytest.approx(found[name, end], rel=1e-9)
        assert row["change"] == pytest.approx(found[name, end] / plain, rel=1e-9)
    contrast = where(run[1]["rankings_contrasts"], by="md", end="top", score="perplexity", against="wd").iloc[0]
    assert contrast["difference"] == pytest.approx(found["md", "top"] / found["wd", "top"], rel=1e-9)
    assert contrast["common"] == len(scan.top(0.3, by="md") & scan.top(0.3))
    against = where(run[1]["rankings_contrasts"], by="wd", end="top", score="blimp", against="random").iloc[0]
    mean = where(run[1]["rankings"], by="random mean", end="top", score="blimp").iloc[0]
    assert against["reference"] == pytest.approx(mean["value"])
    assert np.isnan(against["difference"])
    assert against["reason"].startswith("cannot be judged with")


def test_overlaps_are_those_of_the_sets(run: Run, scan: ns.Scan) -> None:
    table = where(run[1]["rankings_overlap"], end="top", first="md", second="skewness")
    one, two = scan.top(0.3, by="md"), scan.top(0.3, by="skewness")
    whole = table[table["layer"].isna()].iloc[0]
    assert whole["common"] == len(one & two)
    assert whole["jaccard"] == pytest.approx(len(one & two) / len(one | two))
    first = where(table, layer=0).iloc[0]
    assert first["common"] == len((one & two).restrict([0]))
    assert first["branch"] == "mlp"
    assert first["expected_low"] <= first["expected"] <= first["expected_high"]
    assert len(run[1]["rankings_overlap"]) == 2 * 28 * 3  # ends, pairs of 8 statistics, all and two layers


def test_correlations_are_spearmans(run: Run, scan: ns.Scan) -> None:
    table = where(run[1]["rankings_correlation"], first="wd", second="md")
    each = [scan.table[scan.table["layer"] == layer] for layer in (0, 1)]
    expected = [stats.spearmanr(part["wd"], part["md"]).statistic for part in each]
    assert where(table, layer=1)["rho"].iloc[0] == pytest.approx(expected[1])
    whole = table[table["layer"].isna()].iloc[0]
    assert whole["rho"] == pytest.approx(np.mean(expected))
    assert (whole["sites"], whole["neurons"]) == (2, 128)
    pairs = len(CORRELATED) * (len(CORRELATED) - 1) // 2
    assert len(run[1]["rankings_correlation"]) == pairs * 3
    signed = where(run[1]["rankings_correlation"], first="skewness", second="signed_skewness", layer=0).iloc[0]
    assert signed["rho"] == pytest.approx(stats.spearmanr(each[0]["skewness"].abs(), each[0]["skewness"]).statistic)
    corrected = where(run[1]["rankings_correlation"], first="wd", second="negative_excess", layer=0).iloc[0]
    zero = -each[0]["mean"] / each[0]["std"]
    excess = each[0]["negative_share"] - gaussian_negative_share(zero.to_numpy())
    assert corrected["rho"] == pytest.approx(stats.spearmanr(each[0]["wd"], excess).statistic)
    partial = where(run[1]["rankings_partial"], first="wd", second="md", layer=0).iloc[0]
    given = [each[0]["skewness"].abs(), each[0]["kurtosis"]]
    made = spearman(each[0]["wd"], each[0]["md"], given=given)
    assert (partial["partial"], partial["low"]) == pytest.approx((made.estimate, made.low))
    assert 0 < partial["explained"] < 1
    assert partial["given"] == "skewness, kurtosis"


def test_tables_are_as_documented(run: Run, fields: dict[str, Any]) -> None:
    for name, columns in ((name, table.names) for name, table in TABLES.items()):
        table = pd.read_parquet(run[0] / "tables" / f"{name}.parquet")
        assert list(table.columns) == list(columns)
        assert len(table)
    rows = where(run[1]["rankings"], score="tse", end="top")
    assert rows["by"].tolist() == [*STATISTICS, "random mean"]
    study = configure(fields)
    lab = Lab(study, Workbench(study).describe(), Store(run[0]), None)  # type: ignore[arg-type]
    load = Rankings(RankingsSettings(**SETTINGS), lab, {}).load()
    # Without the cells of the scan and of the examples; no two of these sets coincide.
    assert load.cells == len(list((run[0] / "cells").iterdir())) - 2
    said = run[1].sentences("rankings")
    assert said[0].startswith("Rank correlation with WD, mean over sites: MD ")
    assert sum("against the set by WD" in sentence for sentence in said) == 2 * 3
    assert any("the plain model: WD " in one and "; random sets " in one for one in said), "as figures name them"


def test_a_scan_that_no_longer_gives_the_ablated_sets_is_refused(run: Run) -> None:
    manifest = json.loads((run[0] / "run.json").read_text())
    part = manifest["analyses"]["rankings"]
    part["conditions"][0]["key"] = "0" * 64
    book = run[1].books["rankings"]
    with pytest.raises(RecordError, match="another set than was ablated"):
        Rankings.tabulate(type(book)(book.study, part, manifest, book.record))


def test_without_md_it_is_left_out_and_said(fields: dict[str, Any], run: Run) -> None:
    settings = {"by": ["md", "std"], "residual": False, "shares": [0.1], "random": 1}
    given = {**fields, "md_pairs": 0, "blimp": [], "tse": [], "analyses": {"rankings": settings}}
    tables = run_study(configure(given), run[0].parent / "without")
    assert "rankings: no neuron has md; it chooses none" in tables.manifest["notes"]
    assert tables["rankings"]["by"].tolist() == ["plain model", "wd", "std", "random mean"]
    assert tables["rankings_correlation"].query("second == 'md'")["rho"].isna().all()
    assert np.isnan(tables["rankings"]["sd"].iloc[-1])


def test_on_a_mixture_md_is_compared_where_it_is_defined(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(WORDS)
    fields = {"model": "tiny", "text": str(tmp_path / "text.txt"), "window": 32, "windows": 20, "md_pairs": 64}
    model = wrap(zoo.build("qwen2_moe", scale=2.0), zoo.tokenizer(), "tiny")
    study = configure({**fields, "shares": [0.1], "random": 2, "draws": 200, "analyses": {"rankings": SETTINGS}})
    tables = run_study(study, tmp_path / "run", model=model)
    assert any("md is defined at 2 of 4 sites" in note for note in tables.manifest["notes"])
    rows = where(tables["rankings"], end="top")
    # ceil(0.1 * 191) of the experts and ceil(0.1 * 23) of the shared MLP of each of two layers
    assert set(where(rows, within="")["neurons"]) == {2 * (20 + 3)}
    assert where(rows, within="md")["by"].tolist() == ["wd", "md", "random mean"]
    assert set(where(rows, within="md")["neurons"]) == {2 * 3}
    assert "md" not in set(where(rows, within="")["by"])
    overlaps = where(tables["rankings_overlap"], end="top", first="wd", second="md")
    assert overlaps[overlaps["layer"].isna()]["first_neurons"].tolist() == [6]
    assert where(overlaps, branch="experts")["jaccard"].isna().all()
    assert where(overlaps, branch="shared")["jaccard"].notna().all()
    correlations = where(tables["rankings_correlation"], first="wd", second="kurtosis")
    assert where(correlations, branch="experts")["neurons"].tolist() == [192, 192]
    assert any("(sites that have MD)" in sentence for sentence in tables.sentences("rankings"))


def test_every_branch_of_a_layer_is_drawn() -> None:
    rows = [
        {"layer": layer, "branch": branch, "first": "wd", "second": second, "rho": rho, "low": rho - 0.1, "high": 0.9}
        for second in ("md", "skewness")
        for layer in (1, 0)
        for branch, rho in (("experts", np.nan if second == "md" else 0.1 + layer), ("shared", 0.3 + layer))
    ]
    table = TABLES["rankings_correlation"].of(rows)

    def drawn(table: pd.DataFrame) -> Any:
        parts = {"rankings": Part("rankings", "Rankings", {"rankings_correlation": table}, TABLES)}
        (figure,) = figures(Shown("made up", {"study": {"alpha": 0.05}}, parts))
        return figure

    experts, shared = drawn(table).panels
    assert (experts.title, shared.title) == ("experts", "shared")
    assert [series.name for series in experts.series] == ["WD and |skewness|"]  # routed experts have no MD
    assert [series.y.tolist() for series in experts.series] == [pytest.approx([0.1, 1.1])]
    assert [series.y.tolist() for series in shared.series] == [pytest.approx([0.3, 1.3])] * 2
    # Those of one kind keep their colour in every panel.
    assert experts.series[0].role == shared.series[1].role
    (panel,) = drawn(table[table["branch"] == "shared"]).panels
    assert panel.title == ""


@pytest.mark.shared
def test_real_model_on_real_data(stories260k_path: Path, shared_data: Path, tmp_path: Path) -> None:
    text = tmp_path / "wiki.txt"
    text.write_text((shared_data / "wikitext2" / "wiki.valid.raw").read_text()[:60_000])
    fields = {
        "model": str(stories260k_path),
        "text": str(text),
        "windows": 8,
        "perplexity_windows": 6,
        "shares": [0.05],
    }
    tables = run_study(configure({**fields, "draws": 200, "analyses": ["rankings"]}), tmp_path / "run")
    rho = where(tables["rankings_correlation"], first="wd", second="skewness")
    assert (rho["rho"] > 0.4).all()
    assert (rho["low"] < rho["rho"]).all()
    rows = where(tables["rankings"], score="perplexity")
    assert len(rows) == 10
    assert np.isfinite(rows["change"].iloc[1:]).all()


def test_a_partial_correlation_is_judged_over_sites_and_corrected() -> None:
    sites = [0.2, 0.1, 0.3, -0.05, 0.25, 0.15]
    assert tables.p_of_mean(np.array(sites)) == pytest.approx(stats.ttest_1samp(sites, 0).pvalue)
    assert np.isnan(tables.p_of_mean(np.array(sites[:4])))
    row = {"layer": None, "first": "wd", "second": "md", "given": "skewness", "rho": 0.3, "explained": 0.5}
    rows = [
        {**row, "partial": 0.2, "low": 0.1, "high": 0.3, "p_holm": 0.04},
        {**row, "partial": -0.2, "low": -0.3, "high": -0.1, "p_holm": 0.04},
        {**row, "partial": 0.2, "low": 0.01, "high": 0.3, "p_holm": 0.06},
        {**row, "partial": 0.2, "low": np.nan, "high": np.nan, "p_holm": np.nan},
    ]
    said = words.partial_correlations(pd.DataFrame(rows), 0.05)
    expected = ("positive", "negative", "undecided", "cannot be judged over fewer than 5 sites")
    assert all(f"], {word}; these" in text for word, text in zip(expected[:3], said[:3], strict=True))
    assert expected[3] in said[3]


def test_the_mean_over_too_few_sites_has_no_p(run: Run) -> None:
    table = run[1]["rankings_partial"]
    assert table.loc[table["layer"].isna(), ["p", "p_holm"]].isna().all(axis=None)

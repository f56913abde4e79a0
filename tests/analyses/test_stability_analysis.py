"""Stability over texts: sets, overlaps and ablations against plain calls; what cannot be judged is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import negspace as ns
from negspace.analyses.stability.columns import TABLES
from negspace.analyses.stability.tables import _ablations
from negspace.analyses.stability.words import _ablations as _said
from negspace.errors import SelectionError, StudyError, TextError
from negspace.experiment.book import Book
from negspace.experiment.condition import Condition
from negspace.experiment.config import configure
from negspace.runs.cell import Record
from negspace.study.run import plan_study, run_study
from negspace.study.tables import Tables

Run = tuple[Path, Tables]
SHARE = 0.3


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of another kind than the study's own, which has no digits."""
    path = tmp_path_factory.mktemp("other") / "numbers.txt"
    path.write_text(" ".join(str((n * n * 7919 + n) % 9973) for n in range(1200)))
    return path


@pytest.fixture(scope="module")
def fields(tiny_fields: dict[str, Any], other: Path) -> dict[str, Any]:
    fields = {name: value for name, value in tiny_fields.items() if name != "tse"}
    return {**fields, "shares": [SHARE], "analyses": {"stability": {"texts": [str(other)]}}}


@pytest.fixture(scope="module")
def run(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("stability") / "run"
    return folder, run_study(configure(fields), folder)


@pytest.fixture(scope="module")
def scans(fields: dict[str, Any], other: Path) -> list[ns.Scan]:
    model = ns.load(fields["model"])
    options = {"window": 64, "windows": 12, "md_pairs": 0}
    return [ns.scan(model, text, **options) for text in (fields["text"], str(other))]


def where(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    flags = [(table[name] == value).fillna(False).to_numpy(bool) for name, value in values.items()]
    return table[np.logical_and.reduce(flags)]


def test_texts_are_compared_as_plain_scans_are(run: Run, scans: list[ns.Scan]) -> None:
    found = ns.agreement(scans, SHARE)
    pair = ("text.txt", "numbers.txt")
    row = run[1]["stability_overlap"].iloc[0]
    assert (row["first"], row["second"]) == pair
    assert pd.isna(row["layer"])
    common = found.overlaps[pair]
    assert (row["common"], row["neurons"]) == (common.common, common.neurons)
    assert row["common"] == len(scans[0].top(SHARE) & scans[1].top(SHARE))
    assert row["chance"] * row["neurons"] == pytest.approx(common.chance)
    assert (row["halves_first"], row["halves_between"]) == pytest.approx((common.first, common.between))
    layers = where(run[1]["stability_overlap"], branch="mlp")
    assert layers["common"].sum() == row["common"]
    correlation = run[1]["stability_correlation"].iloc[0]
    assert correlation["rho"] == pytest.approx(found.correlations[pair]["rho"])
    assert correlation["ceiling"] == pytest.approx(found.correlations[pair]["ceiling"])
    assert len(run[1]["stability_correlation"]) == 1 + 2


def test_ablations_equal_plain_calls(run: Run, fields: dict[str, Any], scans: list[ns.Scan]) -> None:
    model = ns.load(fields["model"])
    tops = [scan.top(SHARE) for scan in scans]
    sets = {
        ("top", "text.txt"): tops[0],
        ("top", "numbers.txt"): tops[1],
        ("common", ""): tops[0] & tops[1],
        ("own", "text.txt"): tops[0] - tops[1],
        ("own", "numbers.txt"): tops[1] - tops[0],
    }
    plain = ns.perplexity(model, fields["text"], window=64).value
    table = where(run[1]["stability"], score="perplexity")
    for (role, text), neurons in sets.items():
        row = where(table, set=role, text=text).iloc[0]
        assert row["neurons"] == len(neurons)
        with ns.intervene(model, neurons, zero="negative"):
            assert row["change"] == pytest.approx(ns.perplexity(model, fields["text"], window=64).value / plain)
    saved = ns.NeuronSet.load(run[0] / "neurons" / "top-30pct-by-all-texts.json")
    assert saved == sets["common", ""]


def test_each_part_is_compared_with_random_sets_of_its_size(run: Run) -> None:
    table = run[1]["stability"]
    for role, text in (("common", ""), ("own", "text.txt"), ("own", "numbers.txt")):
        for score, sets in (("perplexity", 19), ("blimp", 5)):
            row = where(table, set=role, text=text, score=score).iloc[0]
            mean = where(table, set="random mean", like=role, text=text, score=score).iloc[0]
            assert (row["random_sets"], mean["drawn"], mean["neurons"]) == (sets, sets, row["neurons"])
            judged = row["random_finding"] in ("harm", "gain", "undecided")
            # The tiny suite has 4 paradigms: its accuracy cannot be judged, and the reason is passed on.
            assert judged or (score == "blimp" and row["random_reason"].startswith("only 4 paradigms"))
    whole = where(table, set="top", text="text.txt", score="perplexity").iloc[0]
    assert pd.isna(whole["random_sets"])
    assert pd.isna(whole["random_finding"])


def test_sentences_and_the_claim(run: Run) -> None:
    said = run[1].sentences("stability")
    row = run[1]["stability_overlap"].iloc[0]
    assert f"{row['common']} of {row['neurons']} neurons, {row['overlap']:.0%} in common" in said[1]
    assert "depends on" not in said[1]
    parts = [line for line in said if line.startswith("Ablation of the ")]
    assert len(parts) == 3 * 2
    assert all("against random sets of equal size: " in line for line in parts)
    (claim,) = run[1].claims()
    assert (claim.key, claim.of) == ("corpus", "text.txt and numbers.txt")
    assert claim.answer == ("undecided" if row["p_holm"] > 0.05 else "holds")
    assert claim.finding in said[1]
    assert row["relative"] == pytest.approx(row["halves_between"] / np.sqrt(row["halves_first"] * row["halves_second"]))


def test_tables_are_as_documented_and_records_suffice(run: Run, fields: dict[str, Any]) -> None:
    for name, table in TABLES.items():
        assert list(run[1][name].columns) == table.names
    again = run_study(configure(fields), run[0])
    for name in TABLES:
        pd.testing.assert_frame_equal(again[name], run[1][name])


def test_other_analyses_keep_their_records(run: Run, fields: dict[str, Any]) -> None:
    """The study's scan, its top set and the plain model are those of a study without this analysis."""
    study = configure({**fields, "matched": False, "analyses": {"ablation": {}}})
    plan = plan_study(study, out=run[0])
    assert plan.loads["scan"].cells == 0
    assert plan.loads["ablation"].cells == plan_study(study).loads["ablation"].cells - 2 * 2


def test_what_cannot_be_judged_has_no_number(fields: dict[str, Any], tmp_path: Path, tiny_text_path: Path) -> None:
    """Texts that choose almost the same neurons at a share of one neuron a layer; no halves, and no random sets."""
    longer = tmp_path / "longer.txt"
    longer.write_text("The dog sees the cat. " + tiny_text_path.read_text())
    given = {**fields, "shares": [0.001], "windows": 1, "random": 0, "perplexity_windows": 4, "blimp": []}
    texts = [*fields["analyses"]["stability"]["texts"], str(longer)]
    made = run_study(configure({**given, "analyses": {"stability": {"texts": texts}}}), tmp_path / "run")
    overlaps = where(made["stability_overlap"], branch="all")
    own = overlaps[overlaps["first"] == "text.txt"]
    assert own["halves_first"].isna().all()
    assert own["relative"].isna().all()
    table = where(made["stability"], score="perplexity")
    small = table[table["set"].isin(["common", "own"]) & (table["neurons"] < 2)]
    assert len(small)
    assert small[["value", "change", "change_low", "difference", "random_p"]].isna().all().all()
    assert set(small["finding"]) == {"cannot be judged"}
    assert small["reason"].str.contains("no set to ablate; give a larger share").all()
    large = table[table["set"].isin(["common", "own"]) & (table["neurons"] >= 2)]
    assert len(large)
    assert large["random_reason"].str.startswith("no random sets").all()
    said = " ".join(made.sentences("stability"))
    assert "nan" not in said
    assert "a scan has no halves" in said
    assert "what the number of tokens allows is not known: the scan has no halves" in said


def test_texts_that_cannot_be_are_refused_before_any_work(
    fields: dict[str, Any], other: Path, tiny_text_path: Path, tmp_path: Path
) -> None:
    copy, short = tmp_path / "copy.txt", tmp_path / "short.txt"
    copy.write_text(tiny_text_path.read_text())
    short.write_text("The cat sees the dog.")
    longer = tmp_path / "longer.txt"
    longer.write_text(tiny_text_path.read_text() + " The end of it is another.")
    out = tmp_path / "run"
    for texts, error, message in (
        ([str(copy)], SelectionError, "copy.txt is the very text of text.txt"),
        ([str(longer)], SelectionError, "longer.txt is the very text of text.txt, or begins with it"),
        ([str(other), str(other)], SelectionError, "is the very text of numbers.txt"),
        ([str(short)], TextError, "short.txt"),
        ([str(tmp_path / "absent.txt")], TextError, "no such file or folder"),
        ([], StudyError, "no second text for the statistics"),
    ):
        with pytest.raises(error, match=message):
            run_study(configure({**fields, "analyses": {"stability": {"texts": texts}}}), out)
        assert not out.exists()


def _record(margins: np.ndarray) -> Record:
    """A record of 240 minimal pairs of twelve paradigms with the given margins."""
    paradigm = np.repeat(np.arange(12), 20)
    columns = {
        "paradigm": [f"p{number}" for number in paradigm],
        "phenomenon": [f"f{number % 6}" for number in paradigm],
        "good": margins,
        "bad": np.zeros(240),
        "outcome": np.where(margins > 0, "right", "wrong"),
    }
    return Record("key", "kind", {}, {}, pd.DataFrame(columns), {})


def test_a_part_is_equivalent_to_the_plain_model_only_within_a_share_of_what_the_whole_loses() -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(1.5, 1, 240)
    lost = {
        ("top", "a"): plain - 2,
        ("top", "b"): plain - 0.02,
        ("common", ""): plain - 2,
        ("own", "a"): plain + rng.normal(0, 0.002, 240),
        ("own", "b"): plain + rng.normal(0, 0.002, 240),
    }
    records = {
        "plain": _record(plain),
        **{f"{role} {text}": _record(margins) for (role, text), margins in lost.items()},
    }
    conditions = [
        Condition(name=key, role=role, share=0.1, neurons=9, cells={"blimp": f"{role} {text}"}, facts={"text": text})
        for (role, text), key in zip(lost, list(records)[1:], strict=True)
    ]
    for n in range(5):
        records[f"random {n}"] = _record(plain + rng.normal(0, 0.002, 240))
        facts = {"text": "a", "part": "own"}
        conditions.append(
            Condition(name=f"random {n}", role="random", share=0.1, cells={"blimp": f"random {n}"}, facts=facts)
        )
    part = {
        "scores": ["blimp"],
        "texts": [{"name": "a"}, {"name": "b"}],
        "baseline": Condition(name="plain model", cells={"blimp": "plain"}).model_dump(mode="json"),
        "conditions": [one.model_dump(mode="json") for one in conditions],
    }
    study = {"alpha": 0.05, "draws": 100, "seed": 0, "shares": [0.1], "margin": 0.05, "margin_share": 0.25}
    table = _ablations(Book(study, part, {}, records.__getitem__))
    found = {(row["set"], row["text"]): row for _, row in table.iterrows()}
    assert found["own", "a"]["finding"] == found["own", "a"]["nats_finding"] == "equivalent"
    assert found["random mean", "a"]["finding"] == "equivalent"
    assert found["common", ""]["finding"] == "harm"
    # The whole of b loses next to nothing: a quarter of that is no margin that anything lies within.
    assert found["own", "b"]["finding"] == "undecided"
    assert table.loc[table["set"] == "top", "margin"].isna().all()
    quarter = -found["top", "a"]["change"] / 4
    assert found["own", "a"]["margin"] == pytest.approx(min(0.05, quarter))
    (line,) = (line for line in _said(table) if "by a and by no other text" in line)
    assert f": equivalent within {min(5, quarter * 100):.2f} points, " in line

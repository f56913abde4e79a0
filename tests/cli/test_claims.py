"""Claims: answers follow from findings alone, and the table has every claim of every run once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt  # rich brings it along

from made_up_run import made_up
from negspace.experiment.claim import Claim, harmed, under
from negspace.neurons import select
from negspace.neurons.overlap import overlap
from negspace.neurons.scan import Scan
from negspace.report.claims import answer, markdown, table, uncorrected
from negspace.study.claims import answers_of, to_json
from negspace.study.tables import Tables

Run = tuple[Path, Tables]
ROW: dict[str, Any] = {
    "score": "blimp", "finding": "harm", "difference": -0.03, "low": -0.05, "high": -0.01, "reason": "", "margin": 0.01,
    "nats_finding": "undecided", "difference_nats": -0.1, "difference_nats_low": -0.3, "difference_nats_high": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("finding", "intact", "expected"),
    [
        ("harm", False, "holds"),
        ("gain", False, "does not hold"),
        ("equivalent", False, "does not hold"),
        ("undecided", False, "undecided"),
        ("cannot be judged", False, "cannot be judged"),
        ("equivalent", True, "undecided"),
        ("harm", True, "does not hold"),
        ("undecided", True, "undecided"),
    ],
)
def test_an_answer_is_what_the_finding_bears(finding: str, intact: bool, expected: str) -> None:
    found = harmed("key", "words", "BLiMP", 0.01, {**ROW, "finding": finding}, intact=intact)
    assert found[0].answer == expected
    assert (found[1].of, found[1].answer) == ("BLiMP, margins", "undecided")


@pytest.mark.parametrize(
    ("finding", "on_margins", "expected"),
    [
        ("equivalent", "equivalent", ["holds", "holds"]),
        ("equivalent", None, ["holds"]),
        ("equivalent", "harm", ["does not hold", "does not hold"]),
        ("equivalent", "cannot be judged", ["undecided", "cannot be judged"]),
        ("undecided", "equivalent", ["undecided", "undecided"]),
        ("harm", "equivalent", ["does not hold", "does not hold"]),
    ],
)
def test_grammar_is_intact_if_neither_scale_loses(finding: str, on_margins: str | None, expected: list[str]) -> None:
    row = {**ROW, "finding": finding, "nats_finding": on_margins, "nats_reason": "few sets"}
    found = harmed("intact", "words", "BLiMP", 0.01, row, intact=True)
    assert [claim.answer for claim in found] == expected
    assert finding != "equivalent" or "equivalent within 1.00 points, -3.0 points" in answer(found[0])


def test_a_claim_says_for_what_it_holds_and_what_its_numbers_are_in() -> None:
    row = {**ROW, "score": "tse", "units": "8 constructions, these 3 families"}
    on_accuracy, on_margins = harmed("ablate", "words", "TSE", 0.01, row)
    assert answer(on_accuracy) == "holds in these 3 families: harm, -3.0 points [-5.0, -1.0]"
    assert answer(on_margins) == "undecided in these 3 families: -0.100 nats per token [-0.300, +0.100]"
    (unjudged, _) = harmed("ablate", "words", "TSE", 0.01, {**row, "finding": "cannot be judged", "reason": "a floor"})
    assert answer(unjudged) == "cannot be judged (a floor)"


def test_of_two_ablations_one_does_more_harm_or_less() -> None:
    row = {**ROW, "finding": "gain", "nats_finding": "harm", "against": "random"}
    assert [one.finding for one in harmed("random", "words", "BLiMP", 0.01, row)] == ["less harm", "more harm"]
    assert [one.answer for one in harmed("random", "words", "BLiMP", 0.01, row)] == ["does not hold", "holds"]
    assert harmed("ablate", "words", "BLiMP", 0.01, {**row, "against": "plain"})[0].finding == "gain"


def test_what_cannot_be_judged_has_no_number() -> None:
    (first, _) = harmed("key", "words", "BLiMP", 0.01, {**ROW, "finding": "cannot be judged", "reason": "too few sets"})
    assert np.isnan(first.estimate)
    assert answer(first) == "cannot be judged (too few sets)"


def test_the_table_has_a_row_a_claim_and_a_column_a_run() -> None:
    one = harmed("ablate", "costs grammar", "BLiMP", 0.01, ROW)
    other = [
        *harmed("ablate", "costs grammar", "BLiMP", 0.05, ROW),
        Claim("relu", "no-op", "", None, "holds", "0 differ"),
    ]
    headings, rows = table({"a|b": one, "c": other})
    assert headings == ["claim", "of", "a|b", "c"]
    assert [row[:2] for row in rows] == [
        ["no-op", ""],
        ["costs grammar", "BLiMP, top 1%"],
        ["costs grammar", "BLiMP, margins, top 1%"],
        ["costs grammar", "BLiMP, top 5%"],
        ["costs grammar", "BLiMP, margins, top 5%"],
    ]
    assert rows[0][2:] == ["not asked", "holds: 0 differ"]
    assert rows[1][2] == "holds: harm, -3.0 points [-5.0, -1.0]"
    assert rows[2][2] == "undecided: -0.100 nats [-0.300, +0.100]"
    assert "a\\|b" in markdown({"a|b": one, "c": other}).splitlines()[0]
    assert markdown({"a": one}).splitlines()[2].endswith("| holds: harm, -3.0 points [-5.0, -1.0] |")


def test_names_are_no_markup_in_markdown() -> None:
    told = Claim("corpus", "words", "<b>x</b>\x1b[31m", None, "undecided", "5% in [a](b)\nand", scope="<i>")
    unjudged = replace(told, key="other", answer="cannot be judged", reason="`few`")
    shown = markdown({"<img src=x onerror=y>|": [told, unjudged]})
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 4
    page = MarkdownIt("commonmark").enable("table").render(shown)
    for markup in ("<img", "<b>", "<i>", "<a ", "<code"):
        assert markup not in page
    assert page.count("<td") == 6


def test_a_study_answers_for_every_share(tiny_run: Run) -> None:
    found = tiny_run[1].claims()
    assert {claim.key for claim in found} == {
        "find", "perplexity", "perplexity random", "ablate", "random", "matched", "intact"
    }  # fmt: skip
    assert {claim.share for claim in found} == {0.1, 0.3}
    scan = Scan.load(tiny_run[0] / "scan.parquet")
    halves = [
        select.top(scan.table.assign(wd=scan.table[name]), scan.info.layout, 0.1) for name in ("wd_first", "wd_second")
    ]
    common = len(halves[0] & halves[1]) / len(halves[0])
    (claim,) = (claim for claim in found if claim.key == "find" and claim.share == 0.1)
    assert claim.estimate == pytest.approx(common)
    p = overlap(*halves).p
    assert claim.answer == ("holds" if 2 * p <= 0.05 else "undecided")  # two shares, and the other's p is smaller
    assert claim.finding.startswith(f"{common:.0%} in common, ")


def test_the_command_prints_them(tiny_run: Run, call: Any) -> None:
    shown = call("claims", tiny_run[0])
    assert shown.status == 0
    assert "Claims of the paper" in shown.out
    as_json = json.loads(call("claims", tiny_run[0], "--json").out, parse_constant=lambda name: pytest.fail(name))
    assert len(as_json[0]["claims"]) == len(tiny_run[1].claims())
    assert call("claims", tiny_run[0], "--markdown").out.startswith("| claim | of | ")
    refused = call("claims", tiny_run[0] / "nowhere")
    assert refused.status == 2


def test_answers_written_as_json_stand_beside_a_run(tiny_run: Run, call: Any, tmp_path: Path) -> None:
    written = tmp_path / "claims.json"
    written.write_text(call("claims", tiny_run[0], "--json").out, encoding="utf-8")
    assert call("claims", written, "--json").out == written.read_text(encoding="utf-8")
    both = json.loads(call("claims", written, tiny_run[0], "--json").out)
    assert [each["run"] for each in both] == [f"{place}: {both[0]['run'][3:]}" for place in (1, 2)]
    assert both[0]["claims"] == both[1]["claims"]


def test_no_json_of_claims_has_a_character_that_a_terminal_obeys(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    below = Claim("ablate", "it costs \x9bgrammar", "BLiMP", 0.01, "undecided", "undecided", "points", 1e-12)
    claim = replace(below, reason="\u202e")
    runs = [replace(made_up(f"{name}\x9b31m"), claims=(claim,)) for name in "ab"]
    runs = [replace(run, manifest={**run.manifest, "identity": {"fingerprint": run.label}}) for run in runs]
    text = to_json([answers_of(run) for run in runs])
    assert text.isascii()
    assert [each["claims"][0]["estimate"] for each in json.loads(text)] == [1e-12] * 2
    monkeypatch.setattr("negspace.study.reading.read_runs", lambda _: runs)
    monkeypatch.setattr("negspace.report.pooled.pooled", lambda _: pd.DataFrame({"run": ["\x9b"], "p": [3e-12]}))
    shown = call("compare", "a", "b", "--json").out
    assert shown.isascii()
    assert json.loads(shown)["pooled"] == [{"run": "\x9b", "p": 3e-12}]


def test_columns_can_be_named(tiny_run: Run, call: Any, tmp_path: Path) -> None:
    written = tmp_path / "claims.json"
    written.write_text(call("claims", tiny_run[0], "--label", "first look", "--json").out, encoding="utf-8")
    both = json.loads(call("claims", tiny_run[0], written, "--label", "all pairs", "--json").out)
    assert [each["run"] for each in both] == ["all pairs", "first look"]
    refused = call("claims", tiny_run[0], "--label", "a", "--label", "b")
    assert refused.status == 2
    assert "2 for 1 run folders" in refused.err


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("no JSON", "a file of another kind"),
        ("[1]", "a file of another kind"),
        ('{"run": "a"}', "a file of another kind"),
        ('[{"run": "a", "fingerprint": "b", "claims": [{"key": "find"}]}]', "claim"),
    ],
)
def test_another_file_is_refused(content: str, found: str, call: Any, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(content, encoding="utf-8")
    refused = call("claims", tmp_path / "other.json")
    assert refused.status == 2
    assert found in refused.err
    assert "--json" in refused.err


def test_data_that_differ_between_runs_are_told(tiny_run: Run, call: Any, tmp_path: Path) -> None:
    (written,) = json.loads(call("claims", tiny_run[0], "--json").out)
    assert set(written["data"]) >= {"text for statistics", "text for perplexity"}
    assert "not the same" not in call("claims", tiny_run[0]).out
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{**written, "data": {**written["data"], "text for perplexity": "sha256 0"}}]))
    shown = call("claims", tiny_run[0], other).out
    assert "text for perplexity: not the same in all runs" in shown
    assert "text for statistics: not the same" not in shown
    # A file of an earlier version does not say what its answers rest on.
    other.write_text(json.dumps([{name: value for name, value in written.items() if name != "data"}]))
    assert "not the same" not in call("claims", tiny_run[0], other).out


def test_warnings_stand_under_markdown_too(tiny_run: Run, call: Any, tmp_path: Path) -> None:
    (written,) = json.loads(call("claims", tiny_run[0], "--json").out)
    below = [{**claim, "low": -0.2, "high": -0.1, "finding": "undecided"} for claim in written["claims"]]
    data = {**written["data"], "text for perplexity": "sha256 0"}
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{**written, "run": "<b>", "claims": below, "data": data}]))
    as_markdown = call("claims", tiny_run[0], other, "--markdown").out
    assert "answers are corrected for the number of tests" in as_markdown
    assert "text for perplexity: not the same in all runs" in as_markdown
    assert "<b>" not in as_markdown


def test_compare_says_what_is_not_corrected(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    below = Claim("ablate", "it costs grammar", "BLiMP", 0.01, "undecided", "undecided", "points", -0.03, -0.05, -0.01)
    runs = [
        replace(run, claims=(below,), manifest={**run.manifest, "identity": {"fingerprint": run.label}})
        for run in map(made_up, "abc")
    ]
    monkeypatch.setattr("negspace.study.reading.read_runs", lambda _: runs)
    shown = " ".join(call("compare", "a", "b", "c").out.split())
    assert "answers are corrected for the number of tests" in shown
    assert "Neither the intervals nor the p-values of pooled effects are corrected" in shown


@pytest.mark.parametrize(
    ("finding", "explained"),
    [
        ("undecided", True),
        ("not established", True),
        # Of several contrasts, and of a crossing: their answer does not hang on the interval printed.
        ("more harm than 2 of the 7 others", False),
        ("interaction only (as claimed; shown on grammar only), no crossover", False),
    ],
)
def test_an_interval_beside_undecided_is_explained_where_one_test_decides(finding: str, explained: bool) -> None:
    claim = Claim("key", "words", "BLiMP", 0.01, "undecided", finding, "points", -0.03, -0.05, -0.01)
    assert bool(uncorrected([claim])) is explained


def test_claims_of_some_layers_are_told_apart() -> None:
    claim = Claim("ablate", "it costs grammar", "BLiMP", 0.01, "holds", "harm")
    assert under(claim, "zero_negative").of == "BLiMP"
    assert under(claim, "zero_negative", layers=(3,)).of == "BLiMP, in layer 3"
    assert under(claim, "sign_flip", "md", (0, 1, 2, 5)).of == "BLiMP, by md, in layers 0-2, 5, sign_flip"
    assert under(replace(claim, key="find"), "sign_flip", layers=(3,)).of == "BLiMP, in layer 3"
    assert under(replace(claim, key="relu"), "sign_flip", "md", (3,)).of == "BLiMP"

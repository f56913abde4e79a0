"""Printing: every condition and verdict is there, foreign text is harmless, JSON is JSON."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from negspace.analyses.ablation.claims import _contrasts as contrast_claims
from negspace.experiment.book import Book
from negspace.report.claims import footnotes
from negspace.report.tables import plain, records, rows, show, to_json
from negspace.study.tables import Tables


def _tables(name: str = "top 1%", phenomenon: str = "agreement") -> Any:
    """Tables of a made-up run, in the layout of the real ones."""
    common = {"seed": None, "neurons": 5, "perplexity_sd": float("nan")}
    suite = {
        "nats": -0.3,
        "nats_low": -0.4,
        "nats_high": -0.2,
        "accuracy": 0.7,
        "accuracy_low": 0.6,
        "accuracy_high": 0.8,
        "accuracy_sd": float("nan"),
        "ties": 2,
    }
    change = {"change": -0.1, "change_low": -0.2, "change_high": -0.05, "p": 0.01, "p_holm": 0.02, "finding": "harm"}
    nats = {"change_nats": -0.3, "change_nats_low": -0.4, "change_nats_high": 0.2, "nats_finding": "undecided"}
    summary = pd.DataFrame(
        [
            {
                **common,
                "condition": condition,
                "role": role,
                "share": share,
                "perplexity": 20.0,
                "perplexity_low": 19.0,
                "perplexity_high": 21.0,
                "ratio": 1.5,
                "ratio_low": 1.4,
                "ratio_high": 1.6,
                **{f"blimp_{key}": value for key, value in (suite | change).items()},
            }
            for condition, role, share in (("baseline", "baseline", None), (name, "top", 0.01))
        ]
    )
    group = pd.DataFrame(
        [
            {"condition": condition, "role": role, "phenomenon": phenomenon, "pairs": 10, **suite, **change, **nats}
            for condition, role in (("baseline", "baseline"), (name, "top"))
        ]
    )
    contrasts = pd.DataFrame(
        [
            {"share": 0.01, "score": "blimp", "set": "top", "against": against, "control": control, "difference": -0.1,
             "low": -0.2, "high": -0.05, "p_holm": 0.02, "finding": finding, "reference": 0.8, "reason": "too few",
             "difference_nats": -0.3, "difference_nats_low": -0.4, "difference_nats_high": -0.2, "nats_finding": "harm",
             "sets": 3.0 if against == "random" else float("nan")}
            for against, control, finding in (
                ("plain", "the plain model", "harm"), ("random", "3 random sets", "cannot be judged")
            )
        ]
    )  # fmt: skip
    part = {"intervention": "zero_negative", "conditions": [], "matches": []}
    manifest = {
        "study": {
            "by": "wd",
            "protocol": "paper",
            "alpha": 0.05,
            "shares": [0.01],
            "matched": False,
            "zero": "negative",
            "mode": None,
        },
        "model": {"name": "tiny", "revision": None},
        "neurons": 128,
        "data": {"statistics": ["train.txt", "x"], "perplexity": ["valid.txt", "y"], "blimp": ["pairs", "z", 10]},
        "rectifies": False,
        "analyses": {"ablation": part},
        "notes": ["a note"],
    }
    made = {"summary": summary, "contrasts": contrasts, "blimp_by_phenomenon": group}
    tables = Tables.__new__(Tables)
    tables.manifest = manifest
    tables.books = {"ablation": Book(manifest["study"], part, manifest, lambda key: pytest.fail(key))}
    tables.by_analysis = {"ablation": made}
    tables.all = made
    # The claim about the halves of the text needs a scan, which is not made up here.
    tables.claims_of = lambda name: list(contrast_claims(tables.books[name], made["contrasts"]))
    return tables


def _printed(tables: Any, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=118, no_color=True)
    show(tables, console, **options)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_summary_has_conditions_figures_and_verdict() -> None:
    text = _printed(_tables())
    for expected in (
        "tiny: ablation",
        "zero_negative on the top neurons by wd",
        "note: a note",
        "top 1%",
        "[19, 21]",
        "70.00",
        "-10.00",
        "-0.300",
    ):
        assert expected in text
    assert "holds: harm, -10.0 points [-20.0, -5.0]" in text
    assert "holds: harm, -0.300 nats [-0.400, -0.200]" in text
    assert "cannot be judged (too few)" in text
    # A line per claim; the rest on demand.
    for more in _DETAIL:
        assert more not in text


_DETAIL = (
    "agreement",
    "Contrasts on the same items",
    "0.020",
    "- Zeroing the negative pre-activations of the top 1%",
    "BLiMP (plain model: 80.0% right): harm, -10.0 points [-20.0, -5.0], margins -0.300 nats [-0.400, -0.200] (harm);",
    "against 3 random sets of equal size: cannot be judged (too few)",
)


def test_detail_adds_contrasts_phenomena_and_sentences() -> None:
    text = _printed(_tables(), detail=True)
    for more in _DETAIL:
        assert more in text


def test_detail_says_margins_beside_accuracy() -> None:
    tables = _tables()
    tables.all["contrasts"].loc[1, ["nats_finding", "nats_reason"]] = ["cannot be judged", "too few"]
    tables.all["contrasts"].loc[1, ["difference_nats", "difference_nats_low", "difference_nats_high"]] = float("nan")
    text = _printed(tables, detail=True)
    contrasts, by_phenomenon = text[text.index("Contrasts on") :].split("BLiMP by phenomenon")
    for part, said in ((contrasts, "harm, -0.300 [-0.400, -0.200]"), (by_phenomenon, "undecided, -0.300")):
        assert "margins (nats)" in " ".join(part.split())
        assert all(word in part for word in said.split()), part
    assert "nan" not in contrasts


def test_no_change_is_shown_that_cannot_be_judged() -> None:
    tables = _tables()
    unjudged = {"low": float("nan"), "high": float("nan")}
    for name in ("summary", "contrasts", "blimp_by_phenomenon"):
        ends = {
            f"{before}{end}": nan
            for before in ("", "change_", "blimp_change_", "ratio_")
            for end, nan in unjudged.items()
        }
        found = tables.all[name]
        tables.all[name] = found.assign(**{column: value for column, value in ends.items() if column in found})
    contrasts = tables.all["contrasts"]
    tables.all["contrasts"] = contrasts.assign(finding="cannot be judged")
    text = _printed(tables, detail=True)
    text = text[: text.index("Verdict on")]
    assert "70.0" in text  # the accuracy itself
    for number in ("1.5000", "-10.00", "-10.0 "):
        assert number not in text


def test_an_interval_that_excludes_no_change_beside_undecided_is_explained() -> None:
    explained = "answers are corrected for the number of tests"
    assert explained not in _printed(_tables())
    tables = _tables()
    tables.all["contrasts"].loc[0, "finding"] = "undecided"  # corrected for many tests, although its interval is < 0
    assert explained in " ".join(_printed(tables).split())


def test_a_reason_in_several_cells_is_a_note() -> None:
    few, once = "cannot be judged (few pairs (of 2); add 3)", "cannot be judged (no scan)"
    body, notes = footnotes([["a", few], ["b", "holds"], ["c", few], ["d", once]])
    assert body == [["a", "cannot be judged [1]"], ["b", "holds"], ["c", "cannot be judged [1]"], ["d", once]]
    assert notes == ["[1] few pairs (of 2); add 3."]


def test_a_control_that_cannot_be_matched_is_said_beside_the_claims() -> None:
    tables = _tables()
    match = {"share": 0.01, "matched": False, "m": None, "reason": "no damage to match", "evaluations": 1}
    tables.books["ablation"].part["matches"].append(match)
    said = "Perplexity-matched control for the top 1%: cannot be matched (no damage to match; 1 evaluation)."
    assert said in _printed(tables)


def test_foreign_text_is_neither_markup_nor_terminal_codes() -> None:
    text = _printed(_tables(name="[red]x[/red]", phenomenon="[link=evil]\x1b[31mp"), detail=True)
    assert "[red]x[/red]" in text
    assert "[link=evil]" in text.replace("\n", "")
    assert "\x1b" not in text


@pytest.mark.parametrize("value", ["[bold]", "[/]", "\x1b]0;title\x07", 3, None])
def test_plain_text_is_what_it_was(value: Any) -> None:
    assert "\x1b" not in plain(value).plain
    assert "\x07" not in plain(value).plain
    if isinstance(value, str) and value.isprintable():
        assert plain(value).plain == value


def test_rows_of_text() -> None:
    console = Console(file=io.StringIO(), width=60)
    console.print(rows("title", [("a", "left"), ("b", "right")], [("[x]", 1)]))
    assert "[x]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_json_is_whole_and_has_no_nan() -> None:
    content = json.loads(to_json(_tables()), parse_constant=lambda name: pytest.fail(name))
    assert content["tables"]["summary"][0]["perplexity_sd"] is None
    assert content["verdict"]
    assert content["run"]["model"]["name"] == "tiny"


def test_json_keeps_all_digits_and_nothing_that_a_terminal_obeys() -> None:
    text = to_json(_tables(name="top\x9b31m\u202e 文"))
    assert text.isascii()
    assert json.loads(text)["tables"]["summary"][1]["condition"] == "top\x9b31m\u202e 文"
    table = pd.DataFrame({"p": [3e-12, 0.1 + 0.2, math.nan, math.inf], "said": ["a", None, "", "b"]})
    table["count"] = pd.array([1, 2**60, None, 4], "Int64")
    table["ok"] = [True, False, True, False]
    rows = [[3e-12, "a", 1, True], [0.1 + 0.2, None, 2**60, False], [None, "", None, True], [None, "b", 4, False]]
    again = json.loads(json.dumps(records(table), allow_nan=False))
    assert [list(row.values()) for row in again] == rows
    assert records(table.astype({"said": "str"})) == again


def test_no_colour_codes_without_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with path.open("w") as file:
        show(_tables(), Console(file=file, width=118))
    assert "\x1b" not in path.read_text()

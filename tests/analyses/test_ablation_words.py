"""The verdict: the finding first, what cannot be judged called so, and an unmatched control not called matched."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from negspace.analyses.ablation.claims import claims
from negspace.analyses.ablation.tables import AblationTables
from negspace.analyses.ablation.words import matching, verdicts
from negspace.experiment.claim import Claim, harmed, under
from negspace.experiment.words import claim
from negspace.study.tables import Tables

Run = tuple[Path, Tables]


def said(run: Run, **changed: object) -> list[str]:
    """The sentences where the contrast of BLiMP under the top 10% with the plain model has other values."""
    tables = {name: table.copy() for name, table in run[1].all.items()}
    contrasts = tables["contrasts"]
    here = (contrasts["share"] == 0.1) & (contrasts["score"] == "blimp")
    here &= (contrasts["set"] == "top") & (contrasts["against"] == "plain")
    for column, value in changed.items():
        contrasts.loc[here, column] = value
    return verdicts(run[1].books["ablation"], tables)


def test_a_line_for_every_share_and_score_then_what_is_intact(tiny_run: Run) -> None:
    sentences = tiny_run[1].verdict
    assert sentences[0].startswith(
        "Zeroing the negative pre-activations of the top 10% by wd (14 neurons), perplexity: "
    )
    assert sentences[1].startswith("Top 10%, BLiMP: ")
    assert sentences[2].startswith("Top 10%, TSE: ")
    assert any("control for the top 10%" in sentence for sentence in sentences)
    assert sum("Under random sets, BLiMP: " in sentence for sentence in sentences) == 2


def test_the_finding_comes_first_with_its_numbers(tiny_run: Run) -> None:
    numbers = {"difference": -0.01, "low": -0.03, "high": 0.02, "reference": 0.75}
    margins = {"difference_nats": -0.2, "difference_nats_low": -0.3, "difference_nats_high": -0.1}
    line = said(tiny_run, finding="undecided", nats_finding="harm", **numbers, **margins)[1]
    begin = "Top 10%, BLiMP (plain model: 75.0% right): "
    assert line.startswith(f"{begin}undecided, -1.0 points [-3.0, +2.0], margins -0.200 nats [-0.300, -0.100] (harm); ")
    harm = said(tiny_run, finding="harm", nats_finding=None, **{**numbers, "high": -0.005, "difference_nats": np.nan})
    assert harm[1].startswith(f"{begin}harm, -1.0 points [-3.0, -0.5]; against 5 random sets")


def test_what_cannot_be_judged_has_no_number(tiny_run: Run) -> None:
    line = said(tiny_run, finding="cannot be judged", reason="only 2 paradigms; add paradigms", difference=-0.5)[1]
    assert line.startswith("Top 10%, BLiMP: cannot be judged (only 2 paradigms; add paradigms)")
    assert "-50.0" not in line


def test_accuracy_at_a_floor_answers_no_claim_and_margins_do(tiny_run: Run) -> None:
    floor = {"finding": "cannot be judged", "reason": "the plain model's accuracy of 48.0% is not above chance"}
    margins = {
        "difference_nats": -0.2,
        "difference_nats_low": -0.3,
        "difference_nats_high": -0.1,
        "nats_finding": "harm",
    }
    line = said(tiny_run, **floor, **margins)[1]
    assert line.startswith(
        "Top 10%, BLiMP: cannot be judged (the plain model's accuracy of 48.0% is not above chance), margins -0.200 "
        "nats [-0.300, -0.100] (harm); against "
    )
    contrasts = tiny_run[1]["contrasts"].copy()
    for column, value in {**floor, **margins}.items():
        contrasts[column] = value
    lines = verdicts(tiny_run[1].books["ablation"], {**tiny_run[1].all, "contrasts": contrasts})
    assert any("Under random sets, BLiMP: cannot be judged (the plain model" in line for line in lines)
    made = claims(tiny_run[1].books["ablation"], {"contrasts": contrasts})
    answers = {claim.of: claim.answer for claim in made if claim.key == "ablate"}
    assert (answers["BLiMP"], answers["BLiMP, margins"]) == ("cannot be judged", "holds")


@pytest.mark.parametrize(
    ("finding", "words"),
    [("equivalent", "intact, equivalent within"), ("undecided", ": undecided, "), ("harm", ": harm, ")],
)
def test_only_equivalence_is_called_intact(tiny_run: Run, finding: str, words: str) -> None:
    tables = {name: table.copy() for name, table in tiny_run[1].all.items()}
    contrasts: pd.DataFrame = tables["contrasts"]
    contrasts.loc[contrasts["set"] == "random", ["finding", "nats_finding"]] = finding
    contrasts.loc[contrasts["set"] == "random", "margin"] = 0.01
    contrasts.loc[contrasts["against"] == "plain", "reference"] = 0.75
    lines = [line for line in verdicts(tiny_run[1].books["ablation"], tables) if line.startswith("Under random sets")]
    assert lines
    assert all(words in line for line in lines)
    assert finding == "equivalent" or not any(": intact" in line for line in lines)


def test_grammar_is_not_called_intact_where_margins_are_harmed(tiny_run: Run) -> None:
    tables = {name: table.copy() for name, table in tiny_run[1].all.items()}
    contrasts: pd.DataFrame = tables["contrasts"]
    contrasts.loc[contrasts["set"] == "random", ["finding", "nats_finding"]] = ["equivalent", "harm"]
    contrasts.loc[contrasts["set"] == "random", "difference_nats"] = -0.2
    lines = [line for line in verdicts(tiny_run[1].books["ablation"], tables) if line.startswith("Under random sets")]
    assert lines
    assert all(": equivalent within" in line and "(harm)" in line and "intact" not in line for line in lines)


def test_margins_that_cannot_be_judged_say_why(tiny_run: Run) -> None:
    row = tiny_run[1].all["contrasts"].query("score == 'blimp'").iloc[0].copy()
    row["finding"], row["nats_finding"], row["nats_reason"] = "undecided", "cannot be judged", "with 5 random sets"
    assert claim(row).endswith(", margins cannot be judged (with 5 random sets)")
    of_margins = harmed("key", "claim", "BLiMP", 0.05, row)[1]
    assert (of_margins.answer, of_margins.reason) == ("cannot be judged", "with 5 random sets")


def test_one_neuron_is_no_plural() -> None:
    match = {"share": 0.1, "matched": True, "m": 0.01, "neurons": 1, "residual": 0.005, "tolerance": 0.01}
    assert matching({"matches": [{**match, "evaluations": 1}]}, 0.1) == (
        "Perplexity-matched control for the top 10%: the bottom 1% (1 neuron), residual mismatch +0.50% (tolerance "
        "1%), 1 evaluation."
    )


def test_what_cannot_be_matched_is_said(tiny_run: Run) -> None:
    part = copy.deepcopy(tiny_run[1].books["ablation"].part)
    part["matches"][0] |= {"matched": False, "reason": "even the largest share stays below", "m": 0.9}
    sentences = verdicts(replace(tiny_run[1].books["ablation"], part=part), tiny_run[1].all)
    assert any(
        "cannot be matched (even the largest share stays below; nearest: the bottom 90%" in line for line in sentences
    )
    share = part["matches"][1]["share"]  # here the search ended with a nearest set
    book = replace(tiny_run[1].books["ablation"], part=part)
    tables = AblationTables(book).make()
    summary, contrasts = (tables[name][tables[name]["share"] == share] for name in ("summary", "contrasts"))
    assert "nearest" in set(summary["role"])
    assert not (contrasts[["set", "against"]] == "matched").any(axis=None)
    assert not any("intact" in line and "matched" in line for line in verdicts(book, tables))
    answers = [one for one in claims(book, tables) if one.share == share and one.key in ("matched", "intact")]
    assert {claim.of for claim in answers} == {"BLiMP", "BLiMP, margins", "TSE", "TSE, margins"}
    assert len(answers) == 8
    assert {claim.answer for claim in answers} == {"cannot be judged"}
    assert all(one.reason.startswith("no matched control: even the largest share, ") for one in answers)


def test_a_relu_model_is_said_to_be_one_and_its_scores_are_compared(tiny_run: Run) -> None:
    book = tiny_run[1].books["ablation"]
    assert not book.manifest["rectifies"]
    flat = replace(book, manifest={**book.manifest, "rectifies": True})
    assert any("but scores differ from the plain model's" in line for line in verdicts(flat, tiny_run[1].all))
    tables = {name: table.copy() for name, table in tiny_run[1].all.items()}
    for column in ("perplexity", "blimp_accuracy", "tse_accuracy"):
        tables["summary"][column] = tables["summary"][column].iloc[0]
    assert any("all scores are exactly the plain model's" in line for line in verdicts(flat, tables))


def test_claims_of_another_ranking_are_told_apart(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = tiny_run[1]
    own, book = tables.claims_of("ablation"), tables.books["ablation"]
    assert not any("by " in claim.of for claim in own)
    monkeypatch.setitem(tables.books, "ablation", replace(book, study={**book.study, "by": "md", "zero": "positive"}))
    made = tables.claims_of("ablation")
    assert {claim.of for claim in made if claim.key == "ablate"} >= {"BLiMP, by md, zero_positive"}
    assert {claim.of for claim in made if claim.key == "find"} == {"halves of the text, by md"}
    assert not {(claim.key, claim.of) for claim in made} & {(claim.key, claim.of) for claim in own}
    no_op = Claim("relu", "", "this model", None, "holds", "")
    assert under(no_op, "zero_negative", "md") == no_op


def test_the_papers_claim_is_about_the_papers_intervention(tiny_run: Run) -> None:
    tables = tiny_run[1]
    book = tables.books["ablation"]
    other = replace(book, study={**book.study, "zero": "positive"})
    made = [under(claim, other.intervention) for claim in claims(other, tables.all)]
    assert not any("negatives" in claim.claim for claim in made)
    assert {claim.of for claim in made if claim.key == "ablate"} >= {"BLiMP, zero_positive"}
    own = tables.claims_of("ablation")
    assert {claim.of for claim in own if claim.key == "ablate"} >= {"BLiMP"}
    assert not {(claim.key, claim.of) for claim in made if claim.key != "find"} & {
        (claim.key, claim.of) for claim in own
    }

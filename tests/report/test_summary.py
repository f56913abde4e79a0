"""The verdict in words: what is claimed is what the tables hold, and a null result is called one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from made_up_run import ablation_part, dissociated, made_up
from negspace.analyses.ablation.dissociation_figures import CAVEAT
from negspace.experiment.run import Part, Run
from negspace.report.sections import figures_of
from negspace.report.summary import headline, main_share, paragraphs


def _with(change: float, against: dict[str, float] | None = None, **manifest: Any) -> Run:
    """A run in which the top set changes BLiMP by so much, and the controls by other amounts less."""
    part = ablation_part()
    summary, contrasts = part.tables["summary"].copy(), part.tables["contrasts"].copy()
    top = summary["role"] == "top"
    for column, value in (("change", change), ("change_low", change - 0.02), ("change_high", change + 0.02)):
        summary.loc[top, f"blimp_{column}"] = value
    summary.loc[top, "blimp_finding"] = _finding(change)
    for control, value in (against or {}).items():
        rows = (contrasts["against"] == control) & (contrasts["score"] == "blimp")
        for column, at in (("difference", value), ("low", value - 0.02), ("high", value + 0.02)):
            contrasts.loc[rows, column] = at
        contrasts.loc[rows, "finding"] = _finding(value)
    tables: dict[str, pd.DataFrame] = {**part.tables, "summary": summary, "contrasts": contrasts}
    made = Part(part.name, part.title, tables, part.schema, part.sentences)
    run = made_up(parts=(made,))
    return replace(run, manifest={**run.manifest, **manifest})


def _finding(value: float) -> str:
    return "harm" if value + 0.02 < 0 else "gain" if value - 0.02 > 0 else "null result"


def test_a_drop_below_both_controls_is_said_so() -> None:
    said = headline(_with(-0.08))
    assert said == "Grammar drops at p = 1%, more than under the random sets and the perplexity-matched control."


def test_a_drop_that_the_matched_control_shares_is_said_so() -> None:
    said = headline(_with(-0.08, {"matched": 0.0}))
    assert said == (
        "Grammar drops at p = 1%, more than under the random sets, but not measurably more than under the "
        "perplexity-matched control."
    )


def test_a_null_result_and_a_rise_are_called_what_they_are() -> None:
    assert headline(_with(0.0)).startswith("Null result: grammar does not measurably change at p = 1%")
    assert headline(_with(0.08)).startswith("Grammar rises at p = 1%")


def test_a_rectifying_model_is_called_a_no_op_and_a_difference_in_it_is_not_hidden() -> None:
    run = _with(0.0, rectifies=True)
    assert headline(run).endswith("must change nothing; yet the scores differ.")
    run.parts["ablation"].tables["summary"]["perplexity"] = 20.0
    assert headline(run).endswith("must change nothing, and does not.")


@pytest.mark.parametrize(
    ("verdict", "crossover", "said", "warned"),
    [
        ("established", False, "established, without a crossover", True),
        ("established", True, "established, with a crossover", False),
        ("not established", False, "not established", False),
    ],
)
def test_established_without_a_crossover_is_said_to_be_unspecific(
    verdict: str, crossover: bool, said: str, warned: bool
) -> None:
    run = made_up(parts=(dissociated(ablation_part(), verdict, crossover),))
    assert headline(run).endswith(f"the double dissociation is {said}.")
    (text,) = paragraphs(run)
    assert f"is {said}: a contrast of +6.0 points" in text
    assert (CAVEAT in text) == warned
    made = {figure.name: figure for figure in figures_of(run)["ablation"]}
    assert made["dissociation"].panels[0].title.endswith(said)
    for name in ("dissociation", "dissociation_contrasts"):
        assert made[name].notes == ((CAVEAT,) if warned else ())


def test_the_paragraph_has_the_numbers() -> None:
    (text,) = paragraphs(_with(-0.08))
    for said in (
        "zeroing the negative pre-activations of the 8 neurons furthest from Gaussian (the top 1% of every layer)",
        "multiplies perplexity by 1.4000 [1.3800, 1.4200], from 20 to 28",
        "as many random neurons multiply it by 1.0100",
        "Against the plain model, BLiMP is lower by 8.0 points [-10.0, -6.0] of 80.0% right.",
        "Against the perplexity-matched control, BLiMP is lower by 5.0 points [-7.0, -3.0].",
    ):
        assert said in text, said


def test_a_run_without_the_main_study_has_no_headline() -> None:
    run = made_up(parts=(Part("atlas", "Atlas", {}, sentences=("first", "second")),))
    assert main_share(run) is None
    assert headline(run) == ""
    assert paragraphs(run) == ["first"]

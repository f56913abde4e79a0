"""The verdict in a line: what is claimed is what the tables hold, and what is undecided is called so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from made_up_run import ablation_part, dissociated, made_up
from negspace.experiment.run import Part, Run
from negspace.report.sections import figures_of
from negspace.report.summary import headline, main_share

TEXT = "At the top 1%. Perplexity: harm against the plain model, more harm than random sets"


def _with(findings: dict[str, str] | None = None, margins: dict[str, str] | None = None, **manifest: Any) -> Run:
    """A run in which the top set has other findings on BLiMP than harm, by what it is compared with."""
    part = ablation_part()
    contrasts = part.tables["contrasts"].copy()
    for column, changed in (("finding", findings), ("nats_finding", margins)):
        for against, finding in (changed or {}).items():
            contrasts.loc[(contrasts["against"] == against) & (contrasts["score"] == "blimp"), column] = finding
    tables: dict[str, pd.DataFrame] = {**part.tables, "contrasts": contrasts}
    run = made_up(parts=(Part(part.name, part.title, tables, part.schema, part.sentences),))
    return replace(run, manifest={**run.manifest, **manifest})


def test_findings_are_said_against_what_they_are() -> None:
    assert headline(_with()) == (
        f"{TEXT}. BLiMP: harm against the plain model, more harm than random sets and the matched set (margins: the "
        "same)."
    )
    assert headline(_with({"matched": "undecided"}, {"matched": "undecided"})) == (
        f"{TEXT}. BLiMP: harm against the plain model, more harm than random sets, undecided against the matched set "
        "(margins: the same)."
    )
    assert headline(_with({"random": "cannot be judged", "plain": "gain"}, {"matched": "gain"})) == (
        f"{TEXT}. BLiMP: gain against the plain model, cannot be judged against random sets, more harm than the "
        "matched set (margins: harm against the plain model, more harm than random sets, less harm than the matched "
        "set)."
    )


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "harm, x 1.4000 [1.3800, 1.4200]"),
        ({"finding": "undecided"}, "undecided, x 1.4000 [1.3800, 1.4200]"),
        (
            {"finding": "cannot be judged", "reason": "only 2 windows; add windows: 8 are needed"},
            "cannot be judged (only 2 windows; add windows: 8 are needed)",
        ),
    ],
)
def test_without_pairs_the_finding_on_perplexity_is_said(told: dict[str, str], said: str) -> None:
    run = _with()
    contrasts = run.parts["ablation"].tables["contrasts"]
    text = contrasts[contrasts["score"] == "perplexity"].assign(**told)
    run.parts["ablation"].tables["contrasts"] = text  # type: ignore[index]
    assert headline(run) == f"At the top 1%. Perplexity: {said}. No grammar was measured."


def test_a_rectifying_model_is_called_a_no_op_and_a_difference_in_it_is_not_hidden() -> None:
    run = _with(rectifies=True)
    assert headline(run).endswith("must change nothing; yet the scores differ.")
    run.parts["ablation"].tables["summary"]["perplexity"] = 20.0
    assert headline(run).endswith("must change nothing; yet the scores differ."), "accuracy is a score, too"
    run.parts["ablation"].tables["summary"]["blimp_accuracy"] = 0.8
    assert headline(run).endswith("must change nothing, and changes nothing.")


def test_a_finding_on_few_phenomena_says_which_it_holds_for() -> None:
    run = _with({"random": "cannot be judged"})
    contrasts = run.parts["ablation"].tables["contrasts"]
    contrasts["units"] = contrasts["units"].where(contrasts["score"] == "perplexity", "8 paradigms, these 3 phenomena")
    assert ". BLiMP: harm in these 3 phenomena against the plain model, cannot be judged against random" in headline(
        run
    )


@pytest.mark.parametrize(
    ("verdict", "carried_by", "said"),
    [
        ("established", "", "established"),
        ("interaction only", "grammar", "interaction only (as claimed; shown on grammar only), no crossover"),
        ("not established", "", "not established"),
    ],
)
def test_an_interaction_without_a_crossing_is_not_called_established(verdict: str, carried_by: str, said: str) -> None:
    run = made_up(parts=(dissociated(ablation_part(), verdict, carried_by),))
    assert headline(run).endswith(f". Double dissociation: {said} (BLiMP).")
    made = {figure.name: figure for figure in figures_of(run)["ablation"]}
    assert made["dissociation"].panels[0].title.endswith(said)
    assert {"dissociation_contrasts", "dissociation_without"} <= set(made)


def test_each_suites_dissociation_is_said_of_it() -> None:
    part = dissociated(ablation_part(), "not established", "")
    tables = dict(part.tables)
    run = made_up(parts=(replace(part, tables=tables),))
    blimp = tables["dissociation"]
    tables["dissociation"] = pd.concat([blimp, blimp.assign(suite="tse", scope="these 3 families")])
    assert headline(run).endswith(". Double dissociation: not established (BLiMP; TSE, in these 3 families).")
    tables["dissociation"] = pd.concat([blimp.assign(verdict="established"), blimp.assign(suite="tse")])
    assert headline(run).endswith(". Double dissociation: established (BLiMP), not established (TSE).")


def test_another_intervention_than_the_papers_is_named() -> None:
    run = _with()
    analyses = {"ablation": {**run.manifest["analyses"]["ablation"], "intervention": "sign_flip"}}
    other = replace(run, manifest={**run.manifest, "analyses": {**run.manifest["analyses"], **analyses}})
    assert headline(other) == headline(run).replace("At the top 1%. ", "At the top 1% (sign_flip). ")


def test_a_ranking_other_than_the_papers_is_named() -> None:
    run = _with()
    other = replace(run, manifest={**run.manifest, "study": {**run.study, "by": "md"}})
    assert headline(other) == headline(run).replace("At the top 1%. ", "At the top 1% by md. ")
    assert " by md" in headline(other)


def test_a_run_without_the_main_study_has_no_headline() -> None:
    run = made_up(parts=(Part("atlas", "Atlas", {}, sentences=("first", "second")),))
    assert main_share(run) is None
    assert headline(run) == ""

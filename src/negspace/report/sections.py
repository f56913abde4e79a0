"""The contents of a report, in order: sections with sentences, figures and tables, for one run or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from negspace.experiment.run import Part, Run
from negspace.figures.figure import Figure
from negspace.report import claims
from negspace.report import scan as scan_figures
from negspace.report.about import about, asked
from negspace.report.summary import headline
from negspace.study.claims import answers_of
from negspace.study.registry import analysis

_MOST_FINDINGS = 5

Rows = Sequence[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class TableView:
    """A table of the report."""

    name: str
    """Its name in the run."""
    title: str
    """Its name."""
    table: pd.DataFrame
    """The table."""
    meanings: Mapping[str, str]
    """Column -> meaning."""
    family: str = ""
    """Over what its p-values are corrected; empty: they are not, or the columns say it."""
    source: str = ""
    """Place of its rows besides the report, in words; empty if none."""


@dataclass(frozen=True, eq=False)
class Section:
    """One tab of the report."""

    key: str
    """Its link."""
    title: str
    """Its name."""
    headline: str = ""
    """The verdict in a line."""
    headings: Sequence[str] = ()
    """Headings of the claims."""
    claims: Sequence[Sequence[str]] = ()
    """Claims of the paper: the claim, what it was tried on, the answer of each run."""
    asides: Sequence[str] = ()
    """Sentences under the claims."""
    facts: Sequence[tuple[str, Rows]] = ()
    """Titled lists of names and values."""
    findings: Sequence[tuple[str, Sequence[str]]] = ()
    """Titled lists of sentences."""
    figures: Sequence[Figure] = ()
    """Figures."""
    tables: Sequence[TableView] = ()
    """Tables."""
    explorer: bool = False
    """True if the neuron explorer is in it."""


_FIRST = ("damage_axis", "main_result")
"""Figures of the overview."""


def sections(runs: Sequence[Run]) -> list[Section]:
    """The sections of a report: one of one run, or first what several have in common and then each analysis of each."""
    made: list[Section] = []
    if len(runs) == 1:
        made += _of_run(runs[0])
    else:
        made.append(_comparison(runs))
        for place, run in enumerate(runs, start=1):
            made += [
                replace(section, key=f"{section.key}-{place}", title=f"{run.label}: {section.title}")
                for section in _of_run(run)
            ]
    if any(run.scan is not None for run in runs):
        made.append(Section("neurons", "Neurons", explorer=True))
    return made


def figures_of(run: Run) -> dict[str, list[Figure]]:
    """Analysis -> its figures that show anything; those of the scan under "scan"."""
    found = {"scan": scan_figures.figures(run)}
    for name in run.parts:
        found[name] = [figure for figure in analysis(name).figures(run) if figure.panels]
    return found


def _of_run(run: Run) -> list[Section]:
    figures = figures_of(run)
    made = [_overview(run, figures)]
    if figures["scan"]:
        made.append(Section("scan", "Distributions", figures=figures["scan"], tables=_layers(run)))
    for name, part in run.parts.items():
        made.append(
            Section(
                name,
                part.title,
                findings=[("", part.sentences)] if part.sentences else [],
                figures=figures[name],
                tables=_tables(part),
            )
        )
    made.append(Section("run", "Run", facts=about(run)))
    return made


def _overview(run: Run, figures: Mapping[str, Sequence[Figure]]) -> Section:
    every = [figure for several in figures.values() for figure in several]
    main = [figure for name in _FIRST for figure in every if figure.name == name]
    return Section(
        "overview",
        "Overview",
        headline(run),
        **_claims([run]),
        facts=[("What was asked, and with what", asked(run))],
        findings=[(part.title, _first(part)) for part in run.parts.values() if part.sentences],
        figures=main,
    )


def _first(part: Part) -> list[str]:
    """The first findings of an analysis; the others stand in its own section."""
    said = list(part.sentences)
    if len(said) <= _MOST_FINDINGS + 1:
        return said
    return [*said[:_MOST_FINDINGS], f"{len(said) - _MOST_FINDINGS} more findings in the section “{part.title}”."]


def _tables(part: Part) -> list[TableView]:
    return [
        TableView(
            name,
            name.replace("_", " ").capitalize(),
            _without_constants(table),
            part.schema[name].meanings if name in part.schema else {},
            part.schema[name].family if name in part.schema else "",
            f"tables/{name}.csv of the run's folder",
        )
        for name, table in part.tables.items()
        if len(table)
    ]


def _without_constants(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the columns that only mixtures of experts need, where it tells of none."""
    dense = {"branch": "mlp", "expert": -1}
    return table.drop(columns=[name for name, value in dense.items() if name in table and (table[name] == value).all()])


_LAYERS = {
    "layer": "layer of the model, from 0",
    "neurons": "neurons in it",
    "wd_median": "median distance from the Gaussian",
    "wd_p99": "its 99th percentile",
    "wd_largest": "its maximum",
    "neuron": "the neuron that has it",
    "negative_share": "the part of that neuron's WD that lies below zero",
    "fraction_negative": "mean share of tokens below zero",
}


def _layers(run: Run) -> list[TableView]:
    """One row per layer of the scan."""
    assert run.scan is not None
    rows = []
    for layer, part in run.scan.table.groupby("layer"):
        known = part.dropna(subset="wd")
        best = known.iloc[int(known["wd"].argmax())] if len(known) else None
        rows.append(
            {
                "layer": layer,
                "neurons": len(part),
                "wd_median": known["wd"].median(),
                "wd_p99": known["wd"].quantile(0.99),
                "wd_largest": known["wd"].max(),
                "neuron": "" if best is None else scan_figures.name(best),
                "negative_share": None if best is None else best["negative_share"],
                "fraction_negative": part["fraction_negative"].mean(),
            }
        )
    return [TableView("layers", "Layers", pd.DataFrame(rows, columns=list(_LAYERS)), _LAYERS)]


def _claims(runs: Sequence[Run]) -> dict[str, Any]:
    """The paper's claims as fields of a section: one row each, a column for every run, and sentences under them."""
    headings, rows = claims.table({run.label if len(runs) > 1 else "answer": run.claims for run in runs})
    answers, notes = claims.footnotes(rows)
    asides = [*notes, *claims.warnings([answers_of(run) for run in runs])]
    return {"headings": headings, "claims": answers, "asides": asides}


def _comparison(runs: Sequence[Run]) -> Section:
    from negspace.report import comparison

    return Section(
        "comparison",
        "Comparison",
        **_claims(runs),
        findings=[(run.label, [said] if (said := headline(run)) else []) for run in runs],
        figures=comparison.figures(runs),
        tables=[TableView("summary", "Summary", comparison.summary(runs), comparison.SUMMARY)],
    )

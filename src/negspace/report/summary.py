"""The verdict of a run in one line: the first thing that its report says."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from negspace.analyses.ablation.dissociation_words import verdict
from negspace.analyses.ablation.words import AGAINST, unchanged
from negspace.experiment.claim import PAPERS, RANKING
from negspace.experiment.run import Run
from negspace.experiment.words import capital, claim, compared, inside, percent, scope, within
from negspace.text.suites import TITLES

_CLAIM = 0.01


def headline(run: Run) -> str:
    """The findings on text and grammar at the share of the claim, and the dissociation; empty without a main study."""
    contrasts, summary, share = run.table("contrasts"), run.table("summary"), main_share(run)
    if contrasts is None or summary is None or share is None:
        return ""
    intervention = run.manifest["analyses"]["ablation"].get("intervention", PAPERS)
    if run.manifest.get("rectifies") and intervention == PAPERS:
        found = ", and changes nothing" if unchanged(summary) else "; yet the scores differ"
        return (
            "A no-op: every activation of this model is flat below zero, so zeroing negatives must change nothing"
            f"{found}."
        )
    here = contrasts[(contrasts["share"] == share) & (contrasts["set"] == "top")]
    suites = [suite for suite in TITLES if (here["score"] == suite).any()]
    by = run.study["by"]
    chosen = filter(None, ("" if by == RANKING else f"by {by}", within(run.study.get("layers"))))
    where = " ".join((f"At the top {percent(share)}", *chosen))
    where += "" if intervention == PAPERS else f" ({intervention})"
    if not suites:
        row = here[here["against"] == "plain"].iloc[0]
        return f"{where}. Perplexity: {claim(row)}. No grammar was measured."
    # Perplexity against the matched set is left out: the two are chosen to be equal.
    text = here[(here["score"] == "perplexity") & (here["against"] != "matched")]
    parts = [("perplexity", text), *((TITLES[suite], here[here["score"] == suite]) for suite in suites)]
    said = f"{where}. " + ". ".join(f"{capital(name)}: {_findings(rows)}" for name, rows in parts if len(rows))
    table = run.table("dissociation")
    if table is not None and len(rows := table[table["share"] == share]):
        said += f". Double dissociation: {_verdicts(rows)}"
    return f"{said}."


def main_share(run: Run) -> float | None:
    """The share that the claim is about, if the study has it; else its smallest."""
    summary = run.table("summary")
    if summary is None:
        return None
    shares = sorted(set(summary.loc[summary["role"] == "top", "share"]))
    return None if not shares else _CLAIM if _CLAIM in shares else shares[0]


def _verdicts(rows: pd.DataFrame) -> str:
    """The verdicts with the suites they are on, those that agree together: "not established (BLiMP; TSE, in these 3
    families)"."""
    suites: dict[str, list[str]] = {}
    for _, row in rows.iterrows():
        where = inside(row["scope"])
        suites.setdefault(verdict(row), []).append(f"{TITLES[row['suite']]}{where and f',{where}'}")
    return ", ".join(f"{found} ({'; '.join(on)})" for found, on in suites.items())


def _findings(rows: pd.DataFrame) -> str:
    """Findings in words, those on margins in brackets: "harm against the plain model (margins: the same)"."""
    said = _by_finding(rows, "finding")
    margins = _by_finding(rows, "nats_finding") if "nats_finding" in rows else ""
    return said if not margins else f"{said} (margins: {'the same' if margins == said else margins})"


def _by_finding(rows: pd.DataFrame, column: str) -> str:
    """Findings of a column in words: "harm against the plain model, more harm than random sets"; empty without any."""
    by_finding: dict[str, list[str]] = {}
    for _, row in rows[rows[column].notna()].iterrows():
        finding = str(row[column])
        said = finding if row["against"] == "plain" else compared(finding)
        where = "" if finding == "cannot be judged" else inside(scope(row))
        said += f"{where} {'against' if said == finding else 'than'}"
        by_finding.setdefault(said, []).append(AGAINST[row["against"]])
    return ", ".join(f"{said} {_several(against)}" for said, against in by_finding.items())


def _several(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

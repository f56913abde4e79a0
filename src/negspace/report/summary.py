"""The verdict of a run in plain words: a headline, and one paragraph with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from negspace.analyses.ablation.dissociation_figures import CAVEAT, unspecific, verdict
from negspace.analyses.ablation.words import direction
from negspace.experiment.run import Run
from negspace.experiment.words import ratio
from negspace.text.suites import TITLES

_CLAIM = 0.01
_DONE = {
    "zero_negative": "zeroing the negative pre-activations of",
    "zero_positive": "zeroing the positive pre-activations of",
    "zero_both": "zeroing the pre-activations of",
    "relu_on_positives": "removing the activation's curve above zero in",
    "sign_flip": "flipping the sign of the negative activations of",
    "mean": "fixing at their means the pre-activations of",
    "negative_mean": "fixing at their mean the negative pre-activations of",
}


@dataclass(frozen=True)
class _Against:
    """How grammar stands to one comparison, over the suites."""

    words: str
    """The comparison: "the plain model"."""
    outcomes: Sequence[str]
    """drop, rise or null result, one a suite."""
    said: Sequence[str]
    """The same in words, with numbers."""


def headline(run: Run) -> str:
    """The verdict in a line; empty where the run holds no main study."""
    summary = run.table("summary")
    share = main_share(run)
    if summary is None or share is None:
        return ""
    top = _top(summary, share)
    found = _comparisons(run, share)
    if run.manifest.get("rectifies") and _intervention(run) == "zero_negative":
        values = summary.loc[summary["role"] != "random mean", "perplexity"]
        same = ", and does not" if values.nunique() == 1 else "; yet the scores differ"
        flat = "every activation of this model is flat below zero"
        return f"A no-op: {flat}, so zeroing negatives must change nothing{same}."
    if not found:
        return f"Perplexity is multiplied by {ratio(top['ratio'])} at p = {share * 100:.4g}%; no grammar was measured."
    plain, controls = found[0], found[1:]
    where = f"at p = {share * 100:.4g}%"
    if not {"drop", "rise"} & set(plain.outcomes):
        said = f"Null result: grammar does not measurably change {where}"
    elif "drop" not in plain.outcomes:
        said = f"Grammar rises {where}"
    else:
        said = f"Grammar drops {where}"
        more = [one.words for one in controls if "drop" in one.outcomes]
        less = [one.words for one in controls if "drop" not in one.outcomes]
        if more:
            said += f", more than under {' and '.join(more)}"
        if less:
            said += f", but not measurably more than under {' or '.join(less)}"
    table = run.table("dissociation")
    if table is not None:
        rows = table[(table["share"] == share) & (table["against"] == "all tasks")]
        verdicts = list(dict.fromkeys(verdict(row) for _, row in rows.iterrows()))
        if verdicts:
            said += f"; the double dissociation is {' and '.join(verdicts)}"
    return f"{said}."


def paragraphs(run: Run) -> list[str]:
    """One paragraph: what was done, what it did to perplexity, to grammar, to other abilities, beside the controls."""
    summary = run.table("summary")
    share = main_share(run)
    if summary is None or share is None:
        return [sentence for part in run.parts.values() for sentence in part.sentences[:1]]
    top = _top(summary, share)
    done = _DONE.get(str(_intervention(run)), "changing")
    text = [
        f"In {run.label}, {done} the {int(top['neurons']):,} neurons "
        f"{_ranked(run)} (the top {share * 100:.4g}% of every layer) multiplies perplexity by "
        f"{ratio(top['ratio'])}{_range(top['ratio_low'], top['ratio_high'], ratio)}, from "
        f"{_plain(summary)['perplexity']:.4g} to {top['perplexity']:.4g}{_random_ratio(summary, share)}."
    ]
    for one in _comparisons(run, share):
        text.append(f"Against {one.words}, {'; '.join(one.said)}.")
    text += _dissociation(run, share)
    text += _larger(run, summary, share)
    return [" ".join(text)]


def main_share(run: Run) -> float | None:
    """The share that the claim is about, if the study has it; else its smallest."""
    summary = run.table("summary")
    if summary is None:
        return None
    shares = sorted(set(summary.loc[summary["role"] == "top", "share"]))
    return None if not shares else _CLAIM if _CLAIM in shares else shares[0]


def _comparisons(run: Run, share: float) -> list[_Against]:
    summary, contrasts = run.table("summary"), run.table("contrasts")
    assert summary is not None
    suites = [suite for suite in TITLES if f"{suite}_change" in summary.columns]
    if not suites:
        return []
    top = _top(summary, share)
    rows = [
        (
            suite,
            top[f"{suite}_change"],
            top[f"{suite}_change_low"],
            top[f"{suite}_change_high"],
            top[f"{suite}_finding"],
        )
        for suite in suites
    ]
    baseline = _plain(summary)
    levels = {suite: f" of {baseline[f'{suite}_accuracy'] * 100:.1f}% right" for suite in suites}
    found = [_against("the plain model", rows, levels)]
    names = {"random": "the random sets", "matched": "the perplexity-matched control"}
    for against, words in names.items():
        if contrasts is None:
            break
        here = contrasts[(contrasts["share"] == share) & (contrasts["against"] == against)]
        rows = [
            (row["score"], row["difference"], row["low"], row["high"], row["finding"])
            for _, row in here.iterrows()
            if row["score"] in suites
        ]
        if rows:
            near = against == "matched" and here["control"].str.contains("nearest").any()
            found.append(_against("the nearest, though not matched, control" if near else words, rows, {}))
    return found


def _against(words: str, rows: Sequence[tuple], levels: dict[str, str]) -> _Against:
    outcomes, said = [], []
    for suite, change, low, high, finding in rows:
        outcome = direction(finding)
        outcomes.append(outcome)
        verb = {
            "drop": "is lower by",
            "rise": "is higher by",
        }.get(outcome, f"shows a {outcome},")
        size = f"{abs(change) * 100:.1f}" if outcome in ("drop", "rise") else f"{change * 100:+.1f}"
        said.append(
            f"{TITLES[suite]} {verb} {size} points{_range(low, high, lambda end: f'{end * 100:+.1f}')}"
            f"{levels.get(suite, '')}"
        )
    return _Against(words, outcomes, said)


def _dissociation(run: Run, share: float) -> list[str]:
    table = run.table("dissociation")
    if table is None:
        return []
    said = []
    for _, row in table[(table["share"] == share) & (table["against"] == "all tasks")].iterrows():
        said.append(
            f"The double dissociation between {TITLES[str(row['suite'])]} and tasks that are not about grammar is "
            f"{verdict(row)}: a contrast of {row['contrast'] * 100:+.1f} points"
            f"{_range(row['low'], row['high'], lambda end: f'{end * 100:+.1f}')}; "
            f"{row['detectable'] * 100:.1f} points could have been detected."
        )
        if unspecific(row.to_frame().T):
            said.append(CAVEAT)
    return list(dict.fromkeys(said))


def _larger(run: Run, summary: pd.DataFrame, share: float) -> list[str]:
    """At which other shares grammar drops."""
    suites = [suite for suite in TITLES if f"{suite}_change" in summary.columns]
    others = summary[(summary["role"] == "top") & (summary["share"] != share)]
    said = []
    for _, row in others.iterrows():
        for suite in suites:
            outcome = direction(row[f"{suite}_finding"])
            said.append(
                f"{TITLES[suite]} at p = {row['share'] * 100:.4g}%: {outcome}, {row[f'{suite}_change'] * 100:+.1f}"
            )
    return [f"At the other doses, against the plain model: {'; '.join(said)} points."] if said else []


def _random_ratio(summary: pd.DataFrame, share: float) -> str:
    rows = summary[(summary["share"] == share) & summary["role"].isin(["random mean", "random"])]
    if rows.empty:
        return ""
    means = rows[rows["role"] == "random mean"]
    value = float(means["ratio"].iloc[0]) if len(means) else float(np.exp(np.log(rows["ratio"]).mean()))
    return f"; as many random neurons multiply it by {ratio(value)}"


def _ranked(run: Run) -> str:
    by = run.study["by"]
    return "furthest from Gaussian" if by == "wd" else f"ranked highest by {by}"


def _intervention(run: Run) -> object:
    parts = run.manifest.get("analyses", {})
    return parts.get("ablation", {}).get("intervention") or run.manifest.get("intervention")


def _top(summary: pd.DataFrame, share: float) -> pd.Series:
    return summary[(summary["role"] == "top") & (summary["share"] == share)].iloc[0]


def _plain(summary: pd.DataFrame) -> pd.Series:
    return summary[summary["role"] == "baseline"].iloc[0]


def _range(low: float, high: float, form) -> str:  # type: ignore[no-untyped-def]
    return f" [{form(low)}, {form(high)}]" if np.isfinite(low) and np.isfinite(high) else ""

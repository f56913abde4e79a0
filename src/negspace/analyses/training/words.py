"""Sentences of the training analysis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from negspace.analyses.training.trends import EMERGED, FIRST, LATE, UNTESTED
from negspace.experiment.analysis import Book
from negspace.experiment.words import capital, change, contrast, not_judged, percent, title, unjudgeable
from negspace.wording import counted

_DEPENDENT = f"{UNTESTED}: checkpoints of one run are not independent"


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return sentences on emergence, trajectory, weight drift, harm of the ablation over steps, and correlations."""
    said = [_series(book), _emergence(book, tables["training_summary"]), _trajectory(tables["training_wd"])]
    said += _drift(tables["training_drift"], book.alpha)
    for score in book.part["scores"]:
        said.append(_harm(score, tables["training"], tables["training_summary"]))
    said += _correlations(book, tables["training_summary"])
    return said


def _series(book: Book) -> str:
    points, skipped = book.part["checkpoints"], book.part["skipped"]
    left = "".join(f" {checkpoint['why']}, and is left out." for checkpoint in skipped)
    return (
        f"Training: {len(points)} checkpoints, steps {points[0]['step']:,} to {points[-1]['step']:,}; the cohort is "
        f"the top {percent(book.part['share'])} by {book.study['by']} at the last "
        f"({counted(book.part['cohort'], 'neuron')}).{left}"
    )


def _emergence(book: Book, summary: pd.DataFrame) -> str:
    row = summary[summary["measure"] == "emergence"].iloc[0]
    if row["finding"] == LATE:
        return (
            f"Emergence: {LATE}. At no earlier checkpoint is more than half of it in the checkpoint's own top set for "
            "good."
        )
    interval = f"[{row['low']:,.0f}, {row['high']:,.0f}]"
    if row["finding"] == FIRST:
        # An interval that reaches later steps leaves room for a cohort that formed after the first checkpoint.
        sure = row["high"] <= row["estimate"]
        formed = "did not form" if sure else "is not shown to have formed"
        return (
            f"Emergence: more than half of the cohort is in the top set {FIRST} on (step {row['estimate']:,.0f} "
            f"{interval}): the cohort {formed} within this series."
        )
    last = book.part["checkpoints"][-1]["step"]
    text = (
        f"Emergence: from step {row['estimate']:,.0f} {interval} up to step {last:,}, more than half of the cohort is"
    )
    text += " in the checkpoint's own top set"
    half = summary[summary["measure"] == "half rise"].iloc[0]
    if half["finding"] == EMERGED:
        text += (
            "; half of the rise of its mean WD to the last checkpoint, by which it was chosen, is reached by step "
            f"{half['estimate']:,.0f} [{half['low']:,.0f}, {half['high']:,.0f}]"
        )
    return f"{text} (intervals: bootstrap over neurons)."


def _trajectory(wd: pd.DataFrame) -> str:
    whole = wd[wd["layer"].isna()]
    first, last, before = whole.iloc[0], whole.iloc[-1], whole.iloc[-2]
    return (
        f"Median WD of the cohort goes from {first['cohort_median']:.3f} to {last['cohort_median']:.3f} at the last "
        f"checkpoint, by which the cohort was chosen, of all others from {first['rest_median']:.3f} to "
        f"{last['rest_median']:.3f}; {percent(before['in_top'])} of the cohort is in the checkpoint's own top set at "
        f"step {before['step']:,}, the checkpoint before the last, {percent(first['in_top'])} at step "
        f"{first['step']:,} (chance {percent(first['in_top_chance'])})."
    )


def _drift(drift: pd.DataFrame, alpha: float) -> list[str]:
    whole = drift[drift["layer"].isna() & (drift["against"] == "next")]
    if whole.empty:
        return ["Input weights: not defined at any site of this model; no drift is reported."]
    tested, last = whole[whole["p_holm"].notna()], whole.iloc[-1]
    if tested.empty:
        why = unjudgeable("fewer than two neurons with input weights in the cohort or beside it, or all turn alike")
        return [f"Input weights: whether the cohort's turn more than others' {why}."]
    shown = tested[tested["p_holm"] <= alpha]
    more, less = shown[shown["difference_low"] > 0], shown[shown["difference_high"] < 0]
    left = len(whole) - len(tested)
    between = f"step {last['step']:,} to {last['against_step']:,}"
    text = (
        f"Input weights: between consecutive checkpoints the cohort's turn more than others' in {len(more)}, less in "
        f"{len(less)} of {len(whole)} intervals{f' ({left} cannot be judged)' if left else ''} (Welch, Holm-corrected)"
        f"{_null(len(more) + len(less))}; in the last one ({between}) "
    )
    if not np.isfinite(last["p_holm"]):
        return [f"{text}it cannot be judged."]
    return [
        f"{text}by {last['cohort_mean']:.4f} against {last['rest_mean']:.4f} in 1 - cos, difference "
        f"{last['difference']:+.4f} [{last['difference_low']:+.4f}, {last['difference_high']:+.4f}]."
    ]


def _null(found: int) -> str:
    return "" if found else ": no difference is shown"


def _harm(score: str, training: pd.DataFrame, summary: pd.DataFrame) -> str:
    rows = training[training["score"] == score]
    fixed = rows[rows["condition"] == "fixed cohort"]
    first, last = fixed.iloc[0], fixed.iloc[-1]
    margins = fixed["nats_finding"].notna().any()
    text = f"{capital(title(score))}, ablating the fixed cohort: harm "
    text += f"{'by accuracy ' if margins else ''}at {_shown(fixed)}"
    text += f" and by margins at {_shown(fixed, 'nats_')}" if margins else ""
    for row in (first, last):
        text += f"; step {row['step']:,}: {change(row)}"
    if isinstance(last["against_random_finding"], str):
        ends = ("against_random_low", "against_random_high")
        text += f"; against random sets {contrast(last, 'against_random', ends, 'against_random_')}"
    steps = summary[(summary["measure"] == "harm and step") & summary["of"].str.endswith(f": {score}")]
    trends = [f"{row['of'].split(':')[0]} {_rho(row)}" for _, row in steps.iterrows()]
    return f"{text}. Harm with step ({_DEPENDENT}): {'; '.join(trends)}."


def _shown(rows: pd.DataFrame, prefix: str = "") -> str:
    """Return in words the number of checkpoints with harm, and the first of them."""
    steps = rows.loc[rows[f"{prefix}finding"] == "harm", "step"]
    first = f", first at step {steps.iloc[0]:,}" if len(steps) else ""
    return f"{len(steps)} of {len(rows)} checkpoints{not_judged(rows, prefix)}{first}"


def _correlations(book: Book, summary: pd.DataFrame) -> list[str]:
    said = []
    for score in book.part["scores"]:
        rows = summary[(summary["measure"] == "cohort WD and score") & (summary["with"] == score)]
        levels, changes = (rows[rows["kind"] == kind].iloc[0] for kind in ("levels", "changes"))
        said.append(
            f"Cohort's median WD and {title(score)} of the plain checkpoints ({_DEPENDENT}): {_rho(levels)}; of the "
            f"changes between consecutive ones: {_rho(changes)}."
        )
    return said


def _rho(row: pd.Series) -> str:
    if row["finding"] == UNTESTED and np.isfinite(row["estimate"]):
        return f"rho {row['estimate']:+.2f}, n = {row['checkpoints']}"
    if not np.isfinite([row["estimate"], row["p_holm"]]).all():
        return unjudgeable("no correlation can be computed")
    ends = f"[{row['low']:.2f}, {row['high']:.2f}]" if np.isfinite(row["low"]) else "[no interval]"
    p = "< 0.001" if row["p_holm"] < 0.001 else f"= {row['p_holm']:.3f}"
    test = f"n = {row['checkpoints']}, Holm-corrected permutation p {p}"
    return f"rho {row['estimate']:+.2f} {ends}, {test}: {row['finding']}"

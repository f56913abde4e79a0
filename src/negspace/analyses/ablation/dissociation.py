"""Tables of the double dissociation: every task under every condition, and grammar against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.ablation.tables import AblationTables, condition_columns
from negspace.experiment.analysis import Book
from negspace.experiment.schema import Column, Table, schema
from negspace.significance import (
    Interaction,
    Outcomes,
    accuracy_interval,
    compare_accuracy,
    correct,
    interaction,
    interactions,
    together,
)
from negspace.text.suites import TITLES

ALL = "all tasks"

TABLES = schema(
    Table(
        "dissociation",
        (
            Column("share", float, "share p of the top set"),
            Column("suite", str, "minimal pairs that stand for grammar: blimp, tse or pairs"),
            Column(
                "against",
                str,
                "the other family: all tasks (tasks as groups), or one task (its items; holds for that task only)",
            ),
            Column("control", str, "the perplexity-matched control in words"),
            Column(
                "matched",
                bool,
                "whether the control's perplexity is the top set's within the tolerance; else it is the nearest",
            ),
            Column(
                "contrast",
                float,
                "(grammar drop - other drop) under the top set minus the same under the control; 0.01 is one point",
            ),
            Column("low", float, "lower end of its interval (hierarchical bootstrap, t)"),
            Column("high", float, "upper end of its interval"),
            Column("p", float, "the larger of the two p-values that follow"),
            Column("p_swap", float, "permutation p-value: the two ablations swapped within items"),
            Column("p_bootstrap", float, "p-value of the interval"),
            Column("p_holm", float, "p, Holm-corrected"),
            Column("verdict", str, "established, not established or reversed, by p_holm and the contrast's sign"),
            Column(
                "crossover",
                bool,
                "established, and grammar by itself loses more under the top set, the others under the control",
            ),
            Column("grammar_baseline", float, "the plain model's accuracy on the suite"),
            Column("grammar_drop", float, "accuracy lost on it under the top set"),
            Column("grammar_control_drop", float, "accuracy lost on it under the control"),
            Column("grammar_p", float, "p-value of the difference of the two drops"),
            Column("grammar_items", int, "minimal pairs (identical ones left out)"),
            Column("other_baseline", float, "the plain model's accuracy on the other family"),
            Column("other_drop", float, "accuracy lost on it under the top set"),
            Column("other_control_drop", float, "accuracy lost on it under the control"),
            Column("other_p", float, "p-value of the difference of the two drops"),
            Column("other_items", int, "items of the tasks"),
            Column("se", float, "standard error of the contrast"),
            Column("degrees", float, "degrees of freedom of its t distribution"),
            Column(
                "detectable", float, "smallest true contrast that so many items and groups show with probability 0.8"
            ),
            Column("sets", int, "random sets"),
            Column("random_mean", float, "mean contrast of random sets in the top set's place"),
            Column("random_sd", float, "their standard deviation"),
            Column("below", int, "random sets whose contrast is smaller"),
            Column("above", int, "random sets whose contrast is larger"),
            Column("random_p", float, "two-sided rank p-value among them; with few sets it cannot be small"),
            Column(
                "detectable_among_sets",
                float,
                "smallest distance from their mean that stands out from so many with probability 0.8",
            ),
        ),
        family="rows against all tasks of one share; single tasks of one share and suite",
    ),
    Table(
        "tasks_by_task",
        (
            Column("condition", str, "what was ablated, in words"),
            Column("role", str, "baseline, top, random (one set) or matched"),
            Column(
                "share",
                float,
                "share p of each layer's neurons that the condition belongs to; for matched sets, that of the top set",
            ),
            Column("seed", int, "seed of a random set"),
            Column("task", str, "task of lm-evaluation-harness, or all tasks (mean over them)"),
            Column("metric", str, "acc_norm divides a choice's log-likelihood by its characters; acc does not"),
            Column("items", int, "items scored"),
            Column("ties", int, "items whose right answer scores as high as a wrong one, counted as not right"),
            Column("cut", int, "items whose prompt exceeds the model's context and lost its beginning"),
            Column("chance", float, "accuracy of guessing"),
            Column("accuracy", float, "share of items that are right; for all tasks, the mean over tasks"),
            Column("accuracy_low", float, "lower end of its interval"),
            Column("accuracy_high", float, "upper end of its interval"),
            Column("change", float, "accuracy minus the baseline's on the same items"),
            Column("change_low", float, "lower end of its paired interval"),
            Column("change_high", float, "upper end of its paired interval"),
            Column(
                "p", float, "exact McNemar p-value over items; for all tasks, sign-flip p-value with tasks as units"
            ),
            Column("p_holm", float, "the same, Holm-corrected"),
        ),
        family="tasks of one condition; all tasks over conditions",
    ),
)
"""The tables, by name."""


class DissociationTables:
    """Tables of the tasks, beside those of the main study.

    Raises:
        RecordError: a record is missing or damaged.
    """

    def __init__(self, main: AblationTables) -> None:
        self.book, self.kinds = main.book, main.suites
        self._options = main.book.bootstrap
        self._main, self._entries = main, main.entries
        self._tasks = [main.items(one, "tasks") for one in main.entries]

    def make(self) -> dict[str, pd.DataFrame]:
        """Name -> table, columns as in `TABLES`; without minimal pairs there is nothing to contrast tasks with."""
        tables = {"tasks_by_task": self._by_task()}
        return tables | {"dissociation": self._dissociation()} if self.kinds else tables

    def _by_task(self) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for one, items in zip(self._entries, self._tasks, strict=True):
            about = condition_columns(one.about)
            baseline = None if one is self._entries[0] else self._tasks[0]
            part = [self._task_row(task, items, baseline) for task in items["task"].unique()]
            for row, p in zip(part, correct([row["p"] for row in part]).p, strict=True):
                row["p_holm"] = p
            rows += [{**about, **row} for row in (*part, self._task_row(ALL, items, baseline))]
        whole = [row for row in rows if row["task"] == ALL]
        for row, p in zip(whole, correct([row["p"] for row in whole]).p, strict=True):
            row["p_holm"] = p
        return TABLES["tasks_by_task"].of(rows)

    def _task_row(self, task: str, items: pd.DataFrame, baseline: pd.DataFrame | None) -> dict[str, Any]:
        own = np.full(len(items), True) if task == ALL else (items["task"] == task).to_numpy()
        part, right = items[own], items["value"].to_numpy()[own]
        group = part["task"].to_numpy()
        value = accuracy_interval(right, group, **self._options)
        metrics = part["metric"].unique()
        choices = part["choices"].to_numpy(np.float64)
        guessing = pd.Series(1 / np.where(choices > 0, choices, np.nan)).groupby(group).mean()
        row: dict[str, Any] = {
            "task": task,
            "metric": metrics[0] if len(metrics) == 1 else "each task's own",
            "items": len(part),
            "ties": int((part["outcome"] == "tie").sum()),
            "cut": int(part["cut"].sum()),
            "chance": float(guessing.mean(skipna=False)),
            "accuracy": value.estimate,
            "accuracy_low": value.low,
            "accuracy_high": value.high,
            "p": np.nan,
        }
        if baseline is not None:
            change = compare_accuracy(baseline["value"].to_numpy()[own], right, group, **self._options)
            interval = change.change
            row |= {"change": interval.estimate, "change_low": interval.low, "change_high": interval.high}
            row["p"] = change.p_paradigms if task == ALL and change.paradigms > 1 else change.p
        return row

    def _dissociation(self) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for match in self.book.part["matches"]:
            share = match["share"]
            role = {"top": [], "random": [], "matched": []}
            for place, about in enumerate(self.book.conditions):
                if about.share == share:
                    role[about.role].append(place)
            if not role["matched"]:
                continue  # no set of low-ranked neurons comes near: there is no control to contrast with
            places = (0, role["top"][0], role["matched"][0], role["random"])
            whole, single = {}, {}
            tasks = self._tasks[0]["task"].unique()
            for suite in self.kinds:
                grammar = self._grammar(suite, *places)
                whole[suite] = interaction(grammar, self._other(ALL, *places), **self._levels())
                single[suite] = interactions(grammar, {t: self._other(t, *places) for t in tasks}, **self._levels())
            control = self._entries[role["matched"][0]].about.name
            for suite, one in together(whole).items():
                for against, made in {ALL: one, **single[suite]}.items():
                    about = {"share": share, "suite": suite, "against": against}
                    rows.append({**about, "control": control, "matched": match["matched"], **_figures(made)})
        return TABLES["dissociation"].of(rows)

    def _levels(self) -> dict[str, Any]:
        study = self.book.study
        return {"alpha": study["alpha"], "draws": study["draws"], "seed": study["seed"]}

    def _grammar(self, suite: str, baseline: int, top: int, control: int, random: list[int]) -> Outcomes:
        items = self._main.items(self._entries[baseline], suite)
        counted = (items["outcome"] != "identical").to_numpy()

        def right(place: int) -> np.ndarray:
            return (self._main.items(self._entries[place], suite)["outcome"] == "right").to_numpy(np.float64)[counted]

        groups = items["paradigm"].to_numpy()[counted]
        return Outcomes(groups, right(baseline), right(top), right(control), [right(place) for place in random])

    def _other(self, task: str, baseline: int, top: int, control: int, random: list[int]) -> Outcomes:
        groups = self._tasks[baseline]["task"].to_numpy()
        own = np.full(len(groups), True) if task == ALL else groups == task

        def right(place: int) -> np.ndarray:
            return self._tasks[place]["value"].to_numpy(np.float64)[own]

        return Outcomes(groups[own], right(baseline), right(top), right(control), [right(place) for place in random])


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What the dissociation's table says, one sentence a share and suite; a null result is called one."""
    if "dissociation" not in tables:
        return []
    table, found = tables["dissociation"], []
    for share in book.study["shares"]:
        label = f"Double dissociation at the top {share * 100:.4g}%"
        here = table[table["share"] == share]
        if here.empty:
            found.append(f"{label}: cannot be tested, there is no matched control.")
        for _, row in here[here["against"] == ALL].iterrows():
            found.append(_sentence(label, row, here[(here["suite"] == row["suite"]) & (here["against"] != ALL)]))
    return found


_ONE_SIDED = "without a crossover (weaker evidence: a control that harms everything more can come out so, too)"
"""What is said of an interaction in which not both families go their way; see docs/analyses/calibration.md."""


def _sentence(label: str, row: pd.Series, single: pd.DataFrame) -> str:
    caveat = "" if row["matched"] else " (control nearest, not matched)"
    crossed = {"established": ", with a crossover" if row["crossover"] else f", {_ONE_SIDED}"}
    text = (
        f"{label}, {TITLES[row['suite']]} against {len(single)} tasks: {row['verdict']}"
        f"{crossed.get(row['verdict'], '')}{caveat}; contrast {_points(row['contrast'])} points "
        f"[{_points(row['low'])}, {_points(row['high'])}], p = {row['p_holm']:.3g}. Lost under the top set and under "
        f"the control: grammar {_points(row['grammar_drop'])} and {_points(row['grammar_control_drop'])} of "
        f"{row['grammar_baseline'] * 100:.1f}, tasks {_points(row['other_drop'])} and "
        f"{_points(row['other_control_drop'])} of {row['other_baseline'] * 100:.1f}. Detectable with probability 0.8: "
        f"{row['detectable'] * 100:.1f} points"
    )
    if row["sets"] > 0:
        text += f"; random sets: {row['below']} below, {row['above']} above"
    by_verdict = [
        f"{verdict} against {', '.join(single.loc[single['verdict'] == verdict, 'against'])}"
        for verdict in ("established", "reversed")
        if (single["verdict"] == verdict).any()
    ]
    return text + "; by task: " + ("; ".join(by_verdict) or "none established, none reversed") + "."


def _points(value: float) -> str:
    return f"{value * 100:+.1f}"


def _figures(made: Interaction) -> dict[str, Any]:
    row: dict[str, Any] = {
        "contrast": made.contrast.estimate,
        "low": made.contrast.low,
        "high": made.contrast.high,
        "p": made.p,
        "p_swap": made.p_swap,
        "p_bootstrap": made.p_bootstrap,
        "p_holm": made.p_adjusted,
        "verdict": made.verdict,
        "crossover": made.crossover,
        "se": made.se,
        "degrees": made.degrees,
        "detectable": made.detectable,
        "detectable_among_sets": made.detectable_among_sets,
        "sets": 0,
    }
    for name, family in (("grammar", made.grammar), ("other", made.other)):
        row |= {
            f"{name}_baseline": family.baseline,
            f"{name}_drop": family.ablation_drop,
            f"{name}_control_drop": family.control_drop,
            f"{name}_p": family.p,
            f"{name}_items": family.items,
        }
    if made.reference is not None:
        r = made.reference
        row |= {"sets": r.sets, "random_mean": r.mean, "random_sd": r.sd, "below": r.below, "above": r.above}
        row["random_p"] = r.p
    return row

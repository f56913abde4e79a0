"""The double dissociation: every task under every condition, and grammar against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.analyses.ablation.columns import condition_columns
from negspace.analyses.ablation.dissociation_columns import ALL, TABLES
from negspace.experiment.book import Book
from negspace.experiment.changes import Row
from negspace.experiment.condition import NEAREST, RANDOM, Condition
from negspace.experiment.effects import Effects, Entry
from negspace.experiment.floors import floored
from negspace.experiment.scored import Scored
from negspace.significance import (
    Contrast,
    Dissociation,
    Doses,
    Nesting,
    Suite,
    compare,
    describe,
    detectable,
    dissociate,
    judge_together,
)
from negspace.text.suites import TITLES

Dissociations = Mapping[tuple[float, str], Dissociation]
"""(share, suite) -> dissociation, judged together with all contrasts of the study."""


def conditions_of(book: Book) -> list[Condition]:
    """The study's conditions; sets that a search could not match have the role of the nearest."""
    unmatched = {match["share"] for match in book.part.get("matches", ()) if not match["matched"]}
    return [
        condition.model_copy(update={"role": NEAREST})
        if condition.role == "matched" and condition.share in unmatched
        else condition
        for condition in book.conditions
    ]


class DissociationTables:
    """The tasks of a main study, and grammar against them.

    Raises:
        RecordError: a record is missing or damaged.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        scored = [condition for condition in conditions_of(book) if "tasks" in condition.cells]
        self._items = {condition.name: book.record(condition.cells["tasks"]).items for condition in scored}
        self._conditions = scored
        plain = self._items[scored[0].name]
        self._nesting = Nesting.tasks(plain["task"].to_numpy(object))
        # Earlier records do not say how many choices are right: one.
        chance = (plain["chance"] if "chance" in plain else 1 / plain["choices"]).to_numpy(np.float64)
        # Nothing is right by guessing where an answer is written out; what guessing gets of a graded score is unknown.
        graded = plain["task"].isin(set(plain.loc[plain["outcome"] == "graded", "task"])).to_numpy()
        self._chance = np.where(plain["choices"] > 0, chance, np.where(graded, np.nan, 0.0))

    def make(self, dissociations: Dissociations) -> dict[str, pd.DataFrame]:
        """Name -> table, columns as in `TABLES`; without minimal pairs there is nothing to contrast tasks with."""
        tables = {"tasks_by_task": self._by_task()}
        if not any(suite in self.book.manifest["data"] for suite in TITLES):
            return tables
        rows: dict[str, list[Row]] = {name: [] for name in TABLES if name != "tasks_by_task"}
        for (share, suite), found in dissociations.items():
            which = {"share": share, "suite": suite}
            rows["dissociation"].append({**which, "control": self._control(share), **_figures(found)})
            rows["dissociation_without"] += [
                {**which, "left_out": w.left_out, "interaction": w.interaction, "verdict": w.verdict}
                for w in found.without
            ]
            rows["dissociation_floors"] += [{**which, **vars(floor)} for floor in found.left_out]
        return tables | {name: TABLES[name].of(some) for name, some in rows.items()}

    def dissociate(self, entries: Sequence[Entry], suites: Sequence[str], effects: Effects) -> Dissociations:
        """Every (share, suite), each by itself: to be judged together with what else the study says."""
        found = {}
        for share in self.book.study["shares"]:
            here = [entry for entry in entries if entry.about.share == share]
            top = next(entry for entry in here if entry.about.role == "top")
            control = next((entry for entry in here if entry.about.role in ("matched", NEAREST)), None)
            random = [entry for entry in here if entry.about.role == RANDOM and entry.about.name in self._items]
            doses = None
            if control is not None:
                plain = effects.level(entries[0], "perplexity")
                top_dose, control_dose = (np.log(effects.level(side, "perplexity") / plain) for side in (top, control))
                found_equal = control.about.role == "matched"
                doses = Doses(float(top_dose), float(control_dose), self.book.study["tolerance"], found_equal)
            other = Suite(
                self._nesting,
                self._chance,
                self._right(entries[0]),
                self._right(top),
                None if control is None else self._right(control),
                np.stack([self._right(entry) for entry in random]) if random else None,
            )
            for suite in suites:
                plain_items = entries[0].scores[suite]
                grammar = Suite(
                    plain_items.nesting,
                    plain_items.chance,
                    plain_items.values,
                    top.scores[suite].values,
                    None if control is None else control.scores[suite].values,
                    np.stack([entry.scores[suite].values for entry in random]) if random else None,
                )
                found[share, suite] = dissociate(grammar, other, doses, alpha=self.book.alpha)
        return found

    def _right(self, entry: Entry) -> NDArray[np.float64]:
        return self._items[entry.about.name]["value"].to_numpy(np.float64)

    def _control(self, share: float) -> str:
        mine = (condition for condition in self._conditions if condition.share == share)
        return next((condition.name for condition in mine if condition.role in ("matched", NEAREST)), "")

    def _by_task(self) -> pd.DataFrame:
        rows: list[Row] = []
        whole: dict[str, Contrast] = {}
        for condition in self._conditions:
            part = {task: self._task(condition, task) for task in (*self._nesting.labels, ALL)}
            claims = {task: claim for task, (_, claim) in part.items() if claim is not None}
            if ALL in claims:
                whole[condition.name] = claims.pop(ALL)
            judged = judge_together(claims)
            rows += [
                {**condition_columns(condition), **row, **_judged(judged.get(task))} for task, (row, _) in part.items()
            ]
        judged = judge_together(whole)
        for row in (row for row in rows if row["task"] == ALL):
            row |= _judged(judged.get(row["condition"]))
        order = list(dict.fromkeys(self._items[self._conditions[0].name]["task"]))
        rows.sort(key=lambda row: order.index(row["task"]) if row["task"] in order else len(order))
        names = [condition.name for condition in self._conditions]
        rows.sort(key=lambda row: names.index(row["condition"]))
        return TABLES["tasks_by_task"].of(rows)

    def _task(self, condition: Condition, task: str) -> tuple[Row, Contrast | None]:
        items, plain = self._items[condition.name], self._items[self._conditions[0].name]
        here = np.full(len(items), True) if task == ALL else (items["task"] == task).to_numpy()
        nesting = self._nesting
        if task != ALL:
            nesting = nesting.only(np.array([label == task for label in nesting.labels]))[0]
        part, right = items[here], items["value"].to_numpy(np.float64)[here]
        metrics = part["metric"].unique()
        value = describe(right, nesting, outcomes=bool(((right >= 0) & (right <= 1)).all()), alpha=self.book.alpha)
        guess = np.bincount(nesting.group, self._chance[here]) / nesting.sizes
        row: Row = {
            "task": task,
            "metric": metrics[0] if len(metrics) == 1 else "each task's own",
            "items": len(part),
            "ties": int((part["outcome"] == "tie").sum()),
            "cut": int(part["cut"].sum()),
            "chance": float(guess.mean()),
            "accuracy": value.estimate,
            "accuracy_low": value.low,
            "accuracy_high": value.high,
        }
        if items is plain:
            return row, None
        before = plain["value"].to_numpy(np.float64)[here]
        within = task != ALL
        claim = compare(right, before, nesting, scale="points", alpha=self.book.alpha, within=within)
        known = Scored("tasks", before, None, nesting, np.empty(0, dtype=object), self._chance[here])
        claim = floored(claim, known, within=within)
        change = claim.estimate
        if claim.reason:
            change = value.estimate - describe(before, nesting, outcomes=True, alpha=self.book.alpha).estimate
        row |= {"change": change, "change_low": claim.low, "change_high": claim.high, "p": claim.p}
        return row | {"reason": claim.reason}, claim


def _figures(found: Dissociation) -> Row:
    row: Row = {
        "verdict": found.verdict,
        "direction": found.direction,
        "carried_by": found.carried_by,
        "interaction": found.interaction.estimate,
        "low": found.interaction.low,
        "high": found.interaction.high,
        "p": found.interaction.p,
        "p_holm": found.interaction.p_adjusted,
        "p_cross": found.p_cross,
        "p_cross_holm": found.p_cross_adjusted,
        "paradigms": found.groups[0],
        "tasks": found.groups[1],
        "scope": found.grammar.scope,
        "left_out": len(found.left_out),
        "without": len(found.without),
        "changed": ", ".join(found.changed),
        "random": found.among_random.estimate,
        "random_low": found.among_random.low,
        "random_high": found.among_random.high,
        "random_finding": found.among_random.finding,
        "sets": found.among_random.sets.sets if found.among_random.sets else 0,
        "reason": found.reason,
    }
    if found.doses is not None:
        row |= {"top_ratio": np.exp(found.doses.top), "control_ratio": np.exp(found.doses.control)}
    for name, side, levels in (
        ("grammar", found.grammar, found.grammar_levels),
        ("other", found.other, found.other_levels),
    ):
        row |= {name: side.estimate, f"{name}_low": side.low, f"{name}_high": side.high, f"{name}_p": side.p}
        row |= dict(zip((f"{name}_baseline", f"{name}_top", f"{name}_control"), levels, strict=True))
    if found.sides is not None:
        scales = found.scales["interaction"]
        row |= {
            "chance_corrected": scales.chance_corrected,
            "log_odds": scales.log_odds,
            "scales_agree": found.scales_agree,
            "detectable": detectable(found.sides.interaction, alpha=found.interaction.alpha),
        }
    return row


def _judged(claim: Any) -> Row:
    return {} if claim is None else {"p_holm": claim.p_adjusted, "finding": claim.finding}

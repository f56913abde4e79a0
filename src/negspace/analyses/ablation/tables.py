"""Tables of the main study, made from its records without the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.ablation.columns import TABLES, condition_columns
from negspace.analyses.ablation.contrasts import judged, of_role, random_mean
from negspace.analyses.ablation.dissociation import DissociationTables, conditions_of
from negspace.experiment.book import Book
from negspace.experiment.changes import DIFFERENCE, Row, rests_on
from negspace.experiment.condition import BASELINE, RANDOM
from negspace.experiment.effects import Effects, Entry
from negspace.significance import Contrast, above_chance, compare, detectable, plain_sd
from negspace.text.suites import SUITES, by_group


class AblationTables:
    """The tables of the main study, made from its part of the manifest and its records.

    Raises:
        RecordError: a record is missing or damaged.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.suites = [suite for suite in SUITES if suite in book.manifest["data"]]
        self.effects = Effects(book, ["perplexity", *self.suites])
        self.entries = self.effects.read(conditions_of(book))
        self.plain = self.entries[0]
        self.tasks = DissociationTables(book) if "tasks" in book.manifest["data"] else None

    def make(self) -> dict[str, pd.DataFrame]:
        """Name -> table, columns as in `TABLES` and `dissociation_columns.TABLES`."""
        contrasts, dissociations = self._judged()
        tables = {
            "summary": self._summary(),
            "contrasts": contrasts,
            "matching": self._matching(),
            **{by_group(suite): self._grouped(suite) for suite in self.suites},
        }
        if self.suites:
            tables["scales"] = TABLES["scales"].of(list(self._scales()))
        return tables | (self.tasks.make(dissociations) if self.tasks else {})

    def items(self, entry: Entry, score: str) -> pd.DataFrame:
        """The items of a condition's score, as they are recorded."""
        return self.book.record(entry.about.cells[score]).items

    def _summary(self) -> pd.DataFrame:
        rows: list[Row] = []
        for place, entry in enumerate(self.entries):
            rows.append(self._summary_row(entry))
            after = self.entries[place + 1].about if place + 1 < len(self.entries) else None
            here = entry.about
            if here.role == RANDOM and (after is None or (after.role, after.share) != (RANDOM, here.share)):
                rows.append(self._summary_row(random_mean(self.effects, self.entries, here.share)))
        return _of("summary", rows)

    def _summary_row(self, entry: Entry) -> Row:
        row: Row = {**condition_columns(entry.about), "neurons": entry.about.neurons}
        for score in (score for score in self.effects.scores if score in entry.scores):
            text = score == "perplexity"
            row |= self.effects.value(entry, score, "perplexity" if text else f"{score}_accuracy")
            if entry.members:
                row["perplexity_sd" if text else f"{score}_accuracy_sd"] = self.effects.spread(entry, score)["sd"]
            elif not text:
                row[f"{score}_ties"] = _count(self.items(entry, score), "tie")
            if entry is self.plain:
                row |= {"ratio": 1.0} if text else {}
                continue
            change = self.effects.change(self.plain, entry, score)
            for name in ("change", "change_low", "change_high"):
                row[name.replace("change", "ratio") if text else f"{score}_{name}"] = change[name]
            for end in ("", "_low", "_high") if "change_nats" in change else ():
                row[f"{score}_nats{end}"] = change[f"change_nats{end}"]
        return row

    def _judged(self) -> tuple[pd.DataFrame, dict[tuple[float, str], Any]]:
        """The table of contrasts, and the dissociations by (share, suite): one family of claims."""
        dissociations = self.tasks.dissociate(self.entries, self.suites, self.effects) if self.tasks else {}
        contrasts, tested = judged(self.effects, self.entries, dissociations)
        for row, claims in contrasts:
            for scale, claim in claims.items():
                row |= DIFFERENCE.said(claim, scale)
                if scale != "nats":
                    least = detectable(claim.error, alpha=claim.alpha)
                    row["detectable"] = np.expm1(least) if scale == "log ratio" else least
        return TABLES["contrasts"].of([row for row, _ in contrasts]), tested

    def _scales(self) -> Iterator[Row]:
        for share in self.book.study["shares"]:
            for name in ("top", "matched"):
                for entry, suite in product(of_role(self.entries, share, name), self.suites):
                    for row in self._on_scales(self.plain, entry, suite):
                        yield {"share": share, "score": suite, "set": name, **row}

    def _on_scales(self, plain: Entry, entry: Entry, suite: str) -> Iterator[Row]:
        before, after = plain.scores[suite], entry.scores[suite]
        nesting, alpha, paradigms = before.nesting, self.effects.alpha, len(before.nesting.labels)
        pooled = nesting.pooled()

        def row(scale: str, claim: Contrast, accuracy: float = np.nan, groups: int = paradigms) -> Row:
            return {
                "scale": scale,
                "plain": accuracy,
                "change": claim.estimate,
                "low": claim.low,
                "high": claim.high,
                "groups": groups,
                "of": paradigms,
                "units": rests_on(claim),
                "reason": claim.reason,
            }

        yield row("points", compare(after.values, before.values, nesting, scale="points", alpha=alpha), before.level)
        pairs = compare(after.values, before.values, pooled, scale="points", alpha=alpha)
        yield row("pooled", pairs, float(before.values.mean()))
        able = above_chance(
            after.values, before.values, nesting, chance=before.chance, alpha=alpha, seed=self.book.study["seed"]
        )
        yield row("above chance", able.contrast, able.plain, len(able.paradigms) + len(able.half))
        if before.margins is not None and after.margins is not None:
            yield row("nats", compare(after.margins, before.margins, nesting, scale="nats", alpha=alpha))
            if np.ptp(before.margins) > 0:
                sd = plain_sd(before.margins)
                yield row("sd", compare(after.margins / sd, before.margins / sd, nesting, scale="sd", alpha=alpha))

    def _grouped(self, suite: str) -> pd.DataFrame:
        rows: list[Row] = []
        for entry in (entry for entry in self.entries if suite in entry.scores):
            items = self.items(entry, suite)
            for group, part in items.groupby(SUITES[suite].column, sort=True):
                if (part["outcome"] == "identical").all():
                    continue
                own, before = entry.part(suite, str(group)), self.plain.part(suite, str(group))
                row = {
                    **condition_columns(entry.about),
                    "score": suite,
                    SUITES[suite].group: group,
                    "paradigms": part["paradigm"].nunique(),
                    "pairs": len(part),
                    "ties": _count(part, "tie"),
                    "identical": _count(part, "identical"),
                    **self.effects.value(own, suite, "accuracy"),
                }
                if entry.about.role != BASELINE:
                    row |= self.effects.change(before, own, suite, within=True)
                rows.append(row)
        return TABLES[by_group(suite)].of(self.effects.judged(rows, ("condition",)))

    def _matching(self) -> pd.DataFrame:
        rows: list[Row] = []
        for match in self.book.part["matches"]:
            common = {name: match[name] for name in ("share", "target", "matched", "tolerance", "reason")}
            rows += [
                {
                    **common,
                    "step": step,
                    "m": trial["share"],
                    "perplexity": trial["perplexity"],
                    "reused": trial["reused"],
                    "residual": trial["perplexity"] / match["target"] - 1,
                    "chosen": trial["share"] == match["m"],
                }
                for step, trial in enumerate(match["trail"], start=1)
            ] or [common]
        return TABLES["matching"].of(rows)


def _count(items: pd.DataFrame, outcome: str) -> int:
    return int(np.count_nonzero(items["outcome"] == outcome))


def _of(name: str, rows: Sequence[Row]) -> pd.DataFrame:
    """The documented columns that the run has, in order: those of a suite only where it was scored."""
    there = {column for row in rows for column in row}
    scored = {suite for suite in SUITES if f"{suite}_accuracy" in there}
    wanted = [c for c in TABLES[name].names if c.split("_")[0] not in SUITES or c.split("_")[0] in scored]
    return TABLES[name].of(rows, only=wanted)

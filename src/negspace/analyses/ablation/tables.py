"""From the records of the main study to its tables: nothing is computed here that needs the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.ablation.columns import TABLES
from negspace.experiment.book import Book
from negspace.experiment.condition import BASELINE, RANDOM, Condition
from negspace.experiment.effects import Effects, Entry
from negspace.text.suites import SUITES, by_group

Row = dict[str, Any]


class AblationTables:
    """The tables of the main study, made from its part of the manifest and its records.

    Raises:
        RecordError: a record is missing or damaged.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.suites = [suite for suite in SUITES if suite in book.manifest["data"]]
        self.effects = Effects(book, ["perplexity", *self.suites])
        self.entries = self.effects.read(book.conditions)
        self.plain = self.entries[0]

    def make(self) -> dict[str, pd.DataFrame]:
        """Name -> table, columns as in `TABLES`."""
        tables = {"summary": self._summary(), "contrasts": self._contrasts(), "matching": self._matching()}
        return tables | {by_group(suite): self._grouped(suite) for suite in self.suites}

    def items(self, one: Entry, score: str) -> pd.DataFrame:
        """The items of a condition's score, as they are recorded."""
        return self.book.record(one.about.cells[score]).items

    def _summary(self) -> pd.DataFrame:
        rows = [{**condition_columns(one.about), "neurons": one.about.neurons} for one in self.entries]
        for score, prefix in (("perplexity", ""), *((suite, f"{suite}_") for suite in self.suites)):
            value, change = ("perplexity", "ratio") if score == "perplexity" else ("accuracy", "change")
            p = "ratio_p" if score == "perplexity" else "p"
            figures: list[Row] = [{"score": score, **self.effects.value(one, score, value)} for one in self.entries]
            figures[0] |= {change: 1.0} if score == "perplexity" else {}
            for row, one in zip(figures[1:], self.entries[1:], strict=True):
                row |= self.effects.change(self.plain, one, score, change, p=p)
            ends = (f"{change}_low", f"{change}_high")
            finding = "ratio_finding" if score == "perplexity" else "finding"
            self.effects.judged(figures, ("score",), ends=ends, p=p, finding=finding)
            for row, own in zip(rows, figures, strict=True):
                row |= {f"{prefix}{name}": number for name, number in own.items() if name != "score"}
        for suite in self.suites:
            for row, one in zip(rows, self.entries, strict=True):
                row[f"{suite}_ties"] = _count(self.items(one, suite), "tie")
        return _of("summary", self._with_means(rows))

    def _with_means(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with one for the mean over the random sets of a share after these."""
        found: list[Row] = []
        for place, (row, one) in enumerate(zip(rows, self.entries, strict=True)):
            found.append(row)
            after = self.entries[place + 1].about if place + 1 < len(rows) else None
            if one.about.role == RANDOM and (after is None or (after.role, after.share) != (RANDOM, one.about.share)):
                found.append(self._random_mean(self._with(one.about.share, RANDOM)))
        return found

    def _random_mean(self, sets: Sequence[Entry]) -> Row:
        first = sets[0].about
        assert first.share is not None
        mean = self.effects.mean(sets, f"random {first.share * 100:.4g}%, mean of {len(sets)}")
        row: Row = {**condition_columns(mean.about), "neurons": first.neurons}
        for score in self.effects.scores:
            level, plain = self.effects.level(mean, score), self.effects.level(self.plain, score)
            sd = self.effects.spread(mean, score)["sd"]
            if score == "perplexity":
                row |= {"perplexity": level, "perplexity_sd": sd, "ratio": level / plain}
            else:
                row |= {f"{score}_accuracy": level, f"{score}_accuracy_sd": sd, f"{score}_change": level - plain}
        return row

    def _with(self, share: float | None, role: str) -> list[Entry]:
        return [one for one in self.entries if (one.about.share, one.about.role) == (share, role)]

    def _contrasts(self) -> pd.DataFrame:
        rows: list[Row] = []
        for share in self.book.study["shares"]:
            top, random = self._with(share, "top")[0], self._with(share, RANDOM)
            controls = {
                "random": self.effects.mean(random) if random else None,
                "matched": next(iter(self._with(share, "matched")), None),
            }
            for score in self.effects.scores:
                rows += [
                    {
                        "share": share,
                        "score": score,
                        "against": against,
                        "control": _called(control),
                        "top": self.effects.level(top, score),
                        "reference": self.effects.level(control, score),
                        **self.effects.change(control, top, score, "difference", ("low", "high")),
                        **self.effects.place(top, control, score),
                    }
                    for against, control in controls.items()
                    if control is not None
                ]
        return _of("contrasts", self.effects.judged(rows, ()))

    def _grouped(self, suite: str) -> pd.DataFrame:
        rows: list[Row] = []
        for one in self.entries:
            items = self.items(one, suite)
            parts = dict(list(items.groupby(SUITES[suite].column, sort=True)))
            for group, part in parts.items():
                own, before = one.part(suite, str(group)), self.plain.part(suite, str(group))
                row = {
                    **condition_columns(one.about),
                    "score": suite,
                    SUITES[suite].group: group,
                    "paradigms": part["paradigm"].nunique(),
                    "pairs": len(part),
                    "ties": _count(part, "tie"),
                    "identical": _count(part, "identical"),
                    **self.effects.value(own, suite, "accuracy"),
                }
                if one.about.role != BASELINE:
                    row |= self.effects.change(before, own, suite, unit="pair")
                rows.append(row)
        self.effects.judged(rows, ("condition",), ends=("change_low", "change_high"))
        return _of(by_group(suite), rows)

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
        return _of("matching", rows)


def condition_columns(about: Condition) -> Row:
    """The columns that say what a row is about."""
    return {"condition": about.name, "role": about.role, "share": about.share, "seed": about.seed}


def _called(control: Entry) -> str:
    count = len(control.members)
    return control.about.name if not count else control.members[0].about.name if count == 1 else f"{count} sets"


def _count(items: pd.DataFrame, outcome: str) -> int:
    return int(np.count_nonzero(items["outcome"] == outcome))


def _of(name: str, rows: Sequence[Row]) -> pd.DataFrame:
    """The documented columns that the run has, in order: those of a suite only where it was scored."""
    there = {column for row in rows for column in row}
    wanted = [c for c in TABLES[name].names if c.split("_")[0] not in SUITES or c in there]
    return TABLES[name].of(rows, only=wanted)

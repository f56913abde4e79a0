"""From the records of the main study to its tables: nothing is computed here that needs the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.ablation.columns import TABLES
from negspace.experiment.analysis import Book
from negspace.experiment.condition import Condition
from negspace.significance import (
    AccuracyChange,
    accuracy_interval,
    compare_accuracy,
    compare_perplexity,
    correct,
    perplexity_interval,
    stand,
)
from negspace.text.suites import SUITES, by_group


@dataclass(frozen=True)
class Measured:
    """One condition with what its records hold."""

    about: Condition
    nll: np.ndarray
    pairs: Mapping[str, pd.DataFrame]


class AblationTables:
    """The tables of the main study, made from its part of the manifest and its records.

    Raises:
        RecordError: a record is missing or damaged.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.kinds = [kind for kind in SUITES if kind in book.manifest["data"]]
        self._options = book.bootstrap
        self.measured = [self._read(about) for about in book.conditions]
        self.baseline = self.measured[0]

    def make(self) -> dict[str, pd.DataFrame]:
        """Name -> table, columns as in `TABLES`."""
        tables = {"summary": self._summary(), "contrasts": self._contrasts(), "matching": self._matching()}
        return tables | {by_group(kind): self._grouped(kind) for kind in self.kinds}

    def _read(self, about: Condition) -> Measured:
        nll = self.book.record(about.cells["perplexity"]).items["nll"].to_numpy()
        pairs = {kind: self.book.record(about.cells[kind]).items for kind in self.kinds}
        return Measured(about, nll, pairs)

    def _summary(self) -> pd.DataFrame:
        rows = [self._summary_row(one) for one in self.measured]
        table = pd.DataFrame(rows)
        for column in ["ratio_p", *(f"{kind}_p" for kind in self.kinds)]:
            table[f"{column}_holm"] = correct(table[column].to_numpy(np.float64)).p
        for share in self.book.study["shares"]:
            sets = table[(table["role"] == "random") & (table["share"] == share)]
            if len(sets):
                at = int(sets.index[-1]) + 1
                mean = pd.DataFrame([self._random_mean(share, sets)])
                table = pd.concat([table.loc[: at - 1], mean, table.loc[at:]], ignore_index=True)
                table.index = pd.RangeIndex(len(table))
        return _typed("summary", table)

    def _summary_row(self, one: Measured) -> dict[str, Any]:
        value = perplexity_interval(one.nll, **self._options)
        row: dict[str, Any] = {
            **condition_columns(one.about),
            "neurons": one.about.neurons,
            "perplexity": value.estimate,
            "perplexity_low": value.low,
            "perplexity_high": value.high,
        }
        if one is not self.baseline:
            change = compare_perplexity(self.baseline.nll, one.nll, **self._options)
            row |= {
                "ratio": change.ratio.estimate,
                "ratio_low": change.ratio.low,
                "ratio_high": change.ratio.high,
                "ratio_p": change.p,
            }
        else:
            row |= {"ratio": 1.0, "ratio_low": np.nan, "ratio_high": np.nan, "ratio_p": np.nan}
        for kind in self.kinds:
            items = one.pairs[kind]
            figures = self._accuracy(items, self.baseline.pairs[kind] if one is not self.baseline else None)
            row |= {f"{kind}_{name}": figure for name, figure in figures.items()}
            row[f"{kind}_ties"] = int((items["outcome"] == "tie").sum())
        return row

    def _random_mean(self, share: float, sets: pd.DataFrame) -> dict[str, Any]:
        spread = sets.std(ddof=1, numeric_only=True) if len(sets) > 1 else {}
        row: dict[str, Any] = {
            "condition": f"random {share * 100:.4g}%, mean of {len(sets)}",
            "role": "random mean",
            "share": share,
            "neurons": int(sets["neurons"].iloc[0]),
            "perplexity": float(np.exp(np.log(sets["perplexity"]).mean())),
            "perplexity_sd": spread.get("perplexity", np.nan),
            "ratio": float(np.exp(np.log(sets["ratio"]).mean())),
        }
        for kind in self.kinds:
            row[f"{kind}_accuracy"] = float(sets[f"{kind}_accuracy"].mean())
            row[f"{kind}_accuracy_sd"] = spread.get(f"{kind}_accuracy", np.nan)
            row[f"{kind}_change"] = float(sets[f"{kind}_change"].mean())
        return row

    def _accuracy(self, items: pd.DataFrame, baseline: pd.DataFrame | None) -> dict[str, float]:
        counted = (items["outcome"] != "identical").to_numpy()
        paradigm = items["paradigm"].to_numpy()[counted]
        right = _right(items)[counted]
        value = accuracy_interval(right, paradigm, **self._options)
        figures = {"accuracy": value.estimate, "accuracy_low": value.low, "accuracy_high": value.high}
        names = ("change", "change_low", "change_high", "p", "p_paradigms")
        if baseline is None:
            return figures | dict.fromkeys(names, np.nan)
        change = compare_accuracy(_right(baseline)[counted], right, paradigm, **self._options)
        values = (change.change.estimate, change.change.low, change.change.high, change.p, change.p_paradigms)
        return figures | dict(zip(names, values, strict=True))

    def _contrasts(self) -> pd.DataFrame:
        rows = []
        for share in self.book.study["shares"]:
            here = [one for one in self.measured if one.about.share == share]
            top = next(one for one in here if one.about.role == "top")
            random = [one for one in here if one.about.role == "random"]
            matched = [one for one in here if one.about.role == "matched"]
            for score in ["perplexity", *self.kinds]:
                if random:
                    rows.append({"share": share, "score": score, **self._contrast(score, top, random, "random")})
                if matched:
                    rows.append({"share": share, "score": score, **self._contrast(score, top, matched, "matched")})
        table = pd.DataFrame(rows, columns=TABLES["contrasts"].names)
        if rows:
            table["p_holm"] = correct(table["p"].to_numpy(np.float64)).p
        return _typed("contrasts", table)

    def _contrast(self, score: str, top: Measured, controls: list[Measured], against: str) -> dict[str, Any]:
        names = [one.about.name for one in controls]
        row: dict[str, Any] = {"against": against, "control": names[0] if len(names) == 1 else f"{len(names)} sets"}
        if score == "perplexity":
            reference = np.mean([one.nll for one in controls], axis=0)
            change = compare_perplexity(reference, top.nll, **self._options)
            interval, value, each = change.ratio, change.treated, [float(np.exp(one.nll.mean())) for one in controls]
            row |= {"top": change.treated, "reference": change.baseline, "p": change.p}
        else:
            accuracy, each = self._paired(score, top, controls)
            interval, value = accuracy.change, accuracy.treated
            row |= {"top": accuracy.treated, "reference": accuracy.baseline, "p": accuracy.p_paradigms}
            if np.isnan(row["p"]) and len(controls) == 1:
                row["p"] = accuracy.p
        row |= {"difference": interval.estimate, "low": interval.low, "high": interval.high}
        if against == "random":
            place = stand(value, each)
            row |= {"sets": place.sets, "sd": place.sd, "z": place.z, "below": place.below, "above": place.above}
        return row

    def _paired(self, kind: str, top: Measured, controls: list[Measured]) -> tuple[AccuracyChange, list[float]]:
        """The top set against the mean outcome of the controls, pair by pair; and each control's own accuracy."""
        items = top.pairs[kind]
        counted = (items["outcome"] != "identical").to_numpy()
        paradigm = items["paradigm"].to_numpy()[counted]
        outcomes = [_right(one.pairs[kind])[counted] for one in controls]
        each = [float(pd.Series(right).groupby(paradigm).mean().mean()) for right in outcomes]
        mean = np.mean(outcomes, axis=0)
        return compare_accuracy(mean, _right(items)[counted], paradigm, **self._options), each

    def _grouped(self, kind: str) -> pd.DataFrame:
        name, column = by_group(kind), SUITES[kind].group
        source = SUITES[kind].column
        parts = []
        for one in self.measured:
            items, before = one.pairs[kind], self.baseline.pairs[kind]
            rows = []
            for group, part in items.groupby(source, sort=True):
                baseline = None if one is self.baseline else before.loc[part.index]
                rows.append(
                    {
                        **condition_columns(one.about),
                        column: group,
                        "paradigms": part["paradigm"].nunique(),
                        "pairs": len(part),
                        "ties": int((part["outcome"] == "tie").sum()),
                        "identical": int((part["outcome"] == "identical").sum()),
                        **self._accuracy(part, baseline),
                    }
                )
            table = pd.DataFrame(rows)
            table["p_holm"] = correct(table["p"].to_numpy(np.float64)).p
            parts.append(table)
        return _typed(name, pd.concat(parts, ignore_index=True))

    def _matching(self) -> pd.DataFrame:
        rows = []
        for match in self.book.part["matches"]:
            common = {name: match[name] for name in ("share", "target", "matched", "tolerance", "reason")}
            if not match["trail"]:
                rows.append(common)
            for step, trial in enumerate(match["trail"], start=1):
                rows.append(
                    {
                        **common,
                        "step": step,
                        "m": trial["share"],
                        "perplexity": trial["perplexity"],
                        "reused": trial["reused"],
                        "residual": trial["perplexity"] / match["target"] - 1,
                        "chosen": trial["share"] == match["m"],
                    }
                )
        return _typed("matching", pd.DataFrame(rows))


def condition_columns(about: Condition) -> dict[str, Any]:
    """The columns that say what a row is about."""
    return {"condition": about.name, "role": about.role, "share": about.share, "seed": about.seed}


def _right(items: pd.DataFrame) -> np.ndarray:
    return (items["outcome"] == "right").to_numpy(np.float64)


def _typed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The documented columns that the run has, in order."""
    suites = [kind for kind in SUITES if f"{kind}_accuracy" in table.columns]
    wanted = [c for c in TABLES[name].names if c.split("_")[0] not in SUITES or c.split("_")[0] in suites]
    return TABLES[name].of(table, only=wanted)

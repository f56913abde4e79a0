"""From the records of the main study to its tables: nothing is computed here that needs the model."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from negspace.runs.store import Store
from negspace.significance import (
    AccuracyChange,
    accuracy_interval,
    compare_accuracy,
    compare_perplexity,
    correct,
    perplexity_interval,
    stand,
)
from negspace.studies.schema import COLUMNS, describe

_GROUPING = {"blimp": ("blimp_by_phenomenon", "phenomenon"), "tse": ("tse_by_construction", "construction")}


@dataclass(frozen=True)
class _Measured:
    """One condition with what its records hold."""

    about: Mapping[str, Any]
    nll: np.ndarray
    pairs: Mapping[str, pd.DataFrame]


class Tables:
    """The tables of a finished run, made from its manifest and records.

    Raises:
        RecordError: the run is unfinished, or a record is missing or damaged.
    """

    def __init__(self, store: Store) -> None:
        self.manifest = store.read_manifest()
        study = self.manifest["study"]
        self._options = {"level": 1 - study["alpha"], "draws": study["draws"], "seed": study["seed"]}
        self.kinds = [kind for kind in _GROUPING if kind in self.manifest["data"]]
        self._measured = [self._read(store, about) for about in self.manifest["conditions"]]
        self._baseline = self._measured[0]
        self.all = {"summary": self._summary(), "contrasts": self._contrasts(), "matching": self._matching()}
        for kind in self.kinds:
            self.all[_GROUPING[kind][0]] = self._grouped(kind)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.all[name]

    def describe(self) -> str:
        """The schema of the tables as a page of Markdown."""
        return describe()

    def write(self, store: Store) -> None:
        """Write every table as parquet and CSV into `tables/` of the run, and what their columns mean.

        Raises:
            RecordError: they cannot be written.
        """
        for name, table in self.all.items():
            buffer = io.BytesIO()
            pq.write_table(pa.Table.from_pandas(table, preserve_index=False), buffer, compression="zstd")
            store.write_file(f"tables/{name}.parquet", buffer.getvalue())
            store.write_file(f"tables/{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
        store.write_file("tables/COLUMNS.md", self.describe().encode())
        store.keep_only(
            "tables", {"COLUMNS.md", *(f"{name}.{kind}" for name in self.all for kind in ("parquet", "csv"))}
        )

    def _read(self, store: Store, about: Mapping[str, Any]) -> _Measured:
        nll = store.require(about["cells"]["perplexity"]).items["nll"].to_numpy()
        return _Measured(about, nll, {kind: store.require(about["cells"][kind]).items for kind in self.kinds})

    def _summary(self) -> pd.DataFrame:
        rows = [self._summary_row(one) for one in self._measured]
        table = pd.DataFrame(rows)
        for column in ["ratio_p", *(f"{kind}_p" for kind in self.kinds)]:
            table[f"{column}_holm"] = correct(table[column].to_numpy(np.float64)).p
        for share in self.manifest["study"]["shares"]:
            sets = table[(table["role"] == "random") & (table["share"] == share)]
            if len(sets):
                at = int(sets.index[-1]) + 1
                mean = pd.DataFrame([self._random_mean(share, sets)])
                table = pd.concat([table.loc[: at - 1], mean, table.loc[at:]], ignore_index=True)
                table.index = pd.RangeIndex(len(table))
        return _typed("summary", table)

    def _summary_row(self, one: _Measured) -> dict[str, Any]:
        value = perplexity_interval(one.nll, **self._options)
        row: dict[str, Any] = {
            **_condition(one.about),
            "neurons": one.about["neurons"],
            "perplexity": value.estimate,
            "perplexity_low": value.low,
            "perplexity_high": value.high,
        }
        if one is not self._baseline:
            change = compare_perplexity(self._baseline.nll, one.nll, **self._options)
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
            figures = self._accuracy(items, self._baseline.pairs[kind] if one is not self._baseline else None)
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
        for share in self.manifest["study"]["shares"]:
            here = [one for one in self._measured if one.about["share"] == share]
            top = next(one for one in here if one.about["role"] == "top")
            random = [one for one in here if one.about["role"] == "random"]
            matched = [one for one in here if one.about["role"] == "matched"]
            for score in ["perplexity", *self.kinds]:
                if random:
                    rows.append({"share": share, "score": score, **self._contrast(score, top, random, "random")})
                if matched:
                    rows.append({"share": share, "score": score, **self._contrast(score, top, matched, "matched")})
        table = pd.DataFrame(rows, columns=list(COLUMNS["contrasts"]))
        if rows:
            table["p_holm"] = correct(table["p"].to_numpy(np.float64)).p
        return _typed("contrasts", table)

    def _contrast(self, score: str, top: _Measured, controls: list[_Measured], against: str) -> dict[str, Any]:
        names = [one.about["name"] for one in controls]
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

    def _paired(self, kind: str, top: _Measured, controls: list[_Measured]) -> tuple[AccuracyChange, list[float]]:
        """The top set against the mean outcome of the controls, pair by pair; and each control's own accuracy."""
        items = top.pairs[kind]
        counted = (items["outcome"] != "identical").to_numpy()
        paradigm = items["paradigm"].to_numpy()[counted]
        outcomes = [_right(one.pairs[kind])[counted] for one in controls]
        each = [float(pd.Series(right).groupby(paradigm).mean().mean()) for right in outcomes]
        mean = np.mean(outcomes, axis=0)
        return compare_accuracy(mean, _right(items)[counted], paradigm, **self._options), each

    def _grouped(self, kind: str) -> pd.DataFrame:
        name, column = _GROUPING[kind]
        source = "phenomenon" if kind == "blimp" else "paradigm"
        parts = []
        for one in self._measured:
            items, before = one.pairs[kind], self._baseline.pairs[kind]
            rows = []
            for group, part in items.groupby(source, sort=True):
                baseline = None if one is self._baseline else before.loc[part.index]
                rows.append(
                    {
                        **_condition(one.about),
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
        for match in self.manifest["matches"]:
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


def _condition(about: Mapping[str, Any]) -> dict[str, Any]:
    return {"condition": about["name"], "role": about["role"], "share": about["share"], "seed": about["seed"]}


def _right(items: pd.DataFrame) -> np.ndarray:
    return (items["outcome"] == "right").to_numpy(np.float64)


_WORDS = ("condition", "role", "score", "against", "control", "phenomenon", "construction", "reason")
_WHOLE = ("seed", "neurons", "sets", "below", "above", "paradigms", "pairs", "ties", "identical", "step")
_FLAGS = ("reused", "chosen", "matched")


def _typed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The documented columns that the run has, in order, each of its own type whatever rows there are."""
    wanted = COLUMNS[name]
    suites = [kind for kind in _GROUPING if f"{kind}_accuracy" in table.columns]
    columns = {}
    for column in wanted:
        if column.split("_")[0] in _GROUPING and column.split("_")[0] not in suites:
            continue
        values = table[column] if column in table.columns else pd.Series([None] * len(table))
        if column in _WORDS:
            columns[column] = values.astype("str")
        elif column in _FLAGS:
            columns[column] = values.astype("boolean")
        elif column in _WHOLE or column.endswith("_ties"):
            columns[column] = values.astype("Int64")
        else:
            columns[column] = values.astype("float64")
    return pd.DataFrame(columns).reset_index(drop=True)

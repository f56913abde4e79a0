"""Tables of the training analysis, made from its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.analyses.training.columns import AGAINST_RANDOM, TABLES
from negspace.analyses.training.trends import Trend, summarise
from negspace.experiment.analysis import Book
from negspace.experiment.condition import BASELINE, LEFT_OUT, RANDOM, Condition
from negspace.experiment.effects import Effects, Entry
from negspace.experiment.floors import at_floor
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.significance import correct, mean_interval, wilson
from negspace.significance.ranks import spearman
from negspace.significance.unpaired import compare_groups


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    training, floors = _training(book)
    wd, inside, values = _wd(book)
    made = {"training": training, "training_wd": wd, "training_drift": _drift(book)}
    steps = [checkpoint["step"] for checkpoint in book.part["checkpoints"]]
    trend = Trend(steps, inside, values, training, wd, floors)
    made["training_summary"] = TABLES["training_summary"].of(
        summarise(trend, book.part["scores"], alpha=book.alpha, **book.bootstrap)
    )
    return made


# Scores.


def _training(book: Book) -> tuple[pd.DataFrame, dict[str, NDArray[np.bool_]]]:
    """The table; score -> [checkpoints] True where the plain checkpoint is not shown to be above chance."""
    effects = Effects(book, book.part["scores"])
    rows: list[dict[str, Any]] = []
    floors: dict[str, list[bool]] = {score: [] for score in effects.scores}
    for point in book.part["checkpoints"]:
        where = {"step": point["step"], "checkpoint": point["name"]}
        entries = effects.read([Condition.model_validate(condition) for condition in point["conditions"]])
        rows += [{**where, **row} for score in effects.scores for row in _scores(effects, entries, score)]
        for score, found in floors.items():
            found.append(at_floor(entries[0].scores[score], book.alpha))
    # One random set or the mean of several, never both in a family.
    effects.judged(rows, ("score", "condition"))
    effects.judged(rows, ("score", "condition"), AGAINST_RANDOM)
    return TABLES["training"].of(rows), {score: np.array(found) for score, found in floors.items()}


def _scores(effects: Effects, entries: Sequence[Entry], score: str) -> Iterator[dict[str, Any]]:
    """Rows of one checkpoint and score: all conditions, and the mean of several random sets."""
    plain, drawn = entries[0], [entry for entry in entries if entry.about.role == RANDOM]
    random = effects.mean(drawn) if drawn else None
    for entry in [*entries, *([random] if random is not None and len(drawn) > 1 else [])]:
        about = entry.about
        row: dict[str, Any] = {
            "condition": about.role,
            "seed": about.seed,
            "neurons": about.neurons,
            "left_out": about.facts.get(LEFT_OUT, 0),
            "score": score,
            **effects.value(entry, score, ends=("low", "high")),
        }
        if about.role != BASELINE:
            row |= effects.change(plain, entry, score)
        if about.role.endswith("cohort") and random is not None:
            row |= effects.change(random, entry, score, AGAINST_RANDOM)
        yield row


# Wasserstein distances.


def _scan(book: Book, point: Mapping[str, Any]) -> pd.DataFrame:
    """The part of a checkpoint's scan that the tables need."""
    return book.record(point["scan"]).items[sorted({"layer", "tokens", "wd", book.study["by"]})]


def _layout(book: Book) -> Layout:
    return Layout.from_rows(book.record(book.part["checkpoints"][-1]["scan"]).results["info"]["layout"])


def _wd(book: Book) -> tuple[pd.DataFrame, NDArray[np.bool_], NDArray[np.float64]]:
    """The table; which of the cohort is in each checkpoint's top set, and its WD there, [checkpoints, cohort] each."""
    study, share = book.study, book.part["share"]
    layers, layout, points = study["layers"], _layout(book), book.part["checkpoints"]

    def top(table: pd.DataFrame) -> NDArray[np.bool_]:
        return select.top(table, layout, share, study["by"], layers).mask

    final = _scan(book, points[-1])
    layer = final["layer"].to_numpy()
    scope = np.ones(len(layer), bool) if layers is None else np.isin(layer, layers)
    cohort, last = top(final), final["wd"].to_numpy(np.float64)
    rows, inside, values = [], [], []
    for point in points:
        where = {"step": point["step"], "checkpoint": point["name"]}
        table = _scan(book, point)
        wd, own = table["wd"].to_numpy(np.float64), top(table)
        inside.append(own[cohort])
        values.append(wd[cohort])
        for number in [None, *np.unique(layer[cohort])]:
            here = scope if number is None else layer == number
            rows.append({**where, "layer": number, **_trajectory(book, wd, last, cohort, own, here)})
    table = TABLES["training_wd"].of(rows)
    return table, np.array(inside), np.array(values)


def _trajectory(
    book: Book,
    wd: NDArray[np.float64],
    last: NDArray[np.float64],
    cohort: NDArray[np.bool_],
    own: NDArray[np.bool_],
    here: NDArray[np.bool_],
) -> dict[str, Any]:
    defined = here & np.isfinite(wd)
    mine, others = wd[defined & cohort], wd[defined & ~cohort]
    row: dict[str, Any] = {"cohort": len(mine), "rest": len(others)}
    if len(mine):
        mean = mean_interval(mine, **book.bootstrap)
        row |= {"cohort_mean": mean.estimate, "cohort_mean_low": mean.low, "cohort_mean_high": mean.high}
        row |= dict(
            zip(("cohort_q25", "cohort_median", "cohort_q75"), np.quantile(mine, [0.25, 0.5, 0.75]), strict=True)
        )
    if len(others):
        names = ("rest_q05", "rest_median", "rest_q95", "rest_q99")
        row |= {
            "rest_mean": others.mean(),
            **dict(zip(names, np.quantile(others, [0.05, 0.5, 0.95, 0.99]), strict=True)),
        }
    both, either = int((cohort & own & here).sum()), int(((cohort | own) & here).sum())
    level = book.level
    overlap = wilson(both, int((cohort & here).sum()), level=level)
    rho = spearman(wd[here], last[here], level=level)
    return row | {
        "in_top": overlap.estimate,
        "in_top_low": overlap.low,
        "in_top_high": overlap.high,
        "in_top_chance": float((own & here).sum() / here.sum()),
        "jaccard": both / either,
        "rho_last": rho.estimate,
        "rho_last_low": rho.low,
        "rho_last_high": rho.high,
    }


# Input weights.


def _drift(book: Book) -> pd.DataFrame:
    points = book.part["checkpoints"]
    rows: list[dict[str, Any]] = []
    for number, point in enumerate(points):
        for against in ("next", "last"):
            if against not in point["drift"]:
                continue  # nothing comes after the last
            other = points[-1] if against == "last" else points[number + 1]
            if other is point:
                continue  # the last against itself, zero throughout
            items = book.record(point["drift"][against]).items
            if items.empty:
                continue
            where = {"step": point["step"], "checkpoint": point["name"], "against": against}
            for layer in [None, *sorted(items["layer"].unique())]:
                part = items if layer is None else items[items["layer"] == layer]
                rows.append({**where, "against_step": other["step"], "layer": layer, **_turned(book, part)})
    families: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault((row["against"], row["layer"] is None), []).append(row)
    for tests in families.values():
        for row, p in zip(tests, correct([row["p"] for row in tests]).p, strict=True):
            row["p_holm"] = float(p)
    return TABLES["training_drift"].of(rows)


def _turned(book: Book, items: pd.DataFrame) -> dict[str, Any]:
    """The cohort's drift beside the sample's."""
    kept = items[np.isfinite(items["dissimilarity"])]
    row: dict[str, Any] = {"undefined": len(items) - len(kept), "p": np.nan}
    groups = [kept[kept["cohort"]], kept[~kept["cohort"]]]
    for name, growth, group in zip(("cohort", "rest"), ("growth", "rest_growth"), groups, strict=True):
        row[name] = len(group)
        if len(group):
            mean = mean_interval(group["dissimilarity"].to_numpy(), **book.bootstrap)
            row |= {f"{name}_mean": mean.estimate, f"{name}_low": mean.low, f"{name}_high": mean.high}
            row[growth] = float(np.log(group["norm_against"] / group["norm"]).mean())
    if all(map(len, groups)):
        made = compare_groups(*(group["dissimilarity"] for group in groups), level=book.level)
        interval = made.difference
        row |= {"difference": interval.estimate, "difference_low": interval.low, "difference_high": interval.high}
        row["p"] = made.p
    return row

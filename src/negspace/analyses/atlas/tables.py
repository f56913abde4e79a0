"""Tables of the atlas, made from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from negspace.analyses.atlas.columns import TABLES
from negspace.experiment.analysis import Book
from negspace.experiment.chosen import KEYS, names_of
from negspace.experiment.examples import as_json, in_context
from negspace.experiment.floors import floored
from negspace.experiment.scored import scored
from negspace.significance import Contrast, compare, correct, describe, judge_together
from negspace.significance.clustered import clustered_mean
from negspace.stats.modes import Mixture
from negspace.stats.wasserstein import negative_excess
from negspace.text.suites import SUITES

BINS = 64
"""Bins of a histogram, about."""
_REACH = 6.0
"""Half of what a histogram shows, in standard deviations; the outermost bins take what lies beyond."""
_SCAN = (
    "wd", "wd_error", "md", "negative_share", "negative_excess", "fraction_negative", "mean", "std", "skewness",
    "kurtosis", "bimodality",
)  # fmt: skip
KINDS = ("token", "upos", "dep", "phenomenon")
"""Kinds of drivers."""


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables."""
    part = book.part
    scan = book.record(book.manifest["scan"]).items
    excess = negative_excess(scan["negative_share"], scan["mean"], scan["std"])
    scan = scan.assign(name=names_of(scan), negative_excess=excess).set_index("name")
    keys = scan.loc[part["neurons"], KEYS]
    record = book.record(part["drivers"])
    mixtures = {name: mixture(given) for name, given in record.results["mixtures"].items()}
    activations = book.record(part["activations"]).items
    tokens = book.record(part["passages"]["record"]).items
    drivers = _drivers(record.items)
    alone = _alone(book)
    made = {
        "atlas": _neurons(part["neurons"], scan, mixtures, drivers, alone, book.alpha),
        "atlas_modes": _modes(mixtures, activations),
        "atlas_drivers": drivers,
        "atlas_examples": _examples(mixtures, activations, tokens, int(part["passages"]["window"]), part["examples"]),
        "atlas_contrasts": _contrasts(book, mixtures, activations),
        "atlas_alone": alone,
        "atlas_histograms": _histograms(mixtures, activations),
    }
    if not book.part["alone"]["neurons"]:
        del made["atlas_alone"]
    if not book.part["critical"]:
        del made["atlas_contrasts"]
    full = {name: table.join(keys, on="name") if name != "atlas" else table for name, table in made.items()}
    return {name: TABLES[name].of(table) for name, table in full.items()}


def mixture(given: Mapping[str, Any]) -> Mixture:
    """A mixture from a record's results."""
    weights, means, stds = (np.array(given[name], np.float64) for name in ("weights", "means", "stds"))
    return Mixture(weights, means, stds, given["tokens"], tuple(given["bic"]))


def _drivers(items: pd.DataFrame) -> pd.DataFrame:
    """Drivers with p-values corrected, the largest lift of significant ones first within a neuron, mode and kind."""
    # A record of an earlier version has no excess: no direction can be told from it.
    table = items.assign(excess=items.get("excess", np.nan), p_bh=np.nan)
    for _, rows in table.groupby(["name", "kind"], sort=False).groups.items():
        raw = table.loc[rows, "p"].to_numpy(np.float64)
        table.loc[rows, "p_bh"] = correct(raw, "benjamini-hochberg").p
    order = {kind: at for at, kind in enumerate(KINDS)}
    table["_kind"] = table["kind"].map(order)
    table = table.sort_values(
        ["name", "mode", "_kind", "p_bh", "lift", "value"], ascending=[True, True, True, True, False, True]
    )
    table["mode"] = table["mode"].astype("int64") + 1
    return table.drop(columns="_kind").reset_index(drop=True)


def _modes(mixtures: Mapping[str, Mixture], activations: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for name, made in mixtures.items():
        values = _values(activations, name)
        part = made.assign(values)
        for mode in range(len(made)):
            mine = values[part == mode]
            ends = (float(mine.min()), float(mine.max())) if len(mine) else (np.nan, np.nan)
            rows.append(
                {
                    "name": name,
                    "mode": mode + 1,
                    "weight": made.weights[mode],
                    "mean": made.means[mode],
                    "std": made.stds[mode],
                    "tokens": len(mine),
                    "share": len(mine) / len(values),
                    "low": ends[0],
                    "high": ends[1],
                    "fraction_negative": float(np.mean(mine < 0)) if len(mine) else np.nan,
                }
            )
    return pd.DataFrame(rows)


def _neurons(
    names: Sequence[str],
    scan: pd.DataFrame,
    mixtures: Mapping[str, Mixture],
    drivers: pd.DataFrame,
    alone: pd.DataFrame,
    alpha: float,
) -> pd.DataFrame:
    rows = []
    for rank, name in enumerate(names, start=1):
        row: dict[str, Any] = {"name": name, "rank": rank}
        row |= {column: scan.at[name, column] for column in (*KEYS, *_SCAN)}
        made = mixtures.get(name)
        if made is not None:
            mine = drivers[drivers["name"] == name]
            row |= {
                "tokens": int(made.tokens),
                "modes": len(made),
                "peaks": made.peaks,
                "bic_gain": made.bic[0] - min(made.bic) if made.bic else 0.0,
                **{f"mode_{what}": as_json(getattr(made, what)) for what in ("weights", "means", "stds")},
                "summary": "; ".join(
                    f"mode {mode}: {words}"
                    for mode in range(1, len(made) + 1)
                    if (words := in_words(mine[mine["mode"] == mode], alpha))
                ),
            }
        hurt = alone[alone["name"] == name] if len(alone) else alone
        if len(hurt):
            # Margins of different suites are in different units: they are not ranked together.
            worst = worst_of(hurt[hurt["suite"] == hurt["suite"].iloc[0]])
            row |= {"hurts": worst["group"], "hurts_margin": worst["margin"]}
            row |= {f"hurts_{what}": worst[f"margin_{what}"] for what in ("p_holm", "finding")}
        rows.append(row)
    return pd.DataFrame(rows)


def over_represented(drivers: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The rows of values that are shown to fall in their mode more often than others.

    The test is of the excess over the mode's share in the same passages. Where the lift points the other way, it comes
    from differences between passages.
    """
    return drivers[(drivers["p_bh"] <= alpha) & (drivers["lift"] > 1) & (drivers["excess"] > 0)]


def in_words(drivers: pd.DataFrame, alpha: float, most: int = 3) -> str:
    """Return in a few words what is over-represented in a mode; "" if nothing exceeds chance."""
    sure = over_represented(drivers, alpha)
    found = []
    for kind in KINDS:
        # Where lifts are equal, as all are of what never leaves the mode, the more frequent value says more.
        mine = sure[sure["kind"] == kind].sort_values(["lift", "tokens", "value"], ascending=[False, False, True])
        mine = mine.head(most)
        if len(mine):
            pairs = zip(mine["value"], mine["lift"], strict=True)
            shown = [f"{said(value, kind)} ×{lift:.1f}" for value, lift in pairs]
            found.append(f"{kind} {', '.join(shown)}")
    return "; ".join(found)


def said(value: str, kind: str) -> str:
    """A token (quoted), tag or phenomenon in a sentence: no spaces around it, what is not printable written out."""
    body = value.strip(" ")
    if not body or not body.isprintable():
        return ascii(value)
    return repr(body) if kind == "token" else body


def _examples(
    mixtures: Mapping[str, Mixture], activations: pd.DataFrame, tokens: pd.DataFrame, window: int, wanted: int
) -> pd.DataFrame:
    """Tokens from the lowest to the highest of each mode, each of another passage where there are enough."""
    names, texts = (tokens[column].to_numpy(object) for column in ("name", "text"))
    passage = tokens["window"].to_numpy(np.int64)
    rows = []
    for name, made in mixtures.items():
        values = activations[name].to_numpy(np.float64)
        there = np.flatnonzero(np.isfinite(values))
        part = made.assign(values[there])
        for mode in range(len(made)):
            mine = there[part == mode]
            mine = mine[np.argsort(values[mine], kind="stable")]
            for rank, at in enumerate(_spread_out(passage[mine], min(wanted, len(mine))), start=1):
                token = int(mine[at])
                about = {"name": name, "mode": mode + 1, "rank": rank, "window": passage[token]}
                about |= {"upos": tokens["upos"].iat[token], "dep": tokens["dep"].iat[token]}
                rows.append(about | in_context(token, values, names, texts, window))
    return pd.DataFrame(rows)


def _spread_out(passages: NDArray[np.int64], wanted: int) -> list[int]:
    """Places in an order, evenly apart from the first to the last, of different passages as far as that goes."""
    found: list[int] = []
    used: set[int] = set()
    for target in np.linspace(0, len(passages) - 1, wanted).round().astype(int).tolist():
        near = np.argsort(np.abs(np.arange(len(passages)) - target), kind="stable")
        free = [at for at in near.tolist() if at not in found]
        chosen = next((at for at in free if int(passages[at]) not in used), free[0])
        found.append(chosen)
        used.add(int(passages[chosen]))
    return sorted(found)


def _contrasts(book: Book, mixtures: Mapping[str, Mixture], activations: pd.DataFrame) -> pd.DataFrame:
    """Return how well each neuron separates the good from the bad sentence at the first differing token."""
    rows = []
    for suite, key in book.part["critical"].items():
        items = book.record(key).items
        group = SUITES[suite].column
        first = items[items["number"] == 0].set_index(["paradigm", "index"], drop=False)
        good, bad = (first[first["sentence"] == sentence] for sentence in ("good", "bad"))
        bad = bad.loc[good.index]
        groups = good[group].to_numpy(str)
        paradigms = good["paradigm"].to_numpy(str)
        for name, made in mixtures.items():
            std = float(_values(activations, name).std()) or 1.0
            one, two = good[name].to_numpy(np.float64), bad[name].to_numpy(np.float64)
            both = np.isfinite(one) & np.isfinite(two)
            for value in np.unique(groups[both]):
                here = both & (groups == value)
                change = (one[here] - two[here]) / std
                mean = clustered_mean(change, paradigms[here], **book.bootstrap)
                rows.append(
                    {
                        "name": name,
                        "suite": suite,
                        "group": value,
                        "paradigms": mean.clusters,
                        "pairs": mean.items,
                        "difference": mean.mean.estimate,
                        "low": mean.mean.low,
                        "high": mean.mean.high,
                        "apart": float(np.abs(change).mean()),
                        "parted": float(np.mean(made.assign(one[here]) != made.assign(two[here]))),
                        "p": mean.p,
                    }
                )
    table = pd.DataFrame(rows, columns=TABLES["atlas_contrasts"].names)
    table = table.drop(columns=KEYS)
    table["p_holm"] = np.nan
    for _, some in table.groupby(["name", "suite"], sort=False).groups.items():
        table.loc[some, "p_holm"] = correct(table.loc[some, "p"].to_numpy(np.float64)).p
    return table


def _alone(book: Book) -> pd.DataFrame:
    """Return the effect of ablating each neuron alone, by phenomenon and construction; worst first in each suite."""
    given = book.part["alone"]
    rows = []
    for name, keys in given["neurons"].items():
        for suite, key in keys.items():
            before = scored(suite, book.record(given["baseline"][suite]))
            after = scored(suite, book.record(key), before)
            found: dict[str, dict[str, Any]] = {}
            claims: dict[str, dict[str, Contrast]] = {"": {}, "margin_": {}}
            for group in sorted(set(before.groups)):
                first, second = before.part(group), after.part(group)
                options = {"alpha": book.alpha, "within": True}
                points = compare(second.values, first.values, first.nesting, scale="points", **options)
                claims[""][group] = points = floored(points, first, within=True)
                found[group] = {
                    "name": name,
                    "suite": suite,
                    "group": group,
                    "paradigms": len(first.nesting.labels),
                    "pairs": len(first.values),
                    "accuracy": second.level,
                    "change": second.level - first.level,
                    "change_low": points.low,
                    "change_high": points.high,
                }
                if first.margins is not None and second.margins is not None:
                    margin = compare(second.margins, first.margins, first.nesting, scale="nats", **options)
                    claims["margin_"][group] = margin
                    estimate = describe(second.margins - first.margins, first.nesting).estimate
                    found[group] |= {"margin": estimate, "margin_low": margin.low, "margin_high": margin.high}
            for prefix, of_scale in claims.items():
                for group, claim in judge_together(of_scale).items():
                    assert isinstance(claim, Contrast)
                    told = {"p": claim.p, "p_holm": claim.p_adjusted, "finding": claim.finding, "reason": claim.reason}
                    found[group] |= {f"{prefix}{what}": value for what, value in told.items()}
            rows += found.values()
    table = pd.DataFrame(rows, columns=[name for name in TABLES["atlas_alone"].names if name not in KEYS])
    order = {name: at for at, name in enumerate(given["neurons"])}
    suites = {name: at for at, name in enumerate(SUITES)}
    table["_order"], table["_suite"] = table["name"].map(order), table["suite"].map(suites)
    table = table.sort_values(["_order", "_suite", "margin", "change", "group"], kind="stable")
    return table.drop(columns=["_order", "_suite"]).reset_index(drop=True)


def _histograms(mixtures: Mapping[str, Mixture], activations: pd.DataFrame) -> pd.DataFrame:
    """Counts in equal bins, zero being an edge, beside what a Gaussian and the mixture expect."""
    parts = []
    for name, made in mixtures.items():
        values = _values(activations, name)
        mean, std = float(values.mean()), float(values.std())
        low, high = max(float(values.min()), mean - _REACH * std), min(float(values.max()), mean + _REACH * std)
        width = (high - low) / BINS if high > low else max(abs(mean), 1.0) / BINS
        first, last = int(np.floor(low / width)), int(np.floor(high / width))
        edges = np.arange(first, last + 2) * width
        place = np.clip(np.floor(values / width), first, last).astype(np.int64) - first
        inner = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
        whole = np.diff(stats.norm.cdf(inner, mean, std)) if std > 0 else np.full(len(edges) - 1, np.nan)
        cdf = stats.norm.cdf(inner[:, None], made.means, np.maximum(made.stds, 1e-300)) @ made.weights
        parts.append(
            pd.DataFrame(
                {
                    "name": name,
                    "bin": np.arange(1, len(edges)),
                    "low": edges[:-1],
                    "high": edges[1:],
                    "count": np.bincount(place, minlength=len(edges) - 1),
                    "gaussian": whole * len(values),
                    "mixture": np.diff(cdf) * len(values),
                    "mode": made.assign((edges[:-1] + edges[1:]) / 2) + 1,
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"name": []})


def _values(activations: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values = activations[name].to_numpy(np.float64)
    return values[np.isfinite(values)]


def worst_of(rows: pd.DataFrame) -> pd.Series:
    """The first of a neuron's rows with harm; without any, the first that is judged, or else the first.

    Args:
        rows: of atlas_alone, of one suite, the lowest change of the margin first. Suites have margins in units of their
            own (BLiMP's are sums over tokens, TSE's means) and are corrected each by itself.
    """
    told = rows["margin_finding"].astype("str").fillna(rows["finding"])
    for wanted in (told == "harm", told != "cannot be judged"):
        if wanted.any():
            return rows[wanted].iloc[0]
    return rows.iloc[0]

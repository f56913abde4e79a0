"""Tables and sentences of differentiation, made from its records: shares of sign classes against controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from negspace.experiment.analysis import Book
from negspace.experiment.chosen import KEY_COLUMNS
from negspace.experiment.schema import Column, Table, schema
from negspace.experiment.words import unjudgeable
from negspace.significance import correct, grouped_interval, sign_flip
from negspace.significance.contrast import conclude
from negspace.significance.estimate import Estimate
from negspace.significance.nesting import Shortfall
from negspace.significance.sets import FEWEST, conclude_with_sets, too_few

CONTEXT = 12
"""Tokens shown on either side of a token."""
FLIPS = 9999
"""Random permutations of a test."""
MEASURES = {
    "nn": "both pre-activations below zero",
    "pn": "one below zero, one not",
    "pp": "neither below zero",
    "upos_differs": "the tokens' words have different parts of speech (pairs in which both have one)",
    "dep_differs": "the tokens' words have different dependency labels (pairs in which both have one)",
}
"""Measures of pairs -> meaning."""
_RANDOM, _BOTTOM = "random", "bottom"
_END = (
    Column("token", str, "the token"),
    Column("a", float, "the neuron's pre-activation there"),
    Column("before", str, "text before it in its window"),
    Column("after", str, "text after it"),
    Column("window", int, "number of its passage"),
    Column("place", int, "its place in the passage, from 0"),
    Column("frequency", int, "how often it occurs in the windows of the text"),
    Column("upos", str, 'part of speech of its word, "" without one'),
    Column("dep", str, 'dependency label of its word, "" without one'),
)

TABLES = schema(
    Table(
        "differentiation",
        (
            Column("set", str, "top, random (all sets of random neurons together) or bottom"),
            Column("measure", str, "; ".join(f"{name}: {meaning}" for name, meaning in MEASURES.items())),
            Column(
                "against",
                str,
                "matched pairs: the same neurons' control pairs; random, bottom: control neurons' selected pairs; "
                "random over matched, bottom over matched: (selected minus matched) of the set, minus the same of the "
                "controls; random sets are a sample of sets",
            ),
            Column("neurons", int, "neurons of the set with such pairs"),
            Column("pairs", int, "their pairs; against matched pairs, those with a control"),
            Column(
                "value",
                float,
                "share of the set's selected pairs (mean over neurons); over matched: selected minus matched",
            ),
            Column("value_low", float, "lower end of its interval (bootstrap over neurons and their pairs)"),
            Column("value_high", float, "upper end of its interval"),
            Column("reference", float, "the same for the reference"),
            Column("reference_low", float, "lower end of its interval"),
            Column("reference_high", float, "upper end of its interval"),
            Column("difference", float, "value minus reference"),
            Column(
                "low",
                float,
                "lower end of its interval (paired against matched pairs; against random sets a prediction interval "
                "for a further one; against bottom neurons, those of both drawn independently)",
            ),
            Column("high", float, "upper end of its interval"),
            Column(
                "p",
                float,
                "against matched pairs: sign flips with neurons as units, as if they were independent (sentences rest "
                "on p_layers); against random sets: t over the sets, none as far out; against bottom "
                "neurons: neurons of a layer permuted between the two",
            ),
            Column("p_holm", float, "the same, Holm-corrected"),
            Column("layers", int, "against matched pairs: layers of these neurons"),
            Column(
                "p_layers",
                float,
                "against matched pairs: sign flips with layers as units, since a layer's neurons choose among the "
                "same near pairs; missing for a single layer",
            ),
            Column(
                "p_layers_holm",
                float,
                "the same, Holm-corrected; sentences say more or fewer if it is at most alpha, the interval off zero",
            ),
            Column("sets", int, "random sets that it is compared with"),
            Column(
                "reason",
                str,
                "what cannot be judged, and what to add; against matched pairs: layers too few for p_layers_holm to "
                "reach alpha",
            ),
        ),
        family="the measures of one set against one thing",
    ),
    Table(
        "differentiation_neurons",
        (
            Column("set", str, "top, random or bottom"),
            Column("seed", int, "seed of a random set"),
            *KEY_COLUMNS,
            Column("tokens", int, "tokens that reached the neuron"),
            Column("points", int, "distinct inputs among them"),
            Column("near_pairs", int, "near pairs of these"),
            Column("mean", float, "mean pre-activation"),
            Column("std", float, "its standard deviation"),
            Column("fraction_negative", float, "share of the tokens below zero"),
            Column("near_nn", float, "share of all near pairs with both below zero"),
            Column("near_pn", float, "share with one below zero"),
            Column("near_pp", float, "share with neither below zero"),
            Column("selected", int, "number of pairs that the neuron drives furthest apart"),
            Column("matched", int, "selected pairs with a matched control"),
            Column("apart", float, "mean |a_i - a_j| of the selected pairs, in standard deviations"),
            Column("apart_matched", float, "the same of the controls"),
            Column(
                "distance",
                float,
                "mean distance of the selected pairs' inputs, 1 being that of random inputs (root mean square)",
            ),
            Column("distance_matched", float, "the same of the controls"),
            *(Column(name, float, f"share of the selected pairs: {meaning}") for name, meaning in MEASURES.items()),
            *(
                Column(f"{name}_matched", float, f"share of the controls: {meaning}")
                for name, meaning in MEASURES.items()
            ),
        ),
    ),
    Table(
        "differentiation_pairs",
        (
            *KEY_COLUMNS,
            Column("kind", str, "selected, or matched: the control of the selected pair of the same rank"),
            Column("rank", int, "1 for the pair that the neuron drives furthest apart"),
            Column("sign", str, "NN: both below zero, PN: one of the two, PP: neither"),
            Column("apart", float, "|a_i - a_j| in standard deviations of the neuron"),
            Column("distance", float, "distance of the inputs, divided by that of random inputs (root mean square)"),
            Column(
                "overlap",
                str,
                "same: one word but for case and space; part: half of the longer one in common from its start; none",
            ),
            *(Column(f"{c.name}_first", c.type, f"{c.meaning}: first of the pair") for c in _END),
            *(Column(f"{c.name}_second", c.type, f"{c.meaning}: second of the pair") for c in _END),
        ),
    ),
)
"""The tables, by name."""


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables."""
    record = book.record(book.part["record"])
    tokens = book.record(book.part["passages"]["record"]).items
    about = pd.DataFrame(record.results["neurons"])
    pairs = _pairs(record.items, tokens, about, int(book.part["passages"]["window"]))
    neurons = _neurons(book.part["sets"], about, pairs)
    summary = _summary(neurons, pairs, book.bootstrap)
    made = {"differentiation": summary, "differentiation_neurons": neurons, "differentiation_pairs": pairs}
    return {name: TABLES[name].of(table) for name, table in made.items()}


def _pairs(items: pd.DataFrame, tokens: pd.DataFrame, about: pd.DataFrame, window: int) -> pd.DataFrame:
    """Pairs with their tokens in context."""
    table = items.merge(about[["name", "layer", "branch", "expert", "neuron", "std"]], on="name", how="left")
    below = (table["a_first"] < 0).astype(int) + (table["a_second"] < 0).astype(int)
    table["sign"] = np.array(["PP", "PN", "NN"])[below.to_numpy(int)]
    table["apart"] = (table["a_first"] - table["a_second"]).abs() / table["std"]
    names, texts = (tokens[column].to_numpy(object) for column in ("name", "text"))
    for end in ("first", "second"):
        at = table[end].to_numpy(np.int64)
        begin = at // window * window
        table[f"token_{end}"] = names[at]
        table[f"before_{end}"] = ["".join(texts[max(b, p - CONTEXT) : p]) for b, p in zip(begin, at, strict=True)]
        table[f"after_{end}"] = [
            "".join(texts[p + 1 : min(b + window, p + 1 + CONTEXT)]) for b, p in zip(begin, at, strict=True)
        ]
        for column in ("window", "place", "frequency", "upos", "dep"):
            table[f"{column}_{end}"] = tokens[column].to_numpy()[at]
    return table


def _measured(pairs: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Measure -> 1 where it holds, 0 where not, NaN where it is not defined; [pairs] each."""
    signs = pairs["sign"].to_numpy(object)
    made = {name: np.asarray(signs == name.upper(), np.float64) for name in ("nn", "pn", "pp")}
    for name in ("upos", "dep"):
        one, two = pairs[f"{name}_first"].astype(str), pairs[f"{name}_second"].astype(str)
        made[f"{name}_differs"] = np.where((one == "") | (two == ""), np.nan, np.asarray(one != two, np.float64))
    return made


def _neurons(sets: Sequence[Mapping[str, Any]], about: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per neuron and set."""
    given = pairs[["name", "kind", "apart", "distance"]].assign(**_measured(pairs))
    means = given.groupby(["name", "kind"]).mean().unstack("kind")
    columns = {}
    for column in ("apart", "distance", *MEASURES):
        for kind, suffix in (("selected", ""), ("matched", "_matched")):
            key = (column, kind)
            columns[column + suffix] = means[key] if key in means.columns else pd.Series(dtype="float64")
    facts = about.set_index("name").join(pd.DataFrame(columns)).reset_index()
    parts = [
        facts[facts["name"].isin(one["neurons"])].assign(set=one["set"], seed=one["seed"])
        for one in sets
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _summary(neurons: pd.DataFrame, pairs: pd.DataFrame, options: Mapping[str, Any]) -> pd.DataFrame:
    """Return the contrasts with matched pairs, and of the top set with control neurons."""
    given = pairs[["name", "kind", "rank"]].assign(**_measured(pairs))
    selected = given[given["kind"] == "selected"]
    both = selected.merge(given[given["kind"] == "matched"], on=["name", "rank"], suffixes=("", "_control"))
    parts = []
    against = {_RANDOM: _against_random, _BOTTOM: _against_neurons}
    names = {role: part[["name", "layer", "seed"]] for role, part in neurons.groupby("set", sort=False)}
    for role, members in names.items():
        rows = [_against_matched(members, both, measure, options) for measure in MEASURES]
        for other in (_RANDOM, _BOTTOM) if role == "top" else ():
            if other in names:
                for measure in MEASURES:
                    plain = (members.merge(selected, on="name"), names[other].merge(selected, on="name"))
                    rows.append(against[other](*plain, measure, measure, other, options))
                for measure in MEASURES:
                    column = f"{measure}_over"
                    over = both.assign(**{column: both[measure] - both[f"{measure}_control"]})
                    parts_of = (members.merge(over, on="name"), names[other].merge(over, on="name"))
                    rows.append(against[other](*parts_of, column, measure, f"{other} over matched", options))
        table = pd.DataFrame([{"set": role, **row} for row in rows if row is not None])
        if len(table):
            for _, some in table.groupby("against", sort=False).groups.items():
                table.loc[some, "p_holm"] = correct(table.loc[some, "p"].to_numpy(np.float64)).p
            parts.append(_over_layers(table, 1 - options["level"]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TABLES["differentiation"].names)


def _over_layers(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Add the layers' p-values, Holm-corrected, and the reason where layers are too few to show anything.

    Sign flips of n layers give p of 2 / 2^n at least, and Holm's correction multiplies the lowest of m by m.
    """
    here = table["against"] == "matched pairs"
    if not here.any():
        return table
    needed = 1 + math.ceil(math.log2(here.sum() / alpha))
    table = table.assign(reason=table.get("reason", ""))
    table.loc[here, "p_layers_holm"] = correct(table.loc[here, "p_layers"].to_numpy(np.float64)).p
    few = here & (table["layers"] < needed)
    table.loc[few, "reason"] = [
        f"{layers} layer{'s' if layers != 1 else ''}; sign flips over layers need {needed}"
        for layers in table.loc[few, "layers"].astype(int)
    ]
    return table


def _against_matched(
    members: pd.DataFrame, both: pd.DataFrame, measure: str, options: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Selected pairs against their own controls."""
    part = members.merge(both, on="name").dropna(subset=[measure, f"{measure}_control"])
    if part.empty:
        return None
    value, reference = (part[column].to_numpy(np.float64) for column in (measure, f"{measure}_control"))
    difference = value - reference
    of_neuron = pd.Series(difference).groupby(part["name"].to_numpy()).mean()
    layer_of = part.drop_duplicates("name").set_index("name")["layer"]
    of_layer = of_neuron.groupby(layer_of.loc[of_neuron.index].to_numpy()).mean().to_numpy()
    groups = part["name"].to_numpy(object)
    return {
        "measure": measure,
        "against": "matched pairs",
        "neurons": len(of_neuron),
        "pairs": len(part),
        **_interval("value", value, groups, options),
        **_interval("reference", reference, groups, options),
        **_interval("difference", difference, groups, options),
        "p": sign_flip(of_neuron.to_numpy(), seed=options["seed"]),
        "layers": len(of_layer),
        "p_layers": sign_flip(of_layer, seed=options["seed"]),
    }


def _against_neurons(
    chosen: pd.DataFrame,
    controls: pd.DataFrame,
    column: str,
    measure: str,
    against: str,
    options: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Pairs of the chosen neurons against those of control neurons."""
    chosen, controls = chosen.dropna(subset=[column]), controls.dropna(subset=[column])
    if chosen.empty or controls.empty:
        return None
    one, two = (part.groupby(["layer", "name"])[column].mean() for part in (chosen, controls))
    a, b = one.to_numpy(np.float64), two.to_numpy(np.float64)
    layers = np.concatenate([part.index.get_level_values("layer").to_numpy() for part in (one, two)])
    low, high = _two_samples(a, b, options)
    return {
        "measure": measure,
        "against": against,
        "neurons": len(one),
        "pairs": len(chosen),
        **_interval("value", chosen[column].to_numpy(np.float64), chosen["name"].to_numpy(object), options),
        **_interval("reference", controls[column].to_numpy(np.float64), controls["name"].to_numpy(object), options),
        "difference": float(a.mean() - b.mean()),
        "low": low,
        "high": high,
        "p": _permuted(a, b, layers, options["seed"]),
    }


def _against_random(
    chosen: pd.DataFrame,
    controls: pd.DataFrame,
    column: str,
    measure: str,
    against: str,
    options: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Pairs of the chosen neurons against what random sets of as many neurons do, the sets being a sample.

    A set's value is its neurons' mean. What single sets differ by holds the noise of the neurons that each happens to
    have; where the chosen neurons vary more, the excess is added.
    """
    chosen, controls = chosen.dropna(subset=[column]), controls.dropna(subset=[column])
    if chosen.empty or controls.empty:
        return None
    own = chosen.groupby("name")[column].mean().to_numpy(np.float64)
    neurons = controls.groupby(["seed", "name"])[column].mean()
    sets = neurons.groupby("seed").agg(["mean", "var", "size"])
    values, count, level = sets["mean"].to_numpy(np.float64), len(sets), options["level"]
    few = too_few(count, FEWEST)
    if few is None and min(len(own), int(sets["size"].min())) < 2:
        few = Shortfall("a set has a single neuron with such pairs", "take more neurons or pairs")
    if few is None:
        noise = float((sets["var"] / sets["size"]).mean())
        variance = float(own.var(ddof=1)) / len(own) + noise / count
        found = Estimate(float(own.mean() - values.mean()), variance, len(own) - 1.0, "neurons", len(own), "", variance)
        claim = conclude_with_sets(found, values, noise, "points", 1 - level)
    else:
        claim = conclude(few, "points", 1 - level)
    spread = (
        float(stats.t.ppf(0.5 + level / 2, count - 1) * values.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan
    )
    return {
        "measure": measure,
        "against": against,
        "neurons": len(own),
        "pairs": len(chosen),
        **_interval("value", chosen[column].to_numpy(np.float64), chosen["name"].to_numpy(object), options),
        "reference": float(values.mean()),
        "reference_low": float(values.mean()) - spread,
        "reference_high": float(values.mean()) + spread,
        "difference": float(own.mean() - values.mean()),
        "low": claim.low,
        "high": claim.high,
        "p": claim.p,
        "sets": count,
        "reason": claim.reason,
    }


def _interval(
    name: str, values: NDArray[np.float64], groups: NDArray[Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    made = grouped_interval(np.round(values, 12), groups.astype(str), **options)
    ends = ("low", "high") if name == "difference" else (f"{name}_low", f"{name}_high")
    return {name: made.estimate, ends[0]: made.low, ends[1]: made.high}


def _two_samples(a: NDArray[np.float64], b: NDArray[np.float64], options: Mapping[str, Any]) -> tuple[float, float]:
    """Percentile interval of the difference of two means, neurons of each drawn with replacement."""
    if len(a) < 2 or len(b) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(options["seed"])
    draws = options["draws"]
    means = [part[rng.integers(len(part), size=(draws, len(part)))].mean(axis=1) for part in (a, b)]
    tail = (1 - options["level"]) / 2
    low, high = np.round(np.quantile(means[0] - means[1], [tail, 1 - tail]), 12)
    return float(low), float(high)


def _permuted(a: NDArray[np.float64], b: NDArray[np.float64], layers: NDArray[np.int64], seed: int) -> float:
    """Two-sided permutation p-value of a difference of means, neurons exchanged within their layer."""
    values = np.concatenate([a, b])
    layer = np.unique(layers, return_inverse=True)[1]
    chosen = np.arange(len(values)) < len(a)
    total = values.sum()

    def differences(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(sums / len(a) - (total - sums) / len(b))

    observed = float(differences(values[chosen].sum(keepdims=True))[0]) - 1e-12
    rng = np.random.default_rng(seed)
    sums = np.zeros(FLIPS)
    for number in range(int(layer.max()) + 1):
        mine = values[layer == number]
        count = int(chosen[layer == number].sum())
        shuffled = rng.permuted(np.broadcast_to(mine, (FLIPS, len(mine))), axis=1)
        sums += shuffled[:, :count].sum(axis=1)
    return (1 + int(np.count_nonzero(differences(sums) >= observed))) / (1 + FLIPS)


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Sentences on pairs with both pre-activations below zero, and on the pairs' composition."""
    summary, alpha = tables["differentiation"], book.study["alpha"]
    neurons = tables["differentiation_neurons"]
    top = neurons[neurons["set"] == "top"]
    if not top["selected"].sum():
        return ["Differentiation: no chosen neuron separates any near pair."]
    matched = f"matched pairs {top['apart_matched'].mean():.1f} (" if top["matched"].sum() else "("
    made = [
        f"Differentiation: {len(top):,} neurons from the top {book.part['share'] * 100:.4g}% by {book.part['by']} "
        f"drive the near inputs of their selected pairs {top['apart'].mean():.1f} standard deviations apart on "
        f"average, {matched}{int(top['matched'].sum()):,} of {int(top['selected'].sum()):,} pairs have a match)."
    ]
    for measure, words in (
        ("nn", "with both pre-activations below zero"),
        ("pn", "across zero"),
        ("upos_differs", "of different parts of speech"),
    ):
        found = []
        for against in ("matched pairs", "random", "random over matched", "bottom", "bottom over matched"):
            row = summary[(summary["set"] == "top") & (summary["measure"] == measure) & (summary["against"] == against)]
            if len(row):
                found.append(_said(row.iloc[0], against, alpha))
        if found:
            made.append(f"Pairs {words}: {'; '.join(found)}.")
    return made


def _said(row: pd.Series, against: str, alpha: float) -> str:
    matched = against == "matched pairs"
    against = {_RANDOM: "random sets", _BOTTOM: "bottom neurons"}.get(against, against)
    low, high = row["low"], row["high"]
    change = f"{row['difference'] * 100:+.1f} points [{low * 100:+.1f}, {high * 100:+.1f}]"
    shares = f"{row['value'] * 100:.1f}% beside {row['reference'] * 100:.1f}%"
    if isinstance(row["reason"], str) and row["reason"]:
        said = f"against {against} {unjudgeable(row['reason'])}"
        return f"{said}; in these layers' neurons alone {shares} ({change})" if matched else said
    p = row["p_layers_holm" if matched else "p_holm"]
    sure = np.isfinite(p) and p <= alpha and (low > 0 or high < 0)
    outcome = ("more" if row["difference"] > 0 else "fewer") if sure else "undecided"
    shown = "p n/a" if not np.isfinite(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    units = f" over {row['layers']} layers" if matched else ""
    return f"against {against} {outcome}, {shares} ({change}, Holm-corrected {shown}{units})"

"""Tables of differentiation, made from its records: shares of sign classes against controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from negspace.analyses.differentiation.columns import BOTTOM, MEASURES, RANDOM, TABLES
from negspace.experiment.analysis import Book
from negspace.significance import correct, correct_rows, grouped_interval, sign_flip
from negspace.significance.contrast import conclude
from negspace.significance.estimate import Estimate
from negspace.significance.nesting import Shortfall
from negspace.significance.sets import FEWEST, conclude_with_sets, too_few
from negspace.wording import counted

CONTEXT = 12
"""Tokens shown on either side of a token."""
FLIPS = 9999
"""Random permutations of a test."""
_SINGLE = Shortfall("a set has a single neuron with such pairs", "take more neurons or pairs")


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables."""
    record = book.record(book.part["record"])
    tokens = book.record(book.part["passages"]["record"]).items
    about = pd.DataFrame(record.results["neurons"])
    if about.empty:  # no site has a projection to read inputs from: a frame of no neurons has no columns either
        return {name: table.of([]) for name, table in TABLES.items()}
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
    against = {RANDOM: _against_random, BOTTOM: _against_neurons}
    names = {role: part[["name", "layer", "seed"]] for role, part in neurons.groupby("set", sort=False)}
    for role, members in names.items():
        rows = [_against_matched(members, both, measure, options) for measure in MEASURES]
        for other in (RANDOM, BOTTOM) if role == "top" else ():
            if other in names:
                for measure in MEASURES:
                    plain = (members.merge(selected, on="name"), names[other].merge(selected, on="name"))
                    rows.append(against[other](*plain, measure, measure, other, options))
                for measure in MEASURES:
                    column = f"{measure}_over"
                    over = both.assign(**{column: both[measure] - both[f"{measure}_control"]})
                    parts_of = (members.merge(over, on="name"), names[other].merge(over, on="name"))
                    rows.append(against[other](*parts_of, column, measure, f"{other} over matched", options))
        rows = [{"set": role, **row} for row in rows if row is not None]
        claims = {n: row.pop("claim") for n, row in enumerate(rows) if "claim" in row}
        table = pd.DataFrame(rows)
        if len(table):
            for some in table.groupby("against", sort=False).indices.values():
                family = {place: claims[row] for place, row in enumerate(some) if row in claims}
                table.loc[some, "p_holm"] = correct_rows(table["p"].to_numpy(np.float64)[some], family)
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
        f"{counted(layers, 'layer')}; sign flips over layers need {needed}"
        for layers in table.loc[few, "layers"].astype(int)
    ]
    return table


def _against_matched(
    members: pd.DataFrame, both: pd.DataFrame, measure: str, options: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Selected pairs against their own controls."""
    # A neuron that several random sets hold has its pairs once, not once for each set.
    part = members.drop_duplicates("name").merge(both, on="name").dropna(subset=[measure, f"{measure}_control"])
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
    few = _SINGLE if min(len(a), len(b)) < 2 else None
    low, high = _two_samples(a, b, options) if min(len(a), len(b)) >= FEWEST else (np.nan, np.nan)
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
        "p": np.nan if few else _permuted(a, b, layers, options["seed"]),
        "reason": str(few or ""),
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
    alpha = round(1 - level, 12)  # 0.1, of which ten draws are enough, is not 1 - 0.9
    few = too_few(count, FEWEST)
    if few is None and min(len(own), int(sets["size"].min())) < 2:
        few = _SINGLE
    if few is None:
        noise = float((sets["var"] / sets["size"]).mean())
        variance = float(own.var(ddof=1)) / len(own) + noise / count
        found = Estimate(float(own.mean() - values.mean()), variance, len(own) - 1.0, "neurons", len(own), "", variance)
        claim = conclude_with_sets(found, values, noise, "points", alpha)
    else:
        claim = conclude(few, "points", alpha)
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
        "claim": claim,
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

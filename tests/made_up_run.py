"""Runs made up for tests of the report: tables in the layout of real ones, of any size, with any text in them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.ablation.columns import TABLES
from negspace.analyses.ablation.dissociation_columns import TABLES as DISSOCIATION
from negspace.experiment.examples import EXAMPLES
from negspace.experiment.run import History, Part, Run
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, ScanInfo
from negspace.stats.histogram import Histograms, kept, of_sample
from negspace.stats.moments import moments_of

HOSTILE = (
    "<script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 2">',
    "</script><script>window.hit = 3</script>",
    "a\x00b\x07c\x1bd\x7fe",
    "abc\u202edcba\u202c",
    "left\u200bright\ufeff",
    "half \ud800 of a pair",
    "line\u2028and\u2029paragraph",
    "'; window.hit = 4; //",
    "&lt;b&gt; ${window.hit = 5} $x^2$ %{x}",
    "עברית עם English",
)
"""Text that a page must show and not obey."""

TABLED = tuple(text for text in HOSTILE if not any("\ud800" <= character <= "\udfff" for character in text))
"""Those that a table may hold: half a surrogate pair cannot be written into Parquet."""

NOT_LETTERS = "\x00\x07\x1b\x7f\u202e\u202c\u200b\ufeff\ud800\u2028\u2029"
"""Characters of them that must not reach a page as they are."""


def scan_of(layers: int = 4, width: int = 50, seed: int = 0) -> Scan:
    """A scan of made-up statistics."""
    size = layers * width
    draw = np.random.default_rng(seed)
    wd = draw.gamma(2.0, 0.05, size)
    columns: dict[str, Any] = {
        "layer": np.repeat(np.arange(layers), width),
        "branch": pd.Series(["mlp"] * size, dtype="str"),
        "expert": np.full(size, -1),
        "neuron": np.tile(np.arange(width), layers),
        "wd": wd,
        "wd_error": np.full(size, 1e-4),
        "md": 1.5 + wd + draw.normal(0, 0.1, size),
        "negative_share": draw.uniform(0.3, 0.9, size),
        "mean": draw.normal(-0.5, 0.3, size),
        "std": draw.uniform(0.5, 2, size),
        "skewness": draw.normal(0, 1, size),
        "kurtosis": draw.normal(0, 1, size),
        "bimodality": draw.uniform(0.3, 0.7, size),
        "fraction_negative": draw.uniform(0.5, 0.95, size),
        "mean_negative": draw.uniform(-2, -0.5, size),
        "tokens": np.full(size, 4096),
    }
    info = ScanInfo(
        model={"name": "made-up", "dtype": "float32", "device": "cpu", "transformers": "5", "torch": "2"},  # type: ignore[arg-type]
        fingerprint="f" * 64,
        layout=Layout.from_rows((f"layers.{n}.act", n, 0, width) for n in range(layers)),
        text="some text",
        text_hash="t",
        windows_hash="w",
        window=64,
        stride=32,
        windows=64,
        tokens=4096,
        special=0,
        bos="auto",
        md_pairs=64,
        seed=0,
        method="sketch",
        regridded=0,
        versions={"negspace": "0", "torch": "2"},
    )
    table = pd.DataFrame(columns)
    return Scan(table, info, (), _histograms(table, layers, width, draw))


def _histograms(table: pd.DataFrame, layers: int, width: int, draw: np.random.Generator) -> Histograms:
    """Those that a scan would keep, of a few Gaussian tokens each."""
    sites = [table["wd"].to_numpy()[begin : begin + width] for begin in range(0, layers * width, width)]
    rows = np.concatenate([layer * width + chosen for layer, chosen in enumerate(kept(sites))])
    about = table.iloc[rows]
    sample = about["mean"].to_numpy() + about["std"].to_numpy() * draw.normal(0, 1, (256, len(rows)))
    made = of_sample(sample, moments_of(sample), np.arange(len(rows)), 0)
    return replace(made, rows=rows)


def _accuracy(value: float, change: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"accuracy": value, "accuracy_low": value - 0.05, "accuracy_high": value + 0.05}
    if change is not None:
        row |= {"change": change, "change_low": change - 0.02, "change_high": change + 0.02, "p": 0.01, "p_holm": 0.02}
        row["finding"] = "harm" if change < 0 else "gain"
    return row


def _margin(change: float) -> dict[str, float]:
    return {"change_nats": change, "change_nats_low": change - 0.1, "change_nats_high": change + 0.1}


def ablation_part(groups: tuple[str, ...] = ("agreement", "islands"), name: str = "top 1%") -> Part:
    """The main study's tables: baseline, top, two random sets and a matched one at 1%."""
    conditions: list[dict[str, Any]] = [
        {"condition": "baseline", "role": "baseline"},
        {"condition": name, "role": "top", "share": 0.01},
        {"condition": "random 1%, seed 0", "role": "random", "share": 0.01, "seed": 0},
        {"condition": "random 1%, seed 1", "role": "random", "share": 0.01, "seed": 1},
        {"condition": "random 1%, mean of 2", "role": "random mean", "share": 0.01},
        {"condition": "bottom 30%, matched to top 1%", "role": "matched", "share": 0.01},
    ]
    change = {"top": -0.08, "random": -0.01, "random mean": -0.01, "matched": -0.03}
    summary, by_group = [], []
    for one in conditions:
        role = one["role"]
        ratio = {"baseline": 1.0, "top": 1.4, "matched": 1.41}.get(role, 1.01)
        lost = change.get(role)
        row = {
            **one,
            "neurons": 0 if role == "baseline" else 8,
            "perplexity": 20 * ratio,
            "perplexity_low": 19 * ratio,
            "perplexity_high": 21 * ratio,
            "ratio": ratio,
            "blimp_ties": 0,
            **{f"blimp_{key}": value for key, value in _accuracy(0.8 + (lost or 0), lost).items()},
        }
        if role not in ("baseline", "random mean"):
            row |= {"ratio_low": ratio - 0.02, "ratio_high": ratio + 0.02}
        if lost is not None:
            row |= {"blimp_nats": 5 * lost, "blimp_nats_low": 5 * lost - 0.1, "blimp_nats_high": 5 * lost + 0.1}
        summary.append(row)
        if role != "random mean":
            by_group += [
                {**one, "phenomenon": group, "paradigms": 2, "pairs": 200, "ties": 0, "identical": 0}
                | _accuracy(0.7 + 0.1 * number + (lost or 0), lost)
                | ({} if lost is None else _margin(5 * lost))
                for number, group in enumerate(groups)
            ]
    contrasts = [
        {"share": 0.01, "score": score, "set": "top", "against": against, "control": control, "value": 0.72}
        | {"reference": 0.79, "difference": value, "low": value - 0.02, "high": value + 0.02, "p": 0.01, "p_holm": 0.02}
        | {"finding": "undecided" if value == 1.0 else "harm", "units": "12 phenomena", "reason": "", "sets": sets}
        | {"detectable": 0.03, "difference_nats": nats, "difference_nats_low": nats, "difference_nats_high": nats}
        | {"nats_finding": None if np.isnan(nats) else "harm", "se": 0.01, "nats_se": 0.05, "nats_reason": ""}
        for score, values, nats in (("perplexity", (1.4, 1.39, 1.0), np.nan), ("blimp", (-0.08, -0.07, -0.05), -0.3))
        for against, control, value, sets in zip(
            ("plain", "random", "matched"),
            ("the plain model", "5 random sets", "bottom 30%, matched to top 1%"),
            values,
            (None, 5, None),
            strict=True,
        )
    ]
    matching = [
        {"share": 0.01, "step": step, "m": m, "perplexity": perplexity, "target": 28.0, "residual": perplexity / 28 - 1}
        | {"reused": False, "chosen": m == 0.3, "matched": True, "tolerance": 0.01, "reason": "matched"}
        for step, (m, perplexity) in enumerate(((0.2, 24.0), (0.4, 33.0), (0.3, 28.1)), start=1)
    ]
    rows = {"summary": summary, "contrasts": contrasts, "matching": matching, "blimp_by_phenomenon": by_group}
    tables = {}
    for table, made in rows.items():
        frame = pd.DataFrame(made)
        frame = frame[[column for column in TABLES[table].names if column in frame.columns]]
        for column in ("seed", "neurons", "step", "pairs", "paradigms", "ties", "identical", "blimp_ties", "sets"):
            if column in frame.columns:
                frame[column] = frame[column].astype("Int64")
        tables[table] = frame
    said = ("Top 1%, BLiMP (plain model: 80.0% right): harm, -8.0 points [-10.0, -6.0].",)
    return Part("ablation", "Ablation", tables, TABLES, said)


def dissociated(part: Part, verdict: str, carried_by: str = "") -> Part:
    """The main study with a double dissociation of a verdict."""
    where = {"share": 0.01, "suite": "blimp"}
    row = {**where, "control": "bottom 30%, matched to top 1%", "top_ratio": 1.4, "control_ratio": 1.41}
    row |= {"verdict": verdict, "direction": "as claimed", "carried_by": carried_by, "interaction": 0.06, "low": 0.01}
    row |= {"high": 0.11, "p": 0.01, "p_holm": 0.02, "detectable": 0.05, "reason": "", "changed": "", "scope": ""}
    for name, baseline, top, control in (("grammar", 0.8, 0.72, 0.77), ("other", 0.6, 0.59, 0.58)):
        row |= {f"{name}_baseline": baseline, f"{name}_top": top, f"{name}_control": control, name: top - control}
        row |= {f"{name}_low": top - control - 0.02, f"{name}_high": top - control + 0.02, f"{name}_p": 0.01}
    without = [{**where, "left_out": name, "interaction": 0.05, "verdict": verdict} for name in ("agreement", "copa")]
    floors = [{**where, "group": "boolq", "accuracy": 0.5, "chance": 0.5, "items": 100, "p": 0.5, "why": "at chance"}]
    tables = {"dissociation": [row], "dissociation_without": without, "dissociation_floors": floors}
    made = {name: DISSOCIATION[name].of(rows) for name, rows in tables.items()}
    return replace(part, tables={**part.tables, **made}, schema={**part.schema, **DISSOCIATION})


def pairs_part(names: tuple[str, ...], tokens: tuple[str, ...]) -> Part:
    """Pairs of one neuron each, with the given texts as tokens and contexts."""
    from negspace.analyses.differentiation.columns import TABLES as PAIRS

    rows = []
    for name in names:
        for rank, token in enumerate(tokens, start=1):
            row: dict[str, Any] = {"name": name, "kind": "selected", "rank": rank, "sign": "PN", "apart": 3.0}
            row |= {"distance": 0.2, "overlap": "none"}
            for end, value in (("first", -1.5), ("second", 0.7)):
                row |= {f"token_{end}": token, f"a_{end}": value, f"before_{end}": f"before {token}"}
                row |= {f"after_{end}": f"{token} after", f"upos_{end}": "NOUN", f"dep_{end}": "nsubj"}
            rows.append(row)
    table = {"differentiation_pairs": pd.DataFrame(rows)}
    return Part("differentiation", "Differentiation of near inputs", table, PAIRS)


def examples_of(names: tuple[str, ...], tokens: tuple[str, ...]) -> pd.DataFrame:
    """Example tokens of neurons LAYER.INDEX, one of each window, at both ends."""
    rows: list[dict[str, Any]] = []
    for name in names:
        layer, neuron = map(int, name.split("."))
        key = {"name": name, "layer": layer, "branch": "mlp", "expert": -1, "neuron": neuron}
        for end, sign in (("lowest", -1), ("highest", 1)):
            for rank, token in enumerate(tokens, start=1):
                values = [None, 0.25, sign * 2.0, -0.5]
                row = {"end": end, "rank": rank, "window": rank, "place": 2, "token": token, "activation": sign * 2.0}
                context = ["", f"before {token}", token, f"{token} after"]
                row |= {"context": json.dumps(context), "activations": json.dumps(values), "focus": 2}
                rows.append({**key, **row})
    return EXAMPLES.of(rows)


def made_up(
    label: str = "made-up",
    *,
    layers: int = 4,
    width: int = 50,
    parts: tuple[Part, ...] = (),
    notes: tuple[str, ...] = (),
    seed: int = 0,
    examples: pd.DataFrame | None = None,
) -> Run:
    """A run with a scan and the main study, and whatever other analyses and example tokens are given."""
    scan = scan_of(layers, width, seed)
    study = {"model": label, "by": "wd", "zero": "negative", "mode": None, "shares": [0.01], "alpha": 0.05}
    study |= {"draws": 2000, "seed": 0, "protocol": "paper", "matched": True, "analyses": {"ablation": {}}}
    manifest = {
        "study": study,
        "model": {**scan.info.model.model_dump(mode="json"), "name": label},
        "identity": {"fingerprint": "f" * 64, "tokenizer": "k" * 64},
        "neurons": layers * width,
        "data": {
            "statistics": ["some text", "t"],
            "perplexity": ["some text", "p", "q", 64],
            "blimp": ["blimp", "b", 400],
        },
        "analyses": {"ablation": {"intervention": "zero_negative"}},
        "notes": list(notes),
    }
    top: NeuronSet = scan.top(0.1)
    sets = {one.origin: one for one in (top, scan.random(seed=0, like=top))}
    history = History("2026-01-02T03:04:05+00:00", "2026-01-02T04:04:05+00:00", 1800.0, 12, 1, {"machine": "x86_64"})
    made = {part.name: part for part in (parts or (ablation_part(),))}
    return Run(label, manifest, made, scan, sets, history, examples=examples)

"""The tables of a run on the terminal: coloured where there is one, plain text elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from negspace.analyses.ablation.dissociation_words import verdict
from negspace.analyses.ablation.words import matching
from negspace.experiment.claim import Claim
from negspace.experiment.words import percent, ratio, within
from negspace.report.claims import footnotes, uncorrected
from negspace.report.claims import table as claims_table
from negspace.study.locked import followed
from negspace.study.registry import analysis
from negspace.study.tables import Tables
from negspace.text.suites import SUITES, TITLES, by_group


def plain(value: Any) -> Text:
    """Text from data as it is: no markup is read in it, and control characters are shown, not sent to the terminal."""
    return Text("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value)))


def show(tables: Tables, console: Console, *, detail: bool = False) -> None:
    """Print what was run, its summary, and the verdict: a line per claim; an analysis without claims in sentences.

    Args:
        detail: also every contrast, phenomenon and construction, every task by itself, and all findings in sentences.
    """
    manifest, study = tables.manifest, tables.manifest["study"]
    model, data = manifest["model"], manifest["data"]
    revision = f" at {model['revision']}" if model["revision"] else ""
    console.print(plain(f"{model['name']}{revision}: {', '.join(tables.books)}"))
    console.print(
        plain(
            f"{manifest['neurons']:,} neurons; statistics on {data['statistics'][0]}, perplexity on "
            f"{data['perplexity'][0]}; protocol {study['protocol']}; {percent(1 - study['alpha'])} intervals; "
            "p-values corrected over each family of tests"
        )
    )
    if manifest.get("plan"):
        console.print(plain(f"plan: {followed(manifest['plan'])}"))
    for note in manifest["notes"]:
        console.print(plain(f"note: {note}"))
    if "ablation" in tables.books:
        _ablation(tables, console, detail)
    claims = {name: tables.claims_of(name) for name in tables.books}
    show_claims([claim for several in claims.values() for claim in several], console)
    for name in tables.books:
        if claims[name] and not detail:
            continue
        if len(tables.books) > 1:
            console.print()
            console.print(plain(analysis(name).title))
        for sentence in tables.sentences(name):
            console.print(plain(f"- {sentence}"), soft_wrap=not console.is_terminal)


def show_claims(claims: Sequence[Claim], console: Console) -> None:
    """Print the verdict on the paper's claims: one line each, with finding, effect and interval."""
    if not claims:
        return
    _, body = claims_table({"": claims})
    show_answers("Verdict on the paper's claims", ("claim", "of", "answer"), body, console)
    if sentence := uncorrected(claims):
        console.print(plain(sentence), soft_wrap=not console.is_terminal)


def show_answers(title: str, headings: Sequence[str], body: Sequence[Sequence[str]], console: Console) -> None:
    """Print a table of answers; a reason that stands in several cells is a note under it."""
    body, notes = footnotes(body)
    console.print(rows(title, [(heading, "left") for heading in headings], body))
    for note in notes:
        console.print(plain(note), soft_wrap=not console.is_terminal)


def _ablation(tables: Tables, console: Console, detail: bool) -> None:
    """The main study's tables."""
    manifest, study = tables.manifest, tables.manifest["study"]
    data, kinds = manifest["data"], [kind for kind in TITLES if kind in manifest["data"]]
    intervention = tables.books["ablation"].part["intervention"]
    where = within(study.get("layers"))
    console.print(plain(f"{intervention} on the top neurons by {study['by']}{where and f' {where}'}"))
    summary = tables["summary"]
    if not detail and "random mean" in set(summary["role"]):
        summary = summary[summary["role"] != "random"]
    console.print(_perplexity(summary))
    for kind in kinds:
        name, _, pairs = data[kind]
        console.print(_accuracy(summary, kind, f"{TITLES[kind]}: {name}, {pairs:,} pairs"))
    for match in tables.books["ablation"].part["matches"]:
        if not match["matched"] and not detail:  # a result, which no claim tells
            console.print(plain(matching(tables.books["ablation"].part, match["share"])))
    if detail and len(tables["contrasts"]):
        console.print(_contrasts(tables["contrasts"]))
    if "tasks_by_task" in tables:
        console.print(_tasks(tables["tasks_by_task"], detail))
    if "dissociation" in tables and len(tables["dissociation"]):
        console.print(_dissociation(tables["dissociation"]))
    if detail:
        for kind in kinds:
            console.print(_groups(tables[by_group(kind)], kind))


def to_json(tables: Tables) -> str:
    """The manifest, the tables of all analyses and the verdict as one JSON object in ASCII; without a number: null."""
    of_analyses = [one for made in tables.by_analysis.values() for one in made.items()]
    content = {
        "run": tables.manifest,
        "tables": {name: records(table) for name, table in of_analyses},
        "verdict": tables.verdict,
    }
    return json.dumps(content, indent=1, allow_nan=False)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as JSON values: numbers with all their digits; what is missing or not finite is null.

    pandas' own `to_json` writes at most 15 decimals, 10 unless told otherwise: small p-values become 0.
    """
    return [{str(name): _json(value) for name, value in row.items()} for row in table.to_dict("records")]


def _json(value: Any) -> Any:
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value


def rows(title: str, columns: Sequence[tuple[str, str]], body: Sequence[Sequence[Any]]) -> Table:
    """A table of text; each column has a heading and is justified "left" or "right"."""
    table = Table(title=plain(title), box=box.SIMPLE, title_justify="left", title_style="bold", pad_edge=False)
    for heading, side in columns:
        table.add_column(plain(heading), justify="right" if side == "right" else "left", overflow="fold")
    for row in body:
        table.add_row(*(plain(value) for value in row))
    return table


def _perplexity(summary: pd.DataFrame) -> Table:
    body = [
        (
            row["condition"],
            f"{row['neurons']:,}",
            f"{row['perplexity']:.4g}{_spread(row.get('perplexity_sd', math.nan), '.2g')}",
            _range(row["perplexity_low"], row["perplexity_high"], ".4g"),
            _judged(ratio(row["ratio"]), row["ratio_low"]),
            _ratios(row["ratio_low"], row["ratio_high"]),
        )
        for _, row in summary.iterrows()
    ]
    headings = ["condition", "neurons", "perplexity", "interval", "x baseline", "interval"]
    return rows("Perplexity", _right(headings), body)


def _accuracy(summary: pd.DataFrame, kind: str, title: str) -> Table:
    body = [
        (
            row["condition"],
            f"{row[f'{kind}_accuracy'] * 100:.2f}{_spread(row.get(f'{kind}_accuracy_sd', math.nan) * 100, '.2f')}",
            _range(row[f"{kind}_accuracy_low"] * 100, row[f"{kind}_accuracy_high"] * 100, ".1f"),
            _judged(f"{row[f'{kind}_change'] * 100:+.2f}", row[f"{kind}_change_low"]),
            _range(row[f"{kind}_change_low"] * 100, row[f"{kind}_change_high"] * 100, "+.2f"),
            _judged(f"{row[f'{kind}_nats']:+.3f}", row[f"{kind}_nats_low"]),
            _range(row[f"{kind}_nats_low"], row[f"{kind}_nats_high"], "+.3f"),
            "" if pd.isna(row[f"{kind}_ties"]) else row[f"{kind}_ties"],
        )
        for _, row in summary.iterrows()
        if math.isfinite(row[f"{kind}_accuracy"])
    ]
    headings = ["condition", "% right", "interval", "change", "interval", SUITES[kind].unit, "interval", "ties"]
    return rows(title, _right(headings), body)


def _contrasts(contrasts: pd.DataFrame) -> Table:
    body = []
    for _, row in contrasts.iterrows():
        is_ratio = row["score"] == "perplexity"
        difference = ratio(row["difference"]) if is_ratio else f"{row['difference'] * 100:+.2f}"
        body.append(
            (
                f"{row['set']} {percent(row['share'])}",
                "perplexity (ratio)" if is_ratio else f"{TITLES[row['score']]} (points)",
                row["control"],
                _judged(difference, row["low"]),
                _ratios(row["low"], row["high"]) if is_ratio else _range(row["low"] * 100, row["high"] * 100, "+.2f"),
                _p(row["p_holm"]),
                row["finding"],
                _margins(row, "difference"),
            )
        )
    margins = "margins (nats; TSE: per token)" if (contrasts["score"] == "tse").any() else "margins (nats)"
    headings = ["set", "score", "against", "difference", "interval", "p", "finding", margins]
    return rows("Contrasts on the same items, judged together", _right(headings, left=3), body)


def _tasks(table: pd.DataFrame, detail: bool) -> Table:
    shown = table if detail else table[table["role"].isin(["baseline", "top", "matched"])]
    body = [
        (
            row["condition"],
            row["task"],
            row["items"],
            f"{row['chance'] * 100:.1f}" if math.isfinite(row["chance"]) else "",
            f"{row['accuracy'] * 100:.1f}",
            _judged(f"{row['change'] * 100:+.1f}", row["change_low"]),
            _range(row["change_low"] * 100, row["change_high"] * 100, "+.1f"),
            _p(row["p_holm"]),
            "" if pd.isna(row["finding"]) else row["finding"],
        )
        for _, row in shown.iterrows()
    ]
    headings = ["condition", "task", "items", "chance", "% right", "change", "interval", "p", "finding"]
    return rows("Tasks that are not about grammar", _right(headings, left=2), body)


def _dissociation(table: pd.DataFrame) -> Table:
    body = [
        (
            f"top {percent(row['share'])}",
            TITLES[row["suite"]],
            *(
                f"{row[name] * 100:+.2f} {_range(row[low] * 100, row[high] * 100, '+.1f')}"
                if math.isfinite(row[name])
                else ""
                for name, low, high in (
                    ("interaction", "low", "high"),
                    ("grammar", "grammar_low", "grammar_high"),
                    ("other", "other_low", "other_high"),
                )
            ),
            _p(row["p_holm"]),
            f"{row['detectable'] * 100:.2f}" if math.isfinite(row["detectable"]) else "",
            verdict(row),
        )
        for _, row in table.iterrows()
    ]
    headings = ["set", "suite", "interaction", "grammar", "tasks", "p", "detectable", "verdict"]
    title = "Double dissociation: top set minus matched control, points; the interaction is tasks minus grammar"
    return rows(title, _right(headings, left=2), body)


def _groups(table: pd.DataFrame, kind: str) -> Table:
    column = SUITES[kind].group
    shown = table[table["role"].isin(["top", "matched"])]
    before = table[table["role"] == "baseline"].set_index(column)["accuracy"]
    body = [
        (
            row["condition"],
            row[column],
            row["pairs"],
            f"{before[row[column]] * 100:.1f}",
            f"{row['accuracy'] * 100:.1f}",
            _judged(f"{row['change'] * 100:+.1f}", row["change_low"]),
            _range(row["change_low"] * 100, row["change_high"] * 100, "+.1f"),
            _p(row["p_holm"]),
            row["finding"],
            _margins(row, "change"),
        )
        for _, row in shown.iterrows()
    ]
    headings = ["condition", column, "pairs", "baseline", "% right", "change", "interval", "p", "finding"]
    headings.append(f"margins ({SUITES[kind].unit})")
    return rows(f"{TITLES[kind]} by {column}", _right(headings, left=2), body)


def _margins(row: pd.Series, name: str) -> str:
    """The finding on margins with its change and interval: "harm, -0.300 [-0.400, -0.200]"; empty without margins."""
    if not isinstance(row["nats_finding"], str):
        return ""
    value, low, high = (row[f"{name}_nats{end}"] for end in ("", "_low", "_high"))
    interval = _range(low, high, "+.3f")
    return f"{row['nats_finding']}, {value:+.3f} {interval}" if interval else row["nats_finding"]


def _right(headings: Sequence[str], left: int = 1) -> list[tuple[str, str]]:
    return [(heading, "left" if number < left else "right") for number, heading in enumerate(headings)]


def _judged(change: str, low: float) -> str:
    """A change; empty where it cannot be judged, which leaves it without an interval: it could pass for a result."""
    return change if math.isfinite(low) else ""


def _range(low: float, high: float, form: str) -> str:
    return f"[{low:{form}}, {high:{form}}]" if math.isfinite(low) and math.isfinite(high) else ""


def _ratios(low: float, high: float) -> str:
    return f"[{ratio(low)}, {ratio(high)}]" if math.isfinite(low) and math.isfinite(high) else ""


def _spread(sd: float, form: str) -> str:
    return f" ± {sd:{form}}" if math.isfinite(sd) else ""


def _p(p: float) -> str:
    return "" if not math.isfinite(p) else "<0.001" if p < 0.001 else f"{p:.3f}"

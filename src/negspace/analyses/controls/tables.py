"""From the records of the analysis of controls to its tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.controls.columns import AGAINST_PLAIN, CONTRAST, TABLES
from negspace.controls.residual import root_mean_square
from negspace.experiment.analysis import Book
from negspace.experiment.changes import Row
from negspace.experiment.claim import UNJUDGED
from negspace.experiment.condition import MATCHED_RANDOM, RANDOM, Condition
from negspace.experiment.effects import Effects, Entry
from negspace.experiment.words import title
from negspace.significance import mean_interval


def _about(entry: Entry) -> dict[str, Any]:
    """The columns that say what a row is about."""
    role = entry.members[0].about.role if entry.members else entry.about.role
    return {"control": entry.about.name, "role": role, "intervention": entry.about.intervention}


def _each(entry: Entry) -> Sequence[Condition]:
    """The conditions behind a row: one, or the random ones."""
    return [member.about for member in entry.members] or [entry.about]


def _size(entry: Entry) -> int:
    """Neurons of a set; of several, their mean."""
    return round(float(np.mean([each.neurons for each in _each(entry)])))


def _total(counts: Sequence[int | None]) -> int | None:
    """The sum of counts that are there."""
    there = [count for count in counts if count is not None]
    return sum(there) if there else None


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    effects = Effects(book, book.part["scores"])
    plain, *conditions = effects.read(book.conditions)
    rows = _rows(effects, conditions)
    made = {
        "controls": _controls(effects, plain, rows),
        "controls_layers": _layers(book, rows),
        "controls_residual": _residual(book, rows),
        "noop": _noop(book),
    }
    return {name: TABLES[name].of(table) for name, table in made.items()}


def _rows(effects: Effects, conditions: Sequence[Entry]) -> list[Entry]:
    """The conditions in order, the random sets as one."""
    rows: list[Entry] = []
    called = {RANDOM: "random", MATCHED_RANDOM: "random, equal perplexity"}
    for role, some in groupby(conditions, lambda condition: condition.about.role):
        own = list(some)
        rows += [effects.mean(own, f"{called[role]}, mean of {len(own)}")] if role in called else own
    return rows


def _controls(effects: Effects, plain: Entry, rows: Sequence[Entry]) -> pd.DataFrame:
    found: list[dict[str, Any]] = []
    for score in effects.scores:
        for entry in rows:
            row = {
                **_about(entry),
                "matched": entry.about.facts["found"].get("matched"),
                "neurons": _size(entry),
                "of_sets": max(1, len(entry.members)),
                "score": score,
                **effects.value(entry, score, ends=("low", "high")),
                **effects.change(plain, entry, score, AGAINST_PLAIN),
            }
            if entry is not rows[0]:
                row |= _against(effects, rows[0], entry, score)
            found.append(row)
    effects.judged(found, (), AGAINST_PLAIN)
    effects.judged(found, (), CONTRAST)
    return pd.DataFrame(found)


def _against(effects: Effects, top: Entry, control: Entry, score: str) -> Row:
    """The top set against a control, as columns: not on what the two were made equal in, and no finding where the
    search did not make them equal."""
    role = _about(control)["role"]
    if score == "perplexity" and role in ("perplexity", MATCHED_RANDOM):
        return {}
    found = control.about.facts["found"]
    if found.get("matched") is not False:
        return effects.change(control, top, score, CONTRAST)
    reason = f"the control is not matched: {found['reason']}"
    row: Row = {"finding": UNJUDGED, "reason": reason}
    if score != "perplexity" and control.scores[score].margins is not None:
        row |= {"nats_finding": UNJUDGED, "nats_reason": reason}
    return row


def _layers(book: Book, rows: Sequence[Entry]) -> pd.DataFrame:
    made = []
    reference: dict[int, float] = {}
    for row in rows:
        found = {layer["layer"]: layer for layer in row.about.facts["found"].get("layers", ())}
        measured = [_by_layer(book, member) for member in _each(row)]
        for number, layer in enumerate(row.about.facts["layers"]):
            here = layer["layer"]
            sizes = [member.facts["layers"][number]["neurons"] for member in _each(row)]
            touched = [member.facts["layers"][number]["touched"] for member in _each(row)]
            residual, norm = (
                float(np.mean([facts[here][at] for facts in measured]))
                if all(here in facts for facts in measured)
                else np.nan
                for at in (0, 1)
            )
            if row is rows[0]:
                reference[here] = residual
            made.append(
                {
                    **_about(row),
                    "layer": here,
                    "neurons": round(float(np.mean(sizes))),
                    "of": layer["of"],
                    "share": float(np.mean(sizes)) / layer["of"],
                    "touched": np.nan if None in touched else float(np.mean(touched)),
                    "residual": residual,
                    "norm": norm,
                    "to_top": residual / reference[here] if reference[here] else np.nan,
                    "matched": found[here]["matched"] if here in found else None,
                    "reason": found[here]["reason"] if here in found else None,
                }
            )
    return pd.DataFrame(made)


def _by_layer(book: Book, condition: Condition) -> dict[int, tuple[float, float]]:
    """Layer -> change of the residual stream, and of its norm; empty where it was not measured."""
    if "layers" not in condition.cells:
        return {}
    items = book.record(condition.cells["layers"]).items
    sums = items.groupby("layer", sort=True)[["norm", "tokens"]].sum()
    norms = dict(zip(sums.index.tolist(), (sums["norm"] / sums["tokens"]).tolist(), strict=True))
    return {layer: (change, norms[layer]) for layer, change in root_mean_square(items).items()}


def _residual(book: Book, rows: Sequence[Entry]) -> pd.DataFrame:
    made = []
    for row in rows:
        found = row.about.facts["found"]
        line = {
            **_about(row),
            "neurons": _size(row),
            "matched": found.get("matched"),
            "evaluations": _total([condition.facts["found"].get("evaluations") for condition in _each(row)]),
            "reason": found.get("reason"),
        }
        if "end" in _each(row)[0].cells:
            items = [book.record(member.cells["end"]).items for member in _each(row)]
            # Windows hold equally many tokens but for special ones, and weigh the same; so do sets.
            squares = np.mean([item["squared"] / item["tokens"] for item in items], axis=0)
            made_of = mean_interval(squares, **book.bootstrap)
            end = np.sqrt([made_of.estimate, made_of.low, made_of.high])
            norm = float(np.mean([item["norm"].sum() / item["tokens"].sum() for item in items]))
            line |= {"end": end[0], "end_low": end[1], "end_high": end[2], "end_norm": norm, "windows": len(squares)}
        made.append(line)
    table = TABLES["controls_residual"].of(made)
    first = table["end"].iloc[0]
    return table.assign(end_to_top=table["end"] / first if first else np.nan)


def _noop(book: Book) -> pd.DataFrame:
    about = book.part["noop"]
    if about is None:
        return pd.DataFrame()
    results = book.record(about["cell"]).results
    own = about["model"] is None
    common = {"model": book.manifest["model"]["name"] if own else about["model"], "own": own}
    rows = [
        {
            **common,
            "what": "log-probabilities of tokens",
            "neurons": results["neurons"],
            "items": results["tokens"],
            "differing": results["differing"],
            "largest": results["largest"],
            "same": results["same"],
        }
    ]
    plain, top = book.conditions[:2]
    if own and book.part["intervention"] == "zero_negative":
        for suite in (score for score in book.part["scores"] if score != "perplexity"):
            before, after = (
                book.record(one.cells[suite]).items[["good", "bad"]].to_numpy(np.float64) for one in (plain, top)
            )
            differing = int(np.count_nonzero(before.view(np.int64) != after.view(np.int64)))
            rows.append(
                {
                    **common,
                    "what": f"scores of {title(suite)}'s sentences",
                    "neurons": top.neurons,
                    "items": before.size,
                    "differing": differing,
                    "largest": float(np.abs(before - after).max()),
                    "same": differing == 0,
                }
            )
    return pd.DataFrame(rows)

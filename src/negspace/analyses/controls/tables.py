"""From the records of the analysis of controls to its tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from negspace.controls.residual import root_mean_square
from negspace.experiment.analysis import Book
from negspace.experiment.changes import SCORE, Changes, Row, value
from negspace.experiment.claim import UNJUDGED, Claim
from negspace.experiment.condition import MATCHED_RANDOM, RANDOM, Condition
from negspace.experiment.effects import Effects, Entry
from negspace.experiment.schema import Column, Table, schema
from negspace.experiment.words import capital, claim, title
from negspace.significance import mean_interval

_CONTROL = (
    Column("control", str, "what was changed, in words; the random sets of equal number are one row, their mean"),
    Column(
        "role",
        str,
        "top, random (as many in each layer), other_side (the same neurons on the other side of zero), count (the"
        " lowest-ranked, as many in each layer), perplexity (the lowest-ranked of equal perplexity), perplexity_random"
        " (random sets of equal perplexity: one row, as those of equal number), residual or"
        " residual_random (the lowest-ranked, or random ones, of equal change of the residual stream)",
    ),
    Column("intervention", str, "what was done to the neurons"),
)
_CHANGE = "perplexity: ratio; accuracy: difference"
_AGAINST_PLAIN = Changes("change", "change_")
_CONTRAST = Changes("contrast")
TABLES = schema(
    Table(
        "controls",
        (
            *_CONTROL,
            Column(
                "matched",
                bool,
                "whether the set is matched within its tolerance; missing for sets that were not searched",
            ),
            Column("neurons", int, "neurons changed in one set (mean over random ones)"),
            Column("of_sets", int, "sets of which the row is the mean"),
            SCORE,
            *value(("low", "high")),
            *_AGAINST_PLAIN.columns(f"change against the plain model ({_CHANGE})"),
            *_CONTRAST.columns(
                f"the top set against this control, {_CHANGE}; above 1 or below 0: the top set does more harm; missing "
                "for perplexity where the two were matched on it",
                sets=True,
            ),
        ),
        family="change_p_holm: all changes of the table; p_holm: all contrasts of the table",
    ),
    Table(
        "controls_layers",
        (
            *_CONTROL,
            Column("layer", int, "decoder layer"),
            Column("neurons", int, "neurons of the set in this layer (mean over random ones)"),
            Column("of", int, "neurons that the layer has"),
            Column("share", float, "neurons / of"),
            Column(
                "touched",
                float,
                "mean share of these neurons' values, on the scanned text, that the intervention can change",
            ),
            Column(
                "residual",
                float,
                "root mean square over tokens of |h' - h| / |h|: h the residual stream after the layer in the plain"
                " model, h' the same with this layer alone changed",
            ),
            Column("norm", float, "mean over tokens of |h'| / |h| - 1"),
            Column("to_top", float, "residual divided by the top set's in this layer"),
            Column(
                "matched",
                bool,
                "whether it equals the top set's within the tolerance; missing where it was not searched",
            ),
            Column("reason", str, "how the search ended"),
        ),
    ),
    Table(
        "controls_residual",
        (
            *_CONTROL,
            Column("neurons", int, "neurons changed in one set (mean over random ones)"),
            Column(
                "end",
                float,
                "root mean square over tokens of |h' - h| / |h| after the last layer, all chosen neurons being changed",
            ),
            Column("end_low", float, "lower end of its interval (bootstrap over windows)"),
            Column("end_high", float, "upper end of its interval"),
            Column("end_norm", float, "mean over tokens of |h'| / |h| - 1 there"),
            Column("end_to_top", float, "end divided by the top set's"),
            Column("windows", int, "windows on which it was measured"),
            Column(
                "matched",
                bool,
                "whether the set is matched within its tolerance; missing for sets that were not searched",
            ),
            Column("evaluations", int, "measurements that the search took, or all of its sets' searches"),
            Column("reason", str, "how the search ended"),
        ),
    ),
    Table(
        "noop",
        (
            Column("model", str, "the model; its activations are flat below zero, as ReLU is"),
            Column("own", bool, "whether it is the study's own model"),
            Column(
                "what", str, "what was compared bit by bit: log-probabilities of tokens, or the scores of minimal pairs"
            ),
            Column("neurons", int, "neurons whose negative pre-activations were set to zero"),
            Column("items", int, "numbers compared"),
            Column("differing", int, "those that differ in any bit"),
            Column("largest", float, "largest absolute difference, in nats"),
            Column("same", bool, "whether nothing differs"),
        ),
    ),
)
"""The tables, by name."""


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


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What the tables say: the top set against every control on every score, and the no-op control."""
    said: list[str] = []
    table = tables["controls"]
    for score in book.part["scores"]:
        rows = table[table["score"] == score]
        top = rows[rows["role"] == "top"].iloc[0]
        found = claim(top, "change", ("change_low", "change_high"), "change_")
        said.append(f"Controls, {title(score)}: {top['control']} against the plain model: {found}.")
        for _, row in rows[rows["role"] != "top"].iterrows():
            outcome = {"harm": "the top set does more harm", "gain": "the top set does less harm"}
            if pd.isna(row["finding"]):
                continue  # it is what the two were made equal in
            told = {**row, "finding": outcome.get(row["finding"], row["finding"])}
            found = claim(told, "contrast", ("contrast_low", "contrast_high"))
            said.append(f"Against {row['control']} ({row['neurons']:,} neurons): {found}.")
    for _, row in tables["controls_residual"].iterrows():
        if row["matched"] is pd.NA:
            continue
        what = "perplexity" if row["role"] in ("perplexity", MATCHED_RANDOM) else "change of the residual stream"
        outcome = "matched" if row["matched"] else "not matched, the nearest is taken"
        said.append(f"{capital(row['control'])}: {what} {outcome} ({row['reason']}).")
    return said + _noop_sentences(book, tables["noop"])


def claims(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
    """Whether zeroing negatives changes nothing in a model whose activations are flat below zero."""
    table = tables["noop"]
    if table.empty:
        return []
    words = "In a ReLU model zeroing negatives changes nothing, bit for bit"
    of = "this model" if table["own"].iloc[0] else str(table["model"].iloc[0])
    finding = "; ".join(f"{row['differing']:,} of {row['items']:,} {row['what']} differ" for _, row in table.iterrows())
    return [Claim("relu", words, of, None, "holds" if table["same"].all() else "does not hold", finding)]


def _noop_sentences(book: Book, table: pd.DataFrame) -> list[str]:
    said = []
    for _, row in table.iterrows():
        who = "This model's activations are flat below zero" if row["own"] else f"On {row['model']}"
        if row["same"]:
            outcome = f"zeroing negatives is a no-op, bit for bit, on all {row['items']:,} {row['what']}"
        else:
            outcome = (
                f"zeroing negatives changes {row['differing']:,} of {row['items']:,} {row['what']}, which it must not:"
                " the intervention is not to be trusted here"
            )
        said.append(f"No-op control: {who}{': ' if row['own'] else ' '}{outcome}.")
    proved = len(table) and table["own"].all() and table["same"].all()
    if proved and book.part["intervention"] == "zero_negative":
        said.append(
            "There is no signal below zero in this model for zeroing negatives to remove; of other interventions this"
            " says nothing."
        )
    return said


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
                **effects.change(plain, entry, score, _AGAINST_PLAIN),
            }
            if entry is not rows[0]:
                row |= _against(effects, rows[0], entry, score)
            found.append(row)
    effects.judged(found, (), _AGAINST_PLAIN)
    effects.judged(found, (), _CONTRAST)
    return pd.DataFrame(found)


def _against(effects: Effects, top: Entry, control: Entry, score: str) -> Row:
    """The top set against a control, as columns: not on what the two were made equal in, and no finding where the
    search did not make them equal."""
    role = _about(control)["role"]
    if score == "perplexity" and role in ("perplexity", MATCHED_RANDOM):
        return {}
    found = control.about.facts["found"]
    if found.get("matched") is not False:
        return effects.change(control, top, score, _CONTRAST)
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

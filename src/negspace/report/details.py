"""A run's data on single neurons: distribution, tokens in context, pairs and tables, from the analyses' tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from negspace.analyses.atlas.figures import densities
from negspace.analyses.atlas.tables import over_represented
from negspace.analyses.atlas.words import alone_in_words
from negspace.experiment.chosen import KEY_COLUMNS
from negspace.experiment.run import Run
from negspace.report.views import plain, view

_MOST_PAIRS = 12
_MOST_WORDS = 40
_MOST_ROWS = 60
_TABLES = {
    "atlas_modes": "Modes",
    "atlas_drivers": "What falls in each mode",
    "atlas_contrasts": "Good against bad sentences",
    "atlas_alone": "What its ablation alone does",
}


@dataclass
class Details:
    """Everything beyond the scan, by neuron."""

    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Neuron's name -> histogram, texts, contexts, pairs, tables: whatever there is (JSON values)."""
    words: dict[str, str] = field(default_factory=dict)
    """Neuron's name -> words to find it by."""

    def add(self, name: str, key: str, values: Iterable[Any]) -> None:
        """Append to one of the lists of a neuron's page."""
        self.pages.setdefault(name, {}).setdefault(key, []).extend(values)

    def say(self, name: str, words: Iterable[str]) -> None:
        """Add words that find a neuron, each once."""
        kept = self.words.get(name, "").split(" ") if name in self.words else []
        fresh = [word for word in dict.fromkeys(word.strip() for word in words) if word and word not in kept]
        self.words[name] = " ".join([*kept, *fresh][:_MOST_WORDS])


def details(run: Run) -> Details:
    """Return the run's data on single neurons."""
    found = Details()
    _atlas(found, run)
    pairs = run.table("differentiation_pairs")
    if pairs is not None:
        for name, rows in pairs.groupby("name", sort=False):
            _pairs(found, str(name), rows)
    return found


def _atlas(found: Details, run: Run) -> None:
    """Distribution, modes, what drives them, tokens in context, and what the ablation of the neuron alone does."""
    atlas, columns = run.table("atlas"), run.parts["atlas"].schema if "atlas" in run.parts else {}
    if atlas is None:
        return
    tables = {name: run.table(name) for name in columns}
    for _, about in atlas.iterrows():
        name = str(about["name"])
        own = {key: table[table["name"] == name] for key, table in tables.items() if table is not None}
        summary = "" if pd.isna(about["summary"]) else str(about["summary"])
        found.add(name, "texts", [text for text in (summary, _alone(own)) if text])
        if len(own.get("atlas_histograms", ())):
            made = densities(own["atlas_histograms"])
            modes = zip(*(json.loads(about[f"mode_{key}"]) for key in ("means", "weights")), strict=True)
            found.pages[name]["histogram"] = {
                "edges": plain(made["edges"]),
                "density": plain(made["count"]),
                "modes": [{"mean": mean, "weight": weight} for mean, weight in modes],
            }
        if len(own.get("atlas_examples", ())):
            found.add(name, "contexts", [_context(row) for _, row in own["atlas_examples"].iterrows()])
        for key, title in _TABLES.items():
            if len(own.get(key, ())):
                part = own[key].drop(columns=[column.name for column in KEY_COLUMNS], errors="ignore")
                cut = (
                    f" (the first {_MOST_ROWS} of {len(part):,} rows; all are in tables/{key}.csv of the run's folder)"
                )
                said = title + (cut if len(part) > _MOST_ROWS else "")
                found.add(name, "tables", [view(said, part.head(_MOST_ROWS), columns[key].meanings)])
        drivers = own.get("atlas_drivers")
        if drivers is not None and len(drivers):
            lifted = over_represented(drivers, run.study["alpha"])
            found.say(name, [str(value) for value in lifted.sort_values("lift", ascending=False)["value"]])


def _alone(tables: Mapping[str, pd.DataFrame]) -> str:
    """The finding on the neuron ablated alone; empty where it was not."""
    rows = tables.get("atlas_alone")
    return "" if rows is None or rows.empty else f"Ablated alone: {alone_in_words(rows)}."


def _context(row: pd.Series) -> dict[str, Any]:
    tags = ", ".join(filter(None, (str(row["upos"]), str(row["dep"]))))
    note = f"{row['activation']:+.2f}{f' · {tags}' if tags else ''}"
    return {
        "group": f"Mode {row['mode']}",
        "note": note,
        "tokens": json.loads(row["context"]),
        "values": json.loads(row["activations"]),
        "at": int(row["focus"]),
    }


def _pairs(found: Details, name: str, rows: pd.DataFrame) -> None:
    """The pairs that a neuron drives furthest apart, first those selected."""
    chosen = rows[rows["kind"] == "selected"].sort_values("rank").head(_MOST_PAIRS)
    made = []
    for _, row in chosen.iterrows():
        apart = f"{row['apart']:.1f} sd apart; inputs {row['distance']:.2f} of a random distance"
        note = f"{row['rank']}. {row['sign']}, {apart}"
        made.append({"note": note, "sides": [_side(row, end) for end in ("first", "second")]})
    found.add(name, "pairs", made)
    found.say(name, [str(row[f"token_{end}"]) for _, row in chosen.iterrows() for end in ("first", "second")])


def _side(row: Mapping[str, Any] | pd.Series, end: str) -> dict[str, Any]:
    return {
        "before": str(row[f"before_{end}"]),
        "token": str(row[f"token_{end}"]),
        "after": str(row[f"after_{end}"]),
        "value": plain(pd.Series([row[f"a_{end}"]]))[0],
    }

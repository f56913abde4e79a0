"""Figures of excess surprisal: which words an ablation makes harder to predict."""

from __future__ import annotations

import pandas as pd

from negspace.experiment.condition import NEAREST
from negspace.experiment.run import Run
from negspace.figures.figure import Figure
from negspace.figures.forest import Dots, forest

_KINDS = {"upos": "universal parts of speech", "dep": "dependency labels"}
_MOST = 40


def figures(run: Run) -> list[Figure]:
    """Excess surprisal by part of speech and by dependency label, those of most excess under the top set first."""
    table = run.table("parts_of_speech")
    if table is None:
        return []
    series = _series(table)
    made = []
    for kind, words in _KINDS.items():
        part = table[table["kind"] == kind]
        if part.empty:
            continue
        tags = _ordered(part)
        shown = tags[:_MOST]
        dots = [
            Dots(name, role, {r["tag"]: (r["excess"], r["low"], r["high"]) for _, r in rows.iterrows()}, _counts(rows))
            for name, role, rows in ((n, r, rows[rows["kind"] == kind]) for n, r, rows in series)
            if len(rows)
        ]
        caption = f"Mean surprisal added by the ablation, with {run.level} intervals clustered by window."
        if "role" in part.columns and (part["role"] == "random").any():
            caption += " The intervals of random sets hold for the sets drawn, not for others."
        if len(tags) > len(shown):
            caption += f" The {len(tags) - len(shown)} with the least excess are in the table."
        panel = forest(shown, dots, "excess surprisal (nats per token)")
        made.append(Figure(f"parts_of_speech_{kind}", f"Excess surprisal by {words}", caption, (panel,)))
    return made


def _ordered(part: pd.DataFrame) -> list[str]:
    """Tags by their excess under the top set; those that it lacks last."""
    tops = part[part["role"] == "top"] if "role" in part.columns else part
    first = list(tops.sort_values("excess", ascending=False, kind="stable")["tag"])
    return [*first, *sorted(set(part["tag"]) - set(first))]


def _series(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """One series a condition, where the table has several."""
    if "condition" not in table.columns:
        return [("ablation", "top", table)]
    roles = {"random": "random mean", NEAREST: "bottom"}
    return [
        (str(name), roles.get(role, role), rows)
        for name, rows in table.groupby("condition", sort=False)
        for role in (str(rows["role"].iloc[0]),)
    ]


def _counts(rows: pd.DataFrame) -> dict[str, str]:
    return {row["tag"]: f"{row['tokens']:,} tokens" for _, row in rows.iterrows()}

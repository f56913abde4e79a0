"""Schemas of tables: documented columns, each of its own type whatever rows there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd


def typed(
    table: pd.DataFrame | Sequence[Mapping[str, Any]],
    columns: Iterable[str],
    *,
    words: Collection[str] = (),
    whole: Collection[str] = (),
    flags: Collection[str] = (),
) -> pd.DataFrame:
    """The documented columns in order, absent ones empty: a table without rows has the same types as a full one.

    Args:
        table: a table, or its rows.
        columns: what it is to have.
        words: columns of text ("str").
        whole: columns of whole numbers ("Int64").
        flags: columns of truth values ("boolean"); all others are "float64".
    """
    names = list(columns)
    found = table if isinstance(table, pd.DataFrame) else pd.DataFrame(list(table), columns=names)
    made = {}
    for name in names:
        values = found[name] if name in found.columns else pd.Series([None] * len(found), index=found.index)
        kind = "str" if name in words else "boolean" if name in flags else "Int64" if name in whole else "float64"
        made[name] = values.astype(kind)
    return pd.DataFrame(made).reset_index(drop=True)


def describe(columns: Mapping[str, Mapping[str, str]], families: Mapping[str, str]) -> str:
    """Sections of Markdown: every table with the meaning of its columns, and over what p-values are corrected."""
    lines = []
    for table, meanings in columns.items():
        lines += [f"## {table}", ""]
        if table in families:
            lines += [f"Family of Holm's correction: {families[table]}.", ""]
        lines += [f"- `{column}`: {text}" for column, text in meanings.items()] + [""]
    return "\n".join(lines)

"""Schemas of tables: columns declared once, by name, type and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

_DTYPES: Mapping[type, Any] = {str: "str", int: "Int64", bool: "boolean", float: "float64"}
"""Type of a column -> that of the data; whole numbers and truth values may be missing."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """Its name."""
    type: type[str | int | float | bool]
    """str, int, float or bool."""
    meaning: str
    """Its meaning, in one line."""


@dataclass(frozen=True)
class Table:
    """A table of an analysis."""

    name: str
    """Its name, unique among all analyses."""
    columns: tuple[Column, ...]
    """Its columns in order."""
    family: str = ""
    """Over what its p-values are corrected, in words; empty: they are not, or the columns say it."""

    @property
    def names(self) -> list[str]:
        """Names of its columns in order."""
        return [column.name for column in self.columns]

    @property
    def meanings(self) -> dict[str, str]:
        """Column -> meaning."""
        return {column.name: column.meaning for column in self.columns}

    def of(
        self, rows: pd.DataFrame | Sequence[Mapping[str, Any]], *, only: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The documented columns in order, absent ones empty: a table without rows has the same types as a full one.

        Args:
            rows: a table, or its rows.
            only: only these of the columns; None: all.
        """
        found = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), columns=self.names)
        made = {}
        for column in self.columns:
            if only is None or column.name in only:
                empty = pd.Series([None] * len(found), index=found.index)
                values = found[column.name] if column.name in found.columns else empty
                made[column.name] = values.astype(_DTYPES[column.type])
        return pd.DataFrame(made).reset_index(drop=True)


Schema = Mapping[str, Table]
"""Name -> table."""


def schema(*tables: Table) -> Schema:
    """Tables by their names."""
    return {table.name: table for table in tables}


def describe(tables: Schema) -> str:
    """Sections of Markdown: every table with the meaning of its columns, and over what p-values are corrected."""
    lines = []
    for table in tables.values():
        lines += [f"## {table.name}", ""]
        if table.family:
            lines += [f"Corrected together: {table.family}.", ""]
        lines += [f"- `{column.name}`: {column.meaning}" for column in table.columns] + [""]
    return "\n".join(lines)

"""Tables for the page: columns as JSON, with every interval beside its estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_ENDS = ("low", "high")


def view(title: str, table: pd.DataFrame, meanings: Mapping[str, str], source: str = "") -> dict[str, Any]:
    """A table as a JSON value for the page's grid.

    `x`, `x_low`, `x_high` become one column, and so do a column and the plain `low`, `high` that follow it.

    Args:
        source: where its rows are beside the page, in words; empty: nowhere.
    """
    columns, used = [], set()
    names = list(table.columns)
    for place, name in enumerate(names):
        if name in used:
            continue
        ends = _interval(names, place)
        if ends:
            used.update(ends)
        columns.append(_column(table, name, ends, meanings))
    return {"title": title, "rows": len(table), "columns": columns, "source": source}


def _interval(names: list[str], place: int) -> tuple[str, str] | None:
    name = names[place]
    own = tuple(f"{name}_{end}" for end in _ENDS)
    if all(one in names for one in own):
        return own  # type: ignore[return-value]
    return _ENDS if tuple(names[place + 1 : place + 3]) == _ENDS else None  # type: ignore[return-value]


def _column(
    table: pd.DataFrame, name: str, ends: tuple[str, str] | None, meanings: Mapping[str, str]
) -> dict[str, Any]:
    values = table[name]
    made: dict[str, Any] = {"key": name, "label": name.replace("_", " "), "meaning": meanings.get(name, "")}
    if ends:
        made |= {"kind": "interval", "names": [name, *ends], "label": f"{made['label']} [interval]"}
        return made | {"values": plain(values), "low": plain(table[ends[0]]), "high": plain(table[ends[1]])}
    if pd.api.types.is_bool_dtype(values.dtype):
        return made | {"kind": "text", "values": [_word(value) for value in values]}
    if pd.api.types.is_numeric_dtype(values.dtype):
        kind = "p" if name == "p" or name.startswith("p_") or name.endswith(("_p", "_p_holm")) else "number"
        return made | {"kind": kind, "values": plain(values)}
    return made | {"kind": "text", "values": [_said(value) for value in values]}


def plain(values: pd.Series | np.ndarray) -> list[int | float | None]:
    """Numbers as JSON has them: seven digits, what is missing or not finite is null."""
    series = pd.Series(values)
    if pd.api.types.is_integer_dtype(series.dtype):
        return [None if pd.isna(value) else int(value) for value in series]
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in numbers]


def _word(value: Any) -> str:
    return "" if pd.isna(value) else "yes" if value else "no"


def _said(value: Any) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(map(str, value))
    return "" if value is None or (not isinstance(value, str) and pd.isna(value)) else str(value)

"""Rows with named columns, from wherever they come, and the choice of the column that is meant."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from negspace.text.content import Request
from negspace.wording import listed

MISSING = object()
"""Stands for the value that a row of JSON does not have."""
TEXT_NAMES = ("text", "content", "raw_content", "document", "story", "article")
"""Names that a column of running text usually has."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows with named columns."""

    name: str
    """Its name: the file's name, or the kind of object."""
    columns: tuple[str, ...]
    """Names of the columns."""
    values: Callable[[str], Sequence[Any]]
    """The values of a column, a row each."""
    rows: int
    """Number of rows."""
    lines: Sequence[int] = ()
    """The line of the file in which each row begins, if it has lines."""
    strings: Callable[[str], bool] | None = None
    """True if the type of a column is string; None where only the values show it."""

    @cached_property
    def textual(self) -> tuple[str, ...]:
        """Names of the columns whose values are strings, apart from missing ones."""
        strings = self.strings or (lambda column: _all_strings(self.values(column)))
        return tuple(column for column in self.columns if strings(column))

    def where(self, row: int) -> str:
        """A row in the user's words: "line 3"."""
        return f"line {self.lines[row]}" if self.lines else f"row {row}"

    def texts(self, column: str, request: Request) -> list[str]:
        """The strings of a column, which may be empty; a row without one is refused."""
        if column not in self.columns:
            raise request.refusal(f"no column {column!r}; there are {listed(self.columns)}", "name one of the columns")
        values = self.values(column)
        for row, value in enumerate(values):
            if not isinstance(value, str):
                found = "no" if value is MISSING or is_null(value) else f"a {type(value).__name__} as"
                raise request.refusal(
                    f"{self.where(row)} has {found} {column!r}", f"give a string in each row of {column!r}"
                )
        return list(values)

    def text_column(self, request: Request) -> str:
        """The column that is meant by the text of the table: the only one of strings, or the one that says so."""
        if named := [name for name in TEXT_NAMES if name in self.textual]:
            candidates = named
        else:
            candidates = [name for name in self.textual if not self._numbers(name)]
        if len(candidates) == 1:
            return candidates[0]
        how = "name one of them: PATH#COLUMN, or field='COLUMN' in Python"
        if candidates:
            raise request.refusal(f"several columns of text: {listed(candidates)}", how)
        raise request.refusal(
            f"no column of strings; its columns are {listed(self.columns)}", "give a table with a text"
        )

    def _numbers(self, column: str) -> bool:
        """Return True if all strings of a column are numbers: files without types have strings only."""
        try:
            for value in self.values(column):
                float(value)
        except (TypeError, ValueError):
            return False
        return True


def from_records(name: str, records: Sequence[Mapping[Any, Any]], request: Request, lines: Sequence[int] = ()) -> Table:
    """A table of rows as JSON has them: a row may lack what another has. Names of columns must differ as strings."""
    keys = dict.fromkeys(chain.from_iterable(records))
    columns = dict(zip(distinct(keys, request), keys, strict=True))

    def values(column: str) -> list[Any]:
        key = columns[column]
        return [record.get(key, MISSING) for record in records]

    return Table(name, tuple(columns), values, len(records), lines)


def from_columns(name: str, columns: Mapping[str, Sequence[Any]], lines: Sequence[int] = ()) -> Table:
    """A table of columns of equal length."""
    rows = len(next(iter(columns.values()), ()))
    return Table(name, tuple(columns), columns.__getitem__, rows, lines)


def distinct(columns: Iterable[object], request: Request) -> list[str]:
    """Names of columns as strings, each of which must be another."""
    names = [str(column) for column in columns]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise request.refusal(f"two columns named {min(twice)!r}", "give each column a name of its own")
    return names


def from_arrow(name: str, data: Any, request: Request) -> Table:
    """A table of pyarrow; only the columns that are asked for become Python's. Two of one name are refused."""
    import pyarrow as pa

    columns = tuple(distinct(data.column_names, request))

    def strings(column: str) -> bool:
        kind = data.schema.field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)

    return Table(
        name,
        columns,
        lambda column: data.column(column).to_pylist(),
        data.num_rows,
        strings=strings,
    )


def from_python(source: Any, request: Request) -> Table | None:
    """The table that an object in memory is, None if it is no table.

    A DataFrame of pandas, a `datasets.Dataset`, a table of pyarrow, or of another library that speaks Arrow (polars).
    What a `datasets.DatasetDict` holds is its splits, and which of them is meant is the caller's matter.
    """
    if _is(source, "pandas", "DataFrame"):
        names = distinct(source.columns, request)
        return from_columns("DataFrame", {name: source.iloc[:, at].tolist() for at, name in enumerate(names)})
    if _is(source, "datasets", "IterableDataset", "IterableDatasetDict"):
        raise request.refusal(
            f"an {type(source).__name__}, which may have no end",
            "take rows of it: list(dataset.take(10_000))",
        )
    if _is(source, "datasets", "Dataset"):
        return from_arrow("Dataset", source.with_format("arrow")[:], request)
    if hasattr(source, "__arrow_c_stream__") and (hasattr(source, "columns") or hasattr(source, "column_names")):
        import pyarrow as pa

        return from_arrow(type(source).__name__, pa.table(source), request)
    return None


def is_dataset_dict(source: Any) -> bool:
    """Return True if an object is a `datasets.DatasetDict`."""
    return _is(source, "datasets", "DatasetDict")


def is_null(value: object) -> bool:
    """Return True if a value of a table is missing: None, or NaN as in pandas."""
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType"


def _is(source: Any, library: str, *names: str) -> bool:
    """Return True if an object is of a class of an imported library; if the library is not imported, it cannot be."""
    module = sys.modules.get(library)
    return module is not None and isinstance(source, tuple(getattr(module, name) for name in names))


def _all_strings(values: Sequence[Any]) -> bool:
    """Return True if values are strings, some of which may be missing."""
    kinds = set(map(type, values))
    if kinds != {str}:
        kinds = {type(value) for value in values if value is not MISSING and not is_null(value)}
    return bool(kinds) and all(issubclass(kind, str) for kind in kinds)

"""Tables in files: JSON Lines, JSON, CSV, TSV, Parquet, Arrow, and folders of `datasets.save_to_disk`."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from negspace.text.content import Request, decode, printable, read_bytes, suffix_of
from negspace.text.table import Table, distinct, from_arrow, from_columns, from_records
from negspace.wording import listed

_JSONL = (".jsonl", ".ndjson")
_ARROW = (".arrow", ".feather")
TABLES = (*_JSONL, ".json", ".csv", ".tsv", ".parquet", *_ARROW)
"""Endings of files that are tables, before that of a compression."""
_MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".arrow"}
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_SENTENCE_ENDS = (".", "?", "!", "。", "？", "！")
_LONGEST_NAME = 60


def is_table(path: Path) -> bool:
    """Return True if a file is a table, by its name or its first bytes."""
    if suffix_of(path) in TABLES:
        return True
    try:
        with open(path, "rb") as file:
            start = file.read(6)
    except OSError:
        return False
    return any(start.startswith(magic) for magic in _MAGIC)


def is_saved_dataset(folder: Path) -> bool:
    """Return True if `datasets.save_to_disk` made a folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def load_saved_dataset(folder: Path, request: Request) -> Any:
    """The `Dataset` or `DatasetDict` in a folder that `datasets.save_to_disk` made."""
    import datasets

    try:
        return datasets.load_from_disk(str(folder))
    # A folder with a part missing ends in errors of many kinds.
    except Exception as error:
        raise request.refusal(
            f"a folder of datasets.save_to_disk that cannot be read ({type(error).__name__}: {error})", "save it again"
        ) from error


def read_table(path: Path, request: Request) -> Table:
    """The table in a file, which may be compressed. One without rows is refused."""
    data = read_bytes(path, request)
    suffix = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), suffix_of(path))
    table = _READERS[suffix](printable(path.name), data, request)
    if not table.rows:
        found = f"column names ({listed(table.columns)}) and no rows" if table.columns else "an empty file"
        raise request.refusal(found, "give a file with at least one row")
    return table


def json_lines(name: str, text: str, request: Request) -> Table:
    """A table of one JSON object per line; blank lines are no rows."""
    records: list[Mapping[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        value = _loads(line, number, request)
        records.append(value if type(value) is dict else _record(value, f"line {number}", request))
        lines.append(number)
    return from_records(name, records, request, lines)


def records_of(name: str, values: Sequence[Any], request: Request) -> Table:
    """A table of objects (or strings) in memory."""
    return from_records(name, [_record(value, f"item {at}", request) for at, value in enumerate(values)], request)


def _record(value: Any, where: str, request: Request) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, Mapping):
        raise request.refusal(
            f"{where}: a JSON {type(value).__name__} instead of an object", "give objects: {FIELD: VALUE}"
        )
    return value


class KeyTwiceError(ValueError):
    """A JSON object with one key twice, of which Python would take the last."""


def loads(text: str) -> Any:
    """The value of JSON.

    Raises:
        KeyTwiceError: an object has one key twice.
        ValueError: it is no JSON.
    """
    return _DECODER.decode(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise KeyTwiceError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} twice in one object")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
"""Made once: `json.loads` would make one for every line of a file."""
_ONCE = "give each key of an object once"


def _loads(line: str, number: int, request: Request) -> Any:
    try:
        return loads(line)
    except KeyTwiceError as error:
        raise request.refusal(f"line {number}: {error}", _ONCE) from error
    except ValueError as error:
        todo = "give JSON Lines: one JSON object per line"
        raise request.refusal(f"line {number}: not JSON: {error}", todo) from error
    except RecursionError as error:
        raise request.refusal(
            f"line {number}: JSON nested too deeply", "give JSON Lines: one flat JSON object per line"
        ) from error


def _json_lines(name: str, data: bytes, request: Request) -> Table:
    return json_lines(name, decode(data, request), request)


def _json(name: str, data: bytes, request: Request) -> Table:
    """JSON: a list of objects or of strings, or an object of columns; or JSON Lines, which often bear its name."""
    text = decode(data, request)
    try:
        value = loads(text)
    except KeyTwiceError as error:
        raise request.refusal(str(error), _ONCE) from error
    except ValueError as error:
        if "Extra data" in str(error):
            return json_lines(name, text, request)
        raise request.refusal(f"not JSON: {error}" if text.strip() else "an empty file", "give a JSON file") from error
    except RecursionError as error:
        raise request.refusal("JSON nested too deeply", "give a list of objects") from error
    if isinstance(value, list):
        return records_of(name, value, request)
    if isinstance(value, dict):
        columns = _by_index(value, request)
        lengths = {len(rows) if isinstance(rows, list) else None for rows in columns.values()}
        if len(lengths) == 1 and None not in lengths:
            return from_columns(name, columns)
        raise request.refusal(
            f"one JSON object with {listed(value)} instead of rows",
            "give a list of objects, one a row, or JSON Lines",
        )
    raise request.refusal(f"a JSON {type(value).__name__} instead of rows", "give a list of objects, one a row")


def _by_index(columns: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
    """Columns as lists; of columns that map an index to a value, as pandas writes them, a row is what has one index."""
    indexed = {name: values for name, values in columns.items() if isinstance(values, dict)}
    if not indexed:
        return columns
    (first, index), *others = indexed.items()
    for name, values in others:
        if values.keys() != index.keys():
            apart = min(values.keys() ^ index.keys())
            raise request.refusal(
                f"columns of different rows: only one of {first!r} and {name!r} has the row {apart!r}",
                "give each column a value for every row",
            )
    # A list beside them does not say which of its values belongs to which row, and so is no column.
    return {name: [indexed[name][row] for row in index] if name in indexed else None for name in columns}


def _separated(delimiter: str) -> Callable[[str, bytes, Request], Table]:
    def read(name: str, data: bytes, request: Request) -> Table:
        text = decode(data, request)
        header = text.lstrip("\n").partition("\n")[0]
        others = [other for other in _DELIMITERS if other != delimiter and other in header]
        if delimiter in header or not others:
            return _read_separated(name, text, delimiter, request)
        if len(others) > 1:
            found = (
                f"no {_DELIMITERS[delimiter]} in the first line, but {listed(_DELIMITERS[other] for other in others)}"
            )
            raise request.refusal(found, f"put {_DELIMITERS[delimiter]} between the columns")
        return _read_separated(name, text, others[0], request)

    return read


def _read_separated(name: str, text: str, delimiter: str, request: Request) -> Table:
    apart = _DELIMITERS[delimiter]
    rows, lines = _cells(text, delimiter, request)
    # A quote after a space is part of a cell, unless the spaces after all delimiters are passed over. They are if that
    # changes more than where cells begin.
    if re.search(f'(?:^|{re.escape(delimiter)}) +"', text, re.MULTILINE):
        spaced = _cells(text, delimiter, request, spaced=True)
        if _without_indent(spaced[0]) != _without_indent(rows):
            rows, lines = spaced
    if not rows:
        return from_columns(name, {})
    columns = _header([cell.strip() for cell in rows[0]], request)
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(columns):
            raise request.refusal(
                f"line {line}: {len(row)} fields apart by {apart}, where the first line names {len(columns)} columns",
                "put fields that hold the delimiter between quotes, and check that the delimiter is the right one",
            )
    values = {column: [row[at] for row in rows[1:]] for at, column in enumerate(columns)}
    return from_columns(name, values, lines[1:])


def _without_indent(rows: list[list[str]]) -> list[list[str]]:
    return [[cell.lstrip(" ") for cell in row] for row in rows]


def _cells(text: str, delimiter: str, request: Request, *, spaced: bool = False) -> tuple[list[list[str]], list[int]]:
    """The cells of each row, and the line in which it begins.

    Args:
        spaced: pass over the spaces after a delimiter.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    try:
        begin = 1
        for row in reader:
            if row:
                rows.append(row)
                lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        todo = 'put fields with quotes between quotes, and double those within: "He said ""no""."'
        found = f"line {reader.line_num}: {error} (fields apart by {_DELIMITERS[delimiter]})"
        raise request.refusal(found, todo) from error
    finally:
        csv.field_size_limit(limit)
    return rows, lines


def _header(columns: list[str], request: Request) -> list[str]:
    """The names in the first line, which must be names: without them the first row would be taken for them."""
    for column in columns:
        if len(column) > _LONGEST_NAME or column.endswith(_SENTENCE_ENDS):
            raise request.refusal(
                f"{column[:_LONGEST_NAME]!r} in the first line, where the names of the columns belong",
                "put a line with the names of the columns first",
            )
    return distinct(columns, request)


def _parquet(name: str, data: bytes, request: Request) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not `read_table`, which calls two columns of one name an error of its own.
        table = pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise request.refusal(
            f"not a Parquet file, or a damaged one ({error})", "fetch or make the file again"
        ) from error
    return from_arrow(name, table, request)


def _arrow(name: str, data: bytes, request: Request) -> Table:
    import pyarrow as pa

    # `datasets` writes streams, Feather and others files of the same name.
    opened = pa.ipc.open_file if data.startswith(b"ARROW1") else pa.ipc.open_stream
    try:
        table = opened(pa.BufferReader(data)).read_all()
    except (pa.ArrowException, OSError) as error:
        raise request.refusal(
            f"not an Arrow file, or a damaged one ({error})", "fetch or make the file again"
        ) from error
    return from_arrow(name, table, request)


_READERS: Mapping[str, Callable[[str, bytes, Request], Table]] = {
    **dict.fromkeys(_JSONL, _json_lines),
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
    **dict.fromkeys(_ARROW, _arrow),
}

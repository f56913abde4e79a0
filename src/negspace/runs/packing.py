"""Records as the bytes of a file: the same bytes for the same record, and every damaged one found."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from negspace.runs.cell import FORMAT, Record, canonical, digest

_MARK = b"negspace-file-sha256:"
_NO_SUM = b"0" * 64
_SUM = re.compile(re.escape(_MARK) + rb"([0-9a-f]{64})")


class Damaged(Exception):
    """A record file whose bytes are not those that were written, or that another version wrote."""


def pack(record: Record) -> bytes:
    """The bytes of a record's file; the same record gives the same bytes."""
    head = {
        "format": FORMAT,
        "key": record.key,
        "kind": record.kind,
        "spec": record.spec,
        "results": _without_nan(record.results),
        "versions": record.versions,
        "status": record.status,
    }
    columns = {str(name): _column(record.items[name]) for name in record.items.columns}
    table = pa.table(columns)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"negspace": canonical(head), "checksum": (_MARK + _NO_SUM).decode()})
    data = buffer.getvalue()
    if data.count(_MARK + _NO_SUM) != 1:
        raise ValueError("the record's own content holds the checksum's mark")
    return data.replace(_MARK + _NO_SUM, _MARK + hashlib.sha256(data).hexdigest().encode(), 1)


def unpack(data: bytes) -> Record:
    """The record in a file's bytes.

    Raises:
        Damaged: a byte is not what it was, or the file is of another version.
    """
    sums = list(_SUM.finditer(data))
    if len(sums) != 1:
        raise Damaged("no checksum in it: truncated, or not a record")
    start, stop = sums[0].span(1)
    if hashlib.sha256(data[:start] + _NO_SUM + data[stop:]).hexdigest().encode() != sums[0][1]:
        raise Damaged("the checksum does not match the content")
    table = pq.read_table(io.BytesIO(data))
    head = json.loads((table.schema.metadata or {})[b"negspace"])
    if head["format"] != FORMAT:
        raise Damaged(f"format {head['format']}, this version reads {FORMAT}")
    if digest({"format": FORMAT, "kind": head["kind"], "spec": head["spec"]}) != head["key"]:
        raise Damaged("its key is not that of its spec")
    items = table.replace_schema_metadata(None).to_pandas()
    return Record(head["key"], head["kind"], head["spec"], head["results"], items, head["versions"], head["status"])


def kind_in(path: Path) -> str | None:
    """The kind of a record by its head, read without its items; None where the head is not of a record of that name."""
    try:
        head = json.loads((pq.read_metadata(path).metadata or {})[b"negspace"])
        true = digest({"format": head["format"], "kind": head["kind"], "spec": head["spec"]}) == path.stem
        return head["kind"] if true else None
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError):
        return None


def _column(column: pd.Series) -> pa.Array:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(str)
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return pa.array(np.ascontiguousarray(column.to_numpy()), from_pandas=False)
    if len(column) and isinstance(column.iloc[0], bytes):
        return pa.array(column, pa.large_binary())
    return pa.array([str(value) for value in column], pa.string())


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(element) for element in value]
    return value

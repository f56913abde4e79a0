"""The run folder: one file per record, each with a checksum over every one of its bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from negspace.errors import RecordError, StudyError
from negspace.files import (
    cannot_write,
    check_folder,
    lock,
    make_folder,
    read_bytes,
    remove_leftovers,
    write_whole,
)
from negspace.runs.cell import FORMAT, Cell, Record, canonical, digest

MANIFEST_FORMAT = 2
"""Version of the manifest. An older one is refused; the records it names are taken up by the same study."""
MANIFEST = "run.json"
"""Content of the run: configuration, conditions, and the keys of their records."""
_LOG = "run.log.jsonl"
_MARK = b"negspace-file-sha256:"
_NO_SUM = b"0" * 64
_SUM = re.compile(re.escape(_MARK) + rb"([0-9a-f]{64})")
_KEY = re.compile(r"[0-9a-f]{64}")
_AGAIN = "run the same study again with the same --out: what is missing is computed, all else is kept"


class Damaged(Exception):
    """A record file whose bytes are not those that were written, or that another version wrote."""


class Store:
    """Records in a folder: `cells/KEY.parquet`, the manifest `run.json`, and a log with the times.

    A record file holds the items as columns; its metadata hold the rest as JSON and a SHA-256 of the whole file, taken
    with the checksum's own digits as zeros. Any flipped or missing byte is thus found before anything is parsed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.cells = self.folder / "cells"

    def check(self) -> None:
        """Look whether the folder may become or is a run's, without making anything.

        Raises:
            StudyError: it is a folder of other things, or a file.
            RecordError: nothing can be written there.
        """
        asked, todo = f"to write a run into {self.folder}", "give a new folder, an empty one, or that of an earlier run"
        if self.folder.exists() and not self.folder.is_dir():
            raise StudyError(asked, "a file of that name", f"{todo} with --out")
        if self.folder.is_dir() and not self._is_run() and any(self.folder.iterdir()):
            raise StudyError(asked, "a folder with other files in it", f"{todo} with --out")
        check_folder(self.folder, MANIFEST)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Make the folder if need be and hold it for writing.

        Raises:
            RecordError: the folder cannot be made or written to.
            StudyError: another process holds it, or it is a folder of other things.
        """
        self.check()
        make_folder(self.folder)
        with lock(self.folder):
            make_folder(self.cells)
            for folder in (self.folder, self.cells):
                remove_leftovers(folder)
            yield

    def read(self, cell: Cell | str) -> Record | None:
        """The record of a cell or key; None if there is none.

        Raises:
            Damaged: there is a file, but it is not what was written.
            RecordError: the key is none, or the file cannot be read.
        """
        key = cell if isinstance(cell, str) else cell.key
        path = self._path(key)
        if not path.exists():
            return None
        record = unpack(read_bytes(path, "a record"))
        if record.key != key:
            raise Damaged(f"{path.name} holds the record {record.key}")
        return record

    def require(self, key: str) -> Record:
        """The record of a key that must be there.

        Raises:
            RecordError: it is missing or damaged, or the key is none.
        """
        try:
            record = self.read(key)
        except Damaged as error:
            raise RecordError(f"the record {self._path(key)}", f"a damaged file: {error}", _AGAIN) from error
        if record is None:
            raise RecordError(f"the record {self._path(key)}", "no such file", _AGAIN)
        return record

    def write(self, record: Record) -> None:
        """Write a record, whole or not at all.

        Raises:
            RecordError: no space, no permission.
        """
        write_whole(self._path(record.key), pack(record))

    def accept(self, key: str, data: bytes) -> None:
        """Write a record that another process packed, once its bytes are found whole.

        Raises:
            RecordError: they are not, or no space, no permission.
        """
        try:
            found = unpack(data).key
        except Damaged as error:
            raise RecordError(f"the record {key} from a worker", f"damaged on the way: {error}", "run again") from error
        if found != key:
            raise RecordError(f"the record {key} from a worker", f"the record {found}", "run again; please report it")
        write_whole(self._path(key), data)

    def discard(self, kinds: Collection[str]) -> None:
        """Remove the records of some kinds, which nothing will ask for again.

        Raises:
            RecordError: no permission.
        """
        for key, kind in self.kinds().items():
            if kind in kinds:
                path = self._path(key)
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise cannot_write(path, error) from error

    def kinds(self) -> dict[str, str]:
        """Key of each record -> its kind; "" where neither the log nor the record tells.

        The log tells kinds. A process that is killed between a record and its line leaves one that the log does not
        know: its own head tells.
        """
        computed = [entry for entry in self._logged() if entry["event"] == "computed" and "kind" in entry]
        logged = {str(entry["key"]): str(entry["kind"]) for entry in computed}
        # Files that are there, not paths made of the log's keys: in a folder from elsewhere those may name any file.
        there = [path for path in sorted(self.cells.glob("*.parquet")) if _KEY.fullmatch(path.stem)]
        return {path.stem: logged[path.stem] if path.stem in logged else _kind(path) or "" for path in there}

    def times(self) -> dict[str, float]:
        """Key -> seconds that computing its record took, as far as the log tells; the last time, where it was twice."""
        made: dict[str, float] = {}
        for entry in self._logged():
            with contextlib.suppress(ValueError, TypeError):
                if entry["event"] == "computed":
                    made[str(entry["key"])] = float(entry.get("seconds") or 0.0)
        return made

    def _logged(self) -> Iterator[dict[str, Any]]:
        """The entries of the log that are whole; none where there is none, since no result depends on it."""
        try:
            lines = (self.folder / _LOG).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and "event" in entry and (entry["event"] != "computed" or "key" in entry):
                    yield entry

    def write_file(self, name: str, data: bytes) -> None:
        """Write another file of the run, for example "tables/summary.csv"; an unchanged one is left alone."""
        path = self.folder / name
        make_folder(path.parent)
        with contextlib.suppress(OSError):
            if path.read_bytes() == data:
                return
        write_whole(path, data)

    def keep_only(self, folder: str, names: Collection[str]) -> None:
        """Remove files of a subfolder that an earlier configuration left and this one does not have.

        Raises:
            RecordError: the subfolder is a link, behind which anybody's files may lie.
        """
        if (self.folder / folder).is_symlink():
            raise RecordError(
                f"to remove what an earlier run left in {self.folder / folder}",
                f"a link to {(self.folder / folder).resolve()}",
                "put a folder in its place",
            )
        for path in sorted((self.folder / folder).glob("*")):
            if path.name not in names and path.is_file():
                try:
                    path.unlink()
                except OSError as error:
                    raise cannot_write(path, error) from error

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the run's manifest (no times in it: the same run gives the same bytes)."""
        text = json.dumps(json.loads(canonical({"format": MANIFEST_FORMAT, **manifest})), indent=1, sort_keys=True)
        self.write_file(MANIFEST, text.encode() + b"\n")

    def read_manifest(self) -> dict[str, Any]:
        """The run's manifest.

        Raises:
            RecordError: the folder is not a run's, or the manifest is damaged or of another version.
        """
        asked = f"the run in {self.folder}"
        if not self.folder.is_dir():
            raise RecordError(asked, "no such folder", "give the folder that was written with --out")
        path = self.folder / MANIFEST
        if not path.exists():
            if self._is_run():
                todo = "repeat the command that began it: what is recorded is not computed again"
                raise RecordError(asked, "a run that has not finished", todo)
            raise RecordError(asked, f"no {MANIFEST} in it", "give the folder that `negspace run` wrote with --out")
        todo = "run the study again with the same --out: its records are kept"
        try:
            manifest = json.loads(read_bytes(path, "a manifest"))
            version = manifest["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(asked, f"a damaged {MANIFEST} ({error})", todo) from error
        if version != MANIFEST_FORMAT:
            found = f"a {MANIFEST} of format {version}, where this version reads {MANIFEST_FORMAT}"
            raise RecordError(asked, found, "give the same command again: records are reused")
        return manifest

    def log(self, event: str, **fields: Any) -> None:
        """Append one line to the run's log, which is where times go; no result depends on it."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **fields}, default=str) + "\n"
        try:
            with open(self.folder / _LOG, "ab+") as file:
                # A line that a kill cut short would swallow this one.
                if size := file.seek(0, os.SEEK_END):
                    file.seek(size - 1)
                    line = line if file.read(1) == b"\n" else "\n" + line
                file.write(line.encode())
        except OSError as error:
            raise cannot_write(self.folder / _LOG, error) from error

    def _path(self, key: str) -> Path:
        """The file of a record.

        Raises:
            RecordError: the key is none; as a path it could lead out of the folder.
        """
        if not _KEY.fullmatch(str(key)):
            raise RecordError(f"the record {key!r}", "a name other than 64 lower-case hex digits", _AGAIN)
        return self.cells / f"{key}.parquet"

    def _is_run(self) -> bool:
        return (self.folder / MANIFEST).exists() or self.cells.is_dir() or (self.folder / ".lock").exists()


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


def _kind(path: Path) -> str | None:
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

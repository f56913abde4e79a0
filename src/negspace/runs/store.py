"""The run folder: one file per record, each with a checksum over every one of its bytes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from negspace.errors import RecordError, StudyError
from negspace.files import (
    LOCK,
    cannot_write,
    check_folder,
    linked,
    lock,
    make_folder,
    read_bytes,
    remove_leftovers,
    write_whole,
)
from negspace.runs.cell import Cell, Record, canonical
from negspace.runs.packing import Damaged, kind_in, pack, unpack

MANIFEST_FORMAT = 2
"""Version of the manifest. An older one is refused; the records it names are taken up by the same study."""
MANIFEST = "run.json"
"""Content of the run: configuration, conditions, and the keys of their records."""
_LOG = "run.log.jsonl"
_KEY = re.compile(r"[0-9a-f]{64}")
_RECORD = re.compile(r"\.?[0-9a-f]{64}\.parquet(\.\d+\.tmp)?")
"""Name of a record, or of one that a process was writing when it was killed."""
_AGAIN = "run the same study again with the same --out: what is missing is computed, all else is kept"


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
            RecordError: nothing can be written there, or a link in it leads elsewhere.
        """
        asked, todo = f"to write a run into {self.folder}", "give a new folder, an empty one, or that of an earlier run"
        if self.folder.exists() and not self.folder.is_dir():
            raise StudyError(asked, "a file of that name", f"{todo} with --out")
        if self.folder.is_dir():
            if not self._is_run() and any(path.name != LOCK for path in self.folder.iterdir()):
                raise StudyError(asked, "a folder with other files in it", f"{todo} with --out")
            # A folder that was received may hold links to any files of its reader, which the run would replace.
            if link := next((path for path in self.folder.rglob("*") if path.is_symlink()), None):
                raise linked(link)
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
        try:
            content = read_bytes(path, "a record")
        except RecordError:
            if path.exists():
                raise
            return None  # the run that holds the folder has just discarded it
        record = unpack(content)
        if record.key != key:
            raise Damaged(f"{path.name} holds the record {record.key}")
        return record

    def find(self, cell: Cell) -> Record | None:
        """The record of a cell; None where there is none, or a damaged one. The engine reports that when it reads it.

        Raises:
            RecordError: the file cannot be read.
        """
        try:
            return self.read(cell)
        except Damaged:
            return None

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
        logged = {str(entry["key"]): str(entry["kind"]) for entry in self._computed() if "kind" in entry}
        # Files that are there, not paths made of the log's keys: in a folder from elsewhere those may name any file.
        there = [path for path in sorted(self.cells.glob("*.parquet")) if _KEY.fullmatch(path.stem)]
        return {path.stem: logged[path.stem] if path.stem in logged else kind_in(path) or "" for path in there}

    def times(self) -> dict[str, float]:
        """Key -> seconds that computing its record took, as far as the log tells; the last time, where it was twice."""
        made: dict[str, float] = {}
        for entry in self._computed():
            with contextlib.suppress(ValueError, TypeError):
                made[str(entry["key"])] = float(entry.get("seconds") or 0.0)
        return made

    def events(self) -> Iterator[dict[str, Any]]:
        """The entries of the log; none where there is none, since no result depends on it.

        Lines that are not JSON objects, as a full disk or a kill may leave, are skipped.
        """
        try:
            lines = (self.folder / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry

    def _computed(self) -> Iterator[dict[str, Any]]:
        """Those of computed cells that say which."""
        return (entry for entry in self.events() if entry.get("event") == "computed" and "key" in entry)

    def write_file(self, name: str, data: bytes) -> None:
        """Write another file of the run, for example "tables/summary.csv"; an unchanged one is left alone."""
        path = self.folder / name
        make_folder(path.parent)
        with contextlib.suppress(OSError):
            if path.read_bytes() == data:
                return
        write_whole(path, data)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table of the run as parquet and CSV into `tables/`."""
        self.write_file(f"tables/{name}.parquet", parquet(table))
        self.write_file(f"tables/{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())

    def keep_only(self, folder: str, names: Collection[str]) -> None:
        """Remove files of a subfolder that an earlier configuration left and this one does not have.

        Raises:
            RecordError: no permission.
        """
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
        except (ValueError, TypeError, KeyError, RecursionError) as error:
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
        """True if a run wrote into the folder. Other projects, too, have a `run.json` or a folder named `cells`."""
        if (self.folder / MANIFEST).exists():
            with contextlib.suppress(RecordError):
                self.read_manifest()
                return True
        names = [path.name for path in self.cells.glob("*")]
        # A run that was killed before its first record leaves the lock and no more than an empty folder of records.
        started = self.cells.is_dir() and not names and (self.folder / LOCK).is_file()
        return started or any(map(_RECORD.fullmatch, names))


def parquet(table: pd.DataFrame) -> bytes:
    """A table as a parquet file, without its index."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), buffer, compression="zstd")
    return buffer.getvalue()

"""Minimal pairs: a grammatical and an ungrammatical sentence each, from BLiMP's and TSE's own files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn

from negspace.errors import PairsError
from negspace.text.pickles import load_plain

Kind = Literal["blimp", "tse"]
Location = str | os.PathLike[str]

_PICKLES = (".pickle", ".pkl")
_SUFFIXES = (".jsonl", *_PICKLES)
_PHENOMENA = {"s-selection": "argument_structure"}
"""BLiMP's files name 13 values of `linguistics_term`; the published twelve phenomena count s-selection (the two
animate_subject paradigms) as argument structure."""
_FORMATS = (
    "BLiMP has the fields sentence_good, sentence_bad, UID, linguistics_term; "
    "TSE sentence_good, sentence_bad, construction"
)


@dataclass(frozen=True)
class Pair:
    """A grammatical sentence and an ungrammatical one that differs from it as little as possible."""

    good: str
    """The grammatical sentence."""
    bad: str
    """The ungrammatical sentence."""
    paradigm: str
    """BLiMP's UID; TSE's construction."""
    phenomenon: str
    """BLiMP's linguistics_term; TSE's family of constructions: subject_verb_agreement, reflexives, npi_licensing."""
    index: int
    """Place in its paradigm, from 0."""

    def __str__(self) -> str:
        return f"pair {self.index} of {self.paradigm}"


@dataclass(frozen=True)
class PairSet:
    """Minimal pairs of one kind, ordered by paradigm and index."""

    name: str
    """Names of the files or folders."""
    kind: Kind
    """"blimp" or "tse"; decides how sentences are scored unless told otherwise."""
    pairs: tuple[Pair, ...]
    """All pairs."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    @property
    def paradigms(self) -> dict[str, str]:
        """Phenomenon of each paradigm."""
        return {pair.paradigm: pair.phenomenon for pair in self.pairs}

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of kind and pairs; the same pairs from other files, in another order of files, hash the same."""
        digest = hashlib.sha256(self.kind.encode())
        for pair in self.pairs:
            row = [pair.paradigm, pair.phenomenon, pair.index, pair.good, pair.bad]
            digest.update(json.dumps(row).encode("ascii") + b"\n")
        return digest.hexdigest()

    def sample(self, limit: int | None) -> PairSet:
        """`limit` pairs of each paradigm, spread evenly over it from its first pair on (all for None).

        A paradigm's file often runs through its templates one by one (TSE's singular subjects before its plural ones),
        so its first pairs would not stand for it. Pairs are never split.

        Raises:
            PairsError: limit below 1.
        """
        if limit is None:
            return self
        if limit < 1:
            raise PairsError(f"{limit} pairs of each paradigm", f"limit={limit}", "give a limit of 1 or more")
        groups: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            groups.setdefault(pair.paradigm, []).append(pair)
        kept = [
            group[k * len(group) // limit] if len(group) > limit else group[k]
            for group in groups.values()
            for k in range(min(limit, len(group)))
        ]
        return replace(self, pairs=tuple(kept))


def read_pairs(path: Location | Sequence[Location], *, limit: int | None = None) -> PairSet:
    """Read minimal pairs from files of BLiMP or TSE, TSE's official pickles, folders of them, or several of these.

    The kind shows in the fields of JSONL files. A pickle is TSE: a dict from case to a list of (good, bad), or for NPI
    licensing (good, intrusive, bad), of which the intrusive sentence is left aside, as it is in the JSONL form; its
    construction is the file's name. Of a folder the .jsonl, .pickle and .pkl files are read, not its subfolders.

    Args:
        limit: only so many pairs of each paradigm, spread evenly over it.

    Raises:
        PairsError: nothing there, a line that is no JSON or lacks a field (with its number), BLiMP and TSE mixed, one
            paradigm in two files, an unsafe pickle.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not paths:
        raise PairsError("minimal pairs from a list of paths", "an empty list", "give at least one file or folder")
    rows: dict[str, list[tuple[str, str]]] = {}
    phenomena: dict[str, str] = {}
    kinds: dict[Kind, Path] = {}
    origin: dict[str, Path] = {}
    for file in [file for path in paths for file in _files(Path(path))]:
        count = 0
        for kind, paradigm, phenomenon, good, bad in _read_file(file):
            count += 1
            if len(kinds | {kind: file}) > 1:
                first = next(iter(kinds))
                raise PairsError(
                    f"minimal pairs from {_name(paths)}",
                    f"{first} pairs in {kinds[first]} and {kind} pairs in {file}",
                    "read and score BLiMP and TSE separately: their scores are defined differently",
                )
            kinds.setdefault(kind, file)
            if origin.setdefault(paradigm, file) != file:
                raise PairsError(
                    f"minimal pairs from {_name(paths)}",
                    f"the paradigm {paradigm} both in {origin[paradigm]} and in {file}",
                    "give each paradigm once",
                )
            if phenomena.setdefault(paradigm, phenomenon) != phenomenon:
                raise PairsError(
                    f"minimal pairs from {file}",
                    f"the paradigm {paradigm} under two phenomena, {phenomena[paradigm]} and {phenomenon}",
                    "give each paradigm one phenomenon (linguistics_term)",
                )
            rows.setdefault(paradigm, []).append((good, bad))
        if not count:
            raise PairsError(f"minimal pairs from {file}", "an empty file", "give a file with at least one pair")
    pairs = tuple(
        Pair(good, bad, paradigm, phenomena[paradigm], index)
        for paradigm in sorted(rows)
        for index, (good, bad) in enumerate(rows[paradigm])
    )
    return PairSet(_name(paths), next(iter(kinds)), pairs).sample(limit)


def _name(paths: Sequence[Location]) -> str:
    return " + ".join(Path(path).name or str(path) for path in paths)


def _files(path: Path) -> list[Path]:
    """The files of pairs at a path, by name."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in _SUFFIXES)
        if not files:
            raise PairsError(
                f"minimal pairs from the folder {path}",
                f"no file that ends in {', '.join(_SUFFIXES)}",
                "give the folder that holds the files themselves",
            )
        return files
    if not path.exists():
        raise PairsError(f"minimal pairs from {path}", "no such file or folder", "check the path")
    return [path]


_Row = tuple[Kind, str, str, str, str]
"""Kind, paradigm, phenomenon, good, bad."""


def _read_file(file: Path) -> Iterator[_Row]:
    return _read_pickle(file) if file.suffix.lower() in _PICKLES else _read_jsonl(file)


# -- JSONL ------------------------------------------------------------------------------------------------------------


def _read_jsonl(file: Path) -> Iterator[_Row]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PairsError(f"minimal pairs from {file}", f"{error.strerror}", "check the path's permissions") from error
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield _row(_parse(line, file, number), file, number)


def _refuse(file: Path, number: int, found: str, todo: str, cause: Exception | None = None) -> NoReturn:
    raise PairsError(f"minimal pairs from {file}", f"line {number}: {found}", todo) from cause


def _parse(line: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        _refuse(file, number, f"not UTF-8 (byte 0x{line[error.start]:02x})", "convert the file to UTF-8", error)
    except ValueError as error:
        _refuse(file, number, f"no JSON: {error}", "give JSONL: one JSON object a line", error)
    except RecursionError as error:
        _refuse(file, number, "JSON nested too deeply", "give JSONL: one flat JSON object a line", error)
    if not isinstance(record, dict):
        _refuse(file, number, f"a JSON {type(record).__name__} instead of an object", f"give objects: {_FORMATS}")
    return record


def _row(record: Mapping[str, Any], file: Path, number: int) -> _Row:
    tse = "construction" in record and "UID" not in record
    needed = ["sentence_good", "sentence_bad"]
    if tse:
        needed += ["construction"]
    elif "UID" in record or "linguistics_term" in record:
        needed += ["UID", "linguistics_term"]
    else:
        needed += ["UID and linguistics_term, or construction"]
    if missing := [field for field in needed if field not in record]:
        _refuse(file, number, f"without {', '.join(missing)}; it has {', '.join(record) or 'no fields'}", _FORMATS)
    for field in needed:
        value = record[field]
        if not isinstance(value, str) or not value.strip():
            _refuse(file, number, f"{field} is {json.dumps(value)[:60]}", f"{field} must be a string that is not empty")
        if any("\ud800" <= character <= "\udfff" for character in value):
            _refuse(file, number, f"{field} holds half of a surrogate pair", f"{field} must be valid Unicode")
    good, bad = record["sentence_good"], record["sentence_bad"]
    if tse:
        return "tse", record["construction"], _family(record["construction"]), good, bad
    term: str = record["linguistics_term"]
    return "blimp", record["UID"], _PHENOMENA.get(term, term), good, bad


def _family(construction: str) -> str:
    """Marvin and Linzen's three families; a construction of somebody else's is a family of its own."""
    if "npi" in construction:
        return "npi_licensing"
    if "reflexive" in construction:
        return "reflexives"
    agreement = ("simple_agrmt", "sent_comp", "vp_coord", "long_vp_coord", "prep_", "subj_rel", "obj_rel_")
    return "subject_verb_agreement" if construction.startswith(agreement) else construction


# -- TSE's pickles ----------------------------------------------------------------------------------------------------


def _read_pickle(file: Path) -> Iterator[_Row]:
    asked = f"TSE pairs from the pickle {file}"
    todo = "give an official template: a dict from case to a list of (good, bad) or (good, intrusive, bad)"
    content = load_plain(file)
    if not isinstance(content, dict):
        raise PairsError(asked, f"a {type(content).__name__} instead of a dict", todo)
    # A pickle can name one list a million times over; honest ones spend more than a byte on a pair.
    if sum(len(rows) for rows in content.values() if isinstance(rows, list)) > file.stat().st_size:
        raise PairsError(asked, "more pairs than bytes: the same list over and over", todo)
    for case, rows in content.items():
        if not isinstance(rows, list):
            raise PairsError(asked, f"case {case!r} holds a {type(rows).__name__} instead of a list", todo)
        for number, row in enumerate(rows):
            sound = isinstance(row, list | tuple) and len(row) in (2, 3) and all(isinstance(text, str) for text in row)
            if not sound or not all(text.strip() for text in row):
                raise PairsError(asked, f"item {number} of case {case!r} is not two or three sentences", todo)
            yield "tse", file.stem, _family(file.stem), row[0], row[-1]

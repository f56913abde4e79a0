"""Sources of minimal pairs: files, folders, the hub, objects in memory; each gives rows or predictions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from negspace.errors import PairsError
from negspace.text.content import Request, printable, read_content, suffix_of, unpacked
from negspace.text.formats import TABLES, is_saved_dataset, is_table, load_saved_dataset, loads, read_table, records_of
from negspace.text.hub import configurations, hub_name, load_hub
from negspace.text.pair_rows import (
    MULTIBLIMP,
    Origin,
    Row,
    from_lines,
    from_pickle,
    from_table,
    is_judged,
    roles,
    ungrouped,
    untrimmed,
)
from negspace.text.pickles import load_plain
from negspace.text.places import kind_of, refuse_doubles, visible_files
from negspace.text.syntaxgym import Prediction, is_suite, predictions
from negspace.text.table import Table, from_columns, from_python, is_dataset_dict
from negspace.wording import listed

Location = str | os.PathLike[str]
PairSource = Location | Iterable[Any]
"""Sources of pairs: see `read_pairs`."""

_PICKLES = (".pickle", ".pkl")
_FOLDERS = ((".jsonl", *_PICKLES), TABLES, (".txt",))
"""Endings of a folder's files: those that come first are what the folder is for."""


@dataclass(frozen=True)
class Place:
    """A file, a data set or an object that holds pairs."""

    name: str
    """Its name in messages."""
    rows: Iterable[Row] = ()
    """Its pairs."""
    predictions: Iterable[Prediction] = ()
    """Its predictions, of a suite of SyntaxGym."""
    notes: tuple[str, ...] = ()
    """Notes on how it was read; one sentence each."""
    table: bool = False
    """Whether it is a table, whose columns can be named."""
    language: str = ""
    """The language that its folder or configuration is named after, if its pairs have it from there."""


def places(source: PairSource, columns: Mapping[str, str] | None) -> tuple[str, Iterator[Place]]:
    """Name of a source, and the places that it consists of; nothing is read before it is asked for."""
    if isinstance(source, str | os.PathLike):
        return _name(source), _named(source, columns)
    if isinstance(source, list | tuple) and all(isinstance(place, str | os.PathLike) for place in source):
        if not source:
            raise PairsError("minimal pairs from a list", "an empty list", "give at least one file, folder or pair")
        names = " + ".join(_name(place) for place in source)
        return names, (place for part in source for place in _named(part, columns))
    name, place = _object(source, columns)
    return name, iter([place])


def _name(location: Location) -> str:
    text = os.fspath(location)
    if hub_name(text) and not os.path.exists(text):
        return text
    return printable(Path(text).name or text)


def _named(location: Location, columns: Mapping[str, str] | None) -> Iterator[Place]:
    """The places at a path, or of a data set on the hub."""
    if not os.fspath(location).strip():
        raise PairsError("minimal pairs without a name", f"{location!r}", "give a file or a folder")
    path = Path(location)
    shown = str(path) if len(str(path)) <= 1000 else f"{str(path)[:80]}..."
    request = Request(f"minimal pairs from {shown}", PairsError)
    kind = kind_of(path, request)
    if kind == "folder":
        if is_saved_dataset(path):
            data = load_saved_dataset(path, request)
            table = _table_of(_only_split(data, request) if is_dataset_dict(data) else data, request)
            yield _tabled(printable(str(path)), table, Origin(printable(path.name)), columns, request)
            return
        files, note = _files(path)
        for file in files:
            place = _file(file, columns)
            yield replace(place, notes=(*place.notes, note)) if note and file == files[0] else place
    elif kind == "file":
        yield _file(path, columns)
    elif wanted := hub_name(os.fspath(location)):
        for configuration in configurations(wanted, request):
            asked = Request(f"minimal pairs from {configuration}", PairsError)
            table = load_hub(configuration, None, asked)
            language = (configuration.config or "") if MULTIBLIMP.issubset(table.columns) else ""
            yield _tabled(
                str(configuration), table, Origin(configuration.config or path.name, language), columns, asked
            )
    else:
        raise request.refusal("no such file or folder", "check the path (pairs themselves go in a list of tuples)")


def _files(folder: Path) -> tuple[list[Path], str]:
    """The files of pairs in a folder, by name, and a note on others that could be meant, "" for none."""
    request = Request(f"minimal pairs from the folder {folder}", PairsError)
    endings = dict.fromkeys(ending for group in _FOLDERS for ending in group)
    there = [file for file in visible_files(folder, request) if suffix_of(file) in endings]
    if not there:
        raise request.refusal(
            f"no file that ends in {', '.join(endings)}", "give the folder that holds the files themselves"
        )
    kind = next(group for group in _FOLDERS if any(suffix_of(file) in group for file in there))
    files = [file for file in there if suffix_of(file) in kind]
    refuse_doubles(files, request)
    others = listed(file.name for file in there if file not in files)
    if len(files) == len(there):
        return files, ""
    return files, printable(f"{others}: left aside, since {folder.name} has files of pairs in {', '.join(kind)}")


def _file(file: Path, columns: Mapping[str, str] | None) -> Place:
    """The pairs of a file, by what it is."""
    request = Request(f"minimal pairs from {file}", PairsError)
    name, stem, suffix = printable(str(file)), printable(unpacked(file).stem), suffix_of(file)
    if suffix in _PICKLES:
        asked = Request(f"TSE pairs from the pickle {file}", PairsError)
        return Place(name, from_pickle(file, load_plain, asked))
    content = None if is_table(file) and suffix not in (".tsv", ".json") else read_content(file, request)
    if content is not None and suffix == ".json":
        suite = _json(content)
        if is_suite(suite):
            return Place(name, predictions=predictions(suite, stem, request))
    folder = printable(file.absolute().parent.name)
    if content is None or (suffix in TABLES and not is_judged(content)):
        table = read_table(file, request)
        # MultiBLiMP's eng/data.tsv. What others call data is in folders of any name.
        language = folder if stem == "data" and MULTIBLIMP.issubset(table.columns) else ""
        return _tabled(name, table, Origin(stem, language), columns, request)
    if columns:
        raise request.refusal("lines of text, which have no columns", "leave the columns out, or give a table")
    # CLAMS's en_evalset/simple_agrmt.txt.
    language = folder.removesuffix("_evalset") if is_judged(content) and folder.endswith("_evalset") else ""
    return Place(name, from_lines(content, Origin(stem, language), request), language=language)


def _tabled(name: str, table: Table, origin: Origin, mapping: Mapping[str, str] | None, request: Request) -> Place:
    """The pairs of a table."""
    kind, columns = roles(table, mapping, request)
    notes = tuple(note for note in (ungrouped(table, columns), untrimmed(table, columns)) if note)
    language = origin.language if kind == "pairs" and "language" not in columns else ""
    return Place(name, from_table(table, origin, kind, columns, request), (), notes, table=True, language=language)


def _json(content: str) -> Any:
    try:
        return loads(content)
    except (ValueError, RecursionError):
        return None  # the reader of tables says what is wrong, or finds JSON Lines


def _object(source: Any, columns: Mapping[str, str] | None) -> tuple[str, Place]:
    """The pairs of an object in memory."""
    what = type(source).__name__
    request = Request(f"minimal pairs from {'an' if what[0] in 'AEIOUaeiou' else 'a'} {what}", PairsError)
    if is_suite(source):
        made = list(predictions(source, "suite", request))
        return made[0].paradigm, Place(what, predictions=made)
    if is_dataset_dict(source):
        source = _only_split(source, request)
    if isinstance(source, Mapping | str | bytes):
        found = f"keys {listed(source)}" if isinstance(source, Mapping) else what
        raise request.refusal(found, "give a list of (good, bad) tuples, a list of dicts, or a DataFrame")
    table = from_python(source, request)
    if table is None:
        table = _listed(source, request)
    if not table.rows:
        raise request.refusal("no pairs", "give at least one pair")
    return f"{table.rows} pairs", _tabled(table.name, table, Origin("pairs"), columns, request)


def _listed(source: Any, request: Request) -> Table:
    """A list of dicts, or of (good, bad)."""
    if not isinstance(source, Iterable):
        raise request.refusal("no list of pairs", "give a path, a list of (good, bad) tuples, or a DataFrame")
    values = list(source)
    if all(isinstance(value, Mapping) for value in values):
        return records_of("dicts", values, request)
    for number, value in enumerate(values):
        if not isinstance(value, list | tuple) or len(value) != 2:
            shown = (
                f"{len(value)} values" if isinstance(value, Sequence) and not isinstance(value, str) else "one value"
            )
            raise request.refusal(f"item {number} is {shown}", "give (good, bad) tuples: two sentences a pair")
    return from_columns("tuples", {"good": [good for good, _ in values], "bad": [bad for _, bad in values]})


def _only_split(splits: Mapping[str, Any], request: Request) -> Any:
    if len(splits) != 1:
        raise request.refusal(f"several splits: {listed(splits)}", "give one of them: dataset['NAME'], or its folder")
    return next(iter(splits.values()))


def _table_of(data: Any, request: Request) -> Table:
    table = from_python(data, request)
    assert table is not None
    return table

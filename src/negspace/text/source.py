"""Sources of running text: files, folders, tables, the hub, objects in memory; always joined into one stream."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from negspace.errors import TextError
from negspace.text.content import PLAIN, Request, clean, is_conllu, printable, read_content, suffix_of
from negspace.text.formats import TABLES, is_saved_dataset, is_table, load_saved_dataset, read_table, records_of
from negspace.text.hub import SPLIT_WORDS, hub_name, load_hub
from negspace.text.places import kind_of, refuse_doubles, visible_files
from negspace.text.table import Table, from_python, is_dataset_dict
from negspace.wording import listed

Role = Literal["statistics", "perplexity"]
Split = Literal["train", "validation", "test"]
Source = str | os.PathLike[str] | Iterable[Any]

_JOINT: dict[Role, str] = {"statistics": " ", "perplexity": "\n\n"}
"""Separator of two documents, as in the usual WikiText recipe of the pruning and quantisation literature."""
_SPLIT: dict[Role, Split] = {"statistics": "train", "perplexity": "validation"}
_WIKITEXT = ("wikitext-2", "wikitext2", "wikitext-2-raw-v1")
_KNOWN = (
    'give a file of text or a table of it, a folder of such files, a name on the hub (OWNER/NAME), "wikitext-2", '
    "or an iterable of strings (a text itself goes in a list)"
)


@dataclass(frozen=True)
class Text:
    """One stream of running text."""

    name: str
    """Origin: file names, or "wikitext-2 (validation)"; with the column that was read, "c4.jsonl#text"."""
    text: str
    """The stream itself."""
    role: Role = "perplexity"
    """Its use, which determines how documents are joined and the default windows."""
    documents: int = 1
    """Number of documents joined."""
    notes: tuple[str, ...] = ()
    """Notes on possible surprises; one sentence each."""

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of the stream in UTF-8; two sources of the same stream have the same hash."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


def read_text(source: Source | Text, *, role: Role, split: Split | None = None, field: str | None = None) -> Text:
    """Read a source as one stream of text.

    - A file is read as what it is, compressed (gzip, bzip2, xz, Zstandard) or not. A text file is one document, taken
      as it is; files named as WikiText's own (`wiki.valid.raw`, ...) are the exception: each of their lines is a row,
      as on the hub, so that both give the same stream. A table (.jsonl, .json, .csv, .tsv, .parquet, .arrow) has a
      document a row.
    - A folder gives its text files (.txt, .text, .raw, .tokens) or, if it has none, its tables, in the order of their
      names; neither hidden ones nor those in its subfolders. Where names hold a split as a word (`wiki.train.raw`,
      `dev.jsonl`), only those of the split are taken. A folder of `datasets.save_to_disk` is the data set that was
      saved.
    - "OWNER/NAME", "OWNER/NAME:CONFIGURATION" or "OWNER/NAME:CONFIGURATION:SPLIT" is a data set on the Hugging Face hub
      (or in its cache), "wikitext-2" WikiText-2 raw.
    - A DataFrame of pandas, a `datasets.Dataset`, a table of pyarrow or polars, a list of dicts: a document a row. Of a
      `DatasetDict` the split is taken.
    - Any other iterable of strings is a sequence of documents.

    Of a table the column is read that `field` names, or PATH#COLUMN; else the only one of strings, or the one that is
    called text, content, raw_content, document, story or article. The name of the result says which it was.

    Documents are joined by one space for statistics and by a blank line for perplexity, empty ones too; nothing else is
    changed, except that line ends become LF and a byte order mark is dropped, in files and in strings alike.

    Args:
        source: as above; a `Text` is taken as it is, for the given role.
        role: "statistics" (reads the train split) or "perplexity" (reads the validation split).
        split: another split than the role's own, where the source has splits.
        field: the column to read, where the source is a table. (Columns are known by their names as strings.)

    Raises:
        TextError: nothing there, a pipe, no text (a PDF, a dict, bytes, ...), not UTF-8, no such split or column,
            several columns that could be meant, a row without a text, the same file twice, or no text at all.
    """
    if role not in get_args(Role):
        raise TextError(f"text for {role!r}", "no such role", "use 'statistics' or 'perplexity'")
    if split is not None and split not in get_args(Split):
        raise TextError(f"split {split!r} of a text", "no such split", "use 'train', 'validation' or 'test'")
    if isinstance(source, Text):
        if split is not None or field is not None:
            asked = f"the {split} split" if split is not None else f"the column {field!r}"
            raise TextError(
                f"{asked} of {source.name}", "a Text, which was read already", "leave `split` and `field` out"
            )
        return replace(source, role=role)
    field = None if field is None else str(field)
    if isinstance(source, str | os.PathLike):
        made = _read_named(os.fspath(source), split, split or _SPLIT[role], field)
    else:
        made = _read_object(source, split, split or _SPLIT[role], field)
    text = Text(printable(made.name), _JOINT[role].join(made.texts), role, len(made.texts), made.notes)
    if not text.text.strip():
        raise TextError(f"the text of {text.name}", "it is empty or only white space", "give a source with text in it")
    return text


class _Documents(NamedTuple):
    """What a source holds."""

    name: str
    """Its name."""
    texts: list[str]
    """Its documents."""
    notes: tuple[str, ...] = ()
    """Notes on possible surprises; one sentence each."""


def _read_named(source: str, asked: Split | None, split: Split, field: str | None) -> _Documents:
    """Documents of a path, or of a data set by name."""
    if not source.strip():
        raise TextError("a text without a name", f"{source!r}", "give a file, a folder or the name of a data set")
    path = Path(source)
    kind = kind_of(path, Request(f"the text {path}", TextError))
    if kind == "folder":
        return _read_folder(path, asked, split, field)
    if kind == "file":
        if asked is not None:
            raise TextError(
                f"the {asked} split of {path}",
                "a single file, which has no splits",
                "give the file of that split without `split`, or the folder that holds all splits",
            )
        return _read_files(path.name, [path], field)
    place, _, column = source.rpartition("#")
    if place and column and field is None:
        return _read_named(place, asked, split, column)
    if source in _WIKITEXT:
        return _Documents(f"wikitext-2 ({split})", _read_wikitext(split))
    shown = source if len(source) <= 80 else source[:77] + "..."
    request = Request(f"the text {shown!r}", TextError)
    if wanted := hub_name(source):
        if asked and wanted.split and asked != wanted.split:
            raise request.refusal(f"its name asks for {wanted.split!r}, `split` for {asked!r}", "name one split")
        table = load_hub(wanted, split, request)
        return _read_table(table, field, request, f"{table.name} ({wanted.split or split})")
    raise request.refusal("no such file or folder, and not a known name", _KNOWN)


def _read_object(source: Any, asked: Split | None, split: Split, field: str | None) -> _Documents:
    """Documents of an object in memory."""
    what = type(source).__name__
    request = Request(f"a text from {'an' if what[0] in 'AEIOUaeiou' else 'a'} {what}", TextError)
    if is_dataset_dict(source):
        source = _split_of_dict(source, split, request)
    elif asked is not None:
        raise TextError(f"the {asked} split of a {what}", "it has no splits", "leave `split` out")
    if isinstance(source, bytes | bytearray | memoryview):
        raise request.refusal(
            "bytes, whose encoding is not said", "give [source.decode('utf-8')], or the path of the file"
        )
    if isinstance(source, io.IOBase):
        raise request.refusal(
            "an open file, whose lines would be taken for documents", "give its path, or [file.read()]"
        )
    if isinstance(source, Mapping):
        raise request.refusal(
            f"a mapping with the keys {listed(source)}",
            "give the strings of one of its values in a list, or a DataFrame; a text itself goes in a list",
        )
    if isinstance(source, Set):
        raise request.refusal("a set, which has no order", "give a list")
    table = from_python(source, request)
    if table is None:
        if not isinstance(source, Iterable):
            raise request.refusal(f"an object of type {what}", _KNOWN)
        listed_by_arrow = getattr(source, "to_pylist", None)
        values = list(source) if listed_by_arrow is None else listed_by_arrow()
        if not (values and isinstance(values[0], Mapping)):
            return _read_strings(values, field)
        table = records_of(f"{len(values)} dicts", values, request)
    return _read_table(table, field, request)


def _read_strings(values: list[Any], field: str | None) -> _Documents:
    request = Request("a text from an iterable of strings", TextError)
    if field is not None:
        raise request.refusal(f"strings, which have no column {field!r}", "leave `field` out")
    for number, document in enumerate(values):
        if not isinstance(document, str):
            raise request.refusal(f"item {number} is of type {type(document).__name__}", "give strings, one a document")
    if values and all(_is_path(document) for document in values):
        raise request.refusal("paths of files, not texts", "give one path, or the folder that holds the files")
    documents = [clean(document, f"item {number}", request) for number, document in enumerate(values)]
    return _Documents(f"{len(documents)} strings" if len(documents) != 1 else "1 string", documents)


def _is_path(text: str) -> bool:
    """Return True if a string is a path and surely no text: it leads to something, or is one word written as a path."""
    if not 0 < len(text) < 1000 or "\n" in text:
        return False
    if os.path.isfile(text) or ("/" in text and os.path.lexists(text)):
        return True
    named = text.rpartition("#")[0] or text
    one = len(named.split()) == 1 or named.startswith(("/", "./", "../", "~/"))
    return one and (named.endswith("/") or is_conllu(named) or suffix_of(Path(named)) in (*PLAIN, *TABLES))


def _read_table(table: Table, field: str | None, request: Request, name: str = "") -> _Documents:
    """Documents of a table, one a row."""
    column = field if field is not None else table.text_column(request)
    documents = table.texts(column, request)
    documents = [clean(text, f"{table.where(row)} of {column!r}", request) for row, text in enumerate(documents)]
    return _Documents(f"{name or table.name}#{column}", documents)


def _split_of_dict(splits: Mapping[str, Any], split: Split, request: Request) -> Any:
    """The split of a `DatasetDict`, whatever word stands for it there."""
    here = [name for name in splits if SPLIT_WORDS.get(str(name).lower(), name) == split]
    if len(here) != 1:
        raise request.refusal(f"no {split} split; there are {listed(splits)}", "give one split itself: dataset['NAME']")
    return splits[here[0]]


def _read_folder(folder: Path, asked: Split | None, split: Split, field: str | None) -> _Documents:
    if is_saved_dataset(folder):
        request = Request(f"the text of {folder}", TextError)
        source = load_saved_dataset(folder, request)
        if is_dataset_dict(source):
            chosen = _split_of_dict(source, split, Request(f"{request.asked} (its folders are its splits)", TextError))
            return _read_table(_table_of(chosen, request), field, request, f"{folder.name} ({split})")
        if asked is not None:
            raise TextError(f"the {asked} split of {folder}", "a data set without splits", "leave `split` out")
        return _read_table(_table_of(source, request), field, request, folder.name)
    request = Request(f"the text files of {folder}", TextError)
    there = visible_files(folder, request)
    plain = [path for path in there if suffix_of(path) in PLAIN]
    tables = [path for path in there if suffix_of(path) in TABLES]
    files = plain or tables
    if not files:
        raise request.refusal(
            f"no file that ends in {', '.join((*PLAIN, *TABLES))}",
            "give a folder that holds text files or tables, or one file",
        )
    with_split = {path: _split_of(path) for path in files if _split_of(path)}
    if len(set(with_split.values())) == 1 and len(with_split) < len(files):
        others = [path.name for path in files if path not in with_split]
        first, its_split = next(iter(with_split.items()))
        raise request.refusal(
            f"{len(with_split)} of {len(files)} with a split in the name ({first.name}: {its_split}), and "
            f"{', '.join(others[:3])}{' and more' if len(others) > 3 else ''} without",
            "give the files by their paths, or rename them",
        )
    if asked is not None and not with_split:
        raise Request(f"the {asked} split of {folder}", TextError).refusal(
            f"files whose names tell no split: {listed(path.name for path in files)}",
            "leave `split` out, give one of these files by its path, or put the split into the names",
        )
    if with_split:
        files = [path for path, its_split in with_split.items() if its_split == split]
    if not files:
        found = ", ".join(f"{path.name} ({its_split})" for path, its_split in with_split.items())
        raise Request(f"the {split} split in {folder}", TextError).refusal(
            f"files of other splits only: {found}",
            "give one of these files by its path, or name a split that is there with `split`",
        )
    refuse_doubles(files, request)
    name = f"{folder.name}: {', '.join(path.name for path in files[:3])}"
    if len(files) > 3:
        name += f" and {len(files) - 3} more"
    made = _read_files(name, files, field)
    if not (plain and tables):
        return made
    aside = f"{printable(listed(path.name for path in tables))}: tables, left aside since {folder.name} has text files"
    return made._replace(notes=(aside,))


def _table_of(dataset: Any, request: Request) -> Table:
    table = from_python(dataset, request)
    assert table is not None
    return table


def _split_of(path: Path) -> str | None:
    """The split that a file's name tells by a word of its own, e.g. `wiki.valid.raw`."""
    words = re.split(r"[^a-z0-9]+", path.name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def _read_files(name: str, files: list[Path], field: str | None) -> _Documents:
    """Documents of files in order; tables all give the same column."""
    documents: list[str] = []
    column = field
    tables = [path for path in files if is_table(path)]
    for path in files:
        request = Request(f"the text of {path}", TextError)
        if path not in tables:
            if field is not None:
                raise request.refusal(f"a plain text, which has no column {field!r}", "leave the column out")
            documents += _read_plain(path, request)
            continue
        table = read_table(path, request)
        column = column if column is not None else table.text_column(request)
        documents += _read_table(table, column, request).texts
    return _Documents(f"{name}#{column}" if tables else name, documents)


def _read_plain(path: Path, request: Request) -> list[str]:
    """Documents of a text file: the rows of a WikiText file, otherwise the whole content."""
    if is_conllu(path):
        raise request.refusal(
            "CoNLL-U, whose columns would be read as text",
            "give the plain text; the analysis of parts of speech takes the file as it is (its own `text`)",
        )
    content = read_content(path, request)
    if path.name.lower().startswith("wiki.") and _split_of(path):
        # The hub's rows keep their line end; a row of white space became an empty one there.
        return [row if row.strip() else "" for row in re.findall(r"[^\n]*\n|[^\n]+", content)]
    lines = content.strip().split("\n")
    if _is_object(lines[0]) and _is_object(lines[-1]):
        raise request.refusal(
            "JSON Lines, whose syntax would be read as text", "name the file .jsonl, and its column: FILE.jsonl#COLUMN"
        )
    return [content]


def _is_object(line: str) -> bool:
    """Return True if a line is a JSON object."""
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_wikitext(split: Split) -> list[str]:
    request = Request(f"the {split} split of WikiText-2 raw from the Hugging Face hub", TextError)
    try:
        import datasets

        rows = datasets.load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split=split)
    # The library raises errors of many unrelated kinds when it is offline; for the user all mean the same.
    except Exception as error:
        todo = "download it once where there is a network, or give the path of a text file or folder instead"
        raise request.refusal(f"{type(error).__name__}: {error}", todo) from error
    texts = rows["text"]  # type: ignore[index,call-overload]
    return [clean(row, f"row {number}", request) for number, row in enumerate(texts)]

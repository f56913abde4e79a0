"""Where running text comes from: a file, a folder, WikiText-2, or strings; always made into one stream."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from negspace.errors import TextError

Role = Literal["statistics", "perplexity"]
Split = Literal["train", "validation", "test"]
Source = str | os.PathLike[str] | Iterable[str]

_JOINT: dict[Role, str] = {"statistics": " ", "perplexity": "\n\n"}
"""What stands between two documents, as in the usual WikiText recipe of the pruning and quantisation literature."""
_SPLIT: dict[Role, Split] = {"statistics": "train", "perplexity": "validation"}
_WIKITEXT = ("wikitext-2", "wikitext2", "wikitext-2-raw-v1")
_SUFFIXES = (".raw", ".text", ".tokens", ".txt")
_SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Text:
    """One stream of running text."""

    name: str
    """Where it came from: file names, or "wikitext-2 (validation)"."""
    text: str
    """The stream itself."""
    role: Role = "perplexity"
    """What it is for; decides how documents were joined and which windows are cut by default."""
    documents: int = 1
    """How many documents were joined."""

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of the stream in UTF-8; two sources of the same stream have the same hash."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


def read_text(source: Source | Text, *, role: Role, split: Split | None = None) -> Text:
    """Read a source as one stream of text.

    - A text file is one document, taken as it is. Files named as WikiText's own (`wiki.valid.raw`, ...) are the
      exception: each of their lines is a row, as on the hub, so that both give the same stream.
    - A folder gives its text files (.txt, .text, .raw, .tokens; not those in its subfolders) in the order of their
      names. Where names hold a split as a word (`wiki.train.raw`, `dev.txt`), only those of the split are taken.
    - "wikitext-2" is WikiText-2 raw from the Hugging Face hub (or from its cache).
    - Any other iterable of strings is a sequence of documents.

    Documents are joined by one space for statistics and by a blank line for perplexity; nothing else is changed, except
    that line ends become LF and a byte order mark is dropped.

    Args:
        source: as above; a `Text` is taken as it is, for the given role.
        role: "statistics" (reads the train split) or "perplexity" (reads the validation split).
        split: another split than the role's own, where the source has splits.

    Raises:
        TextError: nothing there, nothing readable as UTF-8, no such split, or no text.
    """
    if role not in get_args(Role):
        raise TextError(f"text for {role!r}", "no such role", "use 'statistics' or 'perplexity'")
    if split is not None and split not in get_args(Split):
        raise TextError(f"split {split!r} of a text", "no such split", "use 'train', 'validation' or 'test'")
    if isinstance(source, Text):
        return replace(source, role=role)
    if isinstance(source, str | os.PathLike):
        name, documents = _read_named(os.fspath(source), split, split or _SPLIT[role])
    else:
        documents = _read_strings(source, split)
        name = f"{len(documents)} strings" if len(documents) != 1 else "1 string"
    text = Text(name, _JOINT[role].join(documents), role, len(documents))
    if not text.text.strip():
        raise TextError(f"the text of {name}", "it is empty or only white space", "give a source with text in it")
    return text


def _read_named(source: str, asked: Split | None, split: Split) -> tuple[str, list[str]]:
    """Name and documents of a path, or of WikiText-2 by name."""
    path = Path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError:  # a name too long for the file system is not the name of anything
        is_file = is_folder = False
    if is_folder:
        return _read_folder(path, split)
    if is_file:
        if asked is not None:
            raise TextError(
                f"the {asked} split of {path}",
                "a single file, which has no splits",
                "give the file of that split without `split`, or the folder that holds all splits",
            )
        return path.name, _read_file(path)
    if source in _WIKITEXT:
        return f"wikitext-2 ({split})", _read_hub(split)
    shown = source if len(source) <= 80 else source[:77] + "..."
    raise TextError(
        f"the text {shown!r}",
        "no such file or folder, and not a known name",
        'give a text file, a folder of text files, "wikitext-2", or a list of strings (a text itself goes in a list)',
    )


def _read_strings(source: Iterable[str], split: Split | None) -> list[str]:
    if split is not None:
        raise TextError(f"the {split} split of a list of strings", "strings have no splits", "leave `split` out")
    if not isinstance(source, Iterable):
        raise TextError(
            f"a text from {source!r}",
            f"an object of type {type(source).__name__}",
            'give a path, "wikitext-2", or an iterable of strings, one a document',
        )
    documents = []
    for number, document in enumerate(source):
        if not isinstance(document, str):
            raise TextError(
                "a text from an iterable of strings",
                f"item {number} is of type {type(document).__name__}",
                "give strings, one a document",
            )
        try:
            document.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TextError(
                "a text from an iterable of strings",
                f"item {number} holds half of a surrogate pair at character {error.start}, which is no Unicode text",
                "decode the text anew, with errors='replace' if need be",
            ) from error
        documents.append(document)
    return documents


def _read_folder(folder: Path, split: Split) -> tuple[str, list[str]]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in _SUFFIXES)
    if not files:
        raise TextError(
            f"the text files of {folder}",
            f"no file that ends in {', '.join(_SUFFIXES)}",
            "give a folder that holds text files, or one file",
        )
    with_split = {path: _split_of(path) for path in files if _split_of(path)}
    if with_split:
        files = [path for path, its_split in with_split.items() if its_split == split]
    if not files:
        found = ", ".join(f"{path.name} ({its_split})" for path, its_split in with_split.items())
        raise TextError(
            f"the {split} split in {folder}",
            f"files of other splits only: {found}",
            "give one of these files by its path, or name a split that is there with `split`",
        )
    name = f"{folder.name}: {', '.join(path.name for path in files[:3])}"
    if len(files) > 3:
        name += f" and {len(files) - 3} more"
    return name, [document for path in files for document in _read_file(path)]


def _split_of(path: Path) -> Split | None:
    """The split that a file's name tells by a word of its own, e.g. `wiki.valid.raw`."""
    words = re.split(r"[^a-z0-9]+", path.name.lower())
    return next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), None)


def _read_file(path: Path) -> list[str]:
    """Documents of a file: the rows of a WikiText file, otherwise the whole content."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"the text of {path}",
            f"not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start}",
            "convert the file to UTF-8",
        ) from error
    except OSError as error:
        raise TextError(f"the text of {path}", f"{error.strerror}", "check the path and its permissions") from error
    if path.name.lower().startswith("wiki.") and _split_of(path):
        # The hub's rows keep their line end; a row of white space became an empty one there.
        return [row if row.strip() else "" for row in re.findall(r"[^\n]*\n|[^\n]+", content)]
    return [content]


def _read_hub(split: Split) -> list[str]:
    asked = f"the {split} split of WikiText-2 raw from the Hugging Face hub"
    todo = "download it once where there is a network, or give the path of a text file or folder instead"
    try:
        import datasets

        rows = datasets.load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split=split)
    # The library raises errors of many unrelated kinds when it is offline; for the user all mean the same.
    except Exception as error:
        raise TextError(asked, f"{type(error).__name__}: {error}", todo) from error
    return list(rows["text"])  # type: ignore[index,call-overload]

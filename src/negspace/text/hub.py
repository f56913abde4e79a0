"""Data sets on the Hugging Face hub, by a name that holds the configuration and the split."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negspace.text.content import PLAIN, Request, suffix_of
from negspace.text.formats import TABLES
from negspace.text.table import Table, from_arrow, from_records
from negspace.wording import listed

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""Words that name a split -> the split."""
_PART = r"[A-Za-z0-9][\w.\-]*"
_SPLIT = rf"{_PART}(?:\[[\d:%]+\])?"
_NAME = re.compile(rf"(?:hub:)?(?P<name>(?:{_PART}/)?{_PART})(?::(?P<first>{_SPLIT}))?(?::(?P<second>{_SPLIT}))?")
_FIRST = re.compile(rf"(?P<split>{_PART})\[:(?P<rows>\d+)\]")
_FORM = "OWNER/NAME:CONFIGURATION:SPLIT"


@dataclass(frozen=True)
class HubName:
    """A data set on the hub."""

    name: str
    """OWNER/NAME, or NAME alone for the oldest ones."""
    config: str | None = None
    """Its configuration, if one is named."""
    split: str | None = None
    """Its split, if one is named; "train[:1000]" are the first 1,000 rows of one, and no more is downloaded."""

    def __str__(self) -> str:
        return ":".join(part for part in (self.name, self.config, self.split) if part)


def hub_name(text: str) -> HubName | None:
    """The data set that a text names: "OWNER/NAME", "OWNER/NAME:CONFIGURATION:SPLIT", or "hub:NAME".

    Configuration and split may be left out; of one alone the usual names of splits are taken for a split. A name
    without an owner needs a colon, and what looks like a path is none: a mistyped one is not looked for on the hub.
    """
    match = _NAME.fullmatch(text)
    if match is None or not ("/" in match["name"] or ":" in text):
        return None
    path = Path(match["name"])
    if suffix_of(path) in (*PLAIN, *TABLES) or (":" not in text and os.path.isdir(path.parts[0])):
        return None
    first, second = match["first"], match["second"]
    if second is None and first is not None and first.partition("[")[0] in SPLIT_WORDS:
        first, second = None, first
    return HubName(match["name"], first, second)


def load_hub(wanted: HubName, split: str | None, request: Request) -> Table:
    """The rows of one split of a data set.

    Args:
        split: the split to take where the name holds none; None: the only one that there is.
    """
    chosen = wanted.split or split
    first = _FIRST.fullmatch(chosen or "")
    with _explained(wanted, request):
        import datasets

        if first:
            stream = datasets.load_dataset(wanted.name, wanted.config, split=first["split"], streaming=True)
            return from_records(str(wanted), list(stream.take(int(first["rows"]))), request)
        data: Any = datasets.load_dataset(wanted.name, wanted.config, split=chosen)
    if chosen is None:
        if len(data) != 1:
            raise request.refusal(f"several splits: {listed(data)}", f"name one: {_FORM}")
        data = next(iter(data.values()))
    return from_arrow(str(wanted), data.with_format("arrow")[:], request)


def configurations(wanted: HubName, request: Request) -> list[HubName]:
    """The data set under each of its configurations; itself where one is named."""
    if wanted.config is not None:
        return [wanted]
    with _explained(wanted, request):
        import datasets

        names = datasets.get_dataset_config_names(wanted.name)
    return [HubName(wanted.name, name, wanted.split) for name in names]


@contextmanager
def _explained(wanted: HubName, request: Request) -> Iterator[None]:
    """The library raises errors of many unrelated kinds, offline or where a name is wrong."""
    try:
        yield
    except Exception as error:
        raise request.refusal(
            f"no file or folder named {wanted.name}; from the hub: {type(error).__name__}: {error}",
            f"check the path or the name ({_FORM}); without a network, give files that were fetched before",
        ) from error

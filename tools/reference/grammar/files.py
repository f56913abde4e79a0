"""Minimal pairs on disk: one JSONL file per paradigm, in the field layout of BLiMP, with tags."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from negspace.errors import PairsError
from tools.reference.grammar.pairs import FIELDS, PARADIGMS, Paradigm, generate
from tools.reference.grammar.tokens import Tokens, sentence, words


@dataclass(frozen=True)
class TaggedPair:
    """A minimal pair with the UPOS tag of every word on both sides."""

    uid: str
    phenomenon: str
    good: str
    bad: str
    good_tags: tuple[tuple[str, str], ...]
    """(word, UPOS) in order, punctuation and 's as words of their own."""
    bad_tags: tuple[tuple[str, str], ...]


def _tags(tokens: Tokens) -> str:
    return " ".join(token.tag for token in tokens)


def lines(paradigm: Paradigm, seed: int = 0, count: int = 200) -> str:
    """The JSONL text of one paradigm.

    Fields: BLiMP's sentence_good, sentence_bad, field, linguistics_term, UID, pairID, and good_tags, bad_tags: the UPOS
    tags of the words in order, separated by spaces (`words` splits a sentence into the words they belong to).
    """
    out = []
    for index, (good, bad) in enumerate(generate(paradigm, seed, count)):
        row = {
            "sentence_good": sentence(good),
            "sentence_bad": sentence(bad),
            "field": FIELDS[paradigm.phenomenon],
            "linguistics_term": paradigm.phenomenon,
            "UID": paradigm.uid,
            "pairID": str(index),
            "good_tags": _tags(good),
            "bad_tags": _tags(bad),
        }
        out.append(json.dumps(row, separators=(",", ":")) + "\n")
    return "".join(out)


def write(folder: Path, seed: int = 0, per_paradigm: int = 200) -> list[Path]:
    """Write every paradigm to `folder/<UID>.jsonl`; the same arguments give the same bytes.

    Args:
        folder: made when absent.
        seed: of the lexical choices.
        per_paradigm: pairs a paradigm; a multiple of 4, so that the balanced groups stay whole.

    Raises:
        PairsError: `per_paradigm` is no positive multiple of 4, or more than a paradigm holds.
    """
    if per_paradigm < 4 or per_paradigm % 4:
        raise PairsError(
            f"{per_paradigm} pairs a paradigm",
            "pairs are made in balanced groups of up to four",
            "ask for a positive multiple of 4",
        )
    try:
        texts = {uid: lines(paradigm, seed, per_paradigm) for uid, paradigm in PARADIGMS.items()}
    except ValueError as error:
        raise PairsError(f"{per_paradigm} pairs a paradigm", str(error), "ask for fewer pairs") from error
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for uid, text in texts.items():
        path = folder / f"{uid}.jsonl"
        part = path.with_suffix(".part")
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
        paths.append(path)
    return paths


def read(folder: Path) -> tuple[TaggedPair, ...]:
    """All pairs under a folder that `write` made, with their tags, files in alphabetical order.

    Raises:
        PairsError: the folder holds no such files.
    """
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise PairsError(f"tagged pairs in {folder}", "no JSONL file", "write them: python -m tools.reference pairs")
    return tuple(_pair(json.loads(line)) for path in paths for line in path.read_text(encoding="utf-8").splitlines())


def _pair(row: dict[str, str]) -> TaggedPair:
    tagged = {
        side: tuple(zip(words(row[f"sentence_{side}"]), row[f"{side}_tags"].split(), strict=True))
        for side in ("good", "bad")
    }
    return TaggedPair(
        row["UID"], row["linguistics_term"], row["sentence_good"], row["sentence_bad"], tagged["good"], tagged["bad"]
    )

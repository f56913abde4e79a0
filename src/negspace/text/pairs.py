"""Minimal pairs, a grammatical and an ungrammatical sentence each, and what suites predict of their items; in sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from negspace.errors import PairsError
from negspace.garbage import no_collection
from negspace.given import check_count, checked
from negspace.text.pair_rows import ROLES, Kind, Row
from negspace.text.pair_sources import PairSource, Place, places
from negspace.text.syntaxgym import Prediction
from negspace.wording import listed


@dataclass(frozen=True)
class Pair:
    """A grammatical sentence and an ungrammatical one that differs from it as little as possible."""

    good: str
    """The grammatical sentence."""
    bad: str
    """The ungrammatical sentence."""
    paradigm: str
    """BLiMP's UID; TSE's construction; of others the paradigm, with the language before it where one is named."""
    phenomenon: str
    """BLiMP's linguistics_term; TSE's family of constructions: subject_verb_agreement, reflexives, npi_licensing; of
    others the phenomenon, or else the paradigm."""
    index: int
    """Place in its paradigm, from 0."""
    language: str = ""
    """Its language, "" where none is named."""

    def __str__(self) -> str:
        return f"pair {self.index} of {self.paradigm}"


@dataclass(frozen=True)
class PairSet:
    """Minimal pairs of one kind, ordered by paradigm and index, and predictions likewise."""

    name: str
    """Names of the files or folders."""
    kind: Kind
    """"blimp", "tse" or "pairs"; decides how sentences are scored unless told otherwise."""
    pairs: tuple[Pair, ...]
    """All pairs."""
    predictions: tuple[Prediction, ...] = ()
    """Predictions of SyntaxGym suites for their items."""
    notes: tuple[str, ...] = ()
    """Notes on choices made for the user and on possible surprises; one sentence each."""

    def __len__(self) -> int:
        return len(self.pairs) + len(self.predictions)

    def __iter__(self) -> Iterator[Pair | Prediction]:
        yield from self.pairs
        yield from self.predictions

    @property
    def paradigms(self) -> dict[str, str]:
        """Phenomenon of each paradigm."""
        return {pair.paradigm: pair.phenomenon for pair in self}

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of kind and pairs; the same pairs from other files, in another order of files, hash the same."""
        digest = hashlib.sha256(self.kind.encode())
        for pair in self.pairs:
            row = [pair.paradigm, pair.phenomenon, pair.index, pair.good, pair.bad]
            digest.update(json.dumps(row).encode("ascii") + b"\n")
        for prediction in self.predictions:
            digest.update(json.dumps(prediction.key).encode("ascii") + b"\n")
        return digest.hexdigest()

    def sample(self, limit: int | None) -> PairSet:
        """`limit` pairs of each paradigm, spread evenly over it from its first pair on (all for None).

        A paradigm's file often runs through its templates one by one (TSE's singular subjects before its plural ones),
        so its first pairs would not stand for it. Pairs are never split.

        Raises:
            PairsError: no whole number, or below 1.
        """
        limit = _limit(limit)
        if limit is None:
            return self
        return replace(self, pairs=_spread(self.pairs, limit), predictions=_spread(self.predictions, limit))


_Item = TypeVar("_Item", Pair, Prediction)


def _limit(limit: int | None) -> int | None:
    check_count("limit", limit, PairsError, what="pairs of each paradigm")
    return None if limit is None else int(limit)  # one of numpy's has no place in JSON


def evenly(count: int, limit: int | None) -> Sequence[int]:
    """`limit` of `count` places, spread evenly from the first on; all for None, or where there are no more."""
    return range(count) if limit is None or limit >= count else [k * count // limit for k in range(limit)]


def _spread(items: tuple[_Item, ...], limit: int | None) -> tuple[_Item, ...]:
    groups: dict[str, list[_Item]] = {}
    for item in items:
        groups.setdefault(item.paradigm, []).append(item)
    return tuple(group[k] for group in groups.values() for k in evenly(len(group), limit))


def read_pairs(
    source: PairSource | PairSet, *, columns: Mapping[str, str] | None = None, limit: int | None = None
) -> PairSet:
    """Read minimal pairs.

    - A file, compressed or not: a table (.jsonl, .json, .csv, .tsv, .parquet, .arrow) whose columns are named as in
      BLiMP, TSE (both by their own kind), SLING, JBLiMP, MultiBLiMP or RuBLiMP, or good and bad; a suite of SyntaxGym
      (.json); lines with True or False before each sentence (CLAMS), GOOD@@@BAD (SLING), or two a pair (Zorro, by the
      name of the file); one of TSE's official pickles: a dict from case to a list of (good, bad), or for NPI licensing
      (good, intrusive, bad), of which the intrusive sentence is left aside, as it is in the JSONL form; its
      construction is the file's name.
    - A folder: its .jsonl, .pickle and .pkl files; or, if it has none, its other tables and suites; or else its .txt
      files; neither hidden ones nor those in its subfolders. A folder of `datasets.save_to_disk` is the data set that
      was saved.
    - "OWNER/NAME" on the Hugging Face hub with all its configurations, "OWNER/NAME:CONFIGURATION" with one.
    - Several of these in a list.
    - A list of (good, bad), a list of dicts, a DataFrame of pandas, a `datasets.Dataset`, a suite as a dict.

    Groups are kept: paradigm, phenomenon and, where one is named, language (MultiBLiMP and CLAMS name folders after
    it). A paradigm whose table names none is the phenomenon, or else the file. White space around sentences and names
    of groups is taken off, and a pair that stands twice in its paradigm is read once; the set's notes say so.

    Args:
        source: as above; a `PairSet` is taken as it is.
        columns: which column is which, for a table whose names are others: "good" and "bad", "paradigm", "phenomenon"
            and "language", each with the column's name. Those that are left out are found by name.
        limit: only so many pairs of each paradigm, spread evenly over it.

    Raises:
        PairsError: nothing there, a row that is malformed or lacks a sentence (with its line), columns that do not say
            which sentence is grammatical, columns for what has none, BLiMP and TSE mixed, one paradigm in two files,
            two paradigms of one name, an unsafe pickle.
    """
    asked = "the columns of minimal pairs"
    if columns is not None:
        todo = "say which is which: columns={'good': COLUMN, 'bad': COLUMN}"
        checked(columns, Mapping, PairsError, f"a mapping of {asked}", todo)
    if columns is not None and (unknown := [role for role in columns if role not in ROLES]):
        raise PairsError(asked, f"{listed(unknown)}", f"name columns for {', '.join(ROLES)}")
    limit = _limit(limit)
    if isinstance(source, PairSet):
        if columns:
            raise PairsError(asked, "a PairSet, which was read already", "leave the columns out")
        return source.sample(limit)
    name, found = places(source, columns)
    with no_collection():
        gathered = _Gathered(name).add(found)
        if columns and not gathered.tables:
            raise PairsError(asked, f"no table in {name}, and so no columns", "leave the columns out, or give a table")
        return gathered.whole(limit)


class _Gathered:
    """Pairs on their way into one set."""

    def __init__(self, name: str) -> None:
        self.asked = f"minimal pairs from {name}"
        self.name = name
        self.kinds: dict[Kind, str] = {}
        self.origin: dict[str, str] = {}
        self.rows: dict[str, list[Row]] = {}
        self.predictions: list[Prediction] = []
        self.predicted: set[tuple[str, int]] = set()
        self.seen: set[tuple[tuple[str, str], str, str]] = set()
        self.twice = self.trimmed = self.turned = 0
        self.equal: list[str] = []
        self.said: list[str] = []
        self.languages: dict[str, None] = {}
        self.tables = 0

    def add(self, found: Iterator[Place]) -> _Gathered:
        """Take all pairs of some places."""
        for place in found:
            before = len(self)
            self.said += place.notes
            self.tables += place.table
            self.languages |= {place.language: None} if place.language else {}
            for row in place.rows:
                self._take(row, place.name)
            for prediction in place.predictions:
                self._place(prediction.paradigm, place.name)
                if (prediction.paradigm, prediction.index) in self.predicted:
                    raise PairsError(self.asked, f"{place.name} twice", "give each suite once")
                self.predicted.add((prediction.paradigm, prediction.index))
                self.predictions.append(prediction)
                self.kinds.setdefault("pairs", place.name)
            if len(self) == before:
                raise PairsError(
                    f"minimal pairs from {place.name}", "an empty file", "give a file with at least one pair"
                )
        return self

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows.values()) + len(self.predictions) + self.twice

    def _take(self, row: Row, place: str) -> None:
        if row.kind not in self.kinds and self.kinds and "tse" in (*self.kinds, row.kind):
            first = next(iter(self.kinds))
            raise PairsError(
                self.asked,
                f"{first} pairs in {self.kinds[first]} and {row.kind} pairs in {place}",
                "read and score TSE separately: its score is defined differently",
            )
        self.kinds.setdefault(row.kind, place)
        self._place(row.paradigm, place)
        good, bad = row.good.strip(), row.bad.strip()
        self.trimmed += (good != row.good) + (bad != row.bad)
        where = (row.paradigm, row.phenomenon)
        if (where, good, bad) in self.seen:
            self.twice += 1
            return
        self.turned += good != bad and (where, bad, good) in self.seen
        self.seen.add((where, good, bad))
        if good == bad:
            self.equal.append(good)
        if good != row.good or bad != row.bad:
            row = row._replace(good=good, bad=bad)
        self.rows.setdefault(row.paradigm, []).append(row)

    def _place(self, paradigm: str, place: str) -> None:
        if self.origin.setdefault(paradigm, place) != place:
            raise PairsError(
                self.asked,
                f"the paradigm {paradigm} both in {self.origin[paradigm]} and in {place}",
                "give each paradigm once",
            )

    def whole(self, limit: int | None) -> PairSet:
        """The set: rows by paradigm, `limit` of each. A `Pair` is made only of a row that is taken."""
        kind: Kind = next(iter(self.kinds)) if len(self.kinds) == 1 else "pairs"
        pairs = []
        taken = set(self.origin)
        for paradigm in sorted(self.rows):
            rows = self.rows[paradigm]
            phenomena = list(dict.fromkeys(row.phenomenon for row in rows))
            if len(phenomena) > 1 and kind != "pairs":
                raise PairsError(
                    f"minimal pairs from {self.origin[paradigm]}",
                    f"the paradigm {paradigm} under two phenomena, {phenomena[0]} and {phenomena[1]}",
                    "give each paradigm one phenomenon (linguistics_term)",
                )
            if len(languages := list(dict.fromkeys(row.language for row in rows))) > 1:
                raise PairsError(
                    f"minimal pairs from {self.origin[paradigm]}",
                    f"two paradigms named {paradigm!r}, of the languages {languages[0]!r} and {languages[1]!r}",
                    "give one of them another name",
                )
            for phenomenon in phenomena:
                # Elsewhere one word may name paradigms of several phenomena.
                called = paradigm if len(phenomena) == 1 else f"{phenomenon}: {paradigm}"
                if called != paradigm and called in taken:
                    raise PairsError(
                        f"minimal pairs from {self.origin[paradigm]}",
                        f"two paradigms named {called!r}, one of them {paradigm!r} of {phenomenon!r}",
                        "give one of them another name",
                    )
                taken.add(called)
                mine = [row for row in rows if row.phenomenon == phenomenon]
                pairs += [
                    Pair(mine[at].good, mine[at].bad, called, phenomenon, at, mine[at].language)
                    for at in evenly(len(mine), limit)
                ]
        predictions = sorted(self.predictions, key=lambda prediction: (prediction.paradigm, prediction.index))
        return PairSet(self.name, kind, tuple(pairs), _spread(tuple(predictions), limit), tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        yield from self.said
        if self.languages:
            yield f"languages by the names of folders or configurations: {listed(self.languages)}"
        if self.equal:
            some = f"{len(self.equal)}, such as {self.equal[0][:60]!r}"
            yield f"pairs of two equal sentences, which are not scored: {some}"
        if self.twice:
            yield f"{self.twice} pairs occur more than once in their paradigm and are read once"
        if self.turned:
            yield f"{self.turned} pairs occur in their paradigm in both orders, so one of the two is always wrong"
        if self.trimmed:
            yield f"white space was stripped from the ends of {self.trimmed} sentences"

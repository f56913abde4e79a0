"""Gold tags: files in CoNLL-U, the format of Universal Dependencies, read as running text with tagged words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from negspace.errors import NegspaceError, TextError
from negspace.text.content import Request, is_conllu, printable, read_content
from negspace.text.places import kind_of, refuse_doubles, visible_files
from negspace.text.source import Role, Text
from negspace.text.tagged import Tagged, make_tagged

_COLUMNS = 10
_ID = re.compile(r"(?P<first>[1-9][0-9]{0,8})(?:-(?P<last>[1-9][0-9]{0,8}))?|(?P<empty>[0-9]+\.[1-9][0-9]*)")
_TODO = "repair the line; tools/validate.py of Universal Dependencies tells what is wrong with a file"


@dataclass(frozen=True)
class GoldWord:
    """A syntactic word."""

    form: str
    """The word as written, or as it would be outside of a contraction."""
    upos: str
    """Universal part of speech."""
    head: int
    """Number of its head in the sentence, from 1; 0 for the root."""
    dep: str
    """Dependency label, subtype included."""


@dataclass(frozen=True)
class GoldUnit:
    """A surface token: a word, or a contraction of several."""

    form: str
    """The characters."""
    first: int
    """First of its words, counted from 0."""
    stop: int
    """Word after its last."""
    space: bool
    """True if a space follows."""


@dataclass
class GoldSentence:
    """A sentence of a CoNLL-U file. Empty nodes, which stand for no characters, are left out."""

    words: list[GoldWord] = field(default_factory=list)
    """Its syntactic words."""
    units: list[GoldUnit] = field(default_factory=list)
    """Surface tokens in order; together they contain every word once."""
    newdoc: bool = False
    """True if a document begins with it."""
    newpar: bool = False
    """True if a paragraph begins with it."""


def read_conllu(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, role: Role = "perplexity"
) -> Tagged:
    """Read CoNLL-U files as one stream of text with gold tags.

    The text is rebuilt from the word forms: a space after each unless SpaceAfter=No says otherwise, documents apart by
    a blank line, paragraphs by a line end. Of a multiword token (`1-2 don't`) the words divide the characters where
    their forms joined are the token's ("do" + "n't"); where they are not ("du" for "de le"), the whole token belongs
    to its first word whose head lies outside of it, and a note counts the words that so have no characters. Empty
    nodes (`8.1`) are left out.

    Args:
        source: a file, which may be compressed, a folder (its .conllu files by name), or several of these; each file
            begins a document.
        role: what the text is for.

    Raises:
        TextError: nothing there, not CoNLL-U (with file and line), or words without a part of speech or label.
    """
    paths = conllu_files(source)
    pieces: list[str] = []
    rows: list[tuple[int, int, str, str, int, int]] = []
    at = sentence = without = 0
    document = -1
    gap = ""
    for path in paths:
        for number, gold in enumerate(read_sentences(path)):
            if number == 0 or gold.newdoc:
                document += 1
                gap = "\n\n"
            elif gold.newpar:
                gap = "\n"
            for unit in gold.units:
                gap = gap if pieces else ""
                at += len(gap)
                spans = _divide(unit, gold.words)
                without += unit.stop - unit.first - len(spans)
                for word, begin, end in spans:
                    its = gold.words[word]
                    rows.append((at + begin, at + end, its.upos, its.dep, sentence, document))
                pieces += [gap, unit.form]
                at += len(unit.form)
                gap = " " if unit.space else ""
            sentence += 1
    name = ", ".join(path.name for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    notes = [f"{without} words within contractions have no characters of their own and so no tokens"] if without else []
    return make_tagged(Text(printable(name), "".join(pieces), role, document + 1), rows, "gold", notes)


def conllu_files(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that a source names: itself, a folder's .conllu files by name (no hidden ones), or several files.

    Raises:
        TextError: there are none, one is a pipe, or a file lies beside itself compressed.
    """
    named = [source] if isinstance(source, str | os.PathLike) else source
    paths: list[Path] = []
    for path in map(Path, named):
        request = Request(f"the gold tags of {path}", TextError)
        if kind_of(path, request) == "folder":
            files = [file for file in visible_files(path, request) if is_conllu(file)]
            refuse_doubles(files, request)
            paths += files
        else:
            paths.append(path)
    if not paths:
        raise TextError("gold tags", f"no .conllu file in {source}", "give a CoNLL-U file, or a folder that holds some")
    return paths


def read_sentences(path: Path) -> Iterator[GoldSentence]:
    """The sentences of a CoNLL-U file, in order.

    Raises:
        TextError: the file cannot be read, or a line is not CoNLL-U.
    """
    lines = read_content(path, Request(f"the gold tags of {path}", TextError)).split("\n")
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            block.append((number, line))
        elif block:
            sentence = _sentence(path, block)
            if sentence.words:
                yield sentence
            block = []


def _sentence(path: Path, block: list[tuple[int, str]]) -> GoldSentence:
    """The sentence in a block of numbered lines without blank ones."""
    sentence = GoldSentence()
    contracted = 0  # words up to this one belong to the contraction at hand
    for line, content in block:
        if content.startswith("#"):
            comment = content[1:].split("=")[0].split()
            sentence.newdoc |= comment[:1] == ["newdoc"]
            sentence.newpar |= comment[:1] == ["newpar"]
            continue
        columns = content.split("\t")
        if len(columns) != _COLUMNS:
            raise _wrong(path, line, f"{len(columns)} columns instead of {_COLUMNS}, apart by tabs")
        identity = _ID.fullmatch(columns[0])
        if identity is None:
            raise _wrong(path, line, f"{columns[0]!r} where a word's number, a range or an empty node's number belongs")
        if identity["empty"]:
            continue
        first, space = int(identity["first"]), "SpaceAfter=No" not in columns[9].split("|")
        if first != len(sentence.words) + 1:
            raise _wrong(path, line, f"word {first} after word {len(sentence.words)}")
        if not columns[1].strip():
            raise _wrong(path, line, "a word without a form")
        if identity["last"]:
            last = int(identity["last"])
            if last <= first or first <= contracted:
                raise _wrong(path, line, f"the range {columns[0]}, which is empty or overlaps the one before")
            contracted = last
            sentence.units.append(GoldUnit(columns[1], first - 1, last, space))
            continue
        sentence.words.append(_word(path, line, columns))
        if first > contracted:
            sentence.units.append(GoldUnit(columns[1], first - 1, first, space))
    if len(sentence.words) < contracted:
        raise _wrong(path, block[-1][0], f"a sentence of {len(sentence.words)} words with a range up to {contracted}")
    return sentence


def _word(path: Path, line: int, columns: list[str]) -> GoldWord:
    upos, head, dep = columns[3], columns[6], columns[7]
    if upos == "_" or dep == "_":
        raise _wrong(path, line, f"the word {columns[1]!r} without a {'part of speech' if upos == '_' else 'label'}")
    if not (head.isdecimal() and len(head) < 10):
        raise _wrong(path, line, f"{head!r} where the number of the head belongs")
    return GoldWord(columns[1], upos, int(head), dep)


def _divide(unit: GoldUnit, words: list[GoldWord]) -> list[tuple[int, int, int]]:
    """(word, begin, end) within the unit's form of each of its words that has characters."""
    mine = words[unit.first : unit.stop]
    if "".join(word.form for word in mine).casefold() == unit.form.casefold() and all(word.form for word in mine):
        spans, at = [], 0
        for number, word in enumerate(mine, unit.first):
            spans.append((number, at, at + len(word.form)))
            at += len(word.form)
        if at == len(unit.form):
            return spans
    inside = range(unit.first + 1, unit.stop + 1)
    chief = next((number for number, word in enumerate(mine, unit.first) if word.head not in inside), unit.first)
    return [(chief, 0, len(unit.form))]


def _wrong(path: Path, line: int, found: str) -> NegspaceError:
    return Request(f"the gold tags of {path}", TextError).refusal(f"line {line}: {found}", _TODO)

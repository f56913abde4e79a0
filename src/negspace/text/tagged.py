"""Words of a text with their part of speech and dependency label, from gold files or from a spaCy pipeline."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from negspace.errors import TaggerError, TextError
from negspace.text.source import Text

_LONGEST = 50_000
"""Most characters given to a pipeline at once; parsing takes about a kilobyte of memory for each."""
_BATCH = 32
"""Paragraphs that a pipeline works on at once: a few fit into the processor's cache. spaCy's own number, 1,000, takes
a third longer on WikiText, and gives the same tags."""
_KEPT = 1_000_000
"""Characters of paragraphs whose words are kept: several analyses read parts of one text."""
_UNUSED = ("ner", "lemmatizer", "textcat", "textcat_multilabel", "entity_linker")
"""Components of common pipelines that give neither parts of speech nor dependencies."""
_PROBE = "The cat sees a dog."


@dataclass(frozen=True, eq=False)
class Tagged:
    """A text and its words; every array has one element a word, in the order of the text, and words do not overlap."""

    text: Text
    """The text that the offsets refer to."""
    start: np.ndarray
    """int64: offset of the word's first character."""
    end: np.ndarray
    """int64: offset after its last character."""
    upos: np.ndarray
    """str: universal part of speech."""
    dep: np.ndarray
    """str: dependency label; of the head of a sentence "root"."""
    sentence: np.ndarray
    """int64: running number of the sentence."""
    document: np.ndarray
    """int64: running number of the document, or of the paragraph where a pipeline tagged running text."""
    tagger: str
    """Whose tags these are: "gold", or name and version of the pipeline."""
    notes: tuple[str, ...] = ()
    """Notes on choices made for the user and on possible surprises; one sentence each."""

    def __post_init__(self) -> None:
        if len(self.start) and (
            (self.start >= self.end).any()
            or (self.start[1:] < self.end[:-1]).any()
            or self.start[0] < 0
            or self.end[-1] > len(self.text.text)
        ):
            raise ValueError("words must lie within the text, each after the one before it, none empty")

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of text, offsets, tags and sentences; not of names."""
        digest = hashlib.sha256(self.text.hash.encode())
        for array in (self.start, self.end, self.sentence, self.document):
            digest.update(np.ascontiguousarray(array, "<i8").tobytes())
        for array in (self.upos, self.dep):
            digest.update("\0".join([*array.tolist(), ""]).encode())
        return digest.hexdigest()


def make_tagged(
    text: Text, words: Sequence[tuple[int, int, str, str, int, int]], tagger: str, notes: Sequence[str] = ()
) -> Tagged:
    """Tagged words from rows (start, end, upos, dep, sentence, document).

    Raises:
        TextError: there are no words.
    """
    if not words:
        raise TextError(f"the tagged words of {text.name}", "no word", "give a text with words in it")
    start, end, upos, dep, sentence, document = zip(*words, strict=True)
    numbers = [np.asarray(column, np.int64) for column in (start, end, sentence, document)]
    labels = [np.asarray(column, np.str_) for column in (upos, dep)]
    return Tagged(text, numbers[0], numbers[1], labels[0], labels[1], numbers[2], numbers[3], tagger, tuple(notes))


def tag_text(text: Text, tagger: Any, characters: int | None = None) -> Tagged:
    """Tag a text with a spaCy pipeline.

    The text is given to the pipeline paragraph by paragraph (apart by blank lines; a paragraph of more than 50,000
    characters is cut between words), with every white space character as a space, so that line ends within a sentence
    are not taken for words. Tokens of white space are no words.

    Args:
        text: the text.
        tagger: name of an installed spaCy pipeline, path of one, or a loaded one. It must give universal parts of
            speech and dependencies; spaCy's own label "ROOT" is written "root", as in Universal Dependencies.
        characters: only the paragraphs that begin within so many characters are tagged; None: all.

    Raises:
        TaggerError: spaCy is not installed, no such pipeline, or one without parts of speech or dependencies.
        TextError: the text has no words.
    """
    named = isinstance(tagger, str | os.PathLike)
    pipeline = load_tagger(tagger) if named else _checked(tagger, _name_of(tagger))
    stop = len(text.text) if characters is None else characters
    spans = takewhile(lambda span: span[0] < stop, _pieces(text.text))
    pieces = [(begin, re.sub(r"\s", " ", text.text[begin:end])) for begin, end in spans]
    # A pipeline that the user holds may be changed between two calls.
    known = _KNOWN.setdefault(pipeline, {}) if named else {}
    fresh = [piece for piece in dict.fromkeys(piece for _, piece in pieces) if piece not in known]
    known |= zip(fresh, map(_words, pipeline.pipe(fresh, batch_size=_BATCH)), strict=True)
    words: list[tuple[int, int, str, str, int, int]] = []
    sentence = 0
    for number, (begin, piece) in enumerate(pieces):
        found = known[piece]
        words += [(begin + at, begin + end, upos, dep, sentence + own, number) for at, end, upos, dep, own in found]
        sentence += found[-1][-1] + 1 if found else 1
    if sum(map(len, known)) > _KEPT:
        known.clear()
    return make_tagged(text, words, _name_of(pipeline))


def _words(document: Any) -> list[tuple[int, int, str, str, int]]:
    """(start, end, upos, dep, sentence) of a paragraph's words; it begins a sentence, whatever the pipeline says."""
    words: list[tuple[int, int, str, str, int]] = []
    sentence = 0
    for token in document:
        if token.is_space:
            continue
        sentence += bool(token.is_sent_start and words)
        label = "root" if token.dep_ == "ROOT" else token.dep_
        words.append((token.idx, token.idx + len(token.text), token.pos_, label, sentence))
    return words


def load_tagger(tagger: str | os.PathLike[str]) -> Any:
    """A spaCy pipeline by name or path, checked to give parts of speech and dependencies.

    Raises:
        TaggerError: spaCy is not installed, no such pipeline, or one without parts of speech or dependencies.
    """
    name = os.fspath(tagger)
    meta = Path(name) / "meta.json"
    return _load(name, meta.stat().st_mtime_ns if meta.is_file() else None)


@lru_cache(maxsize=2)
def _load(name: str, _: int | None) -> Any:
    """The pipeline; one in a folder that was written anew is loaded anew."""
    asked = f"the tagger {name!r}"
    try:
        import spacy
    except ImportError as error:
        raise TaggerError(
            asked,
            f"spaCy cannot be imported ({error})",
            "install it: pip install 'negspace[pos]'; or give gold tags in a CoNLL-U file, which need no tagger",
        ) from error
    try:
        pipeline = spacy.load(name, exclude=list(_UNUSED))
    # Depending on what is wrong with a folder spaCy raises errors of many kinds; for the user all mean the same.
    except Exception as error:
        raise TaggerError(
            asked,
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            "name an installed spaCy pipeline (python -m spacy download en_core_web_sm) or the folder of one",
        ) from error
    return _checked(pipeline, asked)


def _checked(pipeline: Any, asked: str) -> Any:
    """The pipeline, if it tags a sentence."""
    document = pipeline(_PROBE)
    wanted = {"POS": "universal parts of speech", "DEP": "dependencies"}
    lacking = [name for attribute, name in wanted.items() if not document.has_annotation(attribute)]
    if lacking:
        raise TaggerError(
            asked,
            f"no {' and no '.join(lacking)} from its components ({', '.join(pipeline.pipe_names) or 'it has none'})",
            "name a pipeline with a morphologizer (or a tagger with rules for UPOS) and a parser",
        )
    return pipeline


def _name_of(pipeline: Any) -> str:
    meta = pipeline.meta
    return f"{meta['lang']}_{meta['name']} {meta['version']}"


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """(begin, end) of the paragraphs of a text, long ones cut between words; none without a word."""
    begin = 0
    for gap in [*re.finditer(r"\n[^\S\n]*\n\s*", text), None]:
        end = gap.start() if gap else len(text)
        while end - begin > _LONGEST:
            cut = _cut(text, begin)
            yield begin, cut
            begin = cut
        if text[begin:end].strip():
            yield begin, end
        begin = gap.end() if gap else end


def _cut(text: str, begin: int) -> int:
    """Return where to cut a piece that is too long: after a line, else a sentence, else a word, in its second half."""
    for mark in ("\n", ". ", " "):
        at = text.rfind(mark, begin + _LONGEST // 2, begin + _LONGEST)
        if at >= 0:
            return at + len(mark)
    return begin + _LONGEST


_KNOWN: WeakKeyDictionary[Any, dict[str, list[tuple[int, int, str, str, int]]]] = WeakKeyDictionary()
"""Pipeline -> paragraph -> its words, see `_words`."""

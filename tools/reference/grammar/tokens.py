"""Tagged sentences: words with their universal part-of-speech tags, and how they are written down."""

from __future__ import annotations

import re
from typing import NamedTuple

UPOS = frozenset(
    ("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "VERB")
)
"""Universal Dependencies tags that the grammar uses."""

_WORD = re.compile(r"'s|[\w-]+|[.,?]")


class Token(NamedTuple):
    """One word and its UPOS tag."""

    word: str
    tag: str


Tokens = tuple[Token, ...]
Part = str | Token | Tokens
"""What a sentence is put together from: "the/DET dog/NOUN", a token, or several."""


def say(*parts: Part) -> Tokens:
    """The tokens of all parts, in order. A string part holds word/TAG items separated by spaces; it may be empty."""
    out: list[Token] = []
    for part in parts:
        if isinstance(part, Token):
            out.append(part)
        elif isinstance(part, str):
            for item in part.split():
                word, tag = item.rsplit("/", 1)
                out.append(Token(word, tag))
        else:
            out.extend(part)
    return tuple(out)


def statement(*parts: Part) -> Tokens:
    """The parts as a sentence with a full stop."""
    return say(*parts, "./PUNCT")


def question(*parts: Part) -> Tokens:
    """The parts as a sentence with a question mark."""
    return say(*parts, "?/PUNCT")


def written(tokens: Tokens) -> Tokens:
    """The tokens as they stand in the written sentence: the first one capitalised."""
    first = tokens[0]
    return (Token(first.word[0].upper() + first.word[1:], first.tag), *tokens[1:])


def sentence(tokens: Tokens) -> str:
    """The sentence as text: first letter capitalised, no space before punctuation and 's."""
    text = " ".join(token.word for token in written(tokens))
    return re.sub(r" ('s|[.,?])", r"\1", text)


def words(text: str) -> list[str]:
    """The words of a sentence that `sentence` wrote; one for each tag."""
    return _WORD.findall(text)


class Contrast(NamedTuple):
    """A grammatical sentence and its ungrammatical counterpart."""

    good: Tokens
    bad: Tokens


def differing(contrast: Contrast) -> tuple[Tokens, Tokens]:
    """What is left of both sentences without the words that they share at the beginning and at the end."""
    good, bad = contrast
    start = 0
    while start < min(len(good), len(bad)) and good[start] == bad[start]:
        start += 1
    end = 0
    while end < min(len(good), len(bad)) - start and good[-1 - end] == bad[-1 - end]:
        end += 1
    return good[start : len(good) - end], bad[start : len(bad) - end]

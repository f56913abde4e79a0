"""Alignment of model tokens with the words of a tagged text, by the characters that they share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from negspace.errors import TextError
from negspace.text.encoded import encoded
from negspace.text.windows import doubled

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from negspace.text.source import Text
    from negspace.text.tagged import Tagged
    from negspace.text.windows import Windows

NO_WORD = -1
"""Stands for the word of a token that belongs to none: white space, a special token, what the tagger left out."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """The word of every token of every window; all arrays are [windows, window]."""

    tagged: Tagged
    """The words."""
    windows: Windows
    """The tokens."""
    start: np.ndarray
    """int64: offset in the text of the token's first character that is no white space."""
    end: np.ndarray
    """int64: offset after its last such character; equal to `start` where there is none, as for special tokens."""
    word: np.ndarray
    """int64: index of the word in `tagged`; -1 where the token belongs to none."""

    @cached_property
    def upos(self) -> np.ndarray:
        """str: part of speech of each token's word, "" without one."""
        return self._of_word(self.tagged.upos)

    @cached_property
    def dep(self) -> np.ndarray:
        """str: dependency label of each token's word, "" without one."""
        return self._of_word(self.tagged.dep)

    def _of_word(self, labels: np.ndarray) -> np.ndarray:
        # Index -1 takes the element put last.
        return np.append(labels, "")[self.word]


def align(tagged: Tagged, windows: Windows, tokenizer: PreTrainedTokenizerBase) -> Aligned:
    """Find the word of every token of windows that were cut from the tagged text.

    A token belongs to the word with which it shares most characters, the first of them where several share as many.
    Byte-level and sentencepiece tokens often hold the space before a word: white space at either end of a token is
    taken off first, so that it never counts. A character that was split over several tokens counts whole for each.

    Args:
        tagged: words of the text.
        windows: windows made from `tagged.text` with the same tokenizer.
        tokenizer: any fast tokenizer.

    Raises:
        TextError: the tokenizer is a slow one, which knows no offsets; or the windows are not of this text and
            tokenizer.
    """
    start, end = window_offsets(tagged.text, windows, tokenizer)
    return Aligned(tagged, windows, start, end, words_of(tagged, start, end))


def reach(text: Text, windows: Windows, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of characters that a text's windows cover, from its start; all if they cover the whole text.

    Raises:
        TextError: as `align`.
    """
    if len(windows) == windows.available:
        return len(text.text)
    return int(window_offsets(text, windows, tokenizer)[1].max())


def words_of(tagged: Tagged, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Index of the word that shares most characters with each span, the first of equals; -1 where none does.

    Args:
        start, end: int64 arrays of one shape, offsets in `tagged.text`; spans with end <= start share nothing.

    Returns:
        int64 of the same shape.
    """
    first = np.searchsorted(tagged.end, start, side="right")  # the first word that ends after the span begins
    stop = np.searchsorted(tagged.start, end, side="left")  # the first word that begins where the span has ended
    best = np.full(start.shape, NO_WORD, np.int64)
    most = np.zeros(start.shape, np.int64)
    last = len(tagged) - 1
    for step in range(int((stop - first).max(initial=0))):
        word = np.minimum(first + step, last)
        shared = np.minimum(end, tagged.end[word]) - np.maximum(start, tagged.start[word])
        better = (first + step < stop) & (shared > most)
        best[better], most[better] = word[better], shared[better]
    return best


def token_offsets(
    text: str, tokenizer: PreTrainedTokenizerBase, *, special: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids of a text's tokens, and the characters that each stands for, white space at its ends taken off.

    Args:
        special: whether the tokenizer's own special tokens are added, which stand for no characters.

    Returns:
        Three int64 arrays [tokens]: ids, offsets of the first character, offsets after the last one.

    Raises:
        TextError: the tokenizer is a slow one.
    """
    if not tokenizer.is_fast:
        raise TextError(
            "the characters that each token stands for",
            f"{type(tokenizer).__name__} is a slow tokenizer: it does not say where in the text a token lies, and"
            " token strings cannot be found again where it normalised the text",
            "use the fast tokenizer of the same model (AutoTokenizer gives it where there is one)",
        )
    made = encoded(text, tokenizer, special=special)
    assert made.offsets is not None, "a fast tokenizer says where its tokens lie"
    start, end = _trimmed(text, made.offsets[:, 0], made.offsets[:, 1])
    return made.ids, start, end


def window_offsets(
    text: Text, windows: Windows, tokenizer: PreTrainedTokenizerBase, chosen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """First character of each token of the windows, and one past its last; special tokens stand for no characters.

    Args:
        chosen: numbers of the windows to look at; None: all.

    Returns:
        Two int64 arrays [windows looked at, window].

    Raises:
        TextError: as `align`.
    """
    numbers = np.arange(len(windows)) if chosen is None else chosen
    lead = int(windows.bos == "always")
    ids, start, end = token_offsets(text.text, tokenizer, special=not lead)
    left = doubled(ids, text, tokenizer, windows.bos)
    ids, start, end = ids[left:], start[left:], end[left:]
    cells = (numbers * windows.stride)[:, None] + np.arange(windows.window - lead)
    if int(cells.max()) >= len(ids) or (ids[cells] != windows.tokens[numbers, lead:]).any():
        raise TextError(
            f"the words of the tokens of {windows.text_name}",
            f"windows whose tokens are not those of {text.name} under this tokenizer",
            "make the windows from the tagged text itself, with the model's own tokenizer",
        )
    start, end = np.pad(start[cells], ((0, 0), (lead, 0))), np.pad(end[cells], ((0, 0), (lead, 0)))
    return start, np.where(windows.special[numbers], start, end)


def _trimmed(text: str, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spans without the white space at their ends; a span of nothing else becomes empty."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    solid = np.zeros(int(codes.max(initial=0)) + 1, bool)
    solid[codes] = True  # the characters that occur, and then which of them are no white space
    known = np.flatnonzero(solid)
    solid[known] = [not chr(code).isspace() for code in known]
    solid = solid[codes]
    places = np.arange(len(codes))
    # The next solid character at or after each offset, and the end of the last one before it.
    after = np.append(np.minimum.accumulate(np.where(solid, places, len(codes))[::-1])[::-1], len(codes))
    before = np.append(0, np.maximum.accumulate(np.where(solid, places + 1, 0)))
    begin, stop = after[start], before[end]
    empty = begin >= stop
    return np.where(empty, start, begin), np.where(empty, start, stop)

"""Names of tokens: the characters that they stand for, as a reader would write them; all distinct."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

_SPACE = "▁"
"""sentencepiece's mark for the space before a word."""
_UNKNOWN = "�"


def token_names(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> dict[int, str]:
    """Names of tokens: their text, a space before a word included.

    A token that is no text by itself (a part of a character, a special token) is called by its entry in the
    vocabulary, and so is one whose text another of the ids has already: different ids have different names.

    Returns:
        Id -> name, ids upwards.
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    for token in sorted({int(token) for token in ids}):
        entry, text = _entry_and_text(tokenizer, token)
        name = entry if not text or _UNKNOWN in text else text
        for attempt in (name, entry, f"{entry} ({token})"):
            if attempt not in taken:
                names[token] = attempt
                taken.add(attempt)
                break
    return names


def partial_tokens(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> dict[int, str]:
    """Those ids that are no text by themselves: bytes that make a character together with their neighbours.

    Returns:
        Id -> the text before the part of a character, most often nothing or a space.
    """
    texts = {token: _entry_and_text(tokenizer, token)[1] for token in {int(token) for token in ids}}
    return {token: text.partition(_UNKNOWN)[0] for token, text in texts.items() if _UNKNOWN in text}


def pieces(
    text: str,
    ids: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    names: Mapping[int, str],
    partial: Mapping[int, str],
) -> list[str]:
    """Return what each token adds to its window: its name, but for a part of a character the whole of it, or nothing if
    the token before it has that already.

    Args:
        text: the text that the tokens are of.
        ids: int64 [windows, window] the tokens.
        start, end: int64 [windows, window] the characters that each stands for, as `window_offsets` gives them.
        names, partial: what `token_names` and `partial_tokens` give for these ids.
    """
    made = []
    for tokens, starts, ends in zip(ids.tolist(), start.tolist(), end.tolist(), strict=True):
        before = None
        for token, *span in zip(tokens, starts, ends, strict=True):
            if token in partial:
                made.append("" if span == before else _with(partial[token], text[span[0] : span[1]]))
                before = span
            else:
                made.append(names[token])
                before = None
    return made


def _with(before: str, characters: str) -> str:
    """Characters with the text that comes before them in a token; offsets leave white space out, and only that."""
    return characters if characters.startswith(before) else before + characters


def _entry_and_text(tokenizer: PreTrainedTokenizerBase, token: int) -> tuple[str, str]:
    """A token's entry in the vocabulary, and the text that it stands for by itself."""
    entry = str(tokenizer.convert_ids_to_tokens(token))
    text = entry if token in tokenizer.all_special_ids else tokenizer.convert_tokens_to_string([entry])
    return entry, f" {text}" if entry.startswith(_SPACE) and not text.startswith(" ") else text

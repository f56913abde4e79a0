"""What to call a token: the characters that it stands for, as a reader would write them, and never two alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPACE = "▁"
"""How sentencepiece writes the space before a word."""
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
    for token in sorted({int(one) for one in ids}):
        entry = str(tokenizer.convert_ids_to_tokens(token))
        text = entry if token in tokenizer.all_special_ids else tokenizer.convert_tokens_to_string([entry])
        if entry.startswith(_SPACE) and not text.startswith(" "):
            text = " " + text
        name = entry if not text or _UNKNOWN in text else text
        for attempt in (name, entry, f"{entry} ({token})"):
            if attempt not in taken:
                names[token] = attempt
                taken.add(attempt)
                break
    return names

"""The tokens of a long text, and the characters that each stands for, found once: several analyses read one text."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from negspace.text.specials import encode

_LONG = 20_000
"""Characters from which on a text is worth keeping: to find out whether it is kept takes as long as 10,000 do."""
_KEPT = 4
"""Texts that are kept. One of a million characters takes six megabytes."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A text as a tokenizer encodes it."""

    ids: np.ndarray
    """int64 [tokens]."""
    offsets: np.ndarray | None
    """int64 [tokens, 2]: first character of each token, and one past its last; None of a slow tokenizer."""


def encoded(text: str, tokenizer: PreTrainedTokenizerBase, *, special: bool) -> Encoded:
    """Encode a text, without cutting or padding it.

    Args:
        special: whether the tokenizer's own special tokens are added, which stand for no characters.
    """
    if not tokenizer.is_fast:
        return Encoded(np.asarray(encode(tokenizer, [text], special=special)[0], np.int64), None)
    core: Any = getattr(tokenizer, "backend_tokenizer", None)
    if core is None or len(text) < _LONG:
        return _encode(text, tokenizer, special)
    # All that decides how a text is encoded is in these; who changes the tokenizer gets other tokens.
    rules = hashlib.sha256(f"{type(tokenizer).__qualname__} {core.to_str()}".encode()).digest()
    key = (hashlib.sha256(text.encode("utf-8")).digest(), rules, special)
    if key not in _RECENT:
        _RECENT[key] = _encode(text, tokenizer, special)
        while len(_RECENT) > _KEPT:
            _RECENT.popitem(last=False)
    _RECENT.move_to_end(key)
    return _RECENT[key]


def _encode(text: str, tokenizer: PreTrainedTokenizerBase, special: bool) -> Encoded:
    made = tokenizer(
        text,
        add_special_tokens=special,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=True,
        verbose=False,  # a text longer than the model's context is expected here
    )
    ids = np.asarray(made["input_ids"], np.int64)
    offsets = np.asarray(made["offset_mapping"], np.int64).reshape(-1, 2)
    for array in (ids, offsets):
        array.flags.writeable = False
    return Encoded(ids, offsets)


_RECENT: OrderedDict[tuple[bytes, bytes, bool], Encoded] = OrderedDict()

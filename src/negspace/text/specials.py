"""A tokenizer's special tokens: those that it puts around a text by itself, and whether it has one to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from transformers import PreTrainedTokenizerBase

from negspace.errors import ScoreError, TextError


@dataclass(frozen=True)
class Surround:
    """Special tokens that a tokenizer adds to any text: a BOS for Llama, none for Pythia and GPT-2."""

    before: tuple[int, ...]
    """Token ids put before a text."""
    after: tuple[int, ...]
    """Token ids put after a text."""


def surround(tokenizer: PreTrainedTokenizerBase, probe: str = "The cat") -> Surround:
    """Find the tokenizer's own special tokens by encoding one text with and without them.

    Args:
        probe: any text of at least one token.

    Raises:
        TextError: the text's own tokens are not the same with and without special tokens, or there are none.
    """
    whole = encode(tokenizer, [probe], special=True)[0]
    plain = encode(tokenizer, [probe])[0]
    starts = [at for at in range(len(whole) - len(plain) + 1) if plain and whole[at : at + len(plain)] == plain]
    if len(starts) != 1:
        raise TextError(
            f"the special tokens that {type(tokenizer).__name__} puts around a text",
            f"{probe!r} is {whole} with them and {plain} without: where they begin and end cannot be told",
            "use a tokenizer that adds its special tokens around a text's own tokens",
        )
    return Surround(tuple(whole[: starts[0]]), tuple(whole[starts[0] + len(plain) :]))


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
    """Token ids of each text, never cut or padded; with the tokenizer's own special tokens only where asked."""
    if len(texts) <= _MANY or not getattr(tokenizer, "is_fast", False):
        return _encode(tokenizer, texts, special)
    # What transformers makes of each text beside its ids takes as long as the ids. The first texts go through it, which
    # also sets the tokenizer to neither cut nor pad; the others do not, if that comes to the same.
    first = _encode(tokenizer, texts[:_MANY], special)
    core: Any = tokenizer.backend_tokenizer  # pyright: ignore[reportAttributeAccessIssue]

    def ids_of(some: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in core.encode_batch_fast(list(some), add_special_tokens=special)]

    if ids_of(texts[:_MANY]) != first:
        return first + _encode(tokenizer, texts[_MANY:], special)
    rest = (ids_of(texts[start : start + _BATCH]) for start in range(_MANY, len(texts), _BATCH))
    return [*first, *chain.from_iterable(rest)]


_MANY = 256
"""Texts from which on it pays to ask the tokenizer's core for the ids alone."""
_BATCH = 1024
"""Texts that it is given at once: what it makes of a text is large, and a third faster when it is soon let go."""


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], special: bool) -> list[list[int]]:
    # verbose=False: a stream longer than the model's context is expected here, since windows are cut from it.
    encoding = tokenizer(
        list(texts),
        add_special_tokens=special,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return encoding["input_ids"]  # type: ignore[return-value]


def check_prefix(tokenizer: PreTrainedTokenizerBase, asked: str, todo: str) -> None:
    """Refuse a tokenizer without a token to begin with.

    Raises:
        ScoreError: it has neither BOS nor EOS.
    """
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        raise ScoreError(asked, f"the tokenizer {type(tokenizer).__name__} has neither BOS nor EOS", todo)

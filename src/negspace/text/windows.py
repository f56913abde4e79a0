"""Windows of tokens cut from one stream of text, and which windows a text and a model allow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from transformers import PreTrainedTokenizerBase

from negspace.errors import TextError
from negspace.text.encoded import encoded
from negspace.text.source import Text
from negspace.text.specials import surround

Bos = Literal["auto", "always"]

WINDOW = 2048
"""Tokens of a window, where model and text allow."""
STATISTICS_TOKENS = 64 * WINDOW
"""Tokens that statistics read unless told otherwise: 131,072."""
FEW = 8
"""Windows that a text should give before the default window is made smaller for it."""
_HEAD = 50_000
"""Characters that tell how many a token has."""
_CHARACTERS = 16
"""Characters in which there is surely a token; where there is not, the whole text is read."""
_SMALLEST = 16
"""The default window is never smaller than this; a shorter one must be asked for."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Equally long slices of one stream of tokens."""

    tokens: np.ndarray
    """int64 [windows, window]: token ids."""
    special: np.ndarray
    """bool [windows, window]: BOS, EOS, padding and whatever else is no text; left out of statistics."""
    window: int
    """Tokens of a window, a prepended BOS included."""
    stride: int
    """Tokens of text from the start of one window to the start of the next."""
    bos: Bos
    """"auto": as the tokenizer encodes the whole text, windows being slices of it; "always": BOS before each window."""
    text_name: str
    """Name of the text."""
    text_hash: str
    """sha256 of the text."""
    available: int
    """Full windows that the text holds; the first `len(tokens)` of them were taken."""
    notes: tuple[str, ...] = ()
    """Notes on choices made for the user and on possible surprises; one sentence each."""

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of shape and token ids."""
        digest = hashlib.sha256(repr(self.tokens.shape).encode())
        digest.update(np.ascontiguousarray(self.tokens, "<i8").tobytes())
        return digest.hexdigest()


def make_windows(
    text: Text,
    tokenizer: PreTrainedTokenizerBase,
    *,
    window: int | None = None,
    stride: int | None = None,
    windows: int | None = None,
    bos: Bos = "auto",
    context: int | None = None,
) -> Windows:
    """Tokenise a text once and cut it into windows, from its start; an incomplete last window is dropped.

    Args:
        window: tokens of a window; None: see `default_window`.
        stride: tokens of text between the starts of two windows; None: half a window for statistics, for perplexity as
            many as a window holds, so that windows neither overlap nor leave a gap.
        windows: how many to take; None: for statistics as many as make 131,072 tokens, for perplexity all.
        bos: "auto": the tokenizer's own special tokens around the whole text, nothing before a window; "always": no
            special tokens but one BOS before each window, which then holds window - 1 tokens of text.
        context: longest sequence that the model takes, None if unbounded.

    Raises:
        TextError: the text is shorter than a window, the window longer than the context, no BOS where one is asked for,
            or a number out of range.
    """
    if bos not in get_args(Bos):
        raise TextError(f"bos={bos!r}", "no such policy", "use 'auto' or 'always'")
    for what, number, least in (("window", window, 2), ("stride", stride, 1), ("windows", windows, 1)):
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise TextError(f"{what}={number!r}", "not a whole number", f"give {what}={least} or more")
        if number < least:
            raise TextError(f"{what}={number}", f"it must be at least {least}", f"give {what}={least} or more")
    stream, special, lead = _stream(text, tokenizer, bos)
    size = default_window(window, context, len(stream) + lead, name=text.name)
    content = size - lead
    if stride is None:
        stride = max(1, size // 2) if text.role == "statistics" else content
    available = (len(stream) - content) // stride + 1
    wanted = windows
    if wanted is None:
        wanted = max(1, STATISTICS_TOKENS // size) if text.role == "statistics" else available
    taken = min(wanted, available)

    starts = np.arange(taken) * stride
    cells = starts[:, None] + np.arange(content)
    tokens, flags = stream[cells], special[cells]
    if lead:
        tokens = np.concatenate([np.full((taken, 1), tokenizer.bos_token_id, np.int64), tokens], axis=1)
        flags = np.concatenate([np.ones((taken, 1), bool), flags], axis=1)

    notes = []
    if window is None and size < WINDOW:
        because = "the model's context" if size == context else f"since the text has {len(stream):,} tokens"
        notes.append(f"windows of {size} tokens, {because}")
    if windows is not None and taken < windows:
        notes.append(f"{taken} windows instead of {windows}: the text has no more")
    if not lead and special[0] and taken > 1:
        notes.append("the tokenizer's BOS is in the first window only; bos='always' adds one to each window")
    return Windows(tokens, flags, size, stride, bos, text.name, text.hash, available, tuple(notes))


def first_windows(
    text: Text, tokenizer: PreTrainedTokenizerBase, windows: int, *, context: int | None = None
) -> Windows:
    """The first windows of a text, as `make_windows` cuts them; the tokenizer reads no more of it than they need.

    What the rest would give is not known: `available` counts the windows of the part that was read, and `text_hash` is
    its hash.

    Raises:
        TextError: as `make_windows`.
    """
    size, needed = min(WINDOW, context or WINDOW), max(windows, FEW)
    head = replace(text, text=text.text[: _CHARACTERS * needed * size])
    if len(head.text) < len(text.text):
        cut = make_windows(head, tokenizer, windows=windows, context=context)
        # One window more than they need: the last tokens of a part may be others than in the whole text.
        if cut.window == size and cut.available > needed:
            return cut
    return make_windows(text, tokenizer, windows=windows, context=context)


def statistics_windows(
    text: Text,
    tokenizer: PreTrainedTokenizerBase,
    *,
    window: int | None = None,
    stride: int | None = None,
    windows: int | None = None,
    context: int | None = None,
) -> tuple[int, int, int]:
    """About what windows for statistics there will be, from the beginning of the text alone.

    Args:
        window, stride, windows, context: as for `make_windows`.

    Returns:
        Number of windows, tokens of a window, and tokens from the start of one to the start of the next.

    Raises:
        TextError: the window exceeds the context, or the text is short and holds not one.
    """
    head = text.text[:_HEAD]
    tokens = len(encoded(head, tokenizer, special=False).ids) / len(head) * len(text.text)
    # Of a long text the number is an estimate, by which no window is refused.
    enough = window or WINDOW * FEW
    default_window(window, context, int(tokens) + 2 if len(head) == len(text.text) else enough, name=text.name)
    size = window or min(WINDOW, context or WINDOW, int(tokens))
    step = stride or max(1, size // 2)
    available = max(1, int(tokens - size) // step + 1)
    return min(windows or max(1, STATISTICS_TOKENS // size), available), size, step


def default_window(requested: int | None, context: int | None, tokens: int, *, name: str = "the text") -> int:
    """Tokens of a window: as requested, or else what suits the model and the text.

    By default 2,048 or the model's context, whichever is smaller; for a text that gives fewer than 8 such windows, the
    largest power of two that does, but no less than 16.

    Args:
        requested: what the user asked for, None for the default.
        context: longest sequence that the model takes, None if unbounded.
        tokens: tokens of the text.
        name: what to call the text in an error.

    Raises:
        TextError: the text holds not one such window, or the window exceeds the context.
    """
    if requested is not None:
        if context is not None and requested > context:
            raise TextError(
                f"windows of {requested} tokens",
                f"the model takes at most {context} tokens",
                f"give a window of {context} or less",
            )
        if tokens < requested:
            raise TextError(
                f"windows of {requested} tokens from {name}",
                f"the whole text is {tokens} tokens",
                f"give a window of at most {tokens}, or a longer text" if tokens > 1 else "give a longer text",
            )
        return requested
    size = min(WINDOW, context or WINDOW)
    if tokens < FEW * size:
        size = min(size, max(_SMALLEST, 1 << (max(1, tokens // FEW).bit_length() - 1)))
    if tokens < size:
        raise TextError(
            f"windows of at least {size} tokens from {name}",
            f"the whole text is {tokens} tokens",
            f"give a longer text, or a window of at most {tokens}" if tokens > 1 else "give a longer text",
        )
    return size


def _stream(text: Text, tokenizer: PreTrainedTokenizerBase, bos: Bos) -> tuple[np.ndarray, np.ndarray, int]:
    """Token ids [tokens], which of them are special [tokens], and how many tokens are to be put before each window."""
    if bos == "always" and tokenizer.bos_token_id is None:
        raise TextError(
            "BOS before each window (bos='always')",
            f"the tokenizer {type(tokenizer).__name__} has no BOS token",
            "use bos='auto', or set the tokenizer's bos_token",
        )
    ids = encoded(text.text, tokenizer, special=bos == "auto").ids
    special = np.isin(ids, _no_text(tokenizer))
    if bos == "auto":
        around = surround(tokenizer, text.text.strip()[:200])
        special[: len(around.before)] = True
        special[len(ids) - len(around.after) :] = True
        return ids, special, 0
    if len(ids) and ids[0] == tokenizer.bos_token_id:  # the text itself begins with BOS, written out: never two
        ids, special = ids[1:], special[1:]
    return ids, special, 1


def _no_text(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that stand for no text wherever they occur. An unknown word is text, even if its token doubles as padding."""
    ids = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    if tokenizer.pad_token_id != tokenizer.unk_token_id:
        ids.append(tokenizer.pad_token_id)
    return [int(token) for token in ids if token is not None]  # type: ignore[arg-type]

"""Windows of tokens cut from one stream of text, and which windows a text and a model allow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from transformers import PreTrainedTokenizerBase

from negspace.errors import TextError
from negspace.given import check_count, checked
from negspace.text.encoded import encoded
from negspace.text.source import Text
from negspace.text.specials import Surround, surround

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
    """bool [windows, window]: BOS, EOS, padding and the tokenizer's other special tokens, which stand for no text (an
    unknown word does); left out of statistics."""
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
    marked: bool = False
    """Whether the windows have special tokens other than BOS, EOS and padding written out in them."""

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of shape and token ids, and of `special` where it depends on more than these (`marked`)."""
        digest = hashlib.sha256(repr(self.tokens.shape).encode())
        digest.update(np.ascontiguousarray(self.tokens, "<i8").tobytes())
        if self.marked:
            digest.update(np.ascontiguousarray(self.special).tobytes())
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
        TextError: no `Text` or no tokenizer, the text is shorter than a window, the window longer than the context, no
            BOS where one is asked for, or a number out of range.
    """
    asked = "windows of a text"
    checked(text, Text, TextError, asked, "give what read_text returns, such as read_text([text], role='perplexity')")
    checked(tokenizer, PreTrainedTokenizerBase, TextError, f"{asked} under a tokenizer", "give model.tokenizer")
    if bos not in get_args(Bos):
        raise TextError(f"bos={bos!r}", "no such policy", "use 'auto' or 'always'")
    given = {"window": window, "stride": stride, "windows": windows, "context": context}
    for what, number in given.items():
        check_count(what, number, TextError, 2 if what == "window" else 1)
    # One of numpy's has no place in JSON.
    window, stride, windows, context = (None if number is None else int(number) for number in given.values())
    stream, special, marked, lead = _stream(text, tokenizer, bos)
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
    others = bool(marked[cells].any())
    if lead:
        tokens = np.concatenate([np.full((taken, 1), tokenizer.bos_token_id, np.int64), tokens], axis=1)
        flags = np.concatenate([np.ones((taken, 1), bool), flags], axis=1)

    notes = [*text.notes]
    if window is None and size < WINDOW:
        because = "the model's context" if size == context else f"since the text has {len(stream):,} tokens"
        notes.append(f"windows of {size} tokens, {because}")
    if windows is not None and taken < windows:
        notes.append(f"{taken} windows instead of {windows}: the text has no more")
    if not lead and taken > 1 and stream[0] == tokenizer.bos_token_id:
        notes.append("the tokenizer's BOS is in the first window only; bos='always' adds one to each window")
    return Windows(tokens, flags, size, stride, bos, text.name, text.hash, available, tuple(notes), others)


def check_windows(given: Any, context: int | None, what: str) -> Windows:
    """What was given, if it is windows that a model's context holds. A longer one gives numbers, and no error.

    Args:
        context: longest sequence that the model takes, None if unbounded.
        what: what they are needed for.

    Raises:
        TextError: it is something else, or longer.
    """
    windows = checked(
        given, Windows, TextError, f"{what} on windows of text", "pass what negspace.make_windows returned"
    )
    if context is not None and windows.window > context:
        raise TextError(
            f"{what} on windows of {windows.window} tokens of {windows.text_name}",
            f"the model takes at most {context} tokens",
            f"cut windows of {context} or less: make_windows(..., context=model.context)",
        )
    return windows


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


def _stream(text: Text, tokenizer: PreTrainedTokenizerBase, bos: Bos) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Token ids [tokens], which of them are special [tokens], which of these are neither BOS, EOS, padding nor put
    there by the tokenizer [tokens], and how many tokens are to be put before each window."""
    if bos == "always" and tokenizer.bos_token_id is None:
        raise TextError(
            "BOS before each window (bos='always')",
            f"the tokenizer {type(tokenizer).__name__} has no BOS token",
            "use bos='auto', or set the tokenizer's bos_token",
        )
    ids = encoded(text.text, tokenizer, special=bos == "auto").ids
    ids = ids[doubled(ids, text, tokenizer, bos) :]
    named, others = _no_text(tokenizer)
    special = np.isin(ids, named)
    if bos == "auto":
        around = _around(text, tokenizer)
        special[: len(around.before)] = True
        special[len(ids) - len(around.after) :] = True
    marked = np.isin(ids, others) & ~special
    return ids, special | marked, marked, int(bos == "always")


def doubled(ids: np.ndarray, text: Text, tokenizer: PreTrainedTokenizerBase, bos: Bos) -> int:
    """How many tokens to leave out at the start of a text that begins with BOS, written out: one BOS, never two.

    Args:
        ids: int64 [tokens]: the whole text, with the tokenizer's own special tokens where bos="auto".
    """
    if bos == "always":
        return int(len(ids) > 0 and ids[0] == tokenizer.bos_token_id)
    before = list(_around(text, tokenizer).before)
    return len(before) if ids[len(before) : 2 * len(before)].tolist() == before else 0


def specials_written(text: Text, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a text has special tokens, or at its start what the tokenizer puts there, written out in letters."""
    others = tokenizer.convert_ids_to_tokens(_no_text(tokenizer)[1])
    before = "".join(map(str, tokenizer.convert_ids_to_tokens(list(_around(text, tokenizer).before))))
    begins = before != "" and text.text.lstrip().startswith(before)
    return begins or any(str(name) in text.text for name in others)


def _around(text: Text, tokenizer: PreTrainedTokenizerBase) -> Surround:
    return surround(tokenizer, text.text.strip()[:200])


def _no_text(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Ids that stand for no text wherever they occur: BOS, EOS and padding, and all others.

    An unknown word is text, even if its token doubles as padding. So is a special token that people write: a word, a
    single sign (the bar between the words of a speech model), white space.
    """
    own: Any = tokenizer
    ends = {own.bos_token_id, own.eos_token_id}
    # The unknown word's is also what transformers gives for a special token that the vocabulary lacks.
    text = {None, own.unk_token_id}
    named = (ends - {None}) | ({own.pad_token_id} - text)
    # Not all special tokens have a role or are listed: `<|start_header_id|>` of Llama 3 is an added token only.
    added = {token for token, it in getattr(own, "added_tokens_decoder", {}).items() if it.special}
    others = []
    for token in (added | {*own.all_special_ids}) - named - text:
        written = str(own.convert_ids_to_tokens(token)).strip("▁Ġ \t\n")
        if len(written) > 1 and not written.isalnum():
            others.append(int(token))
    return [int(token) for token in named], others

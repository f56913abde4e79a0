"""Perplexity of running text: how badly a model predicts each token of fixed windows from the tokens before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from negspace.errors import ScoreError
from negspace.given import check_count
from negspace.memory import fitted
from negspace.models.model import check_model
from negspace.score.batch import Batch
from negspace.score.logits import check_known, fine, log_sums
from negspace.text.source import Source, Text, read_text
from negspace.text.windows import Bos, Windows, check_windows, make_windows

if TYPE_CHECKING:
    from negspace.models.model import Model

Progress = Callable[[int, int, str], None]

_LOGITS = 1 << 26
"""Logits of one forward pass: 256 MiB in float32, unless a single window gives more."""
_BATCH_TOKENS = 8192
"""Most tokens of one forward pass; more gain nothing."""
_FEW = 16
"""Tokens of a window that stand for a batch where two ways to run the model are compared."""


@dataclass(frozen=True, eq=False)
class Perplexity:
    """Perplexity of a text, with the mean of every window so that intervals can be drawn over windows."""

    value: float
    """exp of the mean negative log-likelihood over all predicted tokens."""
    nll: np.ndarray
    """float64 [windows]: mean negative log-likelihood of each window, nats per predicted token."""
    tokens: int
    """Predicted tokens; the first of a window is context only, so window - 1 in each."""
    window: int
    """Tokens of a window."""
    windows: int
    """Windows scored."""
    available: int
    """Windows that the text holds."""
    bos: Bos
    """Policy for BOS: "auto" or "always"."""
    text: str
    """Name of the text."""
    text_hash: str
    """sha256 of the text."""
    windows_hash: str
    """sha256 of the token ids scored."""
    notes: tuple[str, ...] = ()
    """Notes on choices made for the user and on possible surprises."""


def perplexity(
    model: Model,
    text: Source | Text | Windows = "wikitext-2",
    *,
    window: int | None = None,
    windows: int | None = None,
    bos: Bos = "auto",
    batch: int | None = None,
    progress: Progress | None = None,
) -> Perplexity:
    """Perplexity over non-overlapping windows of a text; an incomplete last window is dropped.

    Of WikiText-2, or any folder with splits, the validation split is read, its rows joined by blank lines, as is usual
    for perplexity per token (the recipe of GPTQ and its successors, on validation instead of test).

    Args:
        text: anything that `read_text` takes; or windows made before, with which window, windows and bos are fixed.
        window: tokens of a window; by default 2,048, the model's context, or what a short text allows.
        windows: how many, from the start; by default all.
        bos: "auto": windows are slices of the text as the tokenizer encodes it; "always": BOS before each window.
        batch: windows in one forward pass; in float32 it changes the result by rounding at most.
        progress: called with (windows done, windows in all, "perplexity").

    Raises:
        ModelError: not a model.
        TextError: no text, less than one window of it, or windows longer than the model's context.
        ScoreError: a log-likelihood that is not finite, token ids that the model does not have, or a batch below 1.
    """
    check_model(model, "perplexity")
    if isinstance(text, Windows):
        made = text
    else:
        made = make_windows(
            read_text(text, role="perplexity"),
            model.tokenizer,
            window=window,
            windows=windows,
            bos=bos,
            context=model.context,
        )
    return perplexity_of(token_nll(model, made, batch=batch, progress=progress), made)


def perplexity_of(nll: np.ndarray, made: Windows) -> Perplexity:
    """The perplexity of windows from what `token_nll` gave for them, float64 [windows, window - 1].

    Raises:
        ScoreError: so large that it is no finite number.
    """
    means = nll.mean(axis=1)
    mean = float(means.mean())
    if mean > math.log(np.finfo(np.float64).max):
        raise ScoreError(
            f"the perplexity of {made.text_name}",
            f"a mean of {mean:.3g} nats per token, whose exponential is not finite",
            "check the model's weights and dtype",
        )
    return Perplexity(
        value=math.exp(mean),
        nll=means,
        tokens=made.tokens.size - len(made),
        window=made.window,
        windows=len(made),
        available=made.available,
        bos=made.bos,
        text=made.text_name,
        text_hash=made.text_hash,
        windows_hash=made.hash,
        notes=made.notes,
    )


def token_nll(
    model: Model, windows: Windows, *, batch: int | None = None, progress: Progress | None = None
) -> np.ndarray:
    """Negative log-likelihood of every token of every window given the tokens before it in the window.

    Computed from logits in float32 (float64 if the model gives that), whatever the model runs in.

    Args:
        batch: windows in one forward pass; by default as many as keep the logits within 256 MiB.
        progress: called with (windows done, windows in all, "perplexity").

    Returns:
        float64 [windows, window - 1], nats; column t belongs to token t + 1.

    Raises:
        TextError: windows longer than the model's context.
        ScoreError: a value that is not finite, token ids that the model does not have, or a batch below 1.
    """
    batches = nll_batches(model, windows, batch=batch)
    result = np.empty((len(windows), windows.window - 1))
    done = 0
    with torch.no_grad():
        for values in batches:
            result[values.rows] = values.read(values.forward())
            done += values.done
            if progress:
                progress(done, len(windows), "perplexity")
    return result


def nll_batches(model: Model, windows: Windows, *, batch: int | None = None) -> Iterator[Batch]:
    """The forward passes of `token_nll`; each reads the values of some windows. To be gone through in inference mode.

    Raises:
        TextError, ScoreError: as `token_nll`; values that are not finite when they are read.
    """
    check_windows(windows, model.context, "log-likelihoods")
    check_count("batch", batch, ScoreError)
    check_known(model.module, int(windows.tokens.max()), f"log-likelihoods of {windows.text_name}")
    if batch is None:
        vocabulary = int(model.module.config.get_text_config().vocab_size)
        batch = max(1, min(_BATCH_TOKENS // windows.window, _LOGITS // (windows.window * vocabulary)))
    batch = fitted(batch)
    starts = range(0, len(windows), batch)
    return (_batch(model, windows, slice(start, min(start + batch, len(windows)))) for start in starts)


def _batch(model: Model, windows: Windows, rows: slice) -> Batch:
    ids = torch.from_numpy(windows.tokens[rows]).to(model.device)

    def forward(lines: int | None = None, tokens: int | None = None) -> torch.Tensor:
        # No attention mask: all windows are equally long, so nothing is padded and rows cannot touch each other.
        return model.module(input_ids=ids[:lines, :tokens], use_cache=False).logits

    def read(logits: torch.Tensor) -> np.ndarray:
        values = _nll(logits, ids).numpy()
        _check_finite(values, rows.start, windows)
        return values

    return Batch(forward, lambda: forward(1, _FEW), read, rows, len(ids))


def _nll(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """-log softmax(logits[:, t])[ids[:, t + 1]], float64 [rows, tokens - 1] on the CPU."""
    found = []
    # Window by window: all but their last tokens, taken at once, would be a copy of the logits.
    for some, targets in zip(logits[:, :-1], ids[:, 1:].to(logits.device), strict=True):
        found.append(log_sums(some) - fine(some.gather(1, targets[:, None])[:, 0]))
    return torch.stack(found).cpu().double()


def _check_finite(nll: np.ndarray, first: int, windows: Windows) -> None:
    bad = np.argwhere(~np.isfinite(nll))
    if len(bad):
        window, token = int(bad[0][0]), int(bad[0][1])
        raise ScoreError(
            f"log-likelihoods of {windows.text_name}",
            f"{nll[window, token]} at token {token + 1} of window {first + window} (counted from 0)",
            "check the model's weights and dtype: float16 overflows where float32 or bfloat16 do not",
        )

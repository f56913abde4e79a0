"""Surprisal token by token, with the part of speech and the dependency label of the word that each token belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from negspace.score.perplexity import Progress, token_nll

if TYPE_CHECKING:
    from negspace.models.model import Model
    from negspace.text.alignment import Aligned

ITEMS = {
    "window": "number of the window, from 0",
    "position": "place of the token in the window, from 1: the first token is context only",
    "start": "offset in the text of the token's first character that is no white space",
    "end": "offset after its last such character; equal to start where there is none",
    "word": "number of its word in the tagged text, from 0; -1 without one",
    "upos": 'part of speech of the word, "" without one',
    "dep": 'dependency label of the word, "" without one',
    "nll": "negative log-likelihood of the token given the window before it, in nats",
}
"""Column of the items -> meaning."""


def surprisal(
    model: Model, aligned: Aligned, *, batch: int | None = None, progress: Progress | None = None
) -> pd.DataFrame:
    """Negative log-likelihood of every predicted token of tagged windows.

    The same log-likelihoods as perplexity's: their mean over the tokens of a window is the window's. Special tokens
    that the tokenizer put there are predicted, too; they belong to no word.

    Args:
        aligned: windows and the words of their tokens.
        batch: windows in one forward pass; does not change the result.
        progress: called with (windows done, windows in all, "surprisal").

    Returns:
        One row per token but the first of each window, in their order; columns as in `ITEMS`.

    Raises:
        TextError: windows longer than the model's context.
        ScoreError: a log-likelihood that is not finite, or token ids that the model does not have.
    """

    def report(done: int, total: int, _: str) -> None:
        if progress:
            progress(done, total, "surprisal")

    nll = token_nll(model, aligned.windows, batch=batch, progress=report)
    window, position = np.indices(nll.shape)
    columns = {
        "window": window.ravel(),
        "position": position.ravel() + 1,
        **{name: getattr(aligned, name)[:, 1:].ravel() for name in ("start", "end", "word", "upos", "dep")},
        "nll": nll.ravel(),
    }
    return pd.DataFrame(columns)[list(ITEMS)]

"""Logits of chosen positions only, and what is read from them: log-probabilities, and which token's is the largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from negspace.errors import ScoreError

_COMPARED = 64
"""Rows that are compared with their largest logit at once: each is copied."""
_CHUNK = {True: 1 << 20, False: 1 << 28}
"""Bytes of float32 logits that are summed at once: on the CPU (True), elsewhere."""


class Standing(IntEnum):
    """The place of a token's logit among all logits of its row; of several tokens, that of the worst."""

    BELOW = 0
    """Another logit is larger."""
    TIED = 1
    """No other is larger, and some are equal, a token's with a lower id among them."""
    TIED_FIRST = 2
    """No other is larger, and some are equal, all of tokens with higher ids: it is the one that `argmax` gives."""
    ABOVE = 3
    """All others are smaller."""


def log_probabilities(logits: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log softmax(logits[row])[target] for each (row, target), on the CPU; float64 where the logits are, or float32."""
    rows, targets = rows.to(logits.device), targets.to(logits.device)
    return (fine(logits[rows, targets]) - log_sums(logits)[rows]).cpu()


def log_sums(logits: torch.Tensor) -> torch.Tensor:
    """logsumexp of each row of logits [rows, vocabulary]: float64 where they are, otherwise float32."""
    # Bit by bit: a processor's cache holds what is read twice, and float32 copies of coarser logits stay small. Parts
    # of about one size, since torch adds up a row that comes alone in another order: no number of rows that is above 1
    # leaves one alone in parts of 3 or more.
    step = max(3, _CHUNK[logits.device.type == "cpu"] // (4 * logits.shape[-1]))
    parts = logits.tensor_split(max(1, math.ceil(len(logits) / step)))
    return torch.cat([torch.logsumexp(fine(some), dim=-1) for some in parts])


def fine(logits: torch.Tensor) -> torch.Tensor:
    """Logits in float64 where they are, otherwise in float32."""
    return logits if logits.dtype == torch.float64 else logits.float()


def standings(logits: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The `Standing` of logits[row][target] for each (row, target), int8, on the CPU; below, in a row with a NaN."""
    rows, targets = rows.to(logits.device), targets.to(logits.device)
    first = logits.argmax(dim=-1)[rows]
    own = logits[rows, targets]
    made = torch.full_like(rows, Standing.BELOW, dtype=torch.int8)
    for some in torch.nonzero(own == logits[rows, first])[:, 0].split(_COMPARED):
        alone = (logits[rows[some]] == own[some, None]).sum(dim=-1) == 1
        tied = torch.where(first[some] == targets[some], Standing.TIED_FIRST, Standing.TIED)
        made[some] = torch.where(alone, Standing.ABOVE, tied).to(torch.int8)
    return made.cpu()


def check_known(module: PreTrainedModel, largest: int, asked: str) -> None:
    """Refuse a token id that the model has no embedding or no logit for.

    Some models embed more tokens than they predict: images' in Mllama, prompts' in CPM-Ant.

    Raises:
        ScoreError: it has none.
    """
    known = int(module.get_input_embeddings().weight.shape[0])  # type: ignore[arg-type]
    predicted = getattr(module.get_output_embeddings(), "out_features", None)
    known = min(known, predicted) if isinstance(predicted, int) else known
    if largest >= known:
        raise ScoreError(
            asked,
            f"token id {largest}, but the model knows {known} tokens only",
            "use the tokenizer that belongs to the model",
        )


def input_device(module: PreTrainedModel) -> torch.device:
    """Return the device for token ids: that of the input embeddings (models may be spread over devices)."""
    return torch.device(module.get_input_embeddings().weight.device)  # pyright: ignore[reportArgumentType]


@contextmanager
def only_rows(module: PreTrainedModel, keep: torch.Tensor) -> Iterator[Callable[[], bool]]:
    """Let the output layer see only the kept positions, as one batch of one line; yields whether it did.

    Whatever the model does to its logits afterwards (scaling, soft-capping) acts on each number alone, so it holds for
    the chosen lines too. A model without a separate output layer is left as it is.
    """
    head = module.get_output_embeddings()
    fired = False

    def select(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal fired
        hidden = inputs[0]
        if hidden.shape[:-1] != keep.shape:
            return None
        fired = True
        return (hidden[keep.to(hidden.device)][None], *inputs[1:])

    handle = head.register_forward_pre_hook(select) if head is not None else None
    try:
        yield lambda: fired
    finally:
        if handle is not None:
            handle.remove()

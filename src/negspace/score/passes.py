"""The forward passes over a forest of token sequences: packs of shared prefixes, or batches of equal length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from negspace.memory import fitted
from negspace.models.lengths import steady_length
from negspace.score.batch import Batch
from negspace.score.logits import Standing, input_device, log_probabilities, only_rows, standings
from negspace.score.prefixes import Forest, cut, lay_out

PACK = 96
"""Nodes of a tree. Attention costs the square of it; shorter packs repeat more prefixes."""
_LOGIT_BYTES = 1 << 25
"""Memory for one batch of float32 logits, unless that is fewer tokens than `_WORTH`."""
_WORTH = 1024
"""Tokens of a batch beyond which a large network gains nothing: it reads its weights once for all of them."""
_MOST_LOGIT_BYTES = 1 << 27
"""Memory that float32 logits may take so that a batch is `_WORTH` tokens; 256 tokens are allowed in any case."""
_FEW = 64
"""Tokens of a batch that stand for it where two ways to run the model are compared; whole lines, one at least."""


class Passes:
    """Runs a causal language model over the sequences of a forest; knows nothing of which way is right.

    Args:
        module: a causal language model of transformers, in evaluation mode; hooks set on it by others take effect.
        batch_tokens: most tokens in one forward pass; by default as many as keep the logits within 32 MiB, or within
            128 MiB where that allows fewer than 1,024 tokens, and 256 at least.
        context: longest sequence that the model takes, None if unbounded.
    """

    def __init__(self, module: PreTrainedModel, batch_tokens: int | None, context: int | None) -> None:
        self.module = module
        self.context = context
        self.batch_tokens = fitted(batch_tokens or self._default_batch_tokens())
        self.dtype = next(module.parameters()).dtype
        self.steady = steady_length(module.config)
        """Longest sequences whose logits do not depend on the length of what is run with them."""

    def run(
        self,
        forest: Forest,
        batches: Iterator[Batch],
        standing: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Totals of the rows, and their standings (below, where that is not asked for)."""
        # A single token predicts nothing: its total stays 0, and nothing stood above it.
        totals, done = np.zeros(len(forest.lengths)), 0
        places = np.full(len(forest.lengths), Standing.ABOVE if standing else Standing.BELOW, np.int8)
        for batch in batches:
            logits = batch.forward()
            totals[batch.rows] = batch.read(logits)
            if standing and batch.standing:
                places[batch.rows] = batch.standing(logits)
            del logits
            done += batch.done
            if progress:
                progress(done)
        return totals, places

    def buckets(self, forest: Forest, to_end: bool) -> Iterator[Batch]:
        """Sequences of one length at a time: no padding, hence no mask, hence nothing that could depend on either."""
        # A single token predicts nothing: its total stays 0. The longest come first, so that memory that does not
        # suffice is found out at once.
        for length in np.unique(forest.lengths[forest.lengths > 1])[::-1]:
            members = np.flatnonzero(forest.lengths == length)
            whole = (to_end or length > self.steady) and (self.context is None or length <= self.context)
            run = int(length) if whole else int(length) - 1
            step = max(1, self.batch_tokens // run)
            for start in range(0, len(members), step):
                rows = members[start : start + step]
                ids = torch.from_numpy(forest.tokens[rows, :length].astype(np.int64))
                yield self._bucket(rows, ids, torch.from_numpy(forest.starts[rows]), run)

    def _bucket(self, rows: np.ndarray, ids: torch.Tensor, starts: torch.Tensor, run: int) -> Batch:
        """Sequences [rows, length], their first `run` tokens run, those from each row's start on scored."""
        device, length = input_device(self.module), ids.shape[1]
        counts = torch.arange(1, length) >= starts[:, None]
        keep = torch.zeros((len(rows), run), dtype=torch.bool)
        keep[:, : length - 1] = counts
        targets = ids[:, 1:][counts]

        def forward(lines: int | None = None) -> torch.Tensor:
            return self._logits(keep[:lines], input_ids=ids[:lines, :run].to(device))

        def read(logits: torch.Tensor) -> np.ndarray:
            values = torch.zeros(counts.shape, dtype=torch.float64)
            values[counts] = log_probabilities(logits, torch.arange(len(targets)), targets).double()
            return values.sum(1).numpy()

        def standing(logits: torch.Tensor) -> np.ndarray:
            places = torch.full(counts.shape, Standing.ABOVE, dtype=torch.int8)
            places[counts] = standings(logits, torch.arange(len(targets)), targets)
            return places.amin(1).numpy()

        lines = max(1, _FEW // run)
        return Batch(forward, lambda: forward(lines), read, rows, ids[:, 1:].numel(), standing)

    def trees(self, forest: Forest, others: bool = False) -> Iterator[Batch]:
        """Packs of shared prefixes, those of about one size side by side."""
        packs = cut(forest, PACK)
        start = 0
        while start < len(packs.nodes) and packs.nodes[start]:
            stop = start + max(1, self.batch_tokens // int(packs.nodes[start]))
            yield self.packs(forest, packs.starts[start:stop], packs.stops[start:stop], others)
            start = stop

    def packs(self, forest: Forest, starts: np.ndarray, stops: np.ndarray, others: bool = False) -> Batch:
        """Packs side by side; `others` puts other tokens in place of all that a pack's last row has not before it."""
        device, dtype = input_device(self.module), self.dtype
        made = lay_out(forest, starts, stops)
        tokens = made.tokens
        if others:
            kept = made.used & (made.end >= made.used.sum(axis=1, keepdims=True))
            tokens = np.where(kept, tokens, np.roll(tokens, 1, axis=1))
        width = made.used.shape[1]
        slots, ends = torch.arange(width), torch.from_numpy(made.end)
        sees = (slots[None, None, :] <= slots[None, :, None]) & (slots[None, :, None] < ends[:, None, :])
        mask = torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)
        scored = torch.from_numpy(made.scored)
        inputs = {
            "input_ids": torch.from_numpy(tokens).to(device),
            "position_ids": torch.from_numpy(made.depth).to(device),
            "attention_mask": mask[:, None].to(device),
        }

        def forward(lines: int | None = None) -> torch.Tensor:
            return self._logits(scored[:lines], **{name: value[:lines] for name, value in inputs.items()})

        def read(logits: torch.Tensor) -> np.ndarray:
            values = log_probabilities(logits, torch.from_numpy(made.source), torch.from_numpy(made.target))
            # Added step by step from the first token on, so that a total does not depend on its neighbours' lengths.
            steps = np.append(values.double().numpy(), 0.0)[made.path]
            return np.add.accumulate(np.vstack([np.zeros(len(made.rows)), steps]), axis=0)[-1]

        def standing(logits: torch.Tensor) -> np.ndarray:
            places = standings(logits, torch.from_numpy(made.source), torch.from_numpy(made.target)).numpy()
            # What lies before a row's start counts as nothing, and nothing stands above it.
            steps = np.append(places, np.int8(Standing.ABOVE))[made.path]
            return np.minimum.reduce(steps, axis=0, initial=np.int8(Standing.ABOVE))

        lines = max(1, _FEW // width)
        return Batch(forward, lambda: forward(lines), read, made.rows, int(made.used.sum()), standing)

    def _logits(self, keep: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Logits [kept positions, vocabulary] of one forward pass, the output layer run at the kept positions only."""
        with only_rows(self.module, keep) as selected:
            logits = self.module(**inputs, use_cache=False).logits
        return logits[0] if selected() else logits[keep.to(logits.device)]

    def _default_batch_tokens(self) -> int:
        vocabulary = int(self.module.config.get_text_config(decoder=True).vocab_size)
        usual, most = (size // (4 * vocabulary) for size in (_LOGIT_BYTES, _MOST_LOGIT_BYTES))
        return max(256, min(16_384, usual), min(_WORTH, most))


def tokens_of(forest: Forest) -> int:
    """Tokens that a model reads to score a forest's sequences, prefixes that several packs hold counted in each."""
    return int(cut(forest, PACK).nodes.sum())

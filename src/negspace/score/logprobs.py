"""The one log-probability kernel: how probable a language model finds each of many short token sequences.

Three things make it fast without changing a score: a sequence that occurs twice runs once; a prefix that sequences
share runs once (packed trees under a four-dimensional attention mask); and the output layer sees only the positions
whose next token is asked for. Models that cannot take such a mask (ALiBi, recurrent layers, some attention kernels) are
run in batches of equal length instead; which of the two holds is decided by comparing both on some of the sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from negspace.errors import NonFiniteScore, ScoreError
from negspace.memory import fitted
from negspace.score.batch import Batch
from negspace.score.prefixes import Forest, Pack, build_forest, cut_packs

Progress = Callable[[int, int, str], None]
Method = Literal["auto", "tree", "buckets"]

_PACK = 96
"""Nodes of a tree. Attention costs the square of it; shorter packs repeat more prefixes."""
_LOGIT_BYTES = 1 << 25
"""Memory for one batch of float32 logits."""
_PROOF = 24
"""Sequences on which the tree is compared with plain batches before it is trusted."""
_FEW = 64
"""Tokens of a batch that stand for it where two ways to run the model are compared; whole lines, one at least."""
_PROOF_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Largest difference of a sequence's log-probability that the proof allows; coarser numbers get 0.05 nats a token."""


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of sequences."""

    total: np.ndarray
    """float64 [sequences]: sum over t >= 1 of log p(token t | tokens before it), in nats; 0 for a single token."""
    count: np.ndarray
    """int64 [sequences]: number of predicted tokens, the length less one."""
    method: Literal["tree", "buckets"]
    """How the network was run."""


class LogProbs:
    """Scores token sequences with a causal language model, exactly as one plain forward pass a sequence would.

    Args:
        module: a causal language model of transformers, in evaluation mode; hooks set on it by others take effect.
        method: "tree" shares prefixes, "buckets" batches sequences of equal length, "auto" takes the tree where it
            reproduces the buckets' scores on some of the given sequences.
        batch_tokens: most tokens in one forward pass; by default as many as keep the logits within 32 MiB.
    """

    def __init__(self, module: PreTrainedModel, *, method: Method = "auto", batch_tokens: int | None = None) -> None:
        self.module = module
        self.method: Method = method
        self.batch_tokens = fitted(batch_tokens or self._default_batch_tokens())

    def score(self, sequences: Sequence[Sequence[int]], progress: Progress | None = None) -> Scored:
        """Sum the log-probabilities of the tokens of each sequence, given the tokens before them.

        The first token of a sequence is context only. Scores are computed from float32 logits and summed in float64;
        they do not depend on the order of the sequences, on their neighbours, or on `batch_tokens` beyond float noise.

        Args:
            sequences: token ids, each sequence of length 1 or more.
            progress: called with (tokens done, tokens in all, "sequences").

        Raises:
            ScoreError: a sequence is empty.
            NonFiniteScore: a log-probability is not finite; says which sequence.
        """
        if len(sequences) == 0:
            return Scored(np.zeros(0), np.zeros(0, np.int64), "buckets" if self.method == "buckets" else "tree")
        forest = forest_of(sequences)
        totals = np.zeros(len(forest.lengths))
        with torch.inference_mode():
            batches, done, whole = self.batches(forest), 0, self.tokens(forest)
            for batch in batches:
                totals[batch.rows] = batch.read(batch.forward())
                done = min(whole, done + batch.done)
                if progress:
                    progress(done, whole, "sequences")
        return self.scored(forest, totals)

    def batches(self, forest: Forest) -> Iterator[Batch]:
        """The forward passes that a forest takes; each reads the totals of some of its rows, float64 [rows].

        To be called, and gone through, under `torch.inference_mode`: the first call may compare the methods.
        """
        return self._trees(forest) if self._settle(forest) == "tree" else self._buckets(forest)

    def tokens(self, forest: Forest) -> int:
        """Tokens of all its batches, less those that packs of a tree repeat."""
        return forest.nodes if self._settle(forest) == "tree" else int(forest.lengths[forest.lengths > 1].sum())

    def scored(self, forest: Forest, totals: np.ndarray) -> Scored:
        """The scores of the sequences of a forest from the totals of its rows, float64 [distinct].

        Raises:
            NonFiniteScore: a log-probability is not finite; says which sequence.
        """
        bad = np.flatnonzero(~np.isfinite(totals))
        if len(bad):
            index = int(np.flatnonzero(forest.where == bad[0])[0])
            raise NonFiniteScore(
                f"the log-probability of {len(forest.where)} token sequences",
                f"sequence {index} has log-probability {totals[bad[0]]} (and {len(bad) - 1} more are not finite)",
                "check the model's weights and dtype: float16 overflows where float32 or bfloat16 do not",
                index,
            )
        return Scored(totals[forest.where], (forest.lengths - 1)[forest.where], self._settle(forest))

    def _default_batch_tokens(self) -> int:
        vocabulary = int(self.module.config.get_text_config(decoder=True).vocab_size)
        return max(256, min(16_384, _LOGIT_BYTES // (4 * vocabulary)))

    def _settle(self, forest: Forest) -> Literal["tree", "buckets"]:
        """The method to use on these sequences; "auto" becomes "tree" only if the tree passes its proof."""
        if self.method == "auto":
            self.method = "tree" if self._proven(forest) else "buckets"
        return self.method

    def _proven(self, forest: Forest) -> bool:
        """Whether trees give the buckets' scores on sequences spread over the forest, neighbours in twos."""
        count = len(forest.lengths)
        pairs = np.unique(np.linspace(0, max(0, count - 2), _PROOF // 2).astype(int))
        rows = np.unique(np.concatenate([pairs, np.minimum(pairs + 1, count - 1)]))
        sample = build_forest([forest.tokens[row, : forest.lengths[row]].tolist() for row in rows])
        results = []
        for run in (self._buckets, self._trees):
            totals = np.zeros(len(sample.lengths))
            try:
                for batch in run(sample):
                    totals[batch.rows] = batch.read(batch.forward())
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
                # A model that refuses the mask or the position ids runs in buckets; a fault of the plain pass is real.
                if run == self._buckets:
                    raise
                return False
            results.append(totals)
        dtype = next(self.module.parameters()).dtype
        allowed = _PROOF_TOLERANCE.get(dtype, 0.05 * sample.lengths)
        return bool(np.all(np.abs(results[0] - results[1]) <= allowed))

    # -- the two ways to run the network --------------------------------------------------------------------------

    def _buckets(self, forest: Forest) -> Iterator[Batch]:
        """Sequences of one length at a time: no padding, hence no mask, hence nothing that could depend on either."""
        # A single token predicts nothing: its total stays 0.
        for length in np.unique(forest.lengths[forest.lengths > 1]):
            members = np.flatnonzero(forest.lengths == length)
            step = max(1, self.batch_tokens // int(length))
            for start in range(0, len(members), step):
                rows = members[start : start + step]
                yield self._bucket(rows, torch.from_numpy(forest.tokens[rows, :length].astype(np.int64)))

    def _bucket(self, rows: np.ndarray, ids: torch.Tensor) -> Batch:
        device = _input_device(self.module)
        keep = torch.ones(ids.shape, dtype=torch.bool)
        keep[:, -1] = False
        targets = ids[:, 1:].reshape(-1, 1)

        def forward(lines: int | None = None) -> torch.Tensor:
            return self._logits(keep[:lines], input_ids=ids[:lines].to(device))

        def read(logits: torch.Tensor) -> np.ndarray:
            values = _log_probabilities(logits, torch.arange(len(targets)), targets[:, 0])
            return values.view(len(rows), -1).double().sum(1).numpy()

        lines = max(1, _FEW // ids.shape[1])
        return Batch(forward, lambda: forward(lines), read, rows, ids.numel())

    def _trees(self, forest: Forest) -> Iterator[Batch]:
        """Packs of shared prefixes, several to a batch."""
        batch: list[Pack] = []
        widest = 0
        for pack in cut_packs(forest, _PACK):
            nodes = len(pack.tokens)
            if batch and (len(batch) + 1) * max(widest, nodes) > self.batch_tokens:
                yield self._packs(batch)
                batch, widest = [], 0
            batch.append(pack)
            widest = max(widest, nodes)
        yield self._packs(batch)

    def _packs(self, packs: list[Pack]) -> Batch:
        device, dtype = _input_device(self.module), next(self.module.parameters()).dtype
        width = max(len(pack.tokens) for pack in packs)
        ids = np.zeros((len(packs), width), np.int64)
        depth = np.zeros((len(packs), width), np.int64)
        # A slot beyond a pack's nodes sees itself alone, so that its softmax is defined; nobody sees it.
        end = np.tile(np.arange(1, width + 1), (len(packs), 1))
        keep = np.zeros((len(packs), width), bool)
        for line, pack in enumerate(packs):
            nodes = len(pack.tokens)
            ids[line, :nodes] = pack.tokens
            depth[line, :nodes] = pack.depth
            end[line, :nodes] = pack.end
            keep[line, pack.parent[pack.depth > 0]] = True
        slots = torch.arange(width)
        ends = torch.from_numpy(end)
        sees = (slots[None, None, :] <= slots[None, :, None]) & (slots[None, :, None] < ends[:, None, :])
        mask = torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)
        kept = torch.from_numpy(keep)
        inputs = {
            "input_ids": torch.from_numpy(ids).to(device),
            "position_ids": torch.from_numpy(depth).to(device),
            "attention_mask": mask[:, None].to(device),
        }

        # Line of the logits that belongs to each kept node, in the order in which the mask was flattened.
        line_of = np.cumsum(keep.ravel()).reshape(keep.shape) - 1
        sources = [line_of[line, pack.parent[pack.depth > 0]] for line, pack in enumerate(packs)]
        targets = [pack.tokens[pack.depth > 0] for pack in packs]

        def forward(lines: int | None = None) -> torch.Tensor:
            return self._logits(kept[:lines], **{name: value[:lines] for name, value in inputs.items()})

        def read(logits: torch.Tensor) -> np.ndarray:
            values = _log_probabilities(
                logits, torch.from_numpy(np.concatenate(sources)), torch.from_numpy(np.concatenate(targets))
            ).double()
            totals, start = [], 0
            for pack, source in zip(packs, sources, strict=True):
                node = np.zeros(len(pack.tokens))
                node[pack.depth > 0] = values[start : start + len(source)].numpy()
                start += len(source)
                totals.append(_path_sums(node, pack)[pack.last])
            return np.concatenate(totals)

        rows = np.concatenate([pack.first + np.arange(len(pack.last)) for pack in packs])
        lines = max(1, _FEW // width)
        return Batch(forward, lambda: forward(lines), read, rows, sum(len(pack.tokens) for pack in packs))

    def _logits(self, keep: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Logits [kept positions, vocabulary] of one forward pass, the output layer run at the kept positions only."""
        with _only_rows(self.module, keep) as selected:
            logits = self.module(**inputs, use_cache=False).logits
        return logits[0] if selected() else logits[keep.to(logits.device)]


def forest_of(sequences: Sequence[Sequence[int]]) -> Forest:
    """The forest of sequences that can be scored.

    Raises:
        ScoreError: a sequence is empty.
    """
    for index, sequence in enumerate(sequences):
        if len(sequence) == 0:
            raise ScoreError(
                f"the log-probability of {len(sequences)} token sequences",
                f"sequence {index} has no tokens",
                "leave out empty sentences, or prepend a token (protocol='lm-eval')",
            )
    return build_forest(sequences)


def _path_sums(values: np.ndarray, pack: Pack) -> np.ndarray:
    """Sum of `values` (float64 [nodes]) from the root to each node: one step a depth, since parents come first."""
    sums = values.copy()
    for depth in range(1, int(pack.depth.max()) + 1):
        here = np.flatnonzero(pack.depth == depth)
        sums[here] += sums[pack.parent[here]]
    return sums


def _log_probabilities(logits: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log softmax(logits[row])[target] for each (row, target), float32 on the CPU."""
    rows, targets = rows.to(logits.device), targets.to(logits.device)
    chosen = logits[rows, targets].float()
    return (chosen - torch.logsumexp(logits.float(), dim=-1)[rows]).cpu()


def _input_device(module: PreTrainedModel) -> torch.device:
    """Where token ids go: beside the input embeddings (models may be spread over devices)."""
    return torch.device(module.get_input_embeddings().weight.device)  # pyright: ignore[reportArgumentType]


@contextmanager
def _only_rows(module: PreTrainedModel, keep: torch.Tensor) -> Iterator[Callable[[], bool]]:
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

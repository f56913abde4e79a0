"""The one log-probability kernel: how probable a language model finds each of many short token sequences.

Four things make it fast without changing a score: a sequence that occurs twice runs once; a prefix that sequences
share runs once (packed trees under a four-dimensional attention mask); a sequence's last token, which nothing follows,
does not run at all; and padding does not reach the output layer. Models that cannot take such a mask (ALiBi, windows of
attention shorter than the sequences, recurrent layers, attention by other code than eager and sdpa) are run in batches
of equal length instead; models whose logits depend on a sequence's length are run to its end. Which of these hold is
decided by comparison with plain passes over some of the sequences, the longest and those of the largest trees among
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from negspace.errors import NonFiniteScore, ScoreError
from negspace.memory import fitted, is_out_of_memory
from negspace.models.kernels import takes_masks, unmasked
from negspace.models.lengths import attention_window, steady_length
from negspace.score.batch import FAULTS, Batch
from negspace.score.logits import Standing, check_known, input_device, log_probabilities, only_rows, standings
from negspace.score.prefixes import Forest, broadest, cut, forest_of, lay_out

Progress = Callable[[int, int, str], None]
Method = Literal["auto", "tree", "buckets"]

_PACK = 96
"""Nodes of a tree. Attention costs the square of it; shorter packs repeat more prefixes."""
_LOGIT_BYTES = 1 << 25
"""Memory for one batch of float32 logits, unless that is fewer tokens than `_WORTH`."""
_WORTH = 1024
"""Tokens of a batch beyond which a large network gains nothing: it reads its weights once for all of them."""
_MOST_LOGIT_BYTES = 1 << 27
"""Memory that float32 logits may take so that a batch is `_WORTH` tokens; 256 tokens are allowed in any case."""
_PROOF = 24
"""Sequences, spread over all, on which the tree is compared with plain batches before it is trusted."""
_LONGEST = 4
"""As many of the longest are compared as well: what a window or a position cannot reach shows in them."""
_FEW = 64
"""Tokens of a batch that stand for it where two ways to run the model are compared; whole lines, one at least."""
_PROOF_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Largest difference of a sequence's log-probability that the proof allows; coarser numbers get `_COARSE`."""
_COARSE = 0.05
"""Nats for each token that counts."""


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of sequences."""

    total: np.ndarray
    """float64 [sequences]: sum over t >= 1 of log p(token t | tokens before it), in nats; 0 for a single token."""
    count: np.ndarray
    """int64 [sequences]: number of tokens that count."""
    method: Literal["tree", "buckets"]
    """The way in which the network was run."""


@dataclass(frozen=True)
class Way:
    """The way in which the network runs the sequences of a forest."""

    method: Literal["tree", "buckets"]
    """Shared prefixes, or batches of equal length."""
    to_end: bool
    """True if each sequence is run to its last token, which is needed for its length only."""


class LogProbs:
    """Scores token sequences with a causal language model, exactly as one plain forward pass a sequence would.

    Args:
        module: a causal language model of transformers, in evaluation mode; hooks set on it by others take effect.
        method: "tree" shares prefixes, "buckets" batches sequences of equal length, "auto" takes the tree where it
            reproduces plain passes over some of the given sequences.
        batch_tokens: most tokens in one forward pass; by default as many as keep the logits within 32 MiB, or within
            128 MiB where that allows fewer than 1,024 tokens, and 256 at least.
        ways: key of a forest -> the way settled for it, kept by the caller for more than one scorer of this module.
        context: longest sequence that the model takes, None if unbounded. A sequence to score may be longer by its last
            token, which then does not run in any case.
    """

    def __init__(
        self,
        module: PreTrainedModel,
        *,
        method: Method = "auto",
        batch_tokens: int | None = None,
        ways: dict[bytes, Way] | None = None,
        context: int | None = None,
    ) -> None:
        self.module = module
        self.method: Method = method
        self.context = context
        self.batch_tokens = fitted(batch_tokens or self._default_batch_tokens())
        self._dtype = next(module.parameters()).dtype
        self._steady = steady_length(module.config)
        self.shareable = min(self._steady, attention_window(module.config))
        """Longest sequences that may share prefixes, as far as the configuration tells: a longer one keeps all of a
        forest from it."""
        self._ways: dict[bytes, Way] = {} if ways is None else ways

    def score(self, sequences: Sequence[Sequence[int]], progress: Progress | None = None) -> Scored:
        """Sum the log-probabilities of the tokens of each sequence, given the tokens before them.

        The first token of a sequence is context only. Scores are computed from float32 logits and summed in float64;
        they do not depend on the order of the sequences, on their neighbours, or on `batch_tokens` beyond float noise.

        Args:
            sequences: token ids, each sequence of length 1 or more.
            progress: called with (tokens done, tokens in all, "sequences").

        Raises:
            ScoreError: a sequence is empty, or has a token id that the model does not have.
            NonFiniteScore: a log-probability is not finite; says which sequence.
        """
        if len(sequences) == 0:
            return Scored(np.zeros(0), np.zeros(0, np.int64), "buckets" if self.method == "buckets" else "tree")
        return self.score_forest(forest_of(sequences), progress)

    def score_forest(self, forest: Forest, progress: Progress | None = None) -> Scored:
        """Like `score`, for sequences that are already sorted; those before a row's start do not count."""
        return self.scored(forest, self.values(forest, progress)[0])

    def values(
        self, forest: Forest, progress: Progress | None = None, *, standing: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the totals of a forest's rows, float64 [distinct], finite or not; and their standings.

        Args:
            forest: the sequences.
            progress: called with (tokens done, tokens in all, "sequences").
            standing: find for each row the `Standing` of its tokens that count, the worst of them, int8 [distinct]:
                above, if the model holds each of them more probable than any other. Otherwise all are below.
        """
        # Not inference mode, which some tensors of quantised weights do not know.
        with torch.no_grad():
            way, whole = self.way(forest), self.tokens(forest)
            batches = self._trees(forest) if way.method == "tree" else self._buckets(forest, way.to_end)
            report = progress and (lambda done: progress(min(done, whole), whole, "sequences"))
            totals, places = self._run(forest, batches, standing, report)
            return self.finite(forest, totals, places if standing else None), places

    def batches(self, forest: Forest) -> Iterator[Batch]:
        """The forward passes that a forest takes; each reads the totals of some of its rows, float64 [rows].

        To be called, and gone through, under `torch.no_grad`: the first call may compare the methods.
        """
        way = self.way(forest)
        return self._trees(forest) if way.method == "tree" else self._buckets(forest, way.to_end)

    def tokens(self, forest: Forest) -> int:
        """Tokens of all its batches, less those that packs of a tree repeat and those that predict nothing."""
        return forest.nodes if self.way(forest).method == "tree" else int((forest.lengths - 1).sum())

    def finite(self, forest: Forest, totals: np.ndarray, places: np.ndarray | None = None) -> np.ndarray:
        """The totals of a forest's rows, those that are not finite scored again apart from each other.

        What is not finite in one sequence reaches all that share its pack: zero times NaN is NaN. To be called under
        the hooks under which the totals came about.

        Args:
            forest: the sequences.
            totals: float64 [distinct].
            places: standings, int8 [distinct], found again for the same rows, in place.
        """
        bad = np.flatnonzero(~np.isfinite(totals))
        if len(bad) == 0 or self.way(forest).method == "buckets":
            return totals
        alone = forest.some(bad)
        with torch.no_grad():
            again, standing = self._run(alone, self._buckets(alone, to_end=False), places is not None)
        made = totals.copy()
        made[bad] = again[alone.where]
        if places is not None:
            places[bad] = standing[alone.where]
        return made

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
        counts = forest.lengths - forest.starts
        return Scored(totals[forest.where], counts[forest.where], self.way(forest).method)

    def _default_batch_tokens(self) -> int:
        vocabulary = int(self.module.config.get_text_config(decoder=True).vocab_size)
        usual, most = (size // (4 * vocabulary) for size in (_LOGIT_BYTES, _MOST_LOGIT_BYTES))
        return max(256, min(16_384, usual), min(_WORTH, most))

    def way(self, forest: Forest) -> Way:
        """Return the way to run the network on these sequences; "auto" is a tree only if that passes its check.

        Raises:
            ScoreError: a token id that the model does not have; or a tree was asked for, and the model's attention is
                not known to take its mask.
        """
        asked = f"the log-probability of {len(forest.where)} token sequences"
        check_known(self.module, int(forest.tokens.max()), asked)
        if self.method == "tree" and not takes_masks(self.module):
            raise ScoreError(
                "sequences that share prefixes (method='tree')",
                f"attention by {unmasked(self.module)}, which is not known to take the mask that this needs: a kernel "
                "may give other numbers with it, or end the process",
                "use method='auto', or load the model with attn_implementation='sdpa' or 'eager'",
            )
        if self.method != "auto":
            return Way(self.method, to_end=False)
        if forest.key not in self._ways:
            with torch.no_grad():
                self._ways[forest.key] = self._prove(forest)
        return self._ways[forest.key]

    def _prove(self, forest: Forest) -> Way:
        """Compare the ways with plain passes on sequences spread over the forest, in twos, and on the longest; trees
        also on those of the largest packs."""
        count = len(forest.lengths)
        spread = _spread(max(1, count - 1), _PROOF // 2)
        longest = np.argsort(forest.lengths, kind="stable")[-_LONGEST:]
        ones = np.concatenate([spread, np.maximum(longest - 1, 0), longest])
        rows = np.unique(np.concatenate([ones, np.minimum(spread + 1, count - 1)]))
        sample = forest.some(rows)
        plain = self._plain(sample)

        def same(batches: Iterator[Batch]) -> bool:
            return self._agree(sample, self._run(sample, batches)[0], plain)

        # Frequencies that follow the longest sequence of a batch would follow it for all of a tree. A kernel that may
        # end the process over a mask (flex_attention on the CPU) is not tried.
        if forest.lengths.max() <= self._steady and takes_masks(self.module):
            try:
                # A sample of all sequences was cut into the very packs that are to be trusted.
                if (
                    same(self._trees(sample))
                    and (self._dtype in _PROOF_TOLERANCE or self._apart(sample))
                    and (len(rows) == count or self._largest_agree(forest))
                ):
                    return Way("tree", to_end=False)
            except FAULTS as error:
                # A model that refuses the mask or the position ids runs in buckets; but too little memory for it would
                # choose the method, and with it the last bits, by chance.
                if is_out_of_memory(error):
                    raise
        return Way("buckets", to_end=not same(self._buckets(sample, to_end=False)))

    def _largest_agree(self, forest: Forest) -> bool:
        """Compare with plain passes the packs that are the first to fail where there is a limit to what packs can be.

        Packs of a sample are smaller than those of the forest. Too many nodes fail where a network has tables for so
        many positions only; too many between a node and its ancestor where a window of attention counts nodes, not
        positions (GPT-Neo's local layers). Both are largest in one of two packs.
        """
        packs = cut(forest, _PACK)
        tree = broadest(forest, packs)
        home = int(np.flatnonzero((packs.starts <= tree[0]) & (tree[0] < packs.stops))[0])
        widest = np.arange(packs.starts[0], packs.stops[0])
        rows = np.unique(np.concatenate([one[_spread(len(one), _PROOF)] for one in (widest, tree)]))
        sample = forest.some(rows)
        totals, _ = self._run(
            forest, (self._packs(forest, packs.starts[[k]], packs.stops[[k]]) for k in sorted({0, home}))
        )
        return self._agree(sample, totals[rows], self._plain(sample))

    def _plain(self, forest: Forest) -> np.ndarray:
        """Totals of the rows, float64 [distinct], run to their ends in batches of equal length: no mask, no padding."""
        return self._run(forest, self._buckets(forest, to_end=True))[0]

    def _agree(self, forest: Forest, totals: np.ndarray, plain: np.ndarray) -> bool:
        """Return True if totals of the rows are those of plain passes, as far as the weights' numbers allow."""
        coarse = _COARSE * np.maximum(1, forest.lengths - forest.starts)
        allowed = _PROOF_TOLERANCE.get(self._dtype, coarse)
        return bool(np.all(np.abs(totals - plain) <= allowed))

    def _apart(self, forest: Forest) -> bool:
        """Return True if other tokens beside the last sequence of each pack leave its total the same, bit for bit.

        What coarse numbers are allowed for rounding also hides what a layer that is no attention carries from one
        sequence into the next (LFM2's convolutions). Where a pass is not the same twice, this cannot be told.
        """
        last = cut(forest, _PACK).stops - 1

        def totals(others: bool) -> np.ndarray:
            return self._run(forest, self._trees(forest, others))[0]

        first = totals(others=False)
        same = np.array_equal(first[last], totals(others=True)[last])
        return same or not np.array_equal(first, totals(others=False))

    def _run(
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

    # -- the two ways to run the network --------------------------------------------------------------------------

    def _buckets(self, forest: Forest, to_end: bool) -> Iterator[Batch]:
        """Sequences of one length at a time: no padding, hence no mask, hence nothing that could depend on either."""
        # A single token predicts nothing: its total stays 0. The longest come first, so that memory that does not
        # suffice is found out at once.
        for length in np.unique(forest.lengths[forest.lengths > 1])[::-1]:
            members = np.flatnonzero(forest.lengths == length)
            whole = (to_end or length > self._steady) and (self.context is None or length <= self.context)
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

    def _trees(self, forest: Forest, others: bool = False) -> Iterator[Batch]:
        """Packs of shared prefixes, those of about one size side by side."""
        packs = cut(forest, _PACK)
        start = 0
        while start < len(packs.nodes) and packs.nodes[start]:
            stop = start + max(1, self.batch_tokens // int(packs.nodes[start]))
            yield self._packs(forest, packs.starts[start:stop], packs.stops[start:stop], others)
            start = stop

    def _packs(self, forest: Forest, starts: np.ndarray, stops: np.ndarray, others: bool = False) -> Batch:
        """Packs side by side; `others` puts other tokens in place of all that a pack's last row has not before it."""
        device, dtype = input_device(self.module), self._dtype
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


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of `count` places, int64 [places], spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, most).astype(int))


def tokens_of(forest: Forest) -> int:
    """Tokens that a model reads to score a forest's sequences, prefixes that several packs hold counted in each."""
    return int(cut(forest, _PACK).nodes.sum())

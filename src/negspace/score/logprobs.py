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
from typing import Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from negspace.errors import NonFiniteScore, ScoreError
from negspace.models.kernels import takes_masks, unmasked
from negspace.models.lengths import attention_window
from negspace.score.batch import Batch
from negspace.score.logits import check_known
from negspace.score.passes import Passes
from negspace.score.prefixes import Forest, forest_of
from negspace.score.ways import Way, prove

Progress = Callable[[int, int, str], None]
Method = Literal["auto", "tree", "buckets"]


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of sequences."""

    total: np.ndarray
    """float64 [sequences]: sum over t >= 1 of log p(token t | tokens before it), in nats; 0 for a single token."""
    count: np.ndarray
    """int64 [sequences]: number of tokens that count."""
    method: Literal["tree", "buckets"]
    """The way in which the network was run."""


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
        self.passes = Passes(module, batch_tokens, context)
        self.shareable = min(self.passes.steady, attention_window(module.config))
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
            batches, whole = self.batches(forest), self.tokens(forest)
            report = progress and (lambda done: progress(min(done, whole), whole, "sequences"))
            totals, places = self.passes.run(forest, batches, standing, report)
            return self.finite(forest, totals, places if standing else None), places

    def batches(self, forest: Forest) -> Iterator[Batch]:
        """The forward passes that a forest takes; each reads the totals of some of its rows, float64 [rows].

        To be called, and gone through, under `torch.no_grad`: the first call may compare the methods.
        """
        way = self.way(forest)
        return self.passes.trees(forest) if way.method == "tree" else self.passes.buckets(forest, way.to_end)

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
            again, standing = self.passes.run(alone, self.passes.buckets(alone, to_end=False), places is not None)
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
                self._ways[forest.key] = prove(self.passes, forest)
        return self._ways[forest.key]

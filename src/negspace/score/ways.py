"""Which way to run a network over token sequences: settled by comparison with plain passes over some of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from negspace.memory import is_out_of_memory
from negspace.models.kernels import takes_masks
from negspace.score.batch import FAULTS, Batch
from negspace.score.passes import PACK, Passes
from negspace.score.prefixes import Forest, broadest, cut

_PROOF = 24
"""Sequences, spread over all, on which the tree is compared with plain batches before it is trusted."""
_LONGEST = 4
"""As many of the longest are compared as well: what a window or a position cannot reach shows in them."""
_PROOF_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Largest difference of a sequence's log-probability that the proof allows; coarser numbers get `_COARSE`."""
_COARSE = 0.05
"""Nats for each token that counts."""


@dataclass(frozen=True)
class Way:
    """The way in which the network runs the sequences of a forest."""

    method: Literal["tree", "buckets"]
    """Shared prefixes, or batches of equal length."""
    to_end: bool
    """True if each sequence is run to its last token, which is needed for its length only."""


def prove(passes: Passes, forest: Forest) -> Way:
    """Compare the ways with plain passes on sequences spread over the forest, in twos, and on the longest; trees
    also on those of the largest packs."""
    count = len(forest.lengths)
    spread = _spread(max(1, count - 1), _PROOF // 2)
    longest = np.argsort(forest.lengths, kind="stable")[-_LONGEST:]
    ones = np.concatenate([spread, np.maximum(longest - 1, 0), longest])
    rows = np.unique(np.concatenate([ones, np.minimum(spread + 1, count - 1)]))
    sample = forest.some(rows)
    plain = _plain(passes, sample)

    def same(batches: Iterator[Batch]) -> bool:
        return _agree(passes, sample, passes.run(sample, batches)[0], plain)

    # Frequencies that follow the longest sequence of a batch would follow it for all of a tree. A kernel that may
    # end the process over a mask (flex_attention on the CPU) is not tried.
    if forest.lengths.max() <= passes.steady and takes_masks(passes.module):
        try:
            # A sample of all sequences was cut into the very packs that are to be trusted.
            if (
                same(passes.trees(sample))
                and (passes.dtype in _PROOF_TOLERANCE or _apart(passes, sample))
                and (len(rows) == count or _largest_agree(passes, forest))
            ):
                return Way("tree", to_end=False)
        except FAULTS as error:
            # A model that refuses the mask or the position ids runs in buckets; but too little memory for it would
            # choose the method, and with it the last bits, by chance.
            if is_out_of_memory(error):
                raise
    return Way("buckets", to_end=not same(passes.buckets(sample, to_end=False)))


def _largest_agree(passes: Passes, forest: Forest) -> bool:
    """Compare with plain passes the packs that are the first to fail where there is a limit to what packs can be.

    Packs of a sample are smaller than those of the forest. Too many nodes fail where a network has tables for so
    many positions only; too many between a node and its ancestor where a window of attention counts nodes, not
    positions (GPT-Neo's local layers). Both are largest in one of two packs.
    """
    packs = cut(forest, PACK)
    tree = broadest(forest, packs)
    home = int(np.flatnonzero((packs.starts <= tree[0]) & (tree[0] < packs.stops))[0])
    widest = np.arange(packs.starts[0], packs.stops[0])
    rows = np.unique(np.concatenate([one[_spread(len(one), _PROOF)] for one in (widest, tree)]))
    sample = forest.some(rows)
    totals, _ = passes.run(
        forest, (passes.packs(forest, packs.starts[[k]], packs.stops[[k]]) for k in sorted({0, home}))
    )
    return _agree(passes, sample, totals[rows], _plain(passes, sample))


def _plain(passes: Passes, forest: Forest) -> np.ndarray:
    """Totals of the rows, float64 [distinct], run to their ends in batches of equal length: no mask, no padding."""
    return passes.run(forest, passes.buckets(forest, to_end=True))[0]


def _agree(passes: Passes, forest: Forest, totals: np.ndarray, plain: np.ndarray) -> bool:
    """Return True if totals of the rows are those of plain passes, as far as the weights' numbers allow."""
    coarse = _COARSE * np.maximum(1, forest.lengths - forest.starts)
    allowed = _PROOF_TOLERANCE.get(passes.dtype, coarse)
    return bool(np.all(np.abs(totals - plain) <= allowed))


def _apart(passes: Passes, forest: Forest) -> bool:
    """Return True if other tokens beside the last sequence of each pack leave its total the same, bit for bit.

    What coarse numbers are allowed for rounding also hides what a layer that is no attention carries from one
    sequence into the next (LFM2's convolutions). Where a pass is not the same twice, this cannot be told.
    """
    last = cut(forest, PACK).stops - 1

    def totals(others: bool) -> np.ndarray:
        return passes.run(forest, passes.trees(forest, others))[0]

    first = totals(others=False)
    same = np.array_equal(first[last], totals(others=True)[last])
    return same or not np.array_equal(first, totals(others=False))


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of `count` places, int64 [places], spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, most).astype(int))

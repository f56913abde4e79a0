"""Prefixes shared by many sequences, laid out so that a network runs each of them once.

Sorted sequences form a forest: two sentences that begin alike share their first nodes. The forest is cut into packs of
a bounded number of nodes; inside a pack, node `a` is an ancestor of node `b` exactly if `a <= b < end[a]` (preorder),
and that is all an attention mask needs to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_PAD = -1


@dataclass(frozen=True)
class Forest:
    """The distinct sequences in sorted order and the nodes that they share."""

    tokens: np.ndarray
    """int32 [distinct, longest]; rows sorted, -1 beyond a row's end."""
    lengths: np.ndarray
    """int64 [distinct]."""
    shared: np.ndarray
    """int64 [distinct]: leading tokens that a row has in common with the row before it."""
    where: np.ndarray
    """int64 [sequences]: the row that holds each of the given sequences."""

    @property
    def nodes(self) -> int:
        """Distinct prefixes: the tokens that a network must see when nothing is run twice."""
        return int((self.lengths - self.shared).sum())


@dataclass(frozen=True)
class Pack:
    """A few consecutive rows of a forest, their shared prefixes stored once, in preorder."""

    first: int
    """First row of the forest in this pack; `paths` has a line for each row from there on."""
    tokens: np.ndarray
    """int64 [nodes]."""
    depth: np.ndarray
    """int64 [nodes]: position of the node in its sequences."""
    parent: np.ndarray
    """int64 [nodes]: the node before it; -1 at depth 0."""
    end: np.ndarray
    """int64 [nodes]: one past the last node that has this node among its ancestors."""
    last: np.ndarray
    """int64 [rows]: the node at which each row ends."""


def build_forest(sequences: Sequence[Sequence[int]]) -> Forest:
    """Sort the distinct sequences and find what each shares with its predecessor.

    Args:
        sequences: token ids, each sequence of length 1 or more.
    """
    lengths = np.fromiter((len(sequence) for sequence in sequences), np.int64, len(sequences))
    table = np.full((len(sequences), int(lengths.max())), _PAD, np.int32)
    flat = np.fromiter((token for sequence in sequences for token in sequence), np.int32, int(lengths.sum()))
    table[np.arange(table.shape[1]) < lengths[:, None]] = flat

    # Big-endian bytes of non-negative numbers sort as the numbers do; the pad (shifted to 0) sorts a prefix first.
    keys = np.ascontiguousarray((table + 1).astype(">u4")).view(f"V{4 * table.shape[1]}").ravel()
    _, first, where = np.unique(keys, return_index=True, return_inverse=True)
    rows, lengths = table[first], lengths[first]

    shared = np.zeros(len(rows), np.int64)
    if len(rows) > 1:
        same = (rows[1:] == rows[:-1]) & (rows[1:] != _PAD)
        shared[1:] = np.where(same.all(axis=1), same.shape[1], np.argmin(same, axis=1))
    return Forest(rows, lengths, shared, where.astype(np.int64).ravel())


def cut_packs(forest: Forest, size: int) -> Iterator[Pack]:
    """Cut a forest into packs of at most `size` nodes (more only where a single row is longer).

    A row that opens a pack brings its whole prefix along, so that no pack depends on another.
    """
    fresh = (forest.lengths - forest.shared).tolist()
    lengths = forest.lengths.tolist()
    start, count = 0, 0
    for row, (new, whole) in enumerate(zip(fresh, lengths, strict=True)):
        if row > start and count + new > size:
            yield _pack(forest, start, row)
            start, count = row, 0
        count += whole if row == start else new
    yield _pack(forest, start, len(lengths))


def _pack(forest: Forest, start: int, stop: int) -> Pack:
    lengths = forest.lengths[start:stop]
    width = int(lengths.max())
    rows = forest.tokens[start:stop, :width]
    shared = forest.shared[start:stop].copy()
    shared[0] = 0
    columns = np.arange(width)
    fresh = (columns >= shared[:, None]) & (columns < lengths[:, None])

    # Number the fresh cells in reading order (preorder); a shared cell takes the number of the cell above it.
    numbers = np.where(fresh, np.cumsum(fresh).reshape(fresh.shape) - 1, 0)
    source = np.maximum.accumulate(np.where(fresh, np.arange(len(rows))[:, None], 0), axis=0)
    paths = np.take_along_axis(numbers, source, axis=0)

    row_of, depth = np.nonzero(fresh)
    last = paths[np.arange(len(rows)), lengths - 1]
    parent = np.where(depth > 0, paths[row_of, np.maximum(depth - 1, 0)], -1)
    end = np.arange(1, len(depth) + 1)
    inside = columns < lengths[:, None]
    np.maximum.at(end, paths[inside], np.broadcast_to(last[:, None] + 1, paths.shape)[inside])
    return Pack(start, rows[fresh].astype(np.int64), depth, parent, end, last)

"""Prefixes shared by many sequences, laid out so that a network runs each of them once.

Sorted sequences form a forest: two sentences that begin alike share their first nodes. What a network must see of it
are the prefixes that some sequence continues; the last token of a sequence is predicted and never read. The forest is
cut into packs of a bounded number of such nodes; inside a pack, node `a` is an ancestor of node `b` exactly if
`a <= b < end[a]` (preorder), and that is all an attention mask needs to know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from negspace.errors import ScoreError

_PAD = -1
_LONG = 4
"""A shared prefix of at least a pack's size divided by this is not repeated: the pack grows, to this many sizes, or to
one more than its first row."""


@dataclass(frozen=True, eq=False)
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
    starts: np.ndarray
    """int64 [distinct]: first token of a row whose probability counts, 1 or later; what is before it is context."""

    @cached_property
    def read(self) -> np.ndarray:
        """int64 [distinct]: leading tokens of a row that a network must see: all but the last, and that one too where
        the next row goes on after it."""
        goes_on = np.append(self.shared[1:] >= self.lengths[:-1], False)
        return self.lengths - 1 + goes_on

    @cached_property
    def fresh(self) -> np.ndarray:
        """int64 [distinct]: those of them that no row before it has."""
        return self.read - self.shared

    @cached_property
    def key(self) -> bytes:
        """Digest of the rows: equal for forests of equal sequences."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.tokens, self.lengths, self.starts):
            digest.update(repr(part.shape).encode("ascii") + np.ascontiguousarray(part).tobytes())
        return digest.digest()

    def some(self, rows: np.ndarray) -> Forest:
        """The forest of some of the rows, int64 [chosen]; its `where` is about these."""
        chosen = [self.tokens[row, : self.lengths[row]].tolist() for row in rows]
        return build_forest(chosen, self.starts[rows].tolist())

    @property
    def nodes(self) -> int:
        """Distinct prefixes that are continued: the tokens that a network must see when nothing is run twice."""
        return int(self.fresh.sum())


@dataclass(frozen=True)
class Cut:
    """A forest in packs of consecutive rows, in the order of their size, largest first."""

    starts: np.ndarray
    """int64 [packs]: first row of each."""
    stops: np.ndarray
    """int64 [packs]: one past its last row."""
    nodes: np.ndarray
    """int64 [packs]: nodes of each, a prefix that another pack has as well included; one more than there are where a
    pack's last row goes on in the next."""


@dataclass(frozen=True)
class Layout:
    """Some packs side by side, one a line, their nodes in preorder."""

    rows: np.ndarray
    """int64 [rows]: rows of the forest, pack after pack."""
    tokens: np.ndarray
    """int64 [packs, widest]; 0 beyond a pack's nodes."""
    depth: np.ndarray
    """int64 [packs, widest]: position of each node in its sequences."""
    end: np.ndarray
    """int64 [packs, widest]: one past the last node of the line that has this one among its ancestors, or is it."""
    used: np.ndarray
    """bool [packs, widest]: which slots hold nodes."""
    scored: np.ndarray
    """bool [packs, widest]: which of them predict a token that counts."""
    source: np.ndarray
    """int64 [edges]: the node, counted over the scored slots, that predicts a token."""
    target: np.ndarray
    """int64 [edges]: that token."""
    path: np.ndarray
    """int64 [longest - 1, rows]: the edges to the tokens of each row that count; len(target) elsewhere."""


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


def build_forest(sequences: Sequence[Sequence[int]], starts: Sequence[int] | None = None) -> Forest:
    """Sort the distinct sequences and find what each shares with its predecessor.

    Args:
        sequences: token ids, each sequence of length 1 or more.
        starts: the first token of each whose probability counts, 1 or later; 1 by default. Equal sequences have equal
            starts.
    """
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    table = np.full((len(sequences), int(lengths.max())), _PAD, np.int32)
    flat = np.fromiter(chain.from_iterable(sequences), np.int32, int(lengths.sum()))
    table[np.arange(table.shape[1]) < lengths[:, None]] = flat

    # Big-endian bytes of non-negative numbers sort as the numbers do; the pad (shifted to 0) sorts a prefix first.
    keys = np.ascontiguousarray((table + 1).astype(">u4")).view(f"V{4 * table.shape[1]}").ravel()
    _, first, where = np.unique(keys, return_index=True, return_inverse=True)
    rows, lengths = table[first], lengths[first]

    shared = np.zeros(len(rows), np.int64)
    if len(rows) > 1:
        # Distinct rows differ somewhere; where one begins the other, at its padding.
        shared[1:] = np.argmin((rows[1:] == rows[:-1]) & (rows[1:] != _PAD), axis=1)
    begin = np.ones(len(rows), np.int64) if starts is None else np.asarray(starts, np.int64)[first]
    return Forest(rows, lengths, shared, where.astype(np.int64).ravel(), begin)


def cut(forest: Forest, size: int) -> Cut:
    """Cut a forest into packs of at most `size` nodes; more where a row is longer or rows share a long prefix.

    A row that opens a pack brings its whole prefix along, so that no pack depends on another.
    """
    before = np.concatenate([[0], np.cumsum(forest.fresh)])
    starts, stops, nodes = [], [], []
    start, rows = 0, len(forest.lengths)
    while start < rows:
        repeated = int(forest.read[start] - forest.fresh[start])
        # A row that is longer than a pack has one to itself, and takes along all that adds nothing to it.
        room = max(size, int(forest.read[start])) - repeated + int(before[start])
        stop = int(np.searchsorted(before, room, side="right")) - 1
        most = max(_LONG * size, int(forest.read[start]) + size) - repeated + int(before[start])
        while stop < rows and forest.shared[stop] * _LONG >= size and before[stop + 1] <= most:
            stop += 1
        starts.append(start)
        stops.append(stop)
        nodes.append(int(before[stop] - before[start]) + repeated)
        start = stop
    order = np.argsort(-np.array(nodes), kind="stable")
    return Cut(np.array(starts)[order], np.array(stops)[order], np.array(nodes)[order])


def broadest(forest: Forest, packs: Cut) -> np.ndarray:
    """Return the rows that add nodes to the largest tree of a pack, int64 [rows], one at least.

    A tree is what grows from one first token. The last of its nodes is the farthest from an ancestor that there is in
    any pack. A sequence and others that begin it are no tree: as in plain passes, nothing lies between their nodes.
    """
    begins = np.union1d(packs.starts, np.flatnonzero(forest.shared == 0))
    read = forest.read.copy()
    read[packs.stops - 1] = forest.lengths[packs.stops - 1] - 1
    fresh = read - forest.shared
    fresh[packs.starts] = read[packs.starts]
    nodes = np.add.reduceat(fresh, begins)
    largest = int(np.argmax(np.where(nodes > np.maximum.reduceat(read, begins), nodes, 0)))
    rows = np.arange(begins[largest], np.append(begins, len(read))[largest + 1])
    adding = rows[fresh[rows] > 0]
    return adding if len(adding) else rows[:1]


def lay_out(forest: Forest, starts: np.ndarray, stops: np.ndarray) -> Layout:
    """Lay packs out side by side.

    Args:
        starts, stops: int64 [packs], rows of the forest that each pack holds.
    """
    sizes = stops - starts
    first = np.cumsum(sizes) - sizes
    line = np.repeat(np.arange(len(starts)), sizes)
    rows = np.arange(len(line)) - first[line] + starts[line]
    lengths, shared = forest.lengths[rows], forest.shared[rows]
    shared[first] = 0
    longest = int(lengths.max())
    tokens, column = forest.tokens[rows, :longest], np.arange(longest)

    inside = column < lengths[:, None]
    fresh = inside & (column >= shared[:, None])
    read = fresh & ((column < lengths[:, None] - 1) | np.append(shared[1:] >= lengths[:-1], False)[:, None])
    # A cell that is not fresh stands for the one above it that is.
    origin = np.maximum.accumulate(np.where(fresh, np.arange(len(rows))[:, None], 0), axis=0)

    # Nodes are numbered in reading order, which is preorder; those of a line go on from the line before.
    node = np.take_along_axis(np.where(read, np.cumsum(read).reshape(read.shape) - 1, 0), origin, axis=0)
    row, depth = np.nonzero(read)
    count = np.bincount(line[row], minlength=len(starts))
    begin = np.cumsum(count) - count
    end = np.zeros(len(row), np.int64)
    continued = column[:-1] < lengths[:, None] - 1
    # All that follows an ancestor up to the last row that passes through it lies below it; where an index comes again,
    # the later row's value stands.
    so_far = np.cumsum(read.sum(axis=1))[:, None]
    end[node[:, :-1][continued]] = np.broadcast_to(so_far, continued.shape)[continued]

    edge = fresh[:, 1:]
    number = np.where(edge, np.cumsum(edge).reshape(edge.shape) - 1, 0)
    counts = inside[:, 1:] & (column[1:] >= forest.starts[rows][:, None])
    path = np.take_along_axis(number, origin[:, 1:], axis=0)

    # Context predicts tokens as well, but nobody asks for their probabilities.
    wanted = np.zeros(int(edge.sum()), bool)
    wanted[path[counts]] = True
    path = np.where(counts, (np.cumsum(wanted) - 1)[path] if len(wanted) else 0, wanted.sum())
    source = node[:, :-1][edge][wanted]
    predicts = np.zeros(len(row), bool)
    predicts[source] = True

    used = np.arange(max(1, int(count.max(initial=0)))) < count[:, None]

    def spread(values: np.ndarray, empty: np.ndarray | int = 0) -> np.ndarray:
        made = np.zeros(used.shape, np.int64) + empty
        made[used] = values
        return made

    scored = np.zeros_like(used)
    scored[used] = predicts
    return Layout(
        rows=rows,
        tokens=spread(tokens[read]),
        depth=spread(depth),
        # A slot beyond a pack's nodes sees itself alone, so that its softmax is defined; nobody sees it.
        end=spread(end - begin[line[row]], np.arange(1, used.shape[1] + 1)),
        used=used,
        scored=scored,
        source=(np.cumsum(predicts) - 1)[source],
        target=tokens[:, 1:][edge][wanted].astype(np.int64),
        path=np.ascontiguousarray(path.T),
    )

"""The forest of shared prefixes says the same as the sequences that it was built from."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from negspace.score.prefixes import Layout, broadest, build_forest, cut, lay_out

_SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=60)


def _continued(sequences: list[list[int]]) -> set[tuple[int, ...]]:
    """The proper prefixes: what must be read to predict what comes after it."""
    return {tuple(s[:end]) for s in sequences for end in range(1, len(s))}


@given(_SEQUENCES)
@settings(max_examples=150, deadline=None)
def test_rows_are_the_distinct_sequences_in_order(sequences: list[list[int]]) -> None:
    forest = build_forest(sequences)
    rows = [row[:length].tolist() for row, length in zip(forest.tokens, forest.lengths, strict=True)]
    assert rows == sorted(map(list, {tuple(s) for s in sequences}))
    assert [rows[i] for i in forest.where] == sequences


@given(_SEQUENCES)
@settings(max_examples=150, deadline=None)
def test_nodes_are_the_distinct_prefixes_that_are_continued(sequences: list[list[int]]) -> None:
    assert build_forest(sequences).nodes == len(_continued(sequences))


@given(_SEQUENCES, st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_packs_take_every_row_once_largest_first(sequences: list[list[int]], size: int) -> None:
    forest = build_forest(sequences)
    packs = cut(forest, size)
    rows = [row for start, stop in zip(packs.starts, packs.stops, strict=True) for row in range(start, stop)]
    assert sorted(rows) == list(range(len(forest.lengths)))
    assert list(packs.nodes) == sorted(packs.nodes, reverse=True)
    assert packs.nodes.sum() >= forest.nodes
    in_order = sorted(zip(packs.starts.tolist(), packs.stops.tolist(), packs.nodes.tolist(), strict=True))
    for start, stop, nodes in in_order:
        room = max(size, int(forest.read[start]))
        most = max(4 * size, int(forest.read[start]) + size)
        assert nodes <= most
        if stop < len(forest.lengths):
            more = nodes + forest.fresh[stop]
            assert more > room, "the next row would not have fitted"
            assert forest.shared[stop] < size / 4 or more > most, "what it repeats is short, or the pack is full"


def test_a_long_prefix_is_not_repeated() -> None:
    """Four endings of 30 tokens after a context of 60: one pack instead of four of 90."""
    endings = [[*range(1, 61), *range(100 * n, 100 * n + 30)] for n in range(1, 5)]
    assert cut(build_forest(endings), 96).nodes.tolist() == [60 + 4 * 29]
    few_shot = [[*range(1, 601), *range(1000 * n, 1000 * n + 8)] for n in range(1, 5)]
    assert cut(build_forest(few_shot), 96).nodes.tolist() == [600 + 4 * 7]
    many = [[*range(1, 601), *range(1000 * n, 1000 * n + 60)] for n in range(1, 5)]
    assert cut(build_forest(many), 96).nodes.tolist() == [600 + 2 * 59, 600 + 2 * 59], "at most a pack beyond a row"
    short = [[1, 2, 3, *range(100 * n, 100 * n + 40)] for n in range(1, 5)]
    assert cut(build_forest(short), 96).nodes.tolist() == [3 + 2 * 39, 3 + 2 * 39]


def test_rows_that_share_more_than_a_pack_are_one_pack() -> None:
    forest = build_forest([[*range(1, 151), last] for last in range(10)])
    packs = cut(forest, 96)
    assert packs.nodes.tolist() == [150]
    assert lay_out(forest, packs.starts, packs.stops).used.sum() == 150


@given(_SEQUENCES, st.integers(1, 30), st.data())
@settings(max_examples=200, deadline=None)
def test_a_layout_holds_every_prefix_once_with_true_ancestors_and_paths(
    sequences: list[list[int]], size: int, data: st.DataObject
) -> None:
    first = {tuple(s): data.draw(st.integers(1, len(s))) for s in sequences}
    forest = build_forest(sequences, [first[tuple(s)] for s in sequences])
    packs = cut(forest, size)
    made = lay_out(forest, packs.starts, packs.stops)
    # The last row of a pack may end where another pack's goes on; there the cut counts one node too many.
    assert np.all(made.used.sum(1) <= packs.nodes)
    lines, slot = np.nonzero(made.scored)
    assert not np.any(made.scored & ~made.used)
    assert set(made.source.tolist()) == set(range(len(slot))), "each scored slot predicts something"
    for line, (start, stop) in enumerate(zip(packs.starts, packs.stops, strict=True)):
        own = [forest.tokens[row, : forest.lengths[row]].tolist() for row in range(start, stop)]
        prefixes = [_prefix(made, line, node) for node in range(int(made.used[line].sum()))]
        assert sorted(prefixes) == sorted(_continued(own)), "each that is needed, and once"
        for column in range(made.used.shape[1]):
            if not made.used[line, column]:
                assert made.end[line, column] == column + 1
    for place, row in enumerate(made.rows):
        path = [edge for edge in made.path[:, place] if edge < len(made.target)]
        whole = forest.tokens[row, : forest.lengths[row]].tolist()
        start = first[tuple(whole)]
        assert len(path) == len(whole) - start
        assert not np.any(made.path[: start - 1, place] < len(made.target)), "context has no probability"
        for step, edge in enumerate(path, start - 1):
            source = made.source[edge]
            assert _prefix(made, lines[source], slot[source]) == tuple(whole[: step + 1])
            assert made.target[edge] == whole[step + 1]


@given(_SEQUENCES, st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_the_broadest_tree_holds_the_node_farthest_from_an_ancestor(sequences: list[list[int]], size: int) -> None:
    """Wherever an ancestor in reach of a window over positions is out of its reach over nodes, one is there too."""
    forest = build_forest(sequences)
    packs = cut(forest, size)
    made = lay_out(forest, packs.starts, packs.stops)
    slots = np.arange(made.used.shape[1])
    below = (slots[:, None] < slots) & (slots < made.end[:, :, None]) & made.used[:, None, :]  # [packs, ancestor, node]
    steps, nodes = made.depth[:, None, :] - made.depth[:, :, None], slots - slots[:, None]
    chosen = broadest(forest, packs)
    (home,) = np.flatnonzero((packs.starts <= chosen[0]) & (chosen[-1] < packs.stops))
    for window in range(1, made.used.shape[1] + 1):
        lost = below & (steps < window) & (nodes >= window)
        assert not lost.any() or lost[home].any(), window


def _prefix(made: Layout, line: int, node: int) -> tuple[int, ...]:
    """The tokens that a node of a line sees, by the rule that the attention mask follows."""
    seen = [a for a in range(node + 1) if node < made.end[line, a] and made.used[line, a]]
    assert made.depth[line, seen].tolist() == list(range(len(seen)))
    return tuple(made.tokens[line, seen].tolist())

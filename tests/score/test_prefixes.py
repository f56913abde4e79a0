"""The forest of shared prefixes says the same as the sequences that it was built from."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from negspace.score.prefixes import build_forest, cut_packs

_SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=60)


@given(_SEQUENCES)
@settings(max_examples=150, deadline=None)
def test_rows_are_the_distinct_sequences_in_order(sequences: list[list[int]]) -> None:
    forest = build_forest(sequences)
    rows = [row[:length].tolist() for row, length in zip(forest.tokens, forest.lengths, strict=True)]
    assert rows == sorted(map(list, {tuple(s) for s in sequences}))
    assert [rows[i] for i in forest.where] == sequences


@given(_SEQUENCES)
@settings(max_examples=150, deadline=None)
def test_nodes_are_the_distinct_prefixes(sequences: list[list[int]]) -> None:
    prefixes = {tuple(s[:end]) for s in sequences for end in range(1, len(s) + 1)}
    assert build_forest(sequences).nodes == len(prefixes)


@given(_SEQUENCES, st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_packs_hold_every_row_once_with_true_paths_and_true_ancestors(sequences: list[list[int]], size: int) -> None:
    forest = build_forest(sequences)
    seen: list[list[int]] = []
    for pack in cut_packs(forest, size):
        assert pack.first == len(seen)
        assert len(pack.tokens) <= max(size, int(forest.lengths.max()))
        ancestors = [_ancestors(pack.parent, node) for node in range(len(pack.tokens))]
        for node, above in enumerate(ancestors):
            by_interval = {a for a in range(len(pack.tokens)) if a <= node < pack.end[a]}
            assert by_interval == {*above, node}
            assert pack.depth[node] == len(above)
        prefixes = {tuple(pack.tokens[[*reversed(above), node]]) for node, above in enumerate(ancestors)}
        assert len(prefixes) == len(pack.tokens), "a prefix is stored twice in one pack"
        seen.extend(pack.tokens[[*reversed(ancestors[node]), node]].tolist() for node in pack.last)
    assert seen == [row[:length].tolist() for row, length in zip(forest.tokens, forest.lengths, strict=True)]


def _ancestors(parent: np.ndarray, node: int) -> list[int]:
    above = []
    while (node := int(parent[node])) >= 0:
        above.append(node)
    return above

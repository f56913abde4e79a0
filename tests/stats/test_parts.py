"""A scan's pass made in parts is the pass made at once, to the bit: through the tables, in any order."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import zoo
from negspace.errors import StatisticsError
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.stats.collect import middle_of
from negspace.stats.measure import measure
from negspace.stats.pair_rows import PairSample
from negspace.stats.parts import (
    Part,
    bounds,
    digest_of,
    gather_part,
    grids_from_table,
    grids_to_table,
    merge_parts,
    part_from_table,
    part_to_table,
    pilot,
)
from negspace.stats.sketch import Grid
from negspace.text.windows import Windows

WINDOW = 256  # eight windows of pilot, sixteen in every later forward pass


def windows_of(count: int) -> Windows:
    tokens = zoo.ids(count, WINDOW, 0).numpy()
    tokens[:, 0] = 1
    special = np.zeros(tokens.shape, bool)
    special[:, 0] = True
    return Windows(tokens, special, WINDOW, WINDOW, "always", "random", "none", count)


def model_of(name: str) -> Model:
    return wrap(zoo.build(name), zoo.tokenizer(), name)


def through_tables(model: Model, windows: Windows, count: int, pairs: int) -> list[Part]:
    """Parts as a driver gets them: each made on its own, with nothing but tables handed on."""
    grids = grids_from_table(grids_to_table(pilot(model, windows)))
    sample = PairSample.draw(windows, pairs, 0) if pairs else None
    made = []
    for part in bounds(len(windows), WINDOW, count):
        table = part_to_table(gather_part(model, windows, part, grids, pairs=sample))
        made.append(part_from_table(table, grids, part, middle_of(len(windows)), pairs > 0))
    return made


@pytest.mark.parametrize("parts", [1, 2, 3, 50])
@pytest.mark.parametrize("count", [1, 8, 9, 47, 64])
def test_every_window_is_in_one_part(count, parts):
    made = bounds(count, WINDOW, parts)
    assert len(made) == parts
    assert made[0][0] == 0
    assert made[-1][1] == count
    assert all(one[1] == other[0] for one, other in itertools.pairwise(made))
    # Between the forward passes of a whole scan.
    assert {begin for begin, _ in made} <= {0, *range(8, count, 16), count}
    assert sum(begin < stop for begin, stop in made) == min(parts, 1 + -(-max(0, count - 8) // 16))


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "mixtral"])
@pytest.mark.parametrize("parts", [2, 4, 7])
def test_parts_make_the_whole_to_the_bit(name, parts):
    model, windows = model_of(name), windows_of(47)
    whole = measure(model, windows, md_pairs=60)
    made = through_tables(model, windows, parts, 60)
    for order in (made, made[::-1]):
        merged = measure(model, windows, md_pairs=60, merged=merge_parts(order))
        pd.testing.assert_frame_equal(merged.table, whole.table, check_exact=True)
        assert merged.warnings == whole.warnings
        assert merged.histograms.to_json() == whole.histograms.to_json()
    assert (whole.table["tokens"] > 0).all()
    assert whole.table["md"].notna().any() or name == "mixtral"


def test_a_merged_pass_can_be_measured_twice():
    model, windows = model_of("gpt_neox"), windows_of(24)
    merged = merge_parts(through_tables(model, windows, 2, 60))
    first, second = (measure(model, windows, md_pairs=60, merged=merged).table for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert first["md"].notna().all()


def test_parts_that_hold_closed_pairs_alone_keep_them():
    """One forward pass closes every pair, so that no part has an open token."""
    model, windows = model_of("gpt_neox"), windows_of(8)
    whole = measure(model, windows, md_pairs=60)
    assert whole.table["md"].notna().all()
    made = through_tables(model, windows, 2, 60)
    assert all(len(part.rows.slots) == 0 for part in made)
    merged = measure(model, windows, md_pairs=60, merged=merge_parts(made))
    pd.testing.assert_frame_equal(merged.table, whole.table, check_exact=True)


def test_no_pairs_are_kept_where_none_were_asked_for():
    model, windows = model_of("gpt_neox"), windows_of(24)
    merged = merge_parts(through_tables(model, windows, 2, 0))
    assert merged.rows is None
    assert measure(model, windows, md_pairs=0, merged=merged).table["md"].isna().all()


def test_parts_on_other_grids_do_not_merge():
    model, windows = model_of("gpt_neox"), windows_of(24)
    grids = pilot(model, windows)
    wider = {path: Grid.around(grid.pivot, 2 * grid.unit) for path, grid in grids.items()}
    first, second = bounds(len(windows), WINDOW, 2)
    parts = [gather_part(model, windows, first, grids), gather_part(model, windows, second, wider)]
    with pytest.raises(StatisticsError, match="grids differ"):
        merge_parts(parts)


@pytest.mark.parametrize("name", ["gpt_neox", "mixtral"])
def test_a_part_that_is_missing_or_comes_twice_is_noticed(name):
    model, windows = model_of(name), windows_of(40)
    first, second, third = through_tables(model, windows, 3, 60)
    for parts in ([first, third], [first, second, second, third], [first, second], [second, third]):
        with pytest.raises(StatisticsError, match="each once"):
            measure(model, windows, md_pairs=60, merged=merge_parts(parts))
    with pytest.raises(StatisticsError, match="none was given"):
        merge_parts([])


def test_parts_of_another_scan_are_refused():
    model, windows = model_of("gpt_neox"), windows_of(24)
    merged = merge_parts(through_tables(model, windows, 2, 60))
    with pytest.raises(StatisticsError, match="120 of 80 tokens of the pairs"):
        measure(model, windows, md_pairs=40, merged=merged)
    with pytest.raises(StatisticsError, match="parts are sketches"):
        measure(model, windows, md_pairs=60, exactly=True, merged=merged)
    bare = merge_parts(through_tables(model, windows, 2, 0))
    with pytest.raises(StatisticsError, match="0 of 120 tokens of the pairs"):
        measure(model, windows, md_pairs=60, merged=bare)


def test_a_digest_tells_grids_apart():
    model, windows = model_of("gpt_neox"), windows_of(8)
    grids = pilot(model, windows)
    assert digest_of(grids) == digest_of(grids_from_table(grids_to_table(grids)))
    moved = {
        path: Grid(grid.origin, np.nextafter(grid.scale, 1), grid.pivot, grid.unit) for path, grid in grids.items()
    }
    assert digest_of(moved) != digest_of(grids)


def test_a_smaller_batch_only_rounds():
    model, windows = model_of("gpt_neox"), windows_of(40)
    grids = pilot(model, windows)
    (one,) = bounds(len(windows), WINDOW, 1)
    by_default, by_three = (gather_part(model, windows, one, grids, batch=batch) for batch in (None, 3))
    for path, sketch in by_default.sketches.items():
        np.testing.assert_array_equal(sketch.tally("tokens"), by_three.sketches[path].tally("tokens"))
        assert (sketch.counts() != by_three.sketches[path].counts()).mean() < 0.01

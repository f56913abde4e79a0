"""A block of rows comes out as columns, of either precision, whichever rows are chosen."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from negspace.stats.transpose import SIDE, transpose_block


@numba.njit
def turned(activations, order, first, column, tile, line, place):
    transpose_block(activations, order, first, column, tile, line, place)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_block_of_chosen_rows_comes_out_as_columns(dtype):
    rng = np.random.default_rng(0)
    activations = rng.normal(size=(40, 21)).astype(dtype)
    order = rng.permutation(40)
    tile = np.full((19, 23), np.nan, dtype)
    turned(activations, order, 5, 11, tile, 3, 9)
    expected = np.full_like(tile, np.nan)
    expected[3 : 3 + SIDE, 9 : 9 + SIDE] = activations[order[5 : 5 + SIDE], 11 : 11 + SIDE].T
    np.testing.assert_array_equal(tile, expected)  # and nothing beside the block is touched


def test_arrays_of_another_kind_are_not_compiled():
    activations, order, tile = np.zeros((8, 8), np.float32), np.arange(8), np.zeros((8, 8))
    with pytest.raises(numba.TypingError):  # to be read as if it were float32
        turned(activations, order, 0, 0, tile, 0, 0)
    with pytest.raises(numba.TypingError):  # its rows do not lie as the block's address assumes
        turned(activations, order, 0, 0, np.zeros((8, 8), np.float32).T, 0, 0)

"""Turning rows into columns for compiled code: eight by eight at a time, by vector shuffles.

A compiler makes single loads and stores of a transposing loop, several times the work of the shuffles below, and each
of its loads takes 4 bytes of a cache line of 64, which the next row's load may have driven out again.

Imported by `kernel` only, since numba takes a while to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

SIDE = 8
"""Rows and columns of a block."""

_INDEX = ir.IntType(64)


@intrinsic
def transpose_block(
    typing: Any, activations: Any, order: Any, first: Any, column: Any, tile: Any, line: Any, place: Any
) -> Any:
    """tile[line:line + 8, place:place + 8] = activations[order[first:first + 8], column:column + 8].T

    For use within compiled code. Nothing is checked: all that the slices name must exist.

    Args:
        typing: numba's own; not given by the caller.
        activations: float [rows, width], contiguous along the last axis.
        order: int64 [n], contiguous.
        first, column: int64, where the block starts in `order` and in a row.
        tile: of the dtype of the activations, contiguous along the last axis.
        line, place: int64, where the block starts in the tile.
    """
    arrays = (activations, order, tile)
    arrays_fit = all(isinstance(array, types.Array) and array.layout == "C" for array in arrays) and (
        activations.dtype in (types.float32, types.float64)
        and tile.dtype == activations.dtype
        and order.dtype == types.int64
    )
    if not arrays_fit:
        return None  # numba then names the types that it was called with
    return types.void(activations, order, first, column, tile, line, place), _transpose_block


def _transpose_block(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
    names = ("activations", "order", "first", "column", "tile", "line", "place")
    given: dict[str, tuple[Any, Any]] = dict(zip(names, zip(signature.args, arguments, strict=True), strict=True))

    def array(name: str) -> Any:
        its, value = given[name]
        return make_array(its)(context, builder, value)

    def index(name: str) -> Any:
        its, value = given[name]
        return context.cast(builder, value, its, types.int64)

    number = context.get_data_type(given["tile"][0].dtype)
    size, vector = context.get_abi_sizeof(number), ir.VectorType(number, SIDE)
    source, chosen, target = array("activations"), array("order"), array("tile")
    first, column, line, place = (index(name) for name in ("first", "column", "line", "place"))

    def at(array: Any, row: Any, start: Any) -> Any:
        stride, _ = cgutils.unpack_tuple(builder, array.strides)
        offset = builder.add(builder.mul(row, stride), builder.mul(start, _INDEX(size)))
        return builder.inttoptr(builder.add(builder.ptrtoint(array.data, _INDEX), offset), vector.as_pointer())

    lines = []
    for step in range(SIDE):
        row = builder.load(builder.gep(chosen.data, [builder.add(first, _INDEX(step))]))
        lines.append(builder.load(at(source, row, column), align=size))
    for distance in (1, 2, 4):
        lines = _exchange(builder, lines, distance)
    for step, values in enumerate(lines):
        builder.store(values, at(target, builder.add(line, _INDEX(step)), place), align=size)
    return context.get_dummy_value()


def _exchange(builder: Any, lines: Sequence[Any], distance: int) -> list[Any]:
    """One of the steps, at distances 1, 2 and 4, that together transpose a square of eight lines.

    In every square of twice the distance, the upper right quarter changes places with the lower left one.
    """
    upper = [at if not at & distance else SIDE + at - distance for at in range(SIDE)]
    lower = [at + distance if not at & distance else SIDE + at for at in range(SIDE)]
    made = list(lines)
    for line in range(SIDE):
        if not line & distance:
            pair = lines[line], lines[line + distance]
            made[line], made[line + distance] = _shuffle(builder, *pair, upper), _shuffle(builder, *pair, lower)
    return made


def _shuffle(builder: Any, first: Any, second: Any, chosen: Sequence[int]) -> Any:
    """Return the selected ones of the sixteen values of two lines."""
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(ir.IntType(32), SIDE), list(chosen)))

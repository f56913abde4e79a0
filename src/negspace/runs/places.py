"""Assignment of waiting cells to free workers: opening a model costs far more than handing out a cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from negspace.runs.cell import Cell

SPREAD = 2
"""Cells that wait for each worker at a place before another opens the same model as well."""


def choose(at: str, waiting: Iterable[Cell], held: Mapping[str, int]) -> Cell | None:
    """The cell that a free worker is to compute next, if any.

    It stays at its place while there is work. Else it goes where nobody is; and else to where most cells wait for each
    worker, if more than `SPREAD` do: a cell or two are sooner done by the worker that has the model open.

    Args:
        at: the place of the worker.
        waiting: cells to choose from, the first one first.
        held: place -> workers that are there, the free one among them.
    """
    first: dict[str, Cell] = {}
    count: Counter[str] = Counter()
    for cell in waiting:
        first.setdefault(cell.place, cell)
        count[cell.place] += 1
    if at in first:
        return first[at]
    for place, cell in first.items():
        if not held.get(place):
            return cell
    crowded = [place for place in first if count[place] > SPREAD * held[place]]
    return first[max(crowded, key=lambda place: count[place] / held[place])] if crowded else None

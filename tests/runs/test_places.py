"""A free worker stays where its model is, goes where nobody is, and helps out where enough waits."""

from __future__ import annotations

from negspace.runs.cell import Cell
from negspace.runs.places import SPREAD, choose


def cells(places: str) -> list[Cell]:
    """One cell a letter, at the place of that name."""
    return [Cell("work", {"number": number}, place=place) for number, place in enumerate(places)]


def chosen(at: str, places: str, held: dict[str, int]) -> int | None:
    cell = choose(at, cells(places), held)
    return None if cell is None else cell.spec["number"]


def test_it_stays_while_there_is_work() -> None:
    assert chosen("b", "aabb", {"b": 1}) == 2


def test_it_goes_where_nobody_is() -> None:
    assert chosen("c", "aaaaab", {"a": 1, "c": 1}) == 5


def test_a_cell_or_two_are_left_to_the_worker_that_is_there() -> None:
    assert chosen("b", "a" * SPREAD, {"a": 1, "b": 1}) is None
    assert chosen("b", "a" * (SPREAD + 1), {"a": 1, "b": 1}) == 0
    assert chosen("b", "a" * (SPREAD + 1), {"a": 2, "b": 1}) is None


def test_it_helps_where_most_cells_wait_for_each_worker() -> None:
    assert chosen("c", "aaaaabbbb", {"a": 2, "b": 1, "c": 1}) == 5


def test_nothing_waits() -> None:
    assert chosen("", "", {"": 1}) is None

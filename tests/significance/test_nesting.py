"""Which level an interval rests on, and what is said where none has enough units."""

from __future__ import annotations

import numpy as np
import pytest

from negspace.significance import Nesting
from negspace.significance.nesting import ENOUGH, Level, Shortfall


def _pairs(phenomena: int, paradigms: int, pairs: int = 4) -> Nesting:
    paradigm = np.repeat([f"{f} {p}" for f in range(phenomena) for p in range(paradigms)], pairs)
    return Nesting.pairs(paradigm, [name.split()[0] for name in paradigm])


def _level(nesting: Nesting, **options: bool) -> Level:
    level = nesting.level(**options)
    assert isinstance(level, Level), level
    return level


def test_the_highest_level_with_enough_units_is_taken() -> None:
    enough = _level(_pairs(5, 2))
    assert (enough.name, enough.count, enough.scope) == ("phenomena", 5, "")
    few = _level(_pairs(3, 4))
    assert (few.name, few.count, few.scope) == ("paradigms", 12, "these 3 phenomena")
    families = Nesting.constructions(np.arange(22), np.repeat(["agreement", "npi", "reflexives"], [15, 4, 3]))
    assert _level(families).scope == "these 3 families"
    assert _level(Nesting.tasks(np.repeat(np.arange(3), 5))).name == "tasks"
    assert _level(Nesting.windows(40)).name == "windows"
    assert _level(Nesting.windows(40, np.repeat(np.arange(8), 5))).name == "documents"
    assert _level(Nesting.windows(40, np.repeat(np.arange(4), 10))).scope == "these 4 documents"
    assert _level(Nesting.windows(40, np.zeros(40))).scope == "this document"


@pytest.mark.parametrize(
    ("nesting", "found", "add"),
    [
        (_pairs(1, 20), "1 phenomenon with 20 paradigms", "of 4 more phenomena"),
        (_pairs(1, 1), "1 phenomenon with 1 paradigm ", "of 4 more phenomena"),
        (_pairs(2, 2), "only 4 paradigms", "better of 5 phenomena"),
        (Nesting.tasks(np.repeat("boolq", 300)), "only 1 task", "add tasks: 3 are needed"),
        (Nesting.tasks(np.repeat(["boolq", "piqa"], 300)), "only 2 tasks", "add tasks: 3 are needed"),
        (Nesting.windows(3), "only 3 windows", "add windows: 8 are needed"),
    ],
)
def test_too_few_units_say_what_to_add(nesting: Nesting, found: str, add: str) -> None:
    short = nesting.level()
    assert isinstance(short, Shortfall)
    assert found in str(short)
    assert add in str(short)


def test_within_goes_down_to_the_items_of_what_is_named() -> None:
    assert _level(_pairs(1, 6), within=True).scope == "this phenomenon"
    deep = _level(_pairs(1, 2), within=True)
    assert (deep.name, deep.count, deep.scope, deep.unit) == ("pairs", 8, "these 2 paradigms", None)
    assert _level(Nesting.tasks(np.repeat("boolq", 300)), within=True).scope == "this task"
    short = Nesting.tasks(np.repeat("boolq", 4)).level(within=True)
    assert isinstance(short, Shortfall)
    assert "add items: 8" in str(short)


def test_only_keeps_items_and_proportions_of_weights() -> None:
    whole = Nesting.pairs(["b", "a", "a", "c", "c", "c"], ["y", "x", "x", "y", "y", "y"])
    assert whole.labels == ("a", "b", "c")
    assert whole.weights.tolist() == pytest.approx([1 / 3] * 3)
    pooled = whole.pooled()
    assert pooled.weights.tolist() == pytest.approx([2 / 6, 1 / 6, 3 / 6])
    part, items = pooled.only(np.array([False, True, True]))
    assert items.tolist() == [True, False, False, True, True, True]
    assert (part.labels, part.cluster_labels) == (("b", "c"), ("y",))
    assert part.group.tolist() == [0, 1, 1, 1]
    assert part.weights.tolist() == pytest.approx([1 / 4, 3 / 4])
    assert part.sizes.tolist() == [1, 3]


def test_what_is_not_nested_is_refused() -> None:
    with pytest.raises(ValueError, match="a lies in more than one of the phenomena"):
        Nesting.pairs(["a", "a"], ["x", "y"])
    with pytest.raises(ValueError, match="at least one item"):
        Nesting.tasks([])
    with pytest.raises(ValueError, match="one of the families an item"):
        Nesting.constructions(["a", "a"], ["x"])
    assert set(ENOUGH) >= {"phenomena", "families", "paradigms", "constructions", "tasks", "documents", "windows"}

"""Seeded choices, the same on every Python and platform."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Random choices from one seed.

    Only `random.Random.random()` is used: its stream is the one that Python promises to keep for a seed.
    """

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def one(self, items: Sequence[T]) -> T:
        """One of the items, uniformly."""
        return items[int(self._random.random() * len(items))]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items, in random order."""
        left = list(items)
        return [left.pop(int(self._random.random() * len(left))) for _ in range(count)]

    def chance(self, probability: float = 0.5) -> bool:
        """True with this probability."""
        return self._random.random() < probability

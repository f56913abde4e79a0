"""Times of several works on the same input, measured in turn, so that a machine's drift cancels in their ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

REST = 0.25
"""Seconds of rest before a work: threads of numpy's linear algebra go on spinning for a tenth of a second after they
have been used, on a core that the next work needs (seen with OpenBLAS: scipy's distance cost the sketch a core)."""


@dataclass(frozen=True)
class Times:
    """Seconds of each work in each round."""

    seconds: Mapping[str, tuple[float, ...]]
    """Work -> its seconds, one entry a round."""

    @property
    def rounds(self) -> int:
        """How many rounds."""
        return min(map(len, self.seconds.values()))

    def median(self, work: str) -> float:
        """Median seconds of a work."""
        return statistics.median(self.seconds[work])

    def ratios(self, work: str, other: str) -> list[float]:
        """Seconds of one work over those of another, round by round."""
        return [mine / its for mine, its in zip(self.seconds[work], self.seconds[other], strict=True)]

    def ratio(self, work: str, other: str) -> float:
        """Median over the rounds of the ratio."""
        return statistics.median(self.ratios(work, other))

    def range(self, work: str, other: str) -> str:
        """The smallest and the largest ratio, in words."""
        found = self.ratios(work, other)
        return f"{min(found):.3g} to {max(found):.3g} in {self.rounds} interleaved rounds"


def in_turn(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm: int = 1,
    device: str | torch.device = "cpu",
) -> Times:
    """Run the works one after the other, round after round; every second round in the opposite order.

    Args:
        works: name -> work.
        rounds: rounds that count.
        warm: rounds before them, which do not.
        device: waited for before and after each work, where it computes asynchronously.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-warm, rounds):
        # What comes second finds its predecessor's caches, and its heat.
        for name in list(works) if turn % 2 == 0 else reversed(list(works)):
            spent = seconds_of(works[name], device)
            if turn >= 0:
                seconds[name].append(spent)
    return Times({name: tuple(found) for name, found in seconds.items()})


def seconds_of(work: Callable[[], object], device: str | torch.device = "cpu") -> float:
    """Seconds of a work, after a rest on the CPU, and with all that it started on the device done."""
    wait_for(device)
    if torch.device(device).type == "cpu":  # a GPU that rests lowers its clock
        time.sleep(REST)
    began = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began


def wait_for(device: str | torch.device) -> None:
    """Return when the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)

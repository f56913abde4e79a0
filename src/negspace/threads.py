"""Internal: threads beside other busy processes: none that wait by spinning, and as many as make the work fastest.

OpenMP's threads (torch's, and those of its matrix products) meet at the end of every operation, thousands of times in a
forward pass. GCC's library lets the first ones spin there for milliseconds. On a machine of one's own that is the
fastest way to wait; beside other processes the spinning threads use up the very time that the last one needs. Seen on
two cores with ten other busy processes: a forward pass of SmolLM2 over 96 tokens took 25 s on two spinning threads,
2 s on two that soon fall asleep, 1.4 s on one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SPIN = "GOMP_SPINCOUNT"
_TURNS = "1000"
"""Turns of GCC's waiting loop, some microseconds: longer than threads wait for one another on a quiet machine, and
much shorter than a process that holds a core keeps it."""
_OWN = (_SPIN, "OMP_WAIT_POLICY", "GOMP_CPU_AFFINITY")
_TRIAL = 0.25
"""Seconds that a trial should take at least, to be longer than the time for which the system leaves a core to one
process."""
_SHORT = 16
"""Tokens of the shortest pass."""
_CLEAR = 1.3
"""All threads that are faster than fewer by this factor, although theirs was the first pass of its length, need no
second look."""
_LONG = 0.5
"""Seconds of a pass by which speed is judged: one that takes so long is large enough for its tokens to share the
reading of the weights, as those of real passes do."""
_WORTH = 1.05
"""More threads must be faster than fewer by this factor to be worth the cores that they take from others."""


def wait_softly() -> None:
    """Have OpenMP's threads fall asleep soon where they wait; without effect once torch is imported.

    Whoever has set how OpenMP waits keeps that.
    """
    if not any(name in os.environ for name in _OWN):
        os.environ[_SPIN] = _TURNS


@dataclass(frozen=True)
class Speed:
    """The current reading speed of a model on this machine."""

    rate: float
    """Tokens a second."""
    threads: int
    """Threads that were chosen for it."""


def choose(forward: Callable[[int], torch.Tensor], longest: int, numbers: Sequence[int]) -> Speed:
    """Choose the number of threads by trial, and set it.

    The fewest threads win that are about as fast as any. Only numbers are considered under which a short and a longer
    pass give the same bits as under the last of them, so that no record depends on what else the machine did.

    Args:
        forward: a forward pass over so many tokens; returns what it computed, on the CPU.
        longest: most tokens of a pass.
        numbers: numbers of threads to try, rising; see `candidates`.
    """
    import torch

    most = numbers[-1]
    torch.set_num_threads(most)
    tokens = short = min(_SHORT, longest)
    seconds, made = _seconds(forward, tokens)
    while seconds < _TRIAL and tokens < longest:
        tokens = min(longest, 2 * tokens)
        seconds, made = _seconds(forward, tokens)
    best, fewer = {most: seconds}, numbers[:-1]
    bits = {most: (_bits(made), _bits(forward(short)))} if fewer else {}
    for number in fewer:
        torch.set_num_threads(number)
        best[number], made = _seconds(forward, tokens)
        bits[number] = _bits(made), _bits(forward(short))
    if fewer and min(best[number] for number in fewer) < _CLEAR * seconds:
        for number in numbers:
            torch.set_num_threads(number)
            best[number] = min(best[number], _seconds(forward, tokens)[0])
    same = [number for number in numbers if bits.get(number) == bits.get(most)]
    fastest = min(best[number] for number in same)
    chosen = next(number for number in same if best[number] <= _WORTH * fastest)
    torch.set_num_threads(chosen)
    return Speed(tokens / best[chosen], chosen)


def warm_rate(run: Callable[[int], int], most: int, expected: float = 0.0) -> float:
    """Tokens a second of passes as long as they need to be to tell, after one of the same size that is not timed.

    Args:
        run: runs the model over about so many tokens; returns how many they were.
        most: tokens of the longest pass.
        expected: about how many tokens a second it reads, as far as that is known: the first pass is as long as tells.
    """
    tokens = min(max(_SHORT * 4, round(1.2 * _LONG * expected)), most)
    while True:
        began = time.perf_counter()
        done = run(tokens)
        seconds = time.perf_counter() - began
        if seconds >= _LONG or tokens >= most:
            began = time.perf_counter()
            done = run(tokens)
            return done / (time.perf_counter() - began)
        tokens = min(most, tokens * max(2, min(8, round(_LONG / max(seconds, 1e-3)))))


def candidates(most: int) -> Sequence[int]:
    """Numbers of threads to try: 1, 2, 4, ... and `most`."""
    return [*(2**k for k in range(max(0, most - 1).bit_length())), most]


def _seconds(forward: Callable[[int], torch.Tensor], tokens: int) -> tuple[float, torch.Tensor]:
    began = time.perf_counter()
    made = forward(tokens)
    return time.perf_counter() - began, made


def _bits(values: torch.Tensor) -> bytes:
    import torch

    return hashlib.sha256(values.contiguous().view(torch.uint8).numpy().data).digest()

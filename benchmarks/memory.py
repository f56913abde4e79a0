"""The most memory that a piece of work takes beyond what it was given: model, tokens and libraries count as given."""

from __future__ import annotations

import gc
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.child import call, function
from benchmarks.place import Place
from negspace.memory import give_back

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_PROMPT = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
"""glibc then returns every larger block when it is freed; without, what it keeps for later varies by a fifth."""


@dataclass(frozen=True)
class Peak:
    """Bytes at the worst moment, above those before the work began."""

    host: int
    """Of the process's resident memory."""
    device: int
    """Of torch's memory on the GPU; 0 where there is none."""

    @property
    def bytes(self) -> int:
        """Both together."""
        return self.host + self.device

    def __str__(self) -> str:
        text = f"{self.host / 1e6:,.0f} MB"
        return f"{text} and {self.device / 1e6:,.0f} MB of the GPU" if self.device else text


def peak(target: str, place: Place, *arguments: Any) -> Peak:
    """Peak of the work that a function prepares, measured in a process of its own (in this one if figures say nothing).

    Args:
        target: "module:function"; called as function(place, *arguments), it loads and warms up what the work needs and
            returns the work, a function without arguments.
        place: where.
        arguments: what json can write.

    Raises:
        RuntimeError: the process failed.
    """
    if place.tiny:
        return Peak(**measured(target, place.as_json(), list(arguments)))
    return Peak(**call("benchmarks.memory:measured", target, place.as_json(), arguments, settings=_PROMPT))


def measured(target: str, place: dict[str, Any], arguments: list[Any]) -> dict[str, int]:
    """The fields of `Peak`, in this process."""
    where = Place(**place)
    work = function(target)(where, *arguments)
    gc.collect()
    give_back()
    given = 0
    if where.on_gpu:
        torch.cuda.synchronize(where.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(where.device)
        given = torch.cuda.memory_allocated(where.device)
    _forget_peak()
    before = _resident("VmRSS")
    work()
    host, device = max(0, _resident("VmHWM") - before), 0
    if where.on_gpu:
        torch.cuda.synchronize(where.device)
        device = torch.cuda.max_memory_allocated(where.device) - given
    return {"host": host, "device": device}


def _resident(field: str) -> int:
    """Bytes of resident memory: now (VmRSS) or at most since the peak was last forgotten (VmHWM)."""
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
        return 1024 * int(line.split()[1])
    # Elsewhere only the peak of the whole life is known: what loading took at worst then hides what is less than it.
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def _forget_peak() -> None:
    """Let the peak start from now (Linux)."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")

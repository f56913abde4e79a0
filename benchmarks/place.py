"""Where a benchmark runs: on which device, with a model of which shape."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Place:
    """Device, shape and dtype of a run of the suite."""

    device: str = "cpu"
    """As torch names it."""
    shape: str = "small"
    """One of `shapes.SHAPES`."""
    dtype: str | None = None
    """Of the weights; None for the shape's own."""
    model: str | None = None
    """A pretrained model, as `negspace.load` takes it; None for the bundled one and random weights."""

    @property
    def on_gpu(self) -> bool:
        """Whether the device is one that computes asynchronously and has memory of its own."""
        return torch.device(self.device).type == "cuda"

    @property
    def tiny(self) -> bool:
        """Whether the run shall only show that the code works; its figures say nothing."""
        return self.shape == "tiny"

    def rounds(self, usual: int) -> int:
        """Rounds to measure: the usual number, or one where figures say nothing."""
        return 1 if self.tiny else usual

    def as_json(self) -> dict[str, Any]:
        """The fields, as another process takes them: `Place(**fields)`."""
        return asdict(self)


HERE = Place()
"""The CPU and the small shape, which `make bench` runs."""

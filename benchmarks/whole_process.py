"""A process of its own that does nothing but load a pretrained model and scan, and imports no more than that takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import negspace as ns
from benchmarks.place import Place
from negspace.models.model import Model
from negspace.stats.measure import measure
from negspace.text.windows import Windows

WINDOW = 512
"""Tokens of a window."""


def peak_of_scan(place: dict[str, Any], windows: int) -> int:
    """Bytes of this process at the worst moment of loading the model and scanning so many windows of 512 tokens."""
    where = Place(**place)
    model = ns.load(str(where.model), device=where.device, dtype=where.dtype or "float32")
    measure(model, random_windows(model, windows), md_pairs=1024)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def random_windows(model: Model, count: int) -> Windows:
    """Windows of random tokens: times do not depend on what a text says."""
    vocabulary = int(model.module.config.get_text_config(decoder=True).vocab_size)
    window = min(WINDOW, model.context or WINDOW)
    tokens = np.random.default_rng(0).integers(5, vocabulary, (count, window))
    return Windows(tokens, np.zeros(tokens.shape, bool), window, window, "auto", "random tokens", "none", count)

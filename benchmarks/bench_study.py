"""A whole study of a pretrained model, against plain forward passes over the tokens that its conditions read.

Everything counts that a user waits for once the model is loaded: reading data, tagging, scan, searches, scores,
statistics and tables. The study is the preset `paper` on few items, so that what does not grow with them weighs more
than it does in use.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import negspace as ns
from benchmarks.bench_real import BATCH
from benchmarks.bench_scan import forward
from benchmarks.place import Place
from benchmarks.row import Row, row
from benchmarks.timing import seconds_of
from benchmarks.whole_process import WINDOW, random_windows
from negspace.models.model import Model
from negspace.study.presets import from_preset
from negspace.study.run import Plan, run_study

SIZES = {"limit": 1, "perplexity_windows": 2, "windows": 32}
"""Items of each paradigm and task, and windows of perplexity and of the scan."""
TINY = {"limit": 1, "perplexity_windows": 1, "windows": 2}
PLAIN = 16
"""Windows of a plain forward pass, which is timed before the study and after it."""


def measure(place: Place) -> list[Row]:
    """Seconds of the study over those of as many tokens in plain forward passes."""
    model = ns.load(str(place.model), device=place.device, dtype=place.dtype or "float32")
    data = {
        "text": str(ns.reference.text_path()),
        "blimp": str(ns.reference.pairs_path()),
        "tasks": [str(ns.reference.tasks_path())],
    }
    sizes = {"window": min(WINDOW, model.context or WINDOW), **(TINY if place.tiny else SIZES)}
    study, _ = from_preset("paper", {"model": model.source.name, **data, **sizes})
    plans: list[Plan] = []
    with TemporaryDirectory() as folder:
        before = _plain(place, model)
        spent = seconds_of(
            lambda: run_study(study, Path(folder) / "run", model=model, announce=plans.append), place.device
        )
        after = _plain(place, model)
    tokens = sum(load.tokens for load in plans[0].loads.values())
    return [
        row(
            "a whole study (preset paper) / plain forward passes over what its conditions read",
            2 * spent / tokens / (before + after),
            ("<=", 1.15),
            f"{plans[0].cells} cells of {len(study.analyses)} analyses, {tokens:,.0f} tokens, {spent:.0f} s with data, "
            f"statistics and tables; the plain forward reads {1 / before:,.0f} tokens a second before and "
            f"{1 / after:,.0f} after",
        )
    ]


def _plain(place: Place, model: Model) -> float:
    """Seconds per token of plain forward passes with logits."""
    cut = random_windows(model, 1 if place.tiny else PLAIN)
    return seconds_of(lambda: forward(model, cut, min(BATCH, len(cut))), place.device) / cut.tokens.size

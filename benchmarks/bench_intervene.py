"""A forward pass under intervention against the plain one, interleaved."""

from __future__ import annotations

import statistics
import time

import torch

import negspace as ns
from negspace.neurons import select
from negspace.neurons.neuronset import layout_of
from negspace.reference import model_path


def measure(repeats: int = 30) -> list[dict[str, object]]:
    """Median over repeats of the ratio of the two times, for the top 1% and the top 20% of each layer."""
    model = ns.load(str(model_path()))
    ids = torch.randint(
        0, model.module.config.vocab_size, (8, model.context or 256), generator=torch.Generator().manual_seed(0)
    )
    rows: list[dict[str, object]] = []
    for share in (0.01, 0.20):
        neurons = select.random(layout_of(model.sites), share, seed=0)
        ratios = []
        with torch.inference_mode():
            for repeat in range(-3, repeats):
                plain = _seconds(model.module, ids)
                with ns.intervene(model, neurons, zero="negative"):
                    changed = _seconds(model.module, ids)
                if repeat >= 0:
                    ratios.append(changed / plain)
        value = round(statistics.median(ratios), 3)
        rows.append(
            {
                "name": f"forward under intervention ({share:.0%} of neurons) / plain forward",
                "value": value,
                "target": "<= 1.03",
                "met": value <= 1.03,
                "detail": f"{repeats} interleaved pairs of {ids.numel()} tokens",
            }
        )
    return rows


def _seconds(module: torch.nn.Module, ids: torch.Tensor) -> float:
    began = time.perf_counter()
    module(input_ids=ids, use_cache=False)
    return time.perf_counter() - began

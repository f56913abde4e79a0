"""The cells of the layers analysis: all conditions of one set under one score, in one sweep."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from negspace.experiment.workbench import Handler, Workbench
from negspace.intervention import Intervention, make_ablation
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.score import sweep

VERSION = 2
"""Version of what a cell of the kind "layers" computes; raise it whenever a spec comes to give another result."""


def changes_of(neurons: NeuronSet, intervention: str, depth: int) -> tuple[str, ...]:
    """Return the effect of an intervention on a set in each decoder layer, in a form that `sweep` compares."""
    digests: dict[int, Any] = {}
    for site in neurons.layout:
        if site.path in neurons.indices:
            digest = digests.setdefault(site.layer, hashlib.sha256(intervention.encode()))
            digest.update(site.path.encode() + b"\0" + neurons.indices[site.path].astype("<i8").tobytes())
    return tuple(digests[layer].hexdigest() if layer in digests else "" for layer in range(depth))


def sweep_cell(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Scores of all conditions of a cell. Items: one row per condition (its number in the spec) and window or pair."""
    spec, model = cell.spec, bench.model
    zero, mode = Intervention(spec["intervention"]).arguments
    neurons: NeuronSet = cell.inputs["neurons"]
    ablation = make_ablation(model, neurons, zero, mode, cell.inputs.get("scan"))
    conditions = []
    for layers in spec["conditions"]:
        changes = changes_of(neurons.restrict(layers), spec["intervention"], model.layers)
        change = partial(ablation.open, layers)
        conditions.append(sweep.Condition(f"layers {', '.join(map(str, layers))}", changes, change))
    if spec["score"] == "perplexity":
        texts = sweep.sweep_perplexity(model, bench.windows, conditions, batch=bench.study.batch, progress=step)
        values, notes, share = [score.value for score in texts.scores], texts.notes, texts.share
        parts = [pd.DataFrame({"window": np.arange(score.windows), "nll": score.nll}) for score in texts.scores]
    else:
        pairs = sweep.sweep_pairs(model, bench.prepared[spec["score"]], conditions, progress=step, ways=bench.ways)
        values, notes, share = [score.accuracy for score in pairs.scores], pairs.notes, pairs.share
        kept = ["paradigm", "phenomenon", "index", "good", "bad", "outcome"]
        parts = [score.items[kept].astype({"outcome": str}) for score in pairs.scores]
    for number, items in enumerate(parts):
        items.insert(0, "condition", number)
    results = {"values": values, "share_of_layers": share, "notes": list(notes)}
    return results, pd.concat(parts, ignore_index=True)


HANDLERS: Mapping[str, Handler] = {"layers": sweep_cell}
"""Kind of cell -> what computes it."""

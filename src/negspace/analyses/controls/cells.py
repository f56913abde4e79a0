"""The cells of the analysis of controls: the change of the residual stream, and the no-op check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd

from negspace.controls import check_noop
from negspace.controls.residual import residual_change
from negspace.experiment.workbench import Handler, Workbench
from negspace.intervention import Intervention
from negspace.models.load import load
from negspace.models.model import Model
from negspace.neurons.scan import scan
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.text.source import read_text
from negspace.text.windows import Windows, first_windows

VERSIONS = {"residual": 1, "noop": 1}
"""Kind of cell -> version of what it computes; raise it whenever the same spec comes to give another result."""
NOOP_SCAN = 8
"""Windows of the scan from which another model's set is taken."""

_MODELS: WeakKeyDictionary[Workbench, dict[tuple[str, int], tuple[Model, Windows]]] = WeakKeyDictionary()


def noop_model(bench: Workbench, path: str, windows: int) -> tuple[Model, Windows]:
    """The model for the no-op control and its windows, read once a workbench."""
    known = _MODELS.setdefault(bench, {})
    if (path, windows) not in known:
        s = bench.study
        model = load(path, device=s.device, trust_remote_code=s.trust_remote_code)
        text = read_text(s.perplexity_text or s.text, role="perplexity")
        cut = first_windows(text, model.tokenizer, windows, context=model.context)
        known[path, windows] = (model, cut)
    return known[path, windows]


def residual_cell(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Change of the residual stream on the first windows of the text for perplexity."""
    cut = bench.windows
    first = cell.spec["first"]
    cut = replace(cut, tokens=cut.tokens[:first], special=cut.special[:first])
    zero, mode = Intervention(cell.spec["intervention"]).arguments
    made = residual_change(
        bench.model,
        cell.inputs["neurons"],
        cut,
        where=cell.spec["where"],
        zero=zero,
        mode=mode,
        scan=cell.inputs.get("scan"),
        progress=step,
    )
    return {"windows": len(cut), "change": {str(k): v for k, v in made.by_layer.items()}}, made.items


def noop_cell(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Log-probabilities with and without the negatives of a top set: the study's, or that of another model."""
    neurons = cell.inputs.get("neurons")
    if neurons is None:
        model, cut = noop_model(bench, cell.inputs["path"], cell.inputs["windows"])
        measured = scan(model, bench.statistics, windows=NOOP_SCAN, md_pairs=0)
        neurons = measured.top(cell.spec["share"])
    else:
        model, cut = bench.model, bench.windows
    made = check_noop(model, neurons, cut, batch=bench.study.batch, progress=step)
    results = {**asdict(made), "same": made.same}
    return results, pd.DataFrame([results])


HANDLERS: Mapping[str, Handler] = {"residual": residual_cell, "noop": noop_cell}
"""Kind of cell -> what computes it."""

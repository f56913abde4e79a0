"""The cells of differentiation: the near pairs of the chosen neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from negspace.analyses.differentiation.pairs import differentiate
from negspace.experiment.passages import KIND as PASSAGES
from negspace.experiment.passages import compute_passages, passages_of
from negspace.experiment.workbench import Handler, Workbench
from negspace.runs.cell import Cell
from negspace.runs.engine import Step

VERSION = 1
"""Version of what a cell of differentiation computes; raise it whenever the same spec comes to give another result."""
KIND = "differentiation"


def compute(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Handler of cells of differentiation."""
    made = differentiate(
        bench.model,
        cell.inputs["chosen"],
        passages_of(bench, cell.inputs["settings"], cell.spec["passages"]),
        pairs=cell.spec["pairs"],
        neighbours=cell.spec["neighbours"],
        nearest=cell.spec["nearest"],
        progress=step,
    )
    return {"neurons": made.neurons.to_dict("records"), "notes": list(made.notes)}, made.pairs


HANDLERS: Mapping[str, Handler] = {PASSAGES: compute_passages, KIND: compute}
"""Kind of cell -> what computes it."""

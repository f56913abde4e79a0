"""The cells of the atlas: neurons at every token, neurons where minimal pairs differ, and what drives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from negspace.analyses.atlas.critical import critical_tokens
from negspace.analyses.atlas.drivers import fit_and_drive
from negspace.experiment.chosen import spread
from negspace.experiment.passages import KIND as PASSAGES
from negspace.experiment.passages import compute_passages, passages_of
from negspace.experiment.workbench import Handler, Workbench
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.score.pairs import Protocol
from negspace.stats.readings import batches_of, readings

VERSIONS = {"activations": 1, "critical": 1, "drivers": 4}
"""Kind of cell -> version of what it computes; raise it whenever the same spec comes to give another result."""


def compute_activations(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Handler: the chosen neurons at every token of the passages."""
    windows = passages_of(bench, cell.inputs["settings"], cell.spec["passages"]).windows
    made = readings(bench.model, batches_of(windows), cell.inputs["chosen"].indices, progress=step)
    return {}, spread(made, windows.tokens.size)


def compute_critical(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Handler: the chosen neurons where minimal pairs differ."""
    pairs = bench.pairs[cell.spec["kind"]].sample(cell.spec["limit"])
    protocol: Protocol = cell.spec["protocol"]
    items = critical_tokens(bench.model, pairs, cell.inputs["chosen"], protocol=protocol, progress=step)
    return {"pairs": len(pairs)}, items


def compute_drivers(_: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Handler: modes and what falls in them, from records of the other kinds."""
    given, spec = cell.inputs, cell.spec
    fitted, drivers = fit_and_drive(
        spec["modes"],
        given["activations"],
        given["tokens"],
        given["critical"],
        **{name: spec[name] for name in ("fewest", "permutations", "level", "draws", "seed")},
        progress=step,
    )
    mixtures = {
        name: {
            "weights": made.weights.tolist(),
            "means": made.means.tolist(),
            "stds": made.stds.tolist(),
            "tokens": int(made.tokens),
            "bic": list(made.bic),
        }
        for name, made in fitted.items()
    }
    return {"mixtures": mixtures}, drivers


HANDLERS: Mapping[str, Handler] = {
    PASSAGES: compute_passages,
    "activations": compute_activations,
    "critical": compute_critical,
    "drivers": compute_drivers,
}
"""Kind of cell -> what computes it."""

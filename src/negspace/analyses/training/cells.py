"""Cells on other checkpoints than the study's model: what computes them, and how few times each is loaded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.experiment.config import Study
from negspace.experiment.identity import identity
from negspace.experiment.workbench import Handler, Workbench
from negspace.models.checkpoints import Checkpoint, Checkpoints
from negspace.models.load import load
from negspace.models.model import Model
from negspace.models.weights import input_weights
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.cell import Cell
from negspace.runs.engine import Step

Results = tuple[Mapping[str, Any], pd.DataFrame]
_ROWS_KEPT = 3
"""Checkpoints whose input weights are kept: the last, the one at hand, and the one before it."""


class _Series:
    """A workbench's state for a series: one open checkpoint, and a few neurons' input weights from three."""

    def __init__(self, study: Study) -> None:
        self.checkpoints = Checkpoints(lambda one: _load(study, one))
        self._rows: OrderedDict[tuple[str, str], tuple[dict[str, NDArray[np.float32]], dict[str, str]]] = OrderedDict()

    def model(self, bench: Workbench, one: Checkpoint | None, following: Checkpoint | None = None) -> Model:
        """The model of a checkpoint, in the study's model's place; None stands for the study's model itself."""
        if one is None:
            return bench.model
        bench.make_room(self.checkpoints.close)
        return self.checkpoints.open(one, following)

    def rows(
        self, bench: Workbench, wanted: list[tuple[str, Checkpoint | None]], neurons: NeuronSet
    ) -> list[tuple[dict[str, NDArray[np.float32]], dict[str, str]]]:
        """Input weights of neurons at several checkpoints, each given with its fingerprint."""
        missing = [key for key in wanted if (key[0], neurons.key) not in self._rows]
        # The open one first: it may have to give way to another.
        for fingerprint, checkpoint in sorted(missing, key=lambda pair: pair[1] != self.checkpoints.current):
            self._rows[fingerprint, neurons.key] = input_weights(self.model(bench, checkpoint), neurons.indices)
        for fingerprint, _ in wanted:
            self._rows.move_to_end((fingerprint, neurons.key))
        found = [self._rows[fingerprint, neurons.key] for fingerprint, _ in wanted]
        while len(self._rows) > _ROWS_KEPT:
            self._rows.popitem(last=False)
        return found


_SERIES: WeakKeyDictionary[Workbench, _Series] = WeakKeyDictionary()


def series(bench: Workbench) -> _Series:
    """Return the workbench's state for its series of checkpoints."""
    return _SERIES.setdefault(bench, _Series(bench.study))


def _load(study: Study, checkpoint: Checkpoint) -> Model:
    return load(
        checkpoint.place.model,
        # The commit whose hashes were read, should the branch have moved on meanwhile.
        revision=checkpoint.contents.commit or checkpoint.place.revision,
        dtype=study.dtype,
        device=study.device,
        device_map=study.device_map,
        trust_remote_code=study.trust_remote_code,
    )


def _meet(bench: Workbench, cell: Cell, step: Step) -> Results:
    """Who a checkpoint is: identity, context and sites. Light, but it needs the checkpoint loaded."""
    model = series(bench).model(bench, cell.inputs["checkpoint"], cell.inputs["following"])
    sites = pd.DataFrame(Layout.of(model.sites).to_rows(), columns=["path", "layer", "experts", "width"])
    return {"identity": identity(model), "context": model.context}, sites


def _at_checkpoint(kind: str, data: str) -> Handler:
    """Computes a cell of one of the workbench's own kinds on a checkpoint instead of the study's model."""

    def compute(bench: Workbench, cell: Cell, step: Step) -> Results:
        held = getattr(bench, data)  # before the checkpoint takes the model's place, as it may need the tokenizer
        model = series(bench).model(bench, cell.inputs["checkpoint"], cell.inputs["following"])
        other = Workbench(bench.study, bench.handlers, model)
        setattr(other, data, held)
        other.frugal = bench.frugal  # what memory allows is said, and remembered from one checkpoint to the next
        return other.compute(Cell(kind, cell.spec, cell.label, inputs=cell.inputs), step)

    return compute


def _drift(bench: Workbench, cell: Cell, step: Step) -> Results:
    """Return how far the input weights of a cohort and of other neurons have turned between two checkpoints."""
    cohort, sample = cell.inputs["cohort"], cell.inputs["sample"]
    wanted = [
        (cell.spec["model"]["fingerprint"], cell.inputs["first"]),
        (cell.spec["against"]["fingerprint"], cell.inputs["second"]),
    ]
    neurons = cohort | sample
    (first, left), (second, left_too) = series(bench).rows(bench, wanted, neurons)
    parts = []
    for site in neurons.layout:
        path = site.path
        if path not in first or path not in second:
            continue
        flat = neurons.indices[path]
        norms = [np.linalg.norm(weights[path].astype(np.float64), axis=1) for weights in (first, second)]
        parts.append(
            pd.DataFrame(
                {
                    "path": path,
                    "layer": site.layer,
                    "expert": flat // site.width if site.experts else -1,
                    "neuron": flat % site.width,
                    "cohort": np.isin(flat, cohort.at(path)),
                    "dissimilarity": dissimilarity(first[path], second[path]),
                    "norm": norms[0],
                    "norm_against": norms[1],
                }
            )
        )
    items = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in _DRIFT_ITEMS})
    return {"left_out": {**left, **left_too}}, items


_DRIFT_ITEMS = ("path", "layer", "expert", "neuron", "cohort", "dissimilarity", "norm", "norm_against")


def dissimilarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine dissimilarity 1 - cos of paired rows, [rows] in float64, 0 for equal directions and 2 for opposite ones.

    Computed as half the squared distance of the two directions, which loses no digits where they nearly agree. NaN
    where a row is zero and so has no direction.
    """
    units = []
    for rows in (first.astype(np.float64), second.astype(np.float64)):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        units.append(np.divide(rows, norms, out=np.full_like(rows, np.nan), where=norms > 0))
    return 0.5 * np.square(units[0] - units[1]).sum(axis=1)


HANDLERS: dict[str, Callable[[Workbench, Cell, Step], Results]] = {
    "checkpoint": _meet,
    "checkpoint_scan": _at_checkpoint("scan", "statistics"),
    "checkpoint_perplexity": _at_checkpoint("perplexity", "windows"),
    "checkpoint_pairs": _at_checkpoint("pairs", "pairs"),
    "drift": _drift,
}
"""Kinds of cells of the training analysis, and what computes them."""

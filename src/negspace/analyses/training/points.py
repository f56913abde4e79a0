"""Checkpoints of a series on their way through the analysis: met, scanned, scored, and compared in their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negspace.errors import StudyError
from negspace.experiment.condition import Condition
from negspace.experiment.lab import Lab, changed
from negspace.models.checkpoints import Checkpoint
from negspace.models.model import ModelSource
from negspace.models.series import Place
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, ScanInfo
from negspace.runs.cell import Cell, Record

_VERSIONS = {"checkpoint": 1, "drift": 1}


@dataclass(frozen=True, eq=False)
class Coming:
    """A checkpoint that is to be met."""

    checkpoint: Checkpoint
    """Location and hashes."""
    own: bool
    """True if it is the study's model, whose cells are those of the other analyses."""
    following: Checkpoint | None
    """The one that its worker will load after it."""

    @property
    def place(self) -> Place:
        """Its name and step."""
        return self.checkpoint.place

    @property
    def inputs(self) -> dict[str, Any]:
        """Return what a handler needs to open the checkpoint."""
        return {"checkpoint": None if self.own else self.checkpoint, "following": self.following}

    @property
    def worker(self) -> str:
        """Return the checkpoint that a worker should have open for its cells."""
        return "" if self.own else self.place.path


@dataclass(frozen=True, eq=False)
class Point(Coming):
    """A checkpoint that has been met and scanned."""

    identity: Mapping[str, Any]
    """Identity: what results on it depend on."""
    scan: Scan
    """Its scan."""
    scan_key: str
    """Key of the scan's record."""


def meet(lab: Lab, coming: Sequence[Coming]) -> list[dict[str, Any]]:
    """Identity, layout and context of each checkpoint, from its record where there is one."""
    facts, study = lab.facts, lab.study
    cells = []
    for one in coming:
        spec = {
            "version": _VERSIONS["checkpoint"],
            "files": one.checkpoint.contents.identity,
            "dtype": study.dtype,
            "trust_remote_code": study.trust_remote_code,
            **{name: facts.identity[name] for name in ("device", "torch", "transformers")},
        }
        cells.append(
            Cell(
                "checkpoint",
                spec,
                f"{one.place.name}: load",
                cost=0.0,
                place=one.worker,
                inputs=one.inputs,
            )
        )
    met = []
    for record in lab.run(cells):
        table = record.items[["path", "layer", "experts", "width"]]
        met.append({**record.results, "layout": Layout.from_rows(table.to_numpy().tolist())})
    return met


def check_kind(lab: Lab, place: Place, met: Mapping[str, Any], context: int | None) -> None:
    """Refuse a checkpoint whose figures could not be compared with the others'."""
    facts = lab.facts
    asked = f"the checkpoint {place.name} in a series with {facts.source.name}"
    if met["identity"]["tokenizer"] != facts.identity["tokenizer"]:
        raise StudyError(asked, "another tokenizer, so that scores differ in what is scored", "leave it out")
    if met["layout"] != facts.layout:
        raise StudyError(asked, "other layers or widths, so that it has other neurons", "leave it out")
    if met["context"] != context:
        found = f"a context of {met['context']} tokens, where the last checkpoint has {context}"
        raise StudyError(asked, found, "leave it out, or make a series of those with one context")


def scanned(lab: Lab, met: Sequence[tuple[Coming, Mapping[str, Any]]]) -> list[Point]:
    """The checkpoints, each given with its identity, and their scans; only the study's own keeps histograms."""
    base = lab.scan_cell
    cells = [
        base
        if one.own
        else Cell(
            "checkpoint_scan",
            {**base.spec, "model": identity, "histograms": False},
            f"{one.place.name}: scan",
            base.cost,
            place=one.worker,
            inputs=one.inputs,
        )
        for one, identity in met
    ]
    points = []
    for (one, identity), cell, record in zip(met, cells, lab.run(cells), strict=True):
        scan = lab.scan if one.own else _scan(lab, record, one.checkpoint)
        points.append(Point(one.checkpoint, one.own, one.following, identity, scan, cell.key))
    return points


def _scan(lab: Lab, record: Record, checkpoint: Checkpoint) -> Scan:
    place, facts = checkpoint.place, lab.facts
    update = {"name": place.model, "revision": place.revision, "commit": checkpoint.contents.commit}
    source: ModelSource = facts.source.model_copy(update=update)
    versions = dict(record.versions)
    info = ScanInfo(model=source, text=facts.statistics[0], versions=versions, **record.results["info"])
    return Scan(record.items, info, tuple(record.results["warnings"]))


def score_cell(lab: Lab, point: Point, score: str, under: Condition) -> Cell:
    """The cell of a score at a checkpoint."""
    if point.own:
        return lab.score(score, under)
    base = lab.score(score, Condition(name=under.name))
    done, inputs = changed(under, point.scan_key, lambda: point.scan)
    spec = {**base.spec, "model": point.identity, **done}
    inputs = {**point.inputs, **inputs}
    kind, work = f"checkpoint_{base.kind}", f"checkpoint_{score}"
    return Cell(kind, spec, base.label, base.cost, inputs, point.worker, work)


def drift_cell(lab: Lab, first: Point, second: Point, sets: Mapping[str, NeuronSet], at: Point) -> Cell:
    """The cell of how far input weights have turned between two checkpoints; `at` is the open one."""
    cohort, sample = sets["cohort"], sets["sample"]
    spec = {
        "version": _VERSIONS["drift"],
        "model": first.identity,
        "against": second.identity,
        "cohort": cohort.key,
        "sample": sample.key,
    }
    inputs = {
        "first": first.inputs["checkpoint"],
        "second": second.inputs["checkpoint"],
        "cohort": cohort,
        "sample": sample,
    }
    label = f"{first.place.name}: input weights against {second.place.name}"
    return Cell("drift", spec, label, cost=0.0, place=at.worker, inputs=inputs)

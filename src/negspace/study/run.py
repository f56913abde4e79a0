"""Running a study: from its configuration to a run folder with records, a manifest and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from negspace.errors import ModelError, StudyError
from negspace.experiment.analysis import Analysis, Settings
from negspace.experiment.config import Study
from negspace.experiment.facts import Facts, Survey
from negspace.experiment.handlers import HANDLERS
from negspace.experiment.lab import Lab
from negspace.experiment.plan import Load
from negspace.experiment.workbench import Workbench
from negspace.models.behaviour import distance, same
from negspace.models.model import Model
from negspace.runs.cell import digest
from negspace.runs.engine import Compute, Engine, LocalEngine, Progress
from negspace.runs.ray_cluster import RayCluster
from negspace.runs.store import Store
from negspace.runs.surroundings import surroundings
from negspace.study.registry import analysis, handlers, sections
from negspace.study.tables import Tables

STUDY_FILE = "study.yaml"
BEHAVIOUR_FILE = "behaviour.json"
SCAN_FILE = "scan.parquet"


@dataclass(frozen=True)
class Plan:
    """What a study will do and cost, known before anything is computed."""

    loads: Mapping[str, Load]
    """Analysis -> its cells and tokens; the scan, which all share, is under "scan"."""
    rate: float
    """Tokens a second that the model reads here, as a short trial measured it."""

    @property
    def cells(self) -> int:
        """Cells in all."""
        return sum(load.cells for load in self.loads.values())

    @property
    def seconds(self) -> float:
        """Rough time in all; analyses that share cells take less, and what is recorded takes none."""
        return sum(load.tokens for load in self.loads.values()) / self.rate


def plan_study(study: Study, model: Model | None = None) -> Plan:
    """What a study will do and cost; reads all its data and runs the model for a second or two, and writes nothing.

    Args:
        study: what to do.
        model: the model, where it is in memory already; else the study's is loaded.

    Raises:
        NegspaceError: bad input.
    """
    bench = workbench(study, model)
    survey = bench.survey()
    # Neither a store nor an engine touches the disk before it is entered.
    store = Store(Path())
    return _plan(Lab(study, survey.facts, store, LocalEngine(store, bench.compute)), survey, bench.rate())


def run_study(
    study: Study,
    out: str | Path,
    *,
    model: Model | None = None,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    announce: Callable[[Plan], None] | None = None,
    cluster: RayCluster | None = None,
    make_engine: Callable[[Store, Compute], Engine] | None = None,
) -> Tables:
    """Run a study into a folder, or go on with it: what is recorded there is not computed again.

    Args:
        study: what to do.
        out: the run folder; made if need be.
        model: the model, where it is in memory already; else the study's is loaded.
        progress: called as the work goes on.
        note: called with one sentence for what the user should know at once.
        announce: called with the plan before anything is computed.
        cluster: where to compute, opened as a context and made with `partial(workbench, study)`; None: in this process.
        make_engine: another engine of this process.

    Returns:
        Its tables: `tables["summary"]` and so on; they are in `out/tables` as well.

    Raises:
        NegspaceError: bad input, or records that cannot be written; nothing half-written is left.
        Interrupted: the user asked to stop; the same call goes on.
    """
    store = Store(out)
    # All data are read before the folder is made, so that bad input leaves nothing behind.
    store.check()
    source = cluster or workbench(study, model)
    survey = source.survey()
    facts = survey.facts
    with store.hold():
        for text in facts.notes:
            if note:
                note(text)
        given = study.model_dump(mode="json")
        if note and (changed := _changed(store, given)):
            note(
                f"another configuration was run here (other {changed}); records that fit are used, tables are replaced"
            )
        _check_behaviour(store, facts)
        store.write_file(STUDY_FILE, yaml.safe_dump(given, sort_keys=False, allow_unicode=True).encode())
        store.log(
            "start",
            model=study.model,
            fingerprint=facts.identity["fingerprint"],
            analyses=list(survey.read),
            **surroundings(),
        )
        with _engine(store, source, make_engine, progress, note) as engine:
            lab = Lab(study, facts, store, engine)
            if announce:
                announce(_plan(lab, survey, source.rate()))
            store.write_manifest(_run(lab, _analyses(lab, survey)))
        tables = Tables(store)
        tables.write(store)
        store.log("end")
    return tables


def workbench(study: Study, model: Model | None = None) -> Workbench:
    """What computes a study's cells: here, or on a worker.

    Args:
        study: what to load.
        model: the model, where it is in memory already.

    Raises:
        StudyError: an analysis that is unknown, or whose settings cannot be.
    """
    chosen = sections(study)
    readers = {name: partial(_read, name, settings) for name, settings in chosen.items()}
    return Workbench(study, {**HANDLERS, **handlers(chosen)}, model, readers)


def _read(name: str, settings: Settings, bench: Workbench) -> Mapping[str, Any]:
    if missing := analysis(name).lacks(settings, bench.study):
        raise StudyError(f"the analysis {name!r}", f"no {missing}", "give what is missing, or leave it out")
    return analysis(name).read(settings, bench)


def _engine(
    store: Store,
    source: Workbench | RayCluster,
    make: Callable[[Store, Compute], Engine] | None,
    progress: Callable[[Progress], None] | None,
    note: Callable[[str], None] | None,
) -> Engine:
    if isinstance(source, RayCluster):
        return source.engine(store, progress, note)
    source.listen(note)
    return make(store, source.compute) if make else LocalEngine(store, source.compute, progress, note)


def _analyses(lab: Lab, survey: Survey) -> dict[str, Analysis[Any]]:
    chosen = sections(lab.study)
    return {name: analysis(name)(chosen[name], lab, read) for name, read in survey.read.items()}


def _plan(lab: Lab, survey: Survey, rate: float) -> Plan:
    parts = lab.study.scan_parts
    # In parts, the grids come before them and the statistics after.
    cells, how = (1, "") if parts == 1 else (parts + 2, f", in {parts} parts")
    loads = {"scan": Load(cells, lab.cost("scan"), f"every neuron, once{how}")}
    return Plan(loads | {name: one.load() for name, one in _analyses(lab, survey).items()}, rate)


def _run(lab: Lab, analyses: Mapping[str, Analysis[Any]]) -> dict[str, Any]:
    """Run the analyses one after the other; what the run consists of."""
    loads = [one.load() for one in analyses.values()]
    lab.expect_later(loads)
    made = lab.scan
    parts = {}
    for number, (name, one) in enumerate(analyses.items(), start=1):
        lab.expect_later(loads[number:])
        parts[name] = one.run()
    lab.store.keep_only("neurons", lab.saved)
    made.save(lab.store.folder / SCAN_FILE)
    f: Facts = lab.facts
    data: dict[str, Any] = {"statistics": list(f.statistics), "perplexity": list(f.perplexity)}
    data |= {kind: list(pairs) for kind, pairs in f.pairs.items()}
    if f.tasks:
        data["tasks"] = [f.tasks.source, f.tasks.hash, f.tasks.items]
    notes = [*f.notes, *(f"scan: {warning}" for warning in made.warnings)]
    return {
        "study": lab.study.model_dump(mode="json"),
        "model": f.source.model_dump(mode="json"),
        "identity": dict(f.identity),
        "rectifies": f.rectifies,
        "neurons": f.layout.neurons,
        "data": data,
        "scan": lab.scan_cell.key,
        "analyses": parts,
        "notes": notes + [note for part in parts.values() for note in part.get("notes", [])],
    }


def _check_behaviour(store: Store, facts: Facts) -> None:
    """Compare what the model does with what a model of the same identity did when it began a run in this folder.

    Raises:
        ModelError: they differ by more than rounding.
    """
    try:
        held = json.loads((store.folder / BEHAVIOUR_FILE).read_text(encoding="utf-8"))
        before = {str(key): tuple(map(float, values)) for key, values in held.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        before = {}  # none yet, or one that can be taken anew
    key = digest(facts.identity)
    if key in before and not same(before[key], facts.behaviour, facts.source.dtype):
        raise ModelError(
            f"to go on with the run in {store.folder} on {facts.source.name}",
            "a model of the same weights, configuration and parts that gives other logits on the same tokens (they "
            f"moved by {distance(before[key], facts.behaviour):.2g} of their size): something outside of it changes "
            "what it computes, now or when the run began",
            "undo that (a patched function, a global setting such as TF32), or give a new folder with --out",
        )
    if key not in before:
        store.write_file(BEHAVIOUR_FILE, json.dumps({**before, key: facts.behaviour}).encode() + b"\n")


def _changed(store: Store, given: dict[str, Any]) -> str:
    """Fields in which the configuration of an earlier run in the folder differs."""
    try:
        before = yaml.safe_load((store.folder / STUDY_FILE).read_text(encoding="utf-8"))
        return ", ".join(name for name, value in given.items() if before.get(name) != value)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        return ""  # none, or none that can be read: it is written anew

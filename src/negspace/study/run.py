"""Running a study: from its configuration to a run folder with records, a manifest and tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from negspace.errors import ModelError, StudyError
from negspace.experiment.analysis import Analysis
from negspace.experiment.config import SIZES, Study
from negspace.experiment.facts import Facts, Survey
from negspace.experiment.lab import Lab
from negspace.experiment.plan import Load, work
from negspace.experiment.workbench import Workbench
from negspace.files import NOT_YAML
from negspace.given import checked
from negspace.models.behaviour import distance, same
from negspace.models.model import Model
from negspace.runs.cell import Cell, digest
from negspace.runs.engine import Compute, Engine, LocalEngine, Progress
from negspace.runs.ray_cluster import RayCluster
from negspace.runs.store import Store
from negspace.runs.surroundings import surroundings
from negspace.study.bench import workbench
from negspace.study.budget import STUDY_FILE, Budget, choose, recorded_sizes, undecided
from negspace.study.locked import check as check_plan
from negspace.study.locked import lock
from negspace.study.reading import SCAN_FILE
from negspace.study.registry import analysis, sections
from negspace.study.stock import take_stock
from negspace.study.tables import Tables

BEHAVIOUR_FILE = "behaviour.json"


@dataclass(frozen=True)
class Plan:
    """The work and cost of a study, known before anything is computed."""

    loads: Mapping[str, Load]
    """Analysis -> its cells and tokens beyond those of the analyses before it and beyond what is recorded; the scan,
    which all share, is under "scan", and the tokens that the report shows of its neurons under "examples"."""
    recorded: int
    """Cells that are recorded already and cost nothing more."""
    rate: float
    """Tokens a second that the model reads here, as a short trial measured it; NaN where nothing is left to do."""
    times: Mapping[str, float]
    """Analysis -> seconds that its load will take, by the trial and by what recorded cells took."""
    budget: Budget | None = None
    """The choice just made for the study's budget, and its power."""
    about: str = ""
    """The model and the data, as they were read."""
    notes: tuple[str, ...] = ()
    """Notes on choices made for the user in reading them."""
    shortfalls: tuple[str, ...] = ()
    """Scores on which no change can be judged for want of units, and what to add."""

    @property
    def cells(self) -> int:
        """Cells to compute."""
        return sum(load.cells for load in self.loads.values())

    @property
    def seconds(self) -> float:
        """Rough time in all."""
        return sum(self.times.values())


def plan_study(study: Study, model: Model | None = None, out: str | Path | None = None) -> Plan:
    """Return the work and cost of a study. Reads all its data, runs the model for a few seconds, writes nothing.

    Args:
        study: what to do.
        model: the model, where it is in memory already; else the study's is loaded.
        out: a run folder, the records of which cost nothing more.

    Raises:
        NegspaceError: bad input.
    """
    study, budget, loaded = _settled(study, out, model)
    bench = _bench(study, model, loaded)
    survey = bench.survey()
    # Neither a store nor an engine touches the disk before it is entered.
    store = Store(Path() if out is None else out)
    engine = LocalEngine(store, bench.compute)
    engine.tuner = bench.rate
    engine.forecast.price(survey.facts.prices)
    plan = _plan(Lab(study, survey.facts, store, engine), survey, stocked=out is not None)
    return replace(plan, budget=budget)


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
    plan: str | Path | None = None,
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
        plan: file of a plan: written before anything is scored, or compared with where it is there; see `lock`.

    Returns:
        Its tables: `tables["summary"]` and so on; they are in `out/tables` as well.

    Raises:
        NegspaceError: bad input, or records that cannot be written; nothing half-written is left.
        Interrupted: the user asked to stop; the same call goes on.
    """
    store = Store(out)
    # All data are read before the folder is made, so that bad input leaves nothing behind.
    store.check()
    if plan is not None:
        check_plan(plan, store.folder)
    if cluster and undecided(study):
        raise StudyError(
            f"to choose sizes for a budget of {study.budget} on a cluster",
            "workers whose speed is known only once they hold the study",
            "choose them on one machine with --dry-run and give them: " + ", ".join(SIZES),
        )
    study, budget, loaded = _settled(study, out, model, note)
    source = cluster or _bench(study, model, loaded)
    survey = source.survey()
    facts = survey.facts
    with store.hold():
        for text in facts.notes:
            if note:
                note(text)
        given = study.model_dump(mode="json")
        if note and (changed := _changed(store, given)):
            note(f"another configuration was run here (other {changed}); matching records are reused, tables replaced")
        _check_behaviour(store, facts)
        # Before the study takes another's place in the folder: of a refused one nothing stays.
        locked = lock(store, plan, study, facts)
        store.write_file(STUDY_FILE, yaml.safe_dump(given, sort_keys=False, allow_unicode=True).encode())
        store.log(
            "start",
            model=study.model,
            fingerprint=facts.identity["fingerprint"],
            analyses=list(survey.read),
            **surroundings(),
        )
        with _engine(store, source, make_engine, progress, note) as engine:
            engine.tuner = source.rate
            engine.forecast.price(facts.prices)
            lab = Lab(study, facts, store, engine)
            forecast = _plan(lab, survey)
            if announce:
                announce(replace(forecast, budget=budget))
            manifest = _run(lab, _analyses(lab, survey), forecast)
            store.write_manifest(manifest | ({"plan": locked} if locked else {}))
        tables = Tables(store)
        tables.write(store)
        store.log("end")
    return tables


def _settled(
    study: Study, out: str | Path | None, model: Model | None, note: Callable[[str], None] | None = None
) -> tuple[Study, Budget | None, Model | None]:
    """A study with the sizes that its budget leaves open, as an earlier run in the folder chose them or chosen now.

    Returns:
        The study; what was chosen, if anything was; and the model, where that took one.
    """
    checked(study, Study, StudyError, "to run or plan a study", "pass negspace.Study(model=...)")
    if not undecided(study):
        return study, None, None
    if out is not None and (before := recorded_sizes(study, Path(out))) is not None:
        if note:
            sizes = ", ".join(f"{name}: {getattr(before, name)}" for name in SIZES)
            note(f"the sizes chosen here earlier for a budget of {study.budget} are kept ({sizes})")
        return before, None, None
    budget, loaded = choose(study, model)
    return budget.study, budget, loaded


def _bench(study: Study, model: Model | None, loaded: Model | None) -> Workbench:
    """The workbench, with the model that was loaded for its budget, which it may drop, or the one that was given."""
    bench = workbench(study, model)
    if model is None and loaded is not None:
        bench.model = loaded
    return bench


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


def _plan(lab: Lab, survey: Survey, *, stocked: bool = True) -> Plan:
    """Return the work and cost of a study.

    Args:
        stocked: whether the lab's store is a run folder, which may hold records.
    """
    parts = lab.study.scan_parts
    # In parts, the grids come before them and the statistics after.
    cells, how = (1, "") if parts == 1 else (parts + 2, f", in {parts} parts")
    parts_of_it = {("scan_part", str(number)): lab.cost("scan") / (cells - 1) for number in range(1, cells)}
    loads = {"scan": Load(parts_of_it | {("scan", ""): 0.0 if parts_of_it else lab.cost("scan")}, f"every neuron{how}")}
    loads["examples"] = Load({("examples", ""): lab.cost("examples")}, "lowest and highest tokens of some neurons")
    for name, planned in _analyses(lab, survey).items():
        loads[name] = planned.load().beyond(loads.values())
    recorded: Sequence[Cell] = ()
    if stocked:
        stock = take_stock(lab, loads, lambda other: _analyses(other, survey))
        recorded, loads = stock.recorded, dict(stock.left)
        # A scan that was merged from parts took far less time than its tokens tell.
        lab.engine.recall([cell for cell in recorded if parts == 1 or cell.kind != "scan"])
    rate = lab.engine.tune() if any(load.tokens for load in loads.values()) else math.nan
    facts = survey.facts
    times = {name: _time(load, lab.engine) for name, load in loads.items()}
    return Plan(loads, len(recorded), rate, times, about=str(facts), notes=facts.notes, shortfalls=facts.shortfalls)


def _time(load: Load, engine: Engine) -> float:
    """Seconds that a load will take; no less than its longest cell, which workers cannot share."""
    whole = engine.forecast.whole(work(load)) / engine.width
    cells = (engine.forecast.seconds(kind, tokens) for (kind, _), tokens in load.planned.items() if tokens)
    return max(whole, *cells, 0.0) if engine.width > 1 else whole


def _run(lab: Lab, analyses: Mapping[str, Analysis[Any]], plan: Plan) -> dict[str, Any]:
    """Run the analyses one after the other; what the run consists of."""
    left = [plan.loads[name] for name in analyses]
    lab.expect(plan.loads["scan"], [plan.loads["examples"], *left])
    made = lab.scan
    lab.expect(plan.loads["examples"], left)
    examples = lab.examples
    parts = {}
    for number, (name, planned) in enumerate(analyses.items()):
        lab.expect(left[number], left[number + 1 :])
        parts[name] = planned.run()
    lab.write_sets()
    made.save(lab.store.folder / SCAN_FILE)
    f: Facts = lab.facts
    data: dict[str, Any] = {"statistics": list(f.statistics), "perplexity": [*f.perplexity, *f.read]}
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
        **({} if examples is None else {"examples": examples.key}),
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
            f"to resume the run in {store.folder} on {facts.source.name}",
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
    except (OSError, *NOT_YAML):
        return ""  # none, or none that can be read: it is written anew

"""The main study: ablate the neurons furthest from Gaussian, and controls, and score each on text and grammar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from negspace.controls import Match, Trial, find_share, random_sets
from negspace.errors import StudyError
from negspace.files import make_folder
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan
from negspace.neurons.select import share as exact_share
from negspace.runs.cell import Cell
from negspace.runs.engine import Compute, Engine, LocalEngine, Progress
from negspace.runs.store import Store
from negspace.studies.config import AblationStudy
from negspace.studies.tables import Tables
from negspace.studies.workbench import Facts, Planner, Workbench, scan_of

Role = Literal["baseline", "top", "random", "matched"]
KINDS = ("ablation", "dissociation")
"""Studies of the same conditions, which may follow each other in a folder and use each other's records."""
AnyTables = TypeVar("AnyTables", bound=Tables)
STUDY_FILE = "study.yaml"
SCAN_FILE = "scan.parquet"


@dataclass(frozen=True, eq=False)
class Condition:
    """One row of the study: what is ablated, if anything."""

    name: str
    """What to call it: "top 1%"."""
    role: Role
    """Its part in the study."""
    share: float | None = None
    """Share p that it belongs to; None for the baseline."""
    seed: int | None = None
    """Seed of a random set."""
    neurons: NeuronSet | None = None
    """The neurons; None for the baseline."""
    cells: dict[str, str] = field(default_factory=dict)
    """What was scored -> key of the record."""


class Ablation:
    """Plans the study's cells, hands them to an engine, and writes down what the run consists of.

    Args:
        study: what to do.
        facts: model and data.
        store: the run folder, held by this process.
        engine: computes cells.
    """

    def __init__(self, study: AblationStudy, facts: Facts, store: Store, engine: Engine) -> None:
        self.study, self.facts, self.store, self.engine = study, facts, store, engine
        self.plan = Planner(study, facts)
        self.kinds = tuple(facts.pairs)
        self.scan_key = ""

    def run(self) -> None:
        """Compute whatever is not recorded yet, and write the manifest that says which records make up the run."""
        scan_cell = self.plan.scan()
        self.scan_key = scan_cell.key
        self._expect(1 + len(self.study.shares) * (1 + self.study.random), len(self.study.shares))
        made = scan_of(self.engine.run([scan_cell])[0], self.facts)
        fixed = self._fixed(made)
        matches_left = len(self.study.shares) if self.study.matched else 0
        self._expect(0, matches_left)
        self._score(fixed, made)
        conditions, matches = [fixed[0]], []
        known: list[Trial] = []
        for number, share in enumerate(self.study.shares):
            group = [condition for condition in fixed if condition.share == share]
            conditions += group
            if self.study.matched:
                self._expect(0, matches_left - number - 1)
                match = self._match(share, group[0], fixed[0], made, known)
                matches.append({"share": share, **_plain(match)})
                known = _merge(known, match.trail)
                if match.neurons is not None:
                    how = "matched" if match.matched else "nearest"
                    name = f"bottom {_percent(match.share)}, {how} to top {_percent(share)}"
                    conditions.append(Condition(name, "matched", share, None, match.neurons))
                    self._score(conditions[-1:], made)
        self._write(made, conditions, matches)

    def _fixed(self, made: Scan) -> list[Condition]:
        """Baseline, top and random conditions: all that need no search."""
        s = self.study
        conditions = [Condition("baseline", "baseline")]
        for share in s.shares:
            top = made.top(share, by=s.by, layers=s.layers)
            conditions.append(Condition(f"top {_percent(share)}", "top", share, None, top))
            if s.random:
                sets = random_sets(made, None, s.seeds, like=top)
                conditions += [
                    Condition(f"random {_percent(share)}, seed {seed}", "random", share, seed, neurons)
                    for seed, neurons in zip(s.seeds, sets, strict=True)
                ]
        return conditions

    def _score(self, conditions: Sequence[Condition], made: Scan) -> None:
        """Score conditions on text and pairs, in this order, and note the records' keys."""
        wanted: list[tuple[Condition, str, Cell]] = []
        for condition in conditions:
            common = (condition.name, condition.neurons, made, self.scan_key)
            wanted.append((condition, "perplexity", self.plan.perplexity(*common)))
            wanted += [(condition, kind, self.plan.pairs(kind, *common)) for kind in self.kinds]
        self.engine.run([cell for _, _, cell in wanted])
        for condition, what, cell in wanted:
            condition.cells[what] = cell.key

    def _match(self, share: float, top: Condition, baseline: Condition, made: Scan, known: Sequence[Trial]) -> Match:
        """Search the low-ranked set that does the top set's damage; each evaluation is a cell of its own."""
        s = self.study

        def bottom(m: float) -> NeuronSet:
            return made.bottom(m, by=s.by, layers=s.layers)

        def evaluate(m: float) -> float:
            name = f"matching {_percent(share)}: bottom {_percent(m)}"
            cell = self.plan.perplexity(name, bottom(m), made, self.scan_key)
            return self.engine.run([cell])[0].results["value"]

        found = find_share(
            evaluate,
            target=self._perplexity(top),
            baseline=self._perplexity(baseline),
            sizes=[max(1, experts) * width for _, _, experts, width in self.facts.layout],
            # Sets that reach into the top share would be no control.
            largest=float(1 - exact_share(share)) if share < 1 else 1.0,
            tolerance=s.tolerance,
            max_evaluations=s.evaluations,
            known=known,
        )
        return Match(**{**found.__dict__, "neurons": bottom(found.share) if found.share else None})

    def _perplexity(self, condition: Condition) -> float:
        return self.store.require(condition.cells["perplexity"]).results["value"]

    def _expect(self, conditions: int, matches: int) -> None:
        """Tell the engine what will come: whole conditions, and searches of about four evaluations."""
        costs = self._costs()
        cells = conditions * len(costs) + matches * (3 + len(costs))
        self.engine.expect(cells, conditions * sum(costs) + matches * (3 * costs[0] + sum(costs)))

    def _costs(self) -> list[float]:
        """Costs of the cells of a condition, that of perplexity first."""
        return [self.plan.cost(what) for what in ("perplexity", *self.kinds)]

    def _write(self, made: Scan, conditions: Sequence[Condition], matches: Sequence[dict[str, Any]]) -> None:
        sets = [_save_set(self.store, condition) for condition in conditions if condition.neurons is not None]
        self.store.keep_only("neurons", sets)
        made.save(self.store.folder / SCAN_FILE)
        self.store.write_manifest(self._manifest(made, conditions, matches))

    def _manifest(
        self, made: Scan, conditions: Sequence[Condition], matches: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """What the run consists of."""
        f = self.facts
        return {
            "study": self.study.model_dump(mode="json"),
            "intervention": self.study.intervention,
            "model": f.source.model_dump(mode="json"),
            "identity": dict(f.identity),
            "neurons": sum(max(1, experts) * width for _, _, experts, width in f.layout),
            "data": {
                "statistics": list(f.statistics),
                "perplexity": list(f.perplexity),
                **{kind: list(pairs) for kind, pairs in f.pairs.items()},
            },
            "scan": self.scan_key,
            "conditions": [
                {
                    "name": c.name,
                    "role": c.role,
                    "share": c.share,
                    "seed": c.seed,
                    "neurons": len(c.neurons) if c.neurons is not None else 0,
                    "set": c.neurons.key if c.neurons is not None else None,
                    "cells": c.cells,
                }
                for c in conditions
            ],
            "matches": list(matches),
            "notes": [*f.notes, *(f"scan: {warning}" for warning in made.warnings)],
        }


def run_study(
    study: AblationStudy,
    out: str | Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    make_engine: Callable[[Store, Compute], Engine] | None = None,
) -> Tables:
    """Run the main study into a folder, or go on with it: what is recorded there is not computed again.

    Args:
        study: what to do.
        out: the run folder; made if need be.
        progress: called as the work goes on.
        note: called with one sentence for what the user should know at once.
        make_engine: another engine than this process.

    Returns:
        Its tables: `tables["summary"]` and so on; they are in `out/tables` as well.

    Raises:
        NegspaceError: bad input, or records that cannot be written; nothing half-written is left.
        Interrupted: the user asked to stop; the same call goes on.
    """
    return drive(study, out, Workbench(study), Ablation, Tables, progress=progress, note=note, make_engine=make_engine)


def drive(
    study: AblationStudy,
    out: str | Path,
    bench: Workbench,
    driver: Callable[[Any, Any, Store, Engine], Ablation],
    make_tables: Callable[[Store], AnyTables],
    *,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    make_engine: Callable[[Store, Compute], Engine] | None = None,
) -> AnyTables:
    """Run the main study, or one that does more on the same conditions, into a folder.

    Args:
        bench: describes the study's data and computes its cells.
        driver: plans its cells.
        make_tables: makes tables of its records.
        study, out, progress, note, make_engine: as for `run_study`, with its errors.
    """
    store = Store(out)
    with store.hold():
        _check_kind(store)
        facts = bench.describe()
        for text in facts.notes:
            if note:
                note(text)
        given = study.model_dump(mode="json")
        if note and (changed := _changed(store, given)):
            note(
                f"another configuration was run here (other {changed}); records that fit are used, tables are replaced"
            )
        store.write_file(STUDY_FILE, yaml.safe_dump(given, sort_keys=False, allow_unicode=True).encode())
        store.log("start", study=study.study, model=study.model, fingerprint=facts.identity["fingerprint"])
        make = make_engine or (lambda store, compute: LocalEngine(store, compute, progress, note))
        with make(store, bench.compute) as engine:
            driver(study, facts, store, engine).run()
        tables = make_tables(store)
        tables.write(store)
        store.log("end")
    return tables


def _check_kind(store: Store) -> None:
    try:
        other = store.read_manifest()["study"]["study"]
    except Exception:
        return  # no finished run there, or a damaged manifest, which this run will write anew
    if other not in KINDS:
        raise StudyError(
            f"an ablation study in {store.folder}", f"a run of the study {other!r}", "give another folder with --out"
        )


def _changed(store: Store, given: dict[str, Any]) -> str:
    """Fields in which the configuration of an earlier run in the folder differs."""
    try:
        before = yaml.safe_load((store.folder / STUDY_FILE).read_text(encoding="utf-8"))
        return ", ".join(name for name, value in given.items() if before.get(name) != value)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        return ""  # none, or none that can be read: it is written anew


def _save_set(store: Store, condition: Condition) -> str:
    assert condition.neurons is not None
    name = condition.name.replace(",", "").replace("%", "pct").replace(" ", "-")
    make_folder(store.folder / "neurons")
    return condition.neurons.save(store.folder / "neurons" / f"{name}.json").name


def _plain(match: Match) -> dict[str, Any]:
    values = {name: value for name, value in match.__dict__.items() if name not in ("neurons", "trail", "share")}
    size = len(match.neurons) if match.neurons is not None else 0
    return {**values, "m": match.share, "neurons": size, "trail": [asdict(trial) for trial in match.trail]}


def _merge(known: Sequence[Trial], trail: Sequence[Trial]) -> list[Trial]:
    """All trials so far, each share once."""
    return list({trial.share: trial for trial in [*known, *trail]}.values())


def _percent(share: float) -> str:
    return f"{float(exact_share(share) * 100):.4g}%"

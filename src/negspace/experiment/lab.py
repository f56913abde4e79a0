"""The lab: what an analysis plans with. Facts of model and data, the scan, makers of cells, and the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from negspace.controls import random_sets
from negspace.experiment.cells import CUT_BY, EARLIER_SCAN, PASSING, PREDICTIONS, VERSIONS
from negspace.experiment.condition import RANDOM, Condition, condition
from negspace.experiment.config import Study
from negspace.experiment.facts import Facts
from negspace.experiment.plan import Load, Planner, union, work
from negspace.experiment.words import file_names
from negspace.files import make_folder
from negspace.intervention import Intervention
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, ScanInfo
from negspace.runs.cell import Cell, Record
from negspace.runs.engine import Engine
from negspace.runs.store import Store
from negspace.stats.collect import PILOT_TOKENS
from negspace.stats.histogram import Histograms
from negspace.stats.parts import Part, digest_of, grids_from_table, merge_parts, part_from_table


class Lab:
    """Everything an analysis needs to plan and to compute, and nothing that needs the model in this process.

    Args:
        study: what to do.
        facts: model and data.
        store: the run folder, held by this process.
        engine: computes cells.
    """

    def __init__(self, study: Study, facts: Facts, store: Store, engine: Engine) -> None:
        self.study, self.facts, self.store, self.engine = study, facts, store, engine
        self._sets: dict[str, NeuronSet] = {}
        self.plan = Planner(study, facts, self.cost)
        """Names what analyses will compute."""

    @property
    def suites(self) -> tuple[str, ...]:
        """Kinds of minimal pairs that the study has: of "blimp", "tse" and "pairs", in this order."""
        return tuple(self.facts.pairs)

    @property
    def scores(self) -> tuple[str, ...]:
        """All that can be scored: "perplexity", then the suites, then "tasks" if the study has any."""
        return ("perplexity", *self.suites, *(("tasks",) if self.facts.tasks else ()))

    @property
    def effect_scores(self) -> tuple[str, ...]:
        """What `Effects` reads: perplexity and the suites."""
        return ("perplexity", *self.suites)

    @cached_property
    def scan_cell(self) -> Cell:
        """The study's one scan of all neurons."""
        s = self.study
        options = {
            "text": self.facts.statistics[1],
            "window": s.window,
            "stride": s.stride,
            "windows": s.windows,
            "bos": s.bos,
            "md_pairs": s.md_pairs,
            "exact": s.exact,
            "seed": s.seed,
            "histograms": True,
            # Scans of such texts counted these tokens as text once.
            **({"specials": 1} if self.facts.specials else {}),
        }
        now, before = (
            self.cell("scan", version, options, "scan", self.cost("scan"))
            for version in (VERSIONS["scan"], EARLIER_SCAN)
        )
        return before if self.store.find(before) is not None and self.store.find(now) is None else now

    @cached_property
    def scan(self) -> Scan:
        """The scan, computed when first asked for."""
        cell = self.scan_cell
        if self.study.scan_parts > 1 and self.store.find(cell) is None:
            cell = replace(cell, cost=0.0, inputs={"merged": self._scan_in_parts()})
        record = self.engine.run([cell])[0]
        # The scan stands for its parts, which are many times as large.
        self.store.discard(PASSING)
        info = ScanInfo(
            model=self.facts.source,
            behaviour=self.facts.behaviour,
            text=self.facts.statistics[0],
            versions=dict(record.versions),
            **record.results["info"],
        )
        histograms = Histograms.from_json(record.results["histograms"])
        return Scan(record.items, info, tuple(record.results["warnings"]), histograms)

    @cached_property
    def examples(self) -> Record | None:
        """Example tokens of the neurons whose distributions the scan keeps, computed when first asked for; None if it
        keeps none."""
        cell = self._examples_cell
        return None if cell is None else self.run([cell])[0]

    @property
    def _examples_cell(self) -> Cell | None:
        kept = self.scan.histograms
        if kept is None or not len(kept):
            return None
        chosen = NeuronSet.from_rows(kept.rows, self.facts.layout, "neurons whose distributions are kept")
        options = _reading(self.scan_cell) | {"chosen": chosen.key}
        version, cost = VERSIONS["examples"], self.cost("examples")
        return self.cell("examples", version, options, "example tokens", cost, chosen=chosen)

    def condition(
        self,
        name: str,
        role: str,
        neurons: NeuronSet,
        *,
        intervention: str | None = None,
        share: float | None = None,
        seed: int | None = None,
        **facts: Any,
    ) -> Condition:
        """A condition on a set of neurons, under the study's intervention or another."""
        done = intervention or self.study.intervention
        return condition(name, role, neurons, done, self.scan, share=share, seed=seed, **facts)

    def random(
        self, name: str, like: NeuronSet, seeds: Sequence[int], *, intervention: str | None = None, **about: Any
    ) -> list[Condition]:
        """Random sets, as many neurons at each site as another set has: one condition a seed, "NAME, seed 0" and so on.

        Args:
            about: share and facts, as for `condition`.
        """
        sets = random_sets(self.scan, None, seeds, like=like) if seeds else []
        return [
            self.condition(f"{name}, seed {seed}", RANDOM, one, intervention=intervention, seed=seed, **about)
            for seed, one in zip(seeds, sets, strict=True)
        ]

    def measure(self, conditions: Sequence[Condition], scores: Sequence[str] | None = None) -> list[Condition]:
        """Score conditions, in their order, all at once: what is recorded is read, and equal sets are computed once.

        Args:
            scores: of `scores`; None: all.

        Returns:
            The same conditions with the keys of their records.
        """
        wanted = [{what: self.score(what, condition) for what in scores or self.scores} for condition in conditions]
        self.run(list({cell.key: cell for cells in wanted for cell in cells.values()}.values()))
        return [
            condition.scored({what: cell.key for what, cell in cells.items()})
            for condition, cells in zip(conditions, wanted, strict=True)
        ]

    def score(self, what: str, under: Condition) -> Cell:
        """A cell that scores "perplexity", a suite of minimal pairs or "tasks" under a condition."""
        f = self.facts
        options: dict[str, Any]
        if what == "perplexity":
            kind, options = "perplexity", {"windows": f.perplexity[1]}
        elif what == "tasks":
            assert f.tasks is not None
            kind, options = "tasks", {"tasks": f.tasks.hash, "harness": f.tasks.harness}
            if f.tasks.appended:  # they were taken for answers once
                options["cut"] = list(f.tasks.appended)
        else:
            kind, options = "pairs", {"kind": what, "pairs": f.pairs[what][1], "protocol": self.study.protocol}
            if f.pairs[what][2] > f.paired[what]:
                options["predictions"] = PREDICTIONS
        cell = self.cell(kind, VERSIONS[kind], options, f"{under.name}: {what}", self.cost(what), under)
        return replace(cell, work=what)

    def cell(
        self,
        kind: str,
        version: int,
        options: Mapping[str, Any],
        label: str,
        cost: float,
        under: Condition | None = None,
        **inputs: Any,
    ) -> Cell:
        """A cell of any kind on the study's model; its key names the model, what is done to it, and the options.

        Args:
            kind: a key of some analysis's `handlers`, or one of `cells.VERSIONS`.
            version: raise it whenever the same spec comes to give another result.
            options: whatever else its result depends on, large things by hash (JSON values).
            label: what to call it in progress.
            cost: tokens that the model will read.
            under: the condition, where that matters; the handler opens it with `bench.changed(cell)`.
            inputs: values that the handler needs and `options` names by hash only; `cell.inputs` has them.
        """
        spec = {"version": version, "model": self.facts.identity, **options}
        if under is not None:
            done, more = changed(under, self.scan_cell.key, lambda: self.scan)
            spec, inputs = spec | done, inputs | more
        return Cell(kind, spec, label, cost, inputs, planned=self._planned)

    @cached_property
    def _planned(self) -> dict[str, Any]:
        facts = self.facts
        return {
            "model": facts.identity,
            "statistics": facts.statistics[1],
            "windows": facts.perplexity[1],
            "pairs": {kind: made for kind, (_, made, _) in facts.pairs.items()},
            "tasks": None if facts.tasks is None else facts.tasks.hash,
        }

    def run(self, cells: Sequence[Cell]) -> list[Record]:
        """Records of cells, in their order; what is recorded is read, the rest is computed."""
        return self.engine.run(cells)

    def expect(self, here: Load, later: Sequence[Load]) -> None:
        """Tell the engine what the analysis at hand has left to do, and those after it; for estimates only."""
        self.engine.expect(work(here), work(union(later)))

    def share_or(self, own: float | None) -> float:
        """An analysis's own share, or else the study's first."""
        return self.study.shares[0] if own is None else own

    def save_set(self, name: str, neurons: NeuronSet) -> None:
        """Have a set of neurons saved under `neurons/` of the run folder, for use elsewhere."""
        self._sets[name] = neurons

    def write_sets(self) -> None:
        """Write the sets that were to be saved in place of those of an earlier run in the folder, which stay whole
        until this one has ended."""
        files = [f"{name}.json" for name in file_names(self._sets)]
        self.store.keep_only("neurons", files)
        if files:
            make_folder(self.store.folder / "neurons")
        for file, neurons in zip(files, self._sets.values(), strict=True):
            neurons.save(self.store.folder / "neurons" / file)

    def cost(self, what: str) -> float:
        """Tokens that the model reads for "scan", "examples", "perplexity", a suite, or "tasks"."""
        return self.facts.tokens[what]

    def _scan_in_parts(self) -> Part:
        """The pass of the study's scan, made by as many workers as there are: the grids first, then all parts.

        What the parts brought home is read and merged one by one: few sketches of the model are in memory at a time.
        """
        asked, count = self.scan_cell, self.study.scan_parts
        of_windows = _reading(asked)
        first = self.cell("scan_grids", VERSIONS["scan_grids"], of_windows, "scan: the first windows", PILOT_TOKENS)
        grids = grids_from_table(self.run([first])[0].items)
        # By what they hold: parts on grids that were made again, elsewhere, might lie on others.
        common = of_windows | {name: asked.spec[name] for name in ("md_pairs", "seed")}
        common |= {"grids": digest_of(grids), "parts": count}

        def cell(number: int) -> Cell:
            label = f"scan, part {number + 1} of {count}"
            return self.cell(
                "scan_part", VERSIONS["scan_part"], {**common, "part": number}, label, asked.cost / count, grids=grids
            )

        cells = [cell(number) for number in range(count)]
        self.engine.ensure(cells)
        merged: Part | None = None
        for one in cells:
            record = self.store.require(one.key)
            windows, middle = tuple(record.results["windows"]), record.results["middle"]
            part = part_from_table(record.items, grids, windows, middle, self.study.md_pairs > 0)
            merged = part if merged is None else merge_parts([merged, part])
        assert merged is not None, "a scan has one part at least"
        return merged


def changed(under: Condition, scan_key: str, scan: Callable[[], Scan]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a condition adds to a cell's spec and inputs.

    Args:
        scan_key: key of the scan that gives the means; `scan` reads it where they are needed.
    """
    if under.chosen is None or under.intervention is None:
        return {"neurons": None, "intervention": None}, {}
    spec = {"neurons": under.key, "intervention": under.intervention}
    if not Intervention(under.intervention).needs_means:
        return spec, {"neurons": under.chosen}
    return {**spec, "scan": scan_key}, {"neurons": under.chosen, "scan": scan()}


def _reading(scan: Cell) -> dict[str, Any]:
    """What says which windows a scan reads."""
    return {name: scan.spec[name] for name in ("text", *CUT_BY, "specials") if name in scan.spec}

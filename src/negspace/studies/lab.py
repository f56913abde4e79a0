"""The lab: what an analysis plans with. Facts of model and data, the scan, makers of cells, and the engine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from negspace.files import make_folder
from negspace.intervention import Intervention
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, ScanInfo
from negspace.runs.cell import Cell, Record
from negspace.runs.engine import Engine
from negspace.runs.store import Damaged, Store
from negspace.stats.histogram import Histograms
from negspace.studies import scan_cells
from negspace.studies.analysis import Load
from negspace.studies.config import Study
from negspace.studies.workbench import VERSIONS, Facts
from negspace.text.windows import STATISTICS_TOKENS

PAIR_TOKENS = 12
"""Rough tokens that a pair costs once prefixes are shared; for estimates only."""


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to the model while a cell is computed."""

    neurons: NeuronSet | None = None
    """The neurons; None: the plain model."""
    intervention: str | None = None
    """One of `INTERVENTIONS`; None: the study's own."""


PLAIN = Change()


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
        self.saved: set[str] = set()
        """Names of the files of neuron sets that this run has saved."""
        self._later = Load(0, 0.0)

    @property
    def suites(self) -> tuple[str, ...]:
        """Kinds of minimal pairs that the study has: of "blimp" and "tse", in this order."""
        return tuple(self.facts.pairs)

    @property
    def scores(self) -> tuple[str, ...]:
        """All that can be scored: "perplexity", then the suites, then "tasks" if the study has any."""
        return ("perplexity", *self.suites, *(("tasks",) if self.facts.tasks else ()))

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
        }
        return self.cell("scan", scan_cells.VERSION, options, "scan", self.cost("scan"))

    @cached_property
    def scan(self) -> Scan:
        """The scan, computed when first asked for."""
        cell = self.scan_cell
        if self.study.scan_parts > 1 and not self._recorded(cell):
            cell = replace(cell, cost=0.0, inputs={"merged": scan_cells.scan_in_parts(self)})
        record = self.engine.run([cell])[0]
        # The scan stands for its parts, which are many times as large.
        self.store.discard(scan_cells.PASSING)
        info = ScanInfo(
            model=self.facts.source,
            text=self.facts.statistics[0],
            versions=dict(record.versions),
            **record.results["info"],
        )
        histograms = Histograms.from_json(record.results["histograms"])
        return Scan(record.items, info, tuple(record.results["warnings"]), histograms)

    def score(self, what: str, label: str, change: Change = PLAIN) -> Cell:
        """A cell that scores "perplexity", a suite of minimal pairs or "tasks" under a change.

        Args:
            what: one of `scores`.
            label: the condition, for progress: "top 1%".
            change: what is done to the model.
        """
        f = self.facts
        if what == "perplexity":
            kind, options = "perplexity", {"windows": f.perplexity[1]}
        elif what == "tasks":
            assert f.tasks is not None
            kind, options = "tasks", {"tasks": f.tasks.hash, "harness": f.tasks.harness}
        else:
            kind, options = "pairs", {"kind": what, "pairs": f.pairs[what][1], "protocol": self.study.protocol}
        return self.cell(kind, VERSIONS[kind], options, f"{label}: {what}", self.cost(what), change)

    def cell(
        self,
        kind: str,
        version: int,
        options: Mapping[str, Any],
        label: str,
        cost: float,
        change: Change | None = None,
        **inputs: Any,
    ) -> Cell:
        """A cell of any kind on the study's model; its key names the model, the change and the options.

        Args:
            kind: a key of some analysis's `handlers`, or one of the workbench's own kinds.
            version: raise it whenever the same spec comes to give another result.
            options: whatever else its result depends on, large things by hash (JSON values).
            label: what to call it in progress.
            cost: rough tokens that the model will read.
            change: what is done to the model, where that matters; the handler opens it with `bench.changed(cell)`.
            inputs: values that the handler needs and `options` names by hash only; `cell.inputs` has them.
        """
        spec = {"version": version, "model": self.facts.identity, **options}
        if change is not None:
            spec |= self._change(change)
        if change is not None and change.neurons is not None:
            inputs["neurons"] = change.neurons
            if Intervention(spec["intervention"]).needs_means:
                inputs["scan"] = self.scan
        return Cell(kind, spec, label, cost, inputs)

    def run(self, cells: Sequence[Cell]) -> list[Record]:
        """Records of cells, in their order; what is recorded is read, the rest is computed."""
        return self.engine.run(cells)

    def expect(self, load: Load) -> None:
        """Tell the engine what the analysis at hand will want beyond the cells handed in next; for estimates only."""
        self.engine.expect(load.cells + self._later.cells, load.tokens + self._later.tokens)

    def expect_later(self, loads: Sequence[Load]) -> None:
        """Note what the analyses after the one at hand will cost."""
        self._later = Load(sum(one.cells for one in loads), sum(one.tokens for one in loads))
        self.expect(Load(0, 0.0))

    def save_set(self, name: str, neurons: NeuronSet) -> None:
        """Save a set of neurons under `neurons/` of the run folder, for use elsewhere."""
        folder = self.store.folder / "neurons"
        make_folder(folder)
        file = re.sub(r"[^A-Za-z0-9.]+", "-", name.replace("%", "pct")).strip("-")
        self.saved.add(neurons.save(folder / f"{file}.json").name)

    def cost(self, what: str) -> float:
        """Rough tokens that the model reads for "scan", "perplexity", a suite, or "tasks"."""
        f, s = self.facts, self.study
        if what == "scan":
            # The statistics cost a little more than the forward pass that they ride on.
            return 1.5 * ((s.window or 2048) * s.windows if s.windows else STATISTICS_TOKENS)
        if what == "perplexity":
            return float(f.predicted)
        if what == "tasks":
            return f.tasks.cost if f.tasks else 0.0
        return float(PAIR_TOKENS * f.pairs[what][2])

    def _recorded(self, cell: Cell) -> bool:
        """Whether a cell has a whole record; of a damaged one the engine tells when it is asked for it."""
        try:
            return self.store.read(cell) is not None
        except Damaged:
            return False

    def _change(self, change: Change) -> dict[str, Any]:
        if change.neurons is None:
            return {"neurons": None, "intervention": None}
        name = change.intervention or self.study.intervention
        named = {"neurons": change.neurons.key, "intervention": name}
        return {**named, "scan": self.scan_cell.key} if Intervention(name).needs_means else named

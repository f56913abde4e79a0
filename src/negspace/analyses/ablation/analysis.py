"""The main study: ablate the neurons furthest from Gaussian, and controls; score each on text, grammar and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import pandas as pd

from negspace.analyses.ablation import columns as ablation_columns
from negspace.analyses.ablation import dissociation as dissociation_tables
from negspace.analyses.ablation import dissociation_figures, figures
from negspace.analyses.ablation.dissociation import DissociationTables
from negspace.analyses.ablation.tables import AblationTables
from negspace.analyses.ablation.words import verdicts
from negspace.controls import Match, random_sets
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.effects import percent
from negspace.experiment.lab import Change
from negspace.experiment.matching import SEARCH, matched_set
from negspace.experiment.run import Run
from negspace.experiment.schema import Schema
from negspace.figures.figure import Figure
from negspace.neurons.neuronset import NeuronSet

Role = Literal["baseline", "top", "random", "matched"]


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


class AblationSettings(Settings):
    """None of its own: the study's fields say which neurons, controls and data."""


class Ablation(Analysis[AblationSettings]):
    """Top neurons by a statistic against random and perplexity-matched sets; with tasks, the double dissociation."""

    name = "ablation"
    title = "Ablation"
    section = AblationSettings
    schema: ClassVar[Schema] = {**ablation_columns.TABLES, **dissociation_tables.TABLES}

    def load(self) -> Load:
        """Whole conditions, and searches of about four evaluations."""
        s = self.lab.study
        conditions, searches = 1 + len(s.shares) * (1 + s.random), len(s.shares) * s.matched
        made = self._load(conditions, searches)
        detail = f"baseline, {len(s.shares)} shares x (top, {s.random} random{', matched' if s.matched else ''})"
        return Load(made.cells, made.tokens, detail)

    def run(self) -> dict[str, Any]:
        """Score the fixed conditions, search the matched ones, score those."""
        s, lab = self.lab.study, self.lab
        fixed = self._fixed()
        left = len(s.shares) if s.matched else 0
        lab.expect(self._load(0, left))
        self._score(fixed)
        conditions, matches = [fixed[0]], []
        for number, share in enumerate(s.shares):
            group = [condition for condition in fixed if condition.share == share]
            conditions += group
            if s.matched:
                lab.expect(self._load(0, left - number - 1))
                match = matched_set(lab, share)
                matches.append({"share": share, **_plain(match)})
                if match.neurons is not None:
                    how = "matched" if match.matched else "nearest"
                    name = f"bottom {percent(match.share)}, {how} to top {percent(share)}"
                    conditions.append(Condition(name, "matched", share, None, match.neurons))
                    self._score(conditions[-1:])
        return self._part(conditions, matches)

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        """Summary, contrasts, matching; by phenomenon and construction; with tasks, those and the dissociation."""
        main = AblationTables(book)
        tables = main.make()
        return tables | DissociationTables(main).make() if "tasks" in book.manifest["data"] else tables

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        """The verdict."""
        return verdicts(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return [*figures.figures(run), *dissociation_figures.figures(run)]

    def _fixed(self) -> list[Condition]:
        """Baseline, top and random conditions: all that need no search."""
        s, scan = self.lab.study, self.lab.scan
        conditions = [Condition("baseline", "baseline")]
        for share in s.shares:
            top = scan.top(share, by=s.by, layers=s.layers)
            conditions.append(Condition(f"top {percent(share)}", "top", share, None, top))
            if s.random:
                sets = random_sets(scan, None, s.seeds, like=top)
                conditions += [
                    Condition(f"random {percent(share)}, seed {seed}", "random", share, seed, neurons)
                    for seed, neurons in zip(s.seeds, sets, strict=True)
                ]
        return conditions

    def _score(self, conditions: Sequence[Condition]) -> None:
        """Score conditions on all that the study has, in this order, and note the records' keys."""
        wanted = [
            (condition, what, self.lab.score(what, condition.name, Change(condition.neurons)))
            for condition in conditions
            for what in self.lab.scores
        ]
        self.lab.run([cell for _, _, cell in wanted])
        for condition, what, cell in wanted:
            condition.cells[what] = cell.key

    def _load(self, conditions: int, searches: int) -> Load:
        whole = sum(self.lab.cost(what) for what in self.lab.scores)
        cells = (conditions + searches) * len(self.lab.scores) + searches * (SEARCH - 1)
        tokens = (conditions + searches) * whole + searches * (SEARCH - 1) * self.lab.cost("perplexity")
        return Load(cells, tokens)

    def _part(self, conditions: Sequence[Condition], matches: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What the analysis consists of."""
        for condition in conditions:
            if condition.neurons is not None:
                self.lab.save_set(condition.name, condition.neurons)
        notes = []
        if "tasks" in self.lab.scores:
            notes = list(self.lab.store.require(conditions[0].cells["tasks"]).results["notes"])
        return {
            "intervention": self.lab.study.intervention,
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
            "notes": notes,
        }


def _plain(match: Match) -> dict[str, Any]:
    values = {name: value for name, value in match.__dict__.items() if name not in ("neurons", "trail", "share")}
    size = len(match.neurons) if match.neurons is not None else 0
    return {**values, "m": match.share, "neurons": size, "trail": [asdict(trial) for trial in match.trail]}

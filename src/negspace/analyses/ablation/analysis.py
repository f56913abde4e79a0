"""The main study: ablate the neurons furthest from Gaussian, and controls; score each on text, grammar and tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import pandas as pd

from negspace.analyses.ablation import columns as ablation_columns
from negspace.analyses.ablation import dissociation as dissociation_tables
from negspace.analyses.ablation import dissociation_figures, figures
from negspace.analyses.ablation.dissociation import DissociationTables
from negspace.analyses.ablation.tables import AblationTables
from negspace.analyses.ablation.words import verdicts
from negspace.controls import Match
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.condition import Condition, left_out, written
from negspace.experiment.matching import SEARCH, matched_set
from negspace.experiment.run import Run
from negspace.experiment.schema import Schema
from negspace.experiment.words import percent
from negspace.figures.figure import Figure


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
        left = len(s.shares) if s.matched else 0
        lab.expect(self._load(0, left))
        fixed = lab.measure(self._fixed())
        conditions, matches = fixed[:1], []
        for number, share in enumerate(s.shares):
            conditions += [one for one in fixed if one.share == share]
            if s.matched:
                lab.expect(self._load(0, left - number - 1))
                match = matched_set(lab, share)
                matches.append({"share": share, **_plain(match)})
                if match.neurons is not None:
                    how = "matched" if match.matched else "nearest"
                    name = f"bottom {percent(match.share)}, {how} to top {percent(share)}"
                    conditions += lab.measure([lab.condition(name, "matched", match.neurons, share=share)])
        for one in conditions:
            if one.chosen is not None:
                lab.save_set(one.name, one.chosen)
        notes = left_out("ablation", conditions)
        if "tasks" in lab.scores:
            notes += lab.store.require(conditions[0].cells["tasks"]).results["notes"]
        return {
            "intervention": s.intervention,
            "conditions": written(conditions),
            "matches": matches,
            "notes": notes,
        }

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
        s, lab = self.lab.study, self.lab
        conditions = [Condition(name="baseline")]
        for share in s.shares:
            top = lab.scan.top(share, by=s.by, layers=s.layers)
            conditions.append(lab.condition(f"top {percent(share)}", "top", top, share=share))
            conditions += lab.random(f"random {percent(share)}", top, s.seeds, share=share)
        return conditions

    def _load(self, conditions: int, searches: int) -> Load:
        whole = sum(self.lab.cost(what) for what in self.lab.scores)
        cells = (conditions + searches) * len(self.lab.scores) + searches * (SEARCH - 1)
        tokens = (conditions + searches) * whole + searches * (SEARCH - 1) * self.lab.cost("perplexity")
        return Load(cells, tokens)


def _plain(match: Match) -> dict[str, Any]:
    values = {name: value for name, value in match.__dict__.items() if name not in ("neurons", "trail", "share")}
    size = len(match.neurons) if match.neurons is not None else 0
    return {**values, "m": match.share, "neurons": size, "trail": [asdict(trial) for trial in match.trail]}

"""The main study: ablate the neurons furthest from Gaussian, and controls; score each on text, grammar and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from negspace.experiment.matching import matched_set
from negspace.experiment.plan import PLAIN
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
        s, plan = self.lab.study, self.lab.plan
        fixed = [PLAIN]
        for share in s.shares:
            fixed += [plan.sets("top", share), *plan.random(share, s.seeds)]
        detail = f"baseline, {len(s.shares)} shares x (top, {s.random} random{', matched' if s.matched else ''})"
        planned = {**plan.scores(fixed, self.lab.scores), **self._searches(s.shares if s.matched else ()).planned}
        return Load(planned, detail)

    def run(self) -> dict[str, Any]:
        """Score the fixed conditions, search the matched ones, score those."""
        s, lab = self.lab.study, self.lab
        lab.expect(self._searches(s.shares if s.matched else ()))
        fixed = lab.measure(self._fixed())
        conditions, matches = fixed[:1], []
        for number, share in enumerate(s.shares):
            conditions += [one for one in fixed if one.share == share]
            if s.matched:
                lab.expect(self._searches(s.shares[number + 1 :]))
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

    def _searches(self, shares: Sequence[float]) -> Load:
        """What is left to do for the matched sets of some shares."""
        plan = self.lab.plan
        made: dict[tuple[str, str], float] = {}
        for share in shares:
            made |= {**plan.search(share), **plan.scores([plan.matched(share)], self.lab.scores)}
        return Load(made)


def _plain(match: Match) -> dict[str, Any]:
    values = {name: value for name, value in match.__dict__.items() if name not in ("neurons", "trail", "share")}
    size = len(match.neurons) if match.neurons is not None else 0
    return {**values, "m": match.share, "neurons": size, "trail": [asdict(trial) for trial in match.trail]}

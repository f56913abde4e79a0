"""The main study: ablate the neurons furthest from Gaussian, and controls; score each on text, grammar and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import pandas as pd

from negspace.analyses.ablation import claims as ablation_claims
from negspace.analyses.ablation import columns as ablation_columns
from negspace.analyses.ablation import dissociation_columns, dissociation_figures, figures
from negspace.analyses.ablation.tables import AblationTables
from negspace.analyses.ablation.words import verdicts
from negspace.controls import Match
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.claim import Claim
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
    schema: ClassVar[Schema] = {**ablation_columns.TABLES, **dissociation_columns.TABLES}

    def load(self) -> Load:
        """Whole conditions, and searches of about four evaluations."""
        s, plan = self.lab.study, self.lab.plan
        fixed, short = [PLAIN], []
        for share in s.shares:
            fixed += [plan.sets("top", share), *plan.random(share, s.seeds)]
            short += plan.random(share, s.more_seeds)
        more = f" and {len(s.more_seeds)} more on perplexity" if s.more_seeds else ""
        sets = f"top, {s.random} random{more}{', matched' if s.matched else ''}"
        detail = f"baseline; at {', '.join(map(percent, s.shares))}: {sets}"
        planned = {**plan.scores(fixed, self.lab.scores), **plan.scores(short, ["perplexity"])}
        return Load({**planned, **self._searches(s.shares if s.matched else ()).planned}, detail)

    def run(self) -> dict[str, Any]:
        """Score the fixed conditions, search the matched ones, score those."""
        s, lab = self.lab.study, self.lab
        fixed = lab.measure(self._fixed())
        fixed += lab.measure(self._on_perplexity(), ["perplexity"])
        conditions, matches = fixed[:1], []
        for share in s.shares:
            conditions += [condition for condition in fixed if condition.share == share]
            if s.matched:
                match = matched_set(lab, share)
                matches.append({"share": share, **_plain(match)})
                if match.neurons is not None:
                    how = "matched" if match.matched else "nearest"
                    name = f"bottom {percent(match.share)}, {how} to top {percent(share)}"
                    conditions += lab.measure([lab.condition(name, "matched", match.neurons, share=share)])
        for condition in conditions:
            if condition.chosen is not None:
                lab.save_set(condition.name, condition.chosen)
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
        return AblationTables(book).make()

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        """The verdict."""
        return verdicts(book, tables)

    @classmethod
    def claims(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
        """Selection, ablation, controls and the dissociation."""
        return ablation_claims.claims(book, tables)

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
        """What finding and scoring the matched sets of some shares takes."""
        plan = self.lab.plan
        made: dict[tuple[str, str], float] = {}
        for share in shares:
            made |= {**plan.search(share), **plan.scores([plan.matched(share)], self.lab.scores)}
        return Load(made)

    def _on_perplexity(self) -> list[Condition]:
        """The further random sets, on which perplexity alone is scored."""
        s, lab = self.lab.study, self.lab
        conditions = []
        for share in s.shares if s.more_seeds else ():
            top = lab.scan.top(share, by=s.by, layers=s.layers)
            conditions += lab.random(f"random {percent(share)}", top, s.more_seeds, share=share)
        return conditions


def _plain(match: Match) -> dict[str, Any]:
    values = {name: value for name, value in match.__dict__.items() if name not in ("neurons", "trail", "share")}
    size = len(match.neurons) if match.neurons is not None else 0
    return {**values, "m": match.share, "neurons": size, "trail": [asdict(trial) for trial in match.trail]}

"""Layers: consecutive groups of layers ablated, each alone and cumulatively from the first.

A set of neurons gives one condition a group and family: its part in that group alone, and its part in all groups up to
that one. All conditions of one set and score are one cell, for they are scored in one pass over the data in which
layers that two of them have in common run once (`negspace.score.sweep`); eight groups, alone and cumulatively, take 56%
of the layers of sixteen whole evaluations. The cell's key names the set and the layers of every condition; its items
have a column for the condition. The top set and each random set have cells of their own, so that a run that is stopped
loses one set's score at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from negspace.analyses.layers import columns as layers_columns
from negspace.analyses.layers import figures
from negspace.analyses.layers import tables as layers_tables
from negspace.analyses.layers import words as layers_words
from negspace.analyses.layers.cells import HANDLERS, VERSION
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.claim import Claim
from negspace.experiment.condition import Condition, left_out, written
from negspace.experiment.config import each_once
from negspace.experiment.plan import PLAIN
from negspace.experiment.run import Run
from negspace.experiment.words import percent
from negspace.experiment.workbench import Handler
from negspace.figures.figure import Figure
from negspace.runs.cell import Cell
from negspace.score import sweep
from negspace.stats.scores import Statistic

Family = Literal["alone", "cumulative"]


class LayersSettings(Settings):
    """Groups of layers and sets of neurons."""

    groups: int = Field(8, ge=1)
    """Number of groups of consecutive layers, nearly equal in size; with fewer layers, each layer is a group."""
    share: float | None = Field(None, gt=0, le=1)
    """Share p of each site's neurons. Default: the study's first."""
    by: Statistic | None = None
    """Statistic that ranks the neurons. Default: the study's."""
    families: tuple[Family, ...] = get_args(Family)
    """Conditions: each group alone, and all groups up to it."""
    random: int | None = Field(None, ge=0)
    """Random sets of the top set's size in every layer. Default: as in the study."""

    @model_validator(mode="after")
    def _check(self) -> LayersSettings:
        each_once("families", self.families)
        return self


def group_layers(layers: Sequence[int], groups: int) -> list[tuple[int, ...]]:
    """Consecutive groups of layers of as equal sizes as can be, larger ones first; at most one a layer."""
    if not layers:
        return []
    return [tuple(part.tolist()) for part in np.array_split(np.array(layers, int), min(groups, len(layers)))]


class LayersAnalysis(Analysis[LayersSettings]):
    """Perplexity, BLiMP by phenomenon and TSE by construction under the ablation of groups of layers."""

    name = "layers"
    title = "Layers"
    section = LayersSettings
    schema = layers_columns.TABLES
    handlers: ClassVar[Mapping[str, Handler]] = HANDLERS

    @property
    def share(self) -> float:
        """Share p of each site's neurons."""
        return self.lab.share_or(self.settings.share)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the random sets."""
        s = self.lab.study
        count = s.random if self.settings.random is None else self.settings.random
        return tuple(range(s.seed, s.seed + count))

    @property
    def conditions(self) -> list[tuple[Family, tuple[int, ...]]]:
        """Family and layers of each condition."""
        wanted = self.lab.study.layers
        with_neurons = [layer for layer in self.lab.facts.layout.layers if wanted is None or layer in wanted]
        groups = group_layers(with_neurons, self.settings.groups)
        made: list[tuple[Family, tuple[int, ...]]] = []
        for family in self.settings.families:
            for number, group in enumerate(groups):
                made.append((family, group if family == "alone" else tuple(sum(groups[: number + 1], ()))))
        return made

    def load(self) -> Load:
        plan, conditions = self.lab.plan, self.conditions
        unders = [plan.sets("top", self.share, by=self.settings.by), *plan.random(self.share, self.seeds)]
        passes = _passes([layers for _, layers in conditions])
        sets = ", ".join(["top", *([f"{len(self.seeds)} random"] if self.seeds else [])])
        detail = (
            f"baseline; {sets}: {len(conditions)} conditions ({', '.join(self.settings.families)}) of each set in "
            f"{passes:.1f} passes instead of {len(conditions)}"
        )
        each = {score: passes * self.lab.cost(score) for score in self.lab.effect_scores}
        sweeps = {(f"layers {score}", under): tokens for score, tokens in each.items() for under in unders}
        return Load({**plan.scores([PLAIN], self.lab.effect_scores), **sweeps}, detail)

    def run(self) -> dict[str, Any]:
        study, scan = self.lab.study, self.lab.scan
        top = scan.top(self.share, by=self.settings.by or study.by, layers=study.layers)
        sets = [self.lab.condition(f"top {percent(self.share)}", "top", top, share=self.share)]
        sets += self.lab.random(f"random {percent(self.share)}", top, self.seeds, share=self.share)
        baseline = Condition(name="plain model")
        plain = {score: self.lab.score(score, baseline) for score in self.lab.effect_scores}
        cells = [{score: self._cell(score, condition) for score in self.lab.effect_scores} for condition in sets]
        records = self.lab.run([*plain.values(), *(cell for own in cells for cell in own.values())])
        notes = left_out("layers", sets)
        notes += [f"layers: {note}" for record in records[len(plain) :] for note in record.results["notes"]]
        return {
            "notes": list(dict.fromkeys(notes)),
            "share": self.share,
            "by": self.settings.by or study.by,
            "scores": list(self.lab.effect_scores),
            "baseline": written([baseline.scored(_keys(plain))])[0],
            "conditions": written(
                [
                    self._in_layers(condition, place).scored(_keys(own))
                    for place in range(len(self.conditions))
                    for condition, own in zip(sets, cells, strict=True)
                ]
            ),
        }

    def _in_layers(self, condition: Condition, place: int) -> Condition:
        """A set in the layers of one condition; `place` is its number in the sets' cells."""
        assert condition.chosen is not None
        family, layers = self.conditions[place]
        facts = {**condition.facts, "family": family, "layers": list(layers), "place": place}
        name = f"{condition.name}, {family}: layers {', '.join(map(str, layers))}"
        return condition.model_copy(
            update={"name": name, "neurons": len(condition.chosen.restrict(layers)), "facts": facts, "chosen": None}
        )

    def _cell(self, score: str, under: Condition) -> Cell:
        """All conditions of one set under one score."""
        facts, conditions = self.lab.facts, [list(layers) for _, layers in self.conditions]
        options: dict[str, Any] = {"score": score, "conditions": conditions}
        if score == "perplexity":
            options["windows"] = facts.perplexity[1]
        else:
            options |= {"pairs": facts.pairs[score][1], "protocol": self.lab.study.protocol}
        cost = self.lab.cost(score) * _passes([tuple(layers) for layers in conditions])
        cell = self.lab.cell("layers", VERSION, options, f"layers, {under.name}: {score}", cost, under)
        return replace(cell, work=f"layers {score}")

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        return layers_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        return layers_words.sentences(book, tables)

    @classmethod
    def claims(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
        return layers_words.claims(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)


def _passes(conditions: Sequence[tuple[int, ...]]) -> float:
    """Whole passes that all conditions take, as far as the layers that have neurons tell."""
    layers = sorted({layer for condition in conditions for layer in condition})
    runs = sweep.plan([tuple("x" if layer in condition else "" for layer in layers) for condition in conditions])
    return sum(len(layers) - run.start for run in runs) / max(1, len(layers))


def _keys(cells: Mapping[str, Cell]) -> dict[str, str]:
    return {score: cell.key for score, cell in cells.items()}

"""Dose: scores against the share of neurons that is changed, for top, random and bottom sets, and by intervention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from negspace.analyses.dose import axis, figures
from negspace.analyses.dose import columns as dose_columns
from negspace.analyses.dose import tables as dose_tables
from negspace.analyses.dose import words as dose_words
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.claim import Claim
from negspace.experiment.condition import Condition, left_out, written
from negspace.experiment.config import Shares, each_once, some_shares
from negspace.experiment.plan import PLAIN
from negspace.experiment.run import Run
from negspace.experiment.schema import Schema
from negspace.experiment.words import percent
from negspace.figures.figure import Figure
from negspace.intervention import INTERVENTIONS

Kind = Literal["top", "random", "bottom"]
Name = Literal["zero_negative", "zero_positive", "zero_both", "relu_on_positives", "sign_flip", "mean", "negative_mean"]
assert set(get_args(Name)) == set(INTERVENTIONS)


class DoseSettings(Settings):
    """Shares, sets and interventions."""

    shares: Shares | None = None
    """Shares p of each site's neurons. Default: `points` log-spaced shares from `lowest` to `highest`."""
    lowest: float = Field(0.001, gt=0, le=1)
    """Smallest share."""
    highest: float = Field(1.0, gt=0, le=1)
    """Largest share. At 1, a site of D neurons gives D - 1."""
    points: int = Field(10, ge=2)
    """Number of shares, each rounded to three digits."""
    sets: tuple[Kind, ...] = get_args(Kind)
    """Families of sets: highest scores, equally many at random, lowest scores."""
    random: int | None = Field(None, ge=1)
    """Random sets per share. Default: as in the study, at least 1."""
    interventions: tuple[Name, ...] = get_args(Name)
    """Interventions to compare. The curves over shares use the study's own intervention."""
    intervention_shares: Shares | None = None
    """Shares at which the interventions are compared. Default: the study's."""

    @model_validator(mode="after")
    def _check(self) -> DoseSettings:
        for name, given in (("shares", self.shares), ("intervention_shares", self.intervention_shares)):
            if given is not None:
                some_shares(name, given)
        if self.shares is None and self.lowest >= self.highest:
            raise ValueError(f"lowest ({self.lowest}) must be below highest ({self.highest})")
        each_once("sets", self.sets)
        if self.interventions:
            each_once("interventions", self.interventions)
        return self

    @property
    def doses(self) -> tuple[float, ...]:
        """The shares, upwards."""
        if self.shares is not None:
            return tuple(sorted(self.shares))
        spaced = np.geomspace(self.lowest, self.highest, self.points)
        return tuple(dict.fromkeys(float(f"{share:.3g}") for share in spaced))


class Dose(Analysis[DoseSettings]):
    """Perplexity and minimal pairs against the share of neurons, and under every intervention."""

    name = "dose"
    title = "Dose and intervention"
    section = DoseSettings
    schema: ClassVar[Schema] = {**dose_columns.TABLES, **axis.TABLES}

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the random sets."""
        s = self.lab.study
        wanted = self.settings.random or max(1, s.random)
        return tuple(range(s.seed, s.seed + wanted)) if self._uses_random else ()

    @property
    def _uses_random(self) -> bool:
        return "random" in self.settings.sets

    @property
    def _plan(self) -> list[tuple[str, float, tuple[Kind, ...]]]:
        """Intervention, share and families of sets, each combination once; the study's own intervention first."""
        s, own = self.settings, self.lab.study.intervention
        compared: tuple[Kind, ...] = tuple(kind for kind in s.sets if kind != "bottom")
        plan = {(own, share): s.sets for share in s.doses}
        for share in s.intervention_shares or self.lab.study.shares:
            for name in s.interventions if compared else ():
                plan.setdefault((name, float(share)), compared)
        order = list(dict.fromkeys(name for name, _ in plan))
        return [(name, p, plan[name, p]) for name, p in sorted(plan, key=lambda key: (order.index(key[0]), key[1]))]

    def load(self) -> Load:
        plan, unders = self.lab.plan, [PLAIN]
        for name, share, kinds in self._plan:
            for kind in kinds:
                random = plan.random(share, self.seeds, name)
                unders += random if kind == "random" else [plan.sets(kind, share, intervention=name)]
        sets = len(set(unders)) - 1
        detail = (
            f"{len(self.settings.doses)} shares of {', '.join(self.settings.sets)} sets; "
            f"{len(self.settings.interventions)} interventions; {sets} different conditions and the plain model"
        )
        return Load(plan.scores(unders, self.lab.effect_scores), detail)

    def run(self) -> dict[str, Any]:
        scores, wanted = self.lab.effect_scores, [Condition(name="plain model"), *self._conditions()]
        plain, *conditions = self.lab.measure(wanted, scores)
        return {
            "notes": left_out("dose", conditions),
            "scores": list(scores),
            "baseline": written([plain])[0],
            "conditions": written(conditions),
        }

    def _conditions(self) -> list[Condition]:
        s, scan = self.lab.study, self.lab.scan
        found: list[Condition] = []
        for name, share, kinds in self._plan:
            top = scan.top(share, by=s.by, layers=s.layers)
            for kind in kinds:
                about: dict[str, Any] = {"intervention": name, "share": share}
                if kind == "random":
                    found += self.lab.random(f"random {percent(share)}, {name}", top, self.seeds, **about)
                else:
                    chosen = top if kind == "top" else scan.bottom(share, by=s.by, layers=s.layers)
                    found.append(self.lab.condition(f"{kind} {percent(share)}, {name}", kind, chosen, **about))
        return found

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        return dose_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        return dose_words.sentences(book, tables)

    @classmethod
    def claims(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
        return list(axis.claims(tables))

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)

"""Is it WD? Sets chosen by other statistics: their overlaps, the rank correlations, and what ablating each does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd
from pydantic import Field, model_validator

from negspace.analyses.rankings import columns as rankings_columns
from negspace.analyses.rankings import figures
from negspace.analyses.rankings import tables as rankings_tables
from negspace.analyses.rankings import words as rankings_words
from negspace.analyses.rankings.sets import RESIDUAL, choose, defined
from negspace.experiment.analysis import Analysis, Book, Load, Settings
from negspace.experiment.condition import Condition, left_out, written
from negspace.experiment.config import Shares, each_once, some_shares
from negspace.experiment.plan import PLAIN
from negspace.experiment.run import Run
from negspace.experiment.words import percent
from negspace.figures.figure import Figure
from negspace.stats.scores import Statistic

End = Literal["top", "bottom"]


class RankingsSettings(Settings):
    """Statistics and shares to compare."""

    by: tuple[Statistic, ...] = ("wd", "md", "skewness", "kurtosis", "bimodality", "std", "negative_share")
    """Statistics that select neurons, highest first (skewness by magnitude). WD is always included."""
    residual: bool = True
    """Also select by the residual of WD's ranks after |skewness| and kurtosis: does WD add anything to them?"""
    ends: tuple[End, ...] = ("top",)
    """Ends of each ranking to ablate: highest values, lowest values."""
    shares: Shares | None = None
    """Shares p of each site's neurons. Default: the study's."""
    random: int | None = Field(None, ge=1)
    """Random sets per share. Default: as in the study, at least 1."""

    @model_validator(mode="after")
    def _check(self) -> RankingsSettings:
        if self.shares is not None:
            some_shares("shares", self.shares)
        each_once("by", self.by)
        each_once("ends", self.ends)
        return self

    @property
    def statistics(self) -> tuple[str, ...]:
        """The statistics that choose neurons, WD first."""
        others = tuple(name for name in self.by if name != "wd")
        return ("wd", *others, *((RESIDUAL,) if self.residual else ()))


class Rankings(Analysis[RankingsSettings]):
    """Selection by WD, MD, skewness, kurtosis, bimodality, spread and negative share, side by side."""

    name = "rankings"
    title = "Is it WD?"
    section = RankingsSettings
    schema = rankings_columns.TABLES

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the random sets."""
        s = self.lab.study
        return tuple(range(s.seed, s.seed + (self.settings.random or max(1, s.random))))

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares."""
        return self.settings.shares or self.lab.study.shares

    def load(self) -> Load:
        """Every statistic at both ends and shares, random sets, the plain model; sets that coincide count here."""
        plan, unders = self.lab.plan, [PLAIN]
        for share in self.shares:
            unders += [plan.sets(end, share, by=by) for end in self.settings.ends for by in self.settings.statistics]
            unders += plan.random(share, self.seeds)
        ends = " and ".join(self.settings.ends)
        sets = f"{len(self.settings.statistics)} statistics, {ends}; {len(self.seeds)} random"
        detail = f"baseline; at {', '.join(map(percent, self.shares))}: {sets}"
        return Load(plan.scores(unders, self.lab.effect_scores), detail)

    def run(self) -> dict[str, Any]:
        """Choose the sets and score them; sets that coincide are scored once."""
        chosen, covered, notes = self._conditions()
        plain, *conditions = self.lab.measure([Condition(name="plain model"), *chosen], self.lab.effect_scores)
        return {
            "notes": [*notes, *left_out("rankings", conditions)],
            "scan": self.lab.scan_cell.key,
            "layers": None if self.lab.study.layers is None else list(self.lab.study.layers),
            "statistics": [name for name in self.settings.statistics if name in covered],
            "sites": {name: list(paths) for name, paths in covered.items()},
            "scores": list(self.lab.effect_scores),
            "baseline": written([plain])[0],
            "conditions": written(conditions),
        }

    def _conditions(self) -> tuple[list[Condition], dict[str, tuple[str, ...]], list[str]]:
        """The sets, the sites that have each statistic, and what a reader must know."""
        scan, layers = self.lab.scan, self.lab.study.layers
        table, layout = scan.table, scan.info.layout
        covered = {name: defined(table, layout, name, layers) for name in self.settings.statistics}
        notes = [f"rankings: no neuron has {name}; it chooses none" for name, paths in covered.items() if not paths]
        covered = {name: paths for name, paths in covered.items() if paths}
        everywhere = covered["wd"]
        notes += [
            f"rankings: {name} is defined at {len(paths)} of {len(everywhere)} sites; it is compared with WD there only"
            for name, paths in covered.items()
            if len(paths) < len(everywhere)
        ]
        found: list[Condition] = []
        for share in self.shares:
            for within, paths in _grounds(covered).items():
                names = [name for name, own in covered.items() if name == "wd" or (own == paths)]
                where = f", sites that have {within}" if within else ""
                for end in self.settings.ends:
                    sets = {name: choose(table, layout, share, name, end, paths) for name in names}
                    about: dict[str, Any] = {"share": share, "end": end, "within": within}
                    found += [
                        self.lab.condition(f"{end} {percent(share)} by {name}{where}", "chosen", one, by=name, **about)
                        for name, one in sets.items()
                    ]
                    if end == self.settings.ends[0]:
                        name = f"random {percent(share)}{where}"
                        found += self.lab.random(name, sets["wd"], self.seeds, by="random", **about)
        return found, covered, notes

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        """Ablations and contrasts, overlaps, correlations, partial correlations."""
        return rankings_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        """Return the sentences on WD."""
        return rankings_words.sentences(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)


def _grounds(covered: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Sites on which statistics are compared with WD: all of WD's (named ""), and fewer where a statistic has fewer."""
    grounds = {"": covered["wd"]}
    for name, paths in covered.items():
        if paths not in grounds.values():
            grounds[name] = paths
    return grounds

"""Differentiation: the near inputs that a neuron drives furthest apart, and whether it does so below zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd
from pydantic import Field

from negspace.analyses.differentiation import columns as differentiation_columns
from negspace.analyses.differentiation import figures
from negspace.analyses.differentiation import tables as differentiation_tables
from negspace.analyses.differentiation import words as differentiation_words
from negspace.analyses.differentiation.cells import HANDLERS, KIND, VERSION
from negspace.controls import bottom_like
from negspace.experiment.analysis import Analysis, Book, Load
from negspace.experiment.chosen import leading, rows_of
from negspace.experiment.passages import KIND as PASSAGES
from negspace.experiment.passages import PassageSettings, passage_settings, passages_cell, read_facts
from negspace.experiment.run import Run
from negspace.experiment.tagging import lacks_tagger
from negspace.experiment.workbench import Handler, Workbench
from negspace.figures.figure import Figure


class DifferentiationSettings(PassageSettings):
    """Neurons and pairs of tokens."""

    tokens: int = Field(8192, ge=64)
    """Number of tokens to read, in whole passages spread over the text; all their pairs are compared in every layer."""
    share: float | None = Field(None, gt=0, le=1)
    """Share p of each site's neurons to choose from. Default: the study's first."""
    per_layer: int = Field(8, ge=1)
    """Maximum number of neurons per site, highest scores first."""
    pairs: int = Field(32, ge=2)
    """Selected pairs per neuron: the near inputs that it drives furthest apart."""
    neighbours: int = Field(8, ge=1)
    """Number of nearest neighbours of each token that count as near."""
    nearest: float = Field(0.5, gt=0, le=1)
    """Share of these pairs to keep, nearest first: some tokens have no near input at all."""
    random: int | None = Field(None, ge=0)
    """Random sets of control neurons, of the same size at each site. Default: as in the study."""
    bottom: bool = True
    """Also use the lowest-scoring neurons, equally many at each site, as controls."""


class DifferentiationAnalysis(Analysis[DifferentiationSettings]):
    """Near inputs that the top neurons drive furthest apart, against control neurons and matched pairs."""

    name = "differentiation"
    title = "Differentiation of near inputs"
    section = DifferentiationSettings
    extras = ("pos",)
    schema = differentiation_columns.TABLES
    handlers: ClassVar[Mapping[str, Handler]] = HANDLERS

    @classmethod
    def lacks(cls, settings: DifferentiationSettings, study: Any) -> str | None:
        return lacks_tagger(settings.text, study)

    @classmethod
    def read(cls, settings: DifferentiationSettings, bench: Workbench) -> Mapping[str, Any]:
        return read_facts(bench, settings)

    @property
    def share(self) -> float:
        """Share from which the neurons are chosen."""
        return self.lab.share_or(self.settings.share)

    def load(self) -> Load:
        cost, text = float(self.facts["tokens"]), self.facts["hash"]
        planned = {(PASSAGES, text): 0.0, (KIND, text): cost}
        return Load(planned, f"near pairs of {self.facts['tokens']:,} tokens in every layer")

    def run(self) -> dict[str, Any]:
        s, settings, scan = self.lab.study, self.settings, self.lab.scan
        top = leading(scan, self.share, s.by, s.layers, per_site=settings.per_layer)
        sets = [("top", None, top)]
        count = s.random if settings.random is None else settings.random
        seeds = range(s.seed, s.seed + count)
        if count:
            # Neurons of the whole top set are no controls for some of it.
            whole = scan.top(self.share, by=s.by, layers=s.layers)
            drawn = [scan.random(like=top, seed=seed, exclude=whole) for seed in seeds]
            sets += [("random", seed, chosen) for seed, chosen in zip(seeds, drawn, strict=True)]
        if settings.bottom:
            sets.append(("bottom", None, bottom_like(scan, top, s.by)))
        union = top
        for _, _, chosen in sets[1:]:
            union = union | chosen
        tokens = passages_cell(self.lab, self.facts, settings)
        options = {"passages": self.facts["hash"], "chosen": union.key, "pairs": settings.pairs,
                   "neighbours": settings.neighbours, "nearest": settings.nearest}  # fmt: skip
        cost, inputs = float(self.facts["tokens"]), {"chosen": union, "settings": passage_settings(settings)}
        cell = self.lab.cell(KIND, VERSION, options, "near pairs", cost, **inputs)
        records = self.lab.run([tokens, cell])
        return {
            "notes": [f"differentiation: {note}" for note in [*self.facts["notes"], *records[1].results["notes"]]],
            "by": s.by,
            "share": self.share,
            "passages": {**self.facts, "record": tokens.key},
            "record": cell.key,
            "sets": [
                {"set": role, "seed": seed, "key": chosen.key, "neurons": rows_of(scan, chosen)["name"].tolist()}
                for role, seed, chosen in sets
            ],
        }

    @classmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        return differentiation_tables.make(book)

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        return differentiation_words.sentences(book, tables)

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        return figures.figures(run)

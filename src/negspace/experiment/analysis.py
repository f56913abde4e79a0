"""The base class of analyses: an analysis plans cells, makes tables of their records and states what they show."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import pandas as pd

from negspace.experiment.book import Book
from negspace.experiment.claim import Claim
from negspace.experiment.config import Settings
from negspace.experiment.lab import Lab
from negspace.experiment.plan import Load
from negspace.experiment.run import Run
from negspace.experiment.schema import Schema
from negspace.experiment.workbench import Handler, Workbench
from negspace.figures.figure import Figure

__all__ = ["Analysis", "Book", "Handler", "Load", "Run", "Settings"]

AnySettings = TypeVar("AnySettings", bound=Settings)


class Analysis(ABC, Generic[AnySettings]):
    """One analysis of a study. Subclasses fill in the class variables and the abstract methods.

    Args:
        settings: its section of the study file.
        lab: model facts, data, scan, planner and engine.
        facts: what `read` returned.
    """

    name: ClassVar[str]
    """Its key in study files and manifests."""
    title: ClassVar[str]
    """Its title in a report."""
    section: ClassVar[type[Settings]]
    """Type of its settings."""
    schema: ClassVar[Schema]
    """Its tables by name: their columns, and over what p-values are corrected."""
    handlers: ClassVar[Mapping[str, Handler]] = {}
    """Kinds of cells that it adds, and what computes them."""
    extras: ClassVar[Sequence[str]] = ()
    """Extras of the package without which most of its inputs cannot be used."""

    def __init__(self, settings: AnySettings, lab: Lab, facts: Mapping[str, Any]) -> None:
        self.settings, self.lab, self.facts = settings, lab, facts

    @classmethod
    def lacks(cls, settings: AnySettings, study: Any) -> str | None:
        """Return the input that this analysis needs and the study lacks ("minimal pairs"); None if nothing."""
        return None

    @classmethod
    def read(cls, settings: AnySettings, bench: Workbench) -> Mapping[str, Any]:
        """Read the data that only this analysis needs, so that bad input shows before any work.

        Returns:
            JSON values that its cells' keys need, hashes for example.
        """
        return {}

    @abstractmethod
    def load(self) -> Load:
        """The cells that it will compute; called before anything is computed, so without a scan."""

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Compute through the engine whatever is not recorded yet.

        Returns:
            Its part of the manifest: JSON values; which records it consists of, by key.
        """

    @classmethod
    @abstractmethod
    def tabulate(cls, book: Book) -> dict[str, pd.DataFrame]:
        """Its tables, in the documented columns and order, from the records alone."""

    @classmethod
    def sentences(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
        """Return the findings of the tables in plain sentences with their numbers."""
        return []

    @classmethod
    def claims(cls, book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
        """Return the answers to the paper's claims; none if the analysis bears on no claim."""
        return []

    @classmethod
    def figures(cls, run: Run) -> list[Figure]:
        """Its figures of a finished run, made of the run's tables alone."""
        return []

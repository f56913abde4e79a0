"""All tables of a run: those of every analysis that it holds, made from its manifest and records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from negspace.errors import RecordError
from negspace.experiment.analysis import Book
from negspace.experiment.claim import Claim, under
from negspace.experiment.config import stored
from negspace.experiment.examples import EXAMPLES
from negspace.experiment.schema import describe, schema
from negspace.runs.store import Store
from negspace.study.registry import analysis

_PAGE = """# Columns of these tables

Intervals have the study's level, 1 - alpha. p-values are two-sided, but for those of equivalence and of being above
chance, which are one-sided.
"""


class Tables(Mapping[str, pd.DataFrame]):
    """Name -> table. Nothing is computed here that needs the model.

    Args:
        store: the folder of a finished run.

    Raises:
        RecordError: the run is unfinished or no study's, or a record is missing or damaged.
    """

    def __init__(self, store: Store) -> None:
        self.manifest = store.read_manifest()
        if "analyses" not in self.manifest:
            kind = self.manifest["study"]["study"]
            raise RecordError(
                f"the study in {store.folder}",
                f"a folder that the Python function {kind} made, with one table and no study",
                f"read {store.folder / 'tables' / f'{kind}.csv'}, or give a folder that `negspace run` wrote",
            )
        self.books: dict[str, Book] = {}
        self.by_analysis: dict[str, dict[str, pd.DataFrame]] = {}
        for name, part in self.manifest["analyses"].items():
            self.books[name] = Book(stored(self.manifest["study"]), part, self.manifest, store.require)
            self.by_analysis[name] = analysis(name).tabulate(self.books[name])
        self.all = {name: table for made in self.by_analysis.values() for name, table in made.items()}
        # A run that an earlier version finished has none.
        if key := self.manifest.get(EXAMPLES.name):
            self.all[EXAMPLES.name] = EXAMPLES.of(store.require(key).items)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.all[name]

    def __iter__(self) -> Any:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def sentences(self, name: str) -> list[str]:
        """Return the findings of an analysis in plain sentences."""
        return analysis(name).sentences(self.books[name], self.by_analysis[name])

    def claims_of(self, name: str) -> list[Claim]:
        """The answers of an analysis to the paper's claims; of another intervention or ranking under its name."""
        book = self.books[name]
        by = book.part.get("by", book.study["by"])  # an analysis may rank by a statistic of its own
        made = analysis(name).claims(book, self.by_analysis[name])
        return [under(claim, book.intervention, by, book.study.get("layers")) for claim in made]

    def claims(self) -> list[Claim]:
        """The answers of all analyses to the paper's claims, in order."""
        return [claim for name in self.books for claim in self.claims_of(name)]

    @property
    def verdict(self) -> list[str]:
        """The findings of all analyses, in order."""
        return [sentence for name in self.books for sentence in self.sentences(name)]

    def describe(self) -> str:
        """The schema of the tables as a page of Markdown."""
        kinds = [analysis(name) for name in self.books]
        common = schema(EXAMPLES) if EXAMPLES.name in self.all else {}
        return "\n".join([_PAGE, *(describe(kind.schema) for kind in kinds), describe(common)])

    def write(self, store: Store) -> None:
        """Write every table as parquet and CSV into `tables/` of the run, and what their columns mean.

        Raises:
            RecordError: they cannot be written.
        """
        for name, table in self.all.items():
            store.write_table(name, table)
        store.write_file("tables/COLUMNS.md", self.describe().encode())
        store.keep_only(
            "tables", {"COLUMNS.md", *(f"{name}.{kind}" for name in self.all for kind in ("parquet", "csv"))}
        )

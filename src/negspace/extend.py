"""Building blocks for your own analyses; docs/adding_an_analysis.md shows a complete one in sixty lines."""

from negspace.experiment.analysis import Analysis, Settings
from negspace.experiment.book import Book
from negspace.experiment.changes import Changes
from negspace.experiment.claim import Claim
from negspace.experiment.condition import Condition, written
from negspace.experiment.effects import Effects
from negspace.experiment.lab import Lab
from negspace.experiment.plan import PLAIN, Load
from negspace.experiment.run import Run
from negspace.experiment.schema import Column, Table, schema
from negspace.experiment.words import amount, claim
from negspace.experiment.workbench import Handler, Workbench
from negspace.figures.figure import Figure
from negspace.figures.forest import Dots, forest

__all__ = [
    "PLAIN",
    "Analysis",
    "Book",
    "Changes",
    "Claim",
    "Column",
    "Condition",
    "Dots",
    "Effects",
    "Figure",
    "Handler",
    "Lab",
    "Load",
    "Run",
    "Settings",
    "Table",
    "Workbench",
    "amount",
    "claim",
    "forest",
    "schema",
    "written",
]

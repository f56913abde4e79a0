"""The double dissociation: the main study with other abilities beside grammar, and the contrast between the two."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from negspace.errors import StudyError, TasksError
from negspace.neurons.scan import Scan
from negspace.runs.cell import Cell
from negspace.runs.engine import Compute, Engine, Progress, Step
from negspace.runs.store import Store
from negspace.score.tasks import DEFAULT, TaskSet, read_tasks, tasks
from negspace.studies.ablation import Ablation, Condition, drive
from negspace.studies.config import AblationStudy, Paths
from negspace.studies.dissociation_tables import DissociationTables
from negspace.studies.workbench import Facts, Workbench

VERSION = 1
"""Version of what a cell of the kind "tasks" computes; raise it whenever the same spec comes to give another result."""
_CHARACTERS = 4
"""Rough characters of a token, for estimates of time only."""
_ACCURACIES = ("acc", "acc_norm", "acc_bytes", "exact_match")


class DissociationStudy(AblationStudy):
    """The main study, and under each of its conditions benchmark tasks that are not about grammar."""

    study: Literal["dissociation"] = "dissociation"  # type: ignore[assignment]
    """Kind of study."""
    tasks: Paths = DEFAULT
    """Tasks of lm-evaluation-harness by name, and at most one folder of local files (alone: the default eight)."""
    fewshot: int = Field(0, ge=0)
    """Solved examples before each item of a task."""

    def split_tasks(self) -> tuple[tuple[str, ...], str | None]:
        """Names of the tasks, and the folder of their files, if any.

        Raises:
            StudyError: more than one folder.
        """
        folders = [name for name in self.tasks if os.path.isdir(name)]
        if len(folders) > 1:
            raise StudyError(f"tasks from {' and '.join(folders)}", "two folders", "put the files into one folder")
        names = tuple(name for name in self.tasks if name not in folders)
        return names or DEFAULT, folders[0] if folders else None


@dataclass(frozen=True)
class DissociationFacts(Facts):
    """What a driver must know of model and data, the tasks included."""

    tasks: tuple[str, str, int]
    """Where the tasks came from, their hash and their number of items."""
    harness: str
    """Version of lm-evaluation-harness."""
    task_cost: float
    """Rough tokens of one run of all tasks."""


class DissociationBench(Workbench):
    """The main study's workbench, with tasks."""

    study: DissociationStudy

    @cached_property
    def tasks(self) -> TaskSet:
        """Tasks with their items.

        Raises:
            TasksError: they cannot be read, or are not scored right or wrong.
        """
        names, folder = self.study.split_tasks()
        made = read_tasks(names, folder=folder, limit=self.study.limit, fewshot=self.study.fewshot)
        for name, metric in made.metrics.items():
            if metric not in _ACCURACIES:
                raise TasksError(
                    f"the task {name} in a dissociation",
                    f"its items are graded by {metric}, not right or wrong",
                    "name tasks with one of the metrics " + ", ".join(_ACCURACIES),
                )
        return made

    def describe(self) -> DissociationFacts:
        """What a driver must know; reads all data, so that bad input shows before any work.

        Raises:
            StudyError: no minimal pairs, so nothing for the tasks to be compared with.
            ModelError, SiteError, TextError, PairsError, TasksError: something cannot be read or used.
        """
        if not self.study.blimp and not self.study.tse:
            raise StudyError(
                "a dissociation of grammar from other tasks", "no minimal pairs", "give them with --blimp or --tse"
            )
        made = self.tasks
        return DissociationFacts(
            **vars(super().describe()),
            tasks=(made.source, made.hash, len(made)),
            harness=made.harness,
            task_cost=made.characters / _CHARACTERS,
        )

    def compute(self, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
        """Results and items of a cell."""
        if cell.kind != "tasks":
            return super().compute(cell, step)
        with self._intervened(cell):
            made = tasks(self.model, self.tasks, batch=self.study.batch, progress=step)
        results = {
            "accuracy": made.accuracy,
            "items": len(made.items),
            "ties": made.ties,
            "metrics": dict(self.tasks.metrics),
            "notes": list(made.notes),
        }
        return results, made.items


class Dissociation(Ablation):
    """Plans and runs the main study's cells, and one cell of tasks for every condition."""

    facts: DissociationFacts

    def _score(self, conditions: Sequence[Condition], made: Scan) -> None:
        super()._score(conditions, made)
        cells = [self._tasks(condition, made) for condition in conditions]
        self.engine.run(cells)
        for condition, cell in zip(conditions, cells, strict=True):
            condition.cells["tasks"] = cell.key

    def _tasks(self, condition: Condition, made: Scan) -> Cell:
        """A cell that scores the tasks under a condition."""
        f, neurons = self.facts, condition.neurons
        spec = {
            "version": VERSION,
            "model": f.identity,
            "tasks": f.tasks[1],
            "harness": f.harness,
            **self.plan.change(neurons, self.scan_key),
        }
        inputs = {} if neurons is None else {"neurons": neurons, "scan": made}
        return Cell("tasks", spec, f"{condition.name}: tasks", f.task_cost, inputs)

    def _costs(self) -> list[float]:
        return [*super()._costs(), self.facts.task_cost]

    def _manifest(
        self, made: Scan, conditions: Sequence[Condition], matches: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        manifest = super()._manifest(made, conditions, matches)
        manifest["data"]["tasks"] = list(self.facts.tasks)
        baseline = manifest["conditions"][0]["cells"]["tasks"]
        manifest["notes"] += self.store.require(baseline).results["notes"]
        return manifest


def run_dissociation(
    study: DissociationStudy,
    out: str | Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    note: Callable[[str], None] | None = None,
    make_engine: Callable[[Store, Compute], Engine] | None = None,
) -> DissociationTables:
    """Run the main study with tasks into a folder, or go on with it; records of the main study there are used.

    Args and errors: as for `run_study`. The tables have `dissociation` and `tasks_by_task` besides.
    """
    return drive(
        study,
        out,
        DissociationBench(study),
        Dissociation,
        DissociationTables,
        progress=progress,
        note=note,
        make_engine=make_engine,
    )

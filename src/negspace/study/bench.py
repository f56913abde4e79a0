"""The workbench of a study: its model and data, with what computes the cells of all its analyses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from negspace.errors import StudyError
from negspace.experiment.config import Settings, Study
from negspace.experiment.handlers import HANDLERS
from negspace.experiment.workbench import Workbench
from negspace.models.model import Model
from negspace.study.registry import analysis, handlers, sections


def workbench(study: Study, model: Model | None = None) -> Workbench:
    """A bench that computes a study's cells, here or on a worker.

    Args:
        study: what to load.
        model: the model, where it is in memory already.

    Raises:
        StudyError: an analysis that is unknown, or whose settings cannot be.
    """
    chosen = sections(study)
    readers = {name: partial(_read, name, settings) for name, settings in chosen.items()}
    return Workbench(study, {**HANDLERS, **handlers(chosen)}, model, readers)


def _read(name: str, settings: Settings, bench: Workbench) -> Mapping[str, Any]:
    if missing := analysis(name).lacks(settings, bench.study):
        raise StudyError(f"the analysis {name!r}", f"no {missing}", "give what is missing, or leave it out")
    return analysis(name).read(settings, bench)

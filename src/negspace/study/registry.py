"""The analyses by name: those of this package and of any other that registers some, imported when first used.

A package registers a subclass of `Analysis` under the entry point group "negspace.analyses"; this package's own are
registered in the same way, in its pyproject.toml.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from negspace.errors import StudyError
from negspace.experiment.analysis import Analysis, Settings
from negspace.experiment.config import Study, explain
from negspace.experiment.examples import EXAMPLES
from negspace.experiment.workbench import Handler

GROUP = "negspace.analyses"
"""Entry point group: name in study files -> class."""
OWN = (
    "ablation",
    "controls",
    "parts_of_speech",
    "dose",
    "rankings",
    "stability",
    "layers",
    "training",
    "differentiation",
    "atlas",
)
"""This package's analyses in the order in which a study runs them; those of others come after them, by name."""


def names() -> tuple[str, ...]:
    """All analyses that are installed, in the order in which a study runs them."""
    return tuple(_points())


def analysis(name: str) -> type[Analysis[Any]]:
    """The class of an analysis.

    Raises:
        StudyError: there is none of that name, or what is registered under it is of no use.
    """
    points = _points()
    if name not in points:
        near = get_close_matches(name, points, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"the analysis {name!r}", "no such analysis", f"{hint}use: {', '.join(points)}")
    point, asked = points[name], f"the analysis {name!r} of {_package(points[name])}"
    try:
        kind = point.load()
    except Exception as error:
        said = f"{type(error).__name__} when {point.value} is imported: {error}"
        raise StudyError(asked, said, "fix or uninstall that package") from error
    if not (isinstance(kind, type) and issubclass(kind, Analysis)) or kind.name != name:
        said = f"{point.value}, which is not a subclass of Analysis with the name {name!r}"
        raise StudyError(asked, said, f"register the class under its name in the group {GROUP!r}")
    return kind


def sections(study: Study) -> dict[str, Settings]:
    """The analyses that a study asks for, in the order of `names`, each with its settings checked.

    Raises:
        StudyError: no analysis, an unknown one, a setting that cannot be, or two with a table of the same name.
    """
    if not study.analyses:
        raise StudyError("a study", "no analysis", f"give one or more of: {', '.join(names())}")
    kinds = {name: analysis(name) for name in study.analyses}
    checked: dict[str, Settings] = {}
    owner: dict[str, str] = {}
    for name in names():
        if name in kinds:
            try:
                checked[name] = kinds[name].section.model_validate(study.analyses[name])
            except ValidationError as error:
                raise explain(error, f"the analysis {name!r}", kinds[name].section) from error
            for table in kinds[name].schema:
                if table == EXAMPLES.name:
                    asked, said = f"the analysis {name!r}", f"a table {table!r}, as every run has one of its own"
                    raise StudyError(asked, said, "rename the table")
                if owner.setdefault(table, name) != name:
                    asked = f"the analyses {owner[table]!r} and {name!r} in one study"
                    raise StudyError(asked, f"a table {table!r} in both", "run them as two studies")
    return checked


def handlers(chosen: Mapping[str, Any]) -> dict[str, Handler]:
    """Return the handlers for the kinds of cells that these analyses add.

    Raises:
        StudyError: two of them compute cells of one kind in different ways.
    """
    found: dict[str, Handler] = {}
    for name in chosen:
        for kind, handler in analysis(name).handlers.items():
            if found.setdefault(kind, handler) is not handler:
                asked = f"the analysis {name!r}"
                raise StudyError(asked, f"cells of the kind {kind!r}, which another computes", "rename the kind")
    return found


def _points() -> dict[str, EntryPoint]:
    """Name -> entry point, in order."""
    return _points_on(tuple(sys.path))


@lru_cache(maxsize=1)
def _points_on(_: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Those of the packages on this search path: reading what each of them registers takes a while."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        # An installation may be seen twice, through two folders of the search path; that is no conflict.
        if found.setdefault(point.name, point).value != point.value:
            both = f"{_package(found[point.name])} and {_package(point)}"
            raise StudyError(f"the analysis {point.name!r}", f"two packages that register it: {both}", "uninstall one")
    missing = [name for name in OWN if name not in found]
    if missing:
        asked, said = "the analyses of negspace", f"an installation that does not register {', '.join(missing)}"
        raise StudyError(
            asked, said, "install negspace again: pip install --force-reinstall --no-deps negspace (or -e .)"
        )
    return {name: found[name] for name in (*OWN, *sorted(set(found) - set(OWN)))}


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value

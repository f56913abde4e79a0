"""The analyses by name, in the order in which a study runs them; each is imported when it is first used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from negspace.errors import StudyError
from negspace.studies.analysis import Analysis, Handler, Settings
from negspace.studies.config import Study, explain

ANALYSES: Mapping[str, str] = {
    "ablation": "negspace.studies.ablation:Ablation",
    "controls": "negspace.studies.controls:Controls",
    "parts_of_speech": "negspace.studies.parts_of_speech_analysis:PartsOfSpeechAnalysis",
    "dose": "negspace.studies.dose:Dose",
    "rankings": "negspace.studies.rankings:Rankings",
    "layers": "negspace.studies.layers:LayersAnalysis",
    "training": "negspace.studies.training:Training",
    "differentiation": "negspace.studies.differentiation:DifferentiationAnalysis",
    "atlas": "negspace.studies.atlas:AtlasAnalysis",
}
"""Name in study files -> where its class is."""


def analysis(name: str) -> type[Analysis[Any]]:
    """The class of an analysis.

    Raises:
        StudyError: there is none of that name.
    """
    if name not in ANALYSES:
        near = get_close_matches(name, ANALYSES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"the analysis {name!r}", "no such analysis", f"{hint}use: {', '.join(ANALYSES)}")
    module, _, kind = ANALYSES[name].partition(":")
    return getattr(importlib.import_module(module), kind)


def sections(study: Study) -> dict[str, Settings]:
    """The analyses that a study asks for, in the order of `ANALYSES`, each with its settings checked.

    Raises:
        StudyError: no analysis, an unknown one, or a setting that cannot be.
    """
    if not study.analyses:
        raise StudyError("a study", "no analysis", f"give one or more of: {', '.join(ANALYSES)}")
    kinds = {name: analysis(name) for name in study.analyses}
    made = {}
    for name in ANALYSES:
        if name in kinds:
            try:
                made[name] = kinds[name].section.model_validate(study.analyses[name])
            except ValidationError as error:
                raise explain(error, f"the analysis {name!r}", kinds[name].section) from error
    return made


def handlers(names: Mapping[str, Any]) -> dict[str, Handler]:
    """What computes the cells of these analyses, beyond those that a workbench knows by itself."""
    return {kind: handler for name in names for kind, handler in analysis(name).handlers.items()}

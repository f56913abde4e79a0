"""Presets: studies under a name, so that a long configuration need not be written to be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from negspace.errors import StudyError
from negspace.experiment.config import SIZES, Study, configure, override
from negspace.study.registry import OWN, analysis, sections

# Kong et al. 2026: the top 1% by Wasserstein distance, negatives zeroed, random and perplexity-matched controls.
_PAPER: Mapping[str, Any] = {"shares": [0.01], "by": "wd", "zero": "negative"}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # At sizes with which the main contrasts show two points of accuracy and 2% of perplexity: some hours on two cores
    # for a model of 135M parameters. More pairs or windows add little, since phenomena and sets are the units above.
    "paper": {
        **_PAPER,
        "limit": 30,
        "perplexity_windows": 8,
        "analyses": {
            **dict.fromkeys(OWN),
            "controls": {"residual_windows": 2},
            # One random set could not be judged, and five at every dose and in every layer take hours.
            "dose": {"points": 6, "sets": ["top", "bottom"]},
            "layers": {"random": 0},
            # Sign flips over fewer windows can show nothing of seventeen parts of speech.
            "parts_of_speech": {"windows": 12},
        },
    },
    # All pairs, all windows, and random sets at every dose and in every layer.
    "paper-full": {**_PAPER, "analyses": dict.fromkeys(OWN)},
    # A first impression: the main study in some ten minutes on two cores for a model of 135M parameters. It shows
    # damage to perplexity, and of losses of grammar only large ones.
    "quick": {
        "shares": [0.01],
        "windows": 16,
        "perplexity_windows": 8,
        "random_perplexity": 5,
        "limit": 5,
        "analyses": ["ablation"],
    },
}
"""Name -> fields of a study."""


def from_preset(name: str, given: Mapping[str, Any], *, only: bool = False) -> tuple[Study, tuple[str, ...]]:
    """The study of a preset on given model and data, and what it leaves out for want of data.

    Args:
        name: one of `PRESETS`.
        given: fields of a study; they replace the preset's. Settings of an analysis are merged into it.
        only: whether the analyses given are all that is wanted, instead of the preset's.

    Returns:
        The study, and a sentence for each analysis that is left out.

    Raises:
        StudyError: an unknown preset, an unknown field or analysis, or nothing is left to do.
    """
    if name not in PRESETS:
        raise StudyError(f"the preset {name!r}", "no such preset", f"use: {', '.join(PRESETS)}")
    # Sizes of a preset are no more than defaults: a budget decides them anew.
    yields = SIZES if given.get("budget") else ()
    defaults = {field: value for field, value in PRESETS[name].items() if field not in yields}
    own_fields = {field: value for field, value in given.items() if field != "analyses"}
    wanted = configure(override(defaults, own_fields), f"the options, on the preset {name}")
    own = configure({"model": wanted.model, "analyses": given.get("analyses") or {}}).analyses
    sized = {chosen: {**wanted.analyses.get(chosen, {}), **settings} for chosen, settings in own.items()}
    merged = {**({} if only else wanted.analyses), **sized}
    study = wanted.model_copy(update={"analyses": merged})
    kept, left_out = {}, []
    for chosen, settings in sections(study).items():
        kind = analysis(chosen)
        missing = kind.lacks(settings, study)
        if missing is None:
            kept[chosen] = study.analyses[chosen]
        elif chosen in own:
            raise StudyError(f"the analysis {chosen!r}", f"no {missing}", "give what is missing, or leave it out")
        else:
            left_out.append(f"{kind.title} is left out: no {missing}")
    if not kept:
        raise StudyError(f"the preset {name!r}", "; ".join(left_out), "give what is missing")
    return study.model_copy(update={"analyses": kept}), tuple(left_out)

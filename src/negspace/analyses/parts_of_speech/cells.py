"""The cells of token surprisals on tagged windows: of a study, and of `parts_of_speech` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pandas as pd

from negspace.errors import TaggerError
from negspace.experiment.tagging import tagged_text
from negspace.experiment.workbench import Handler, Workbench
from negspace.models.model import Model
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.score.surprisal import surprisal
from negspace.text.alignment import Aligned, align, reach
from negspace.text.source import Text
from negspace.text.windows import Windows, make_windows

if TYPE_CHECKING:
    from negspace.analyses.parts_of_speech.analysis import PartsOfSpeechSettings

KIND = "surprisal"
"""Kind of these cells."""
VERSION = 1
"""Version of what a cell of token surprisals computes; raise it whenever the same spec comes to give another result."""


def cell_options(aligned: Aligned) -> dict[str, Any]:
    """Return what the surprisals of tagged windows depend on besides model and ablation."""
    return {
        "windows": aligned.windows.hash,
        # Which tokens stand for text, and where, follows from text, tokenizer and these two.
        "tags": aligned.tagged.hash,
        "cut": [aligned.windows.bos, aligned.windows.stride],
    }


def measured(model: Model, aligned: Aligned, batch: int | None, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Results and items of a cell of token surprisals, on the model as it is now."""
    items = surprisal(model, aligned, batch=batch, progress=step)
    return {"mean": float(items["nll"].mean()), "tokens": len(items)}, items


_ALIGNED: WeakKeyDictionary[Workbench, dict[PartsOfSpeechSettings, Aligned]] = WeakKeyDictionary()


def aligned_words(bench: Workbench, settings: PartsOfSpeechSettings) -> Aligned:
    """The words of the tokens, tagged once a workbench."""
    known = _ALIGNED.setdefault(bench, {})
    if settings not in known:
        s, model = bench.study, bench.model

        def cut(text: Text) -> Windows:
            return make_windows(
                text,
                model.tokenizer,
                window=s.perplexity_window or s.window,
                windows=settings.windows or s.perplexity_windows,
                bos=s.bos,
                context=model.context,
            )

        source = settings.text or s.perplexity_text or s.text
        tagged = tagged_text(source, settings.tagger, lambda text: reach(text, cut(text), model.tokenizer))
        known[settings] = align(tagged, cut(tagged.text), model.tokenizer)
    return known[settings]


def surprisal_cell(bench: Workbench, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Surprisal of every token of the tagged windows."""
    aligned = aligned_words(bench, cell.inputs["settings"])
    if aligned.tagged.hash != cell.spec["tags"]:
        raise TaggerError(
            f"the tags of {aligned.tagged.text.name}",
            "other tags than where the study was planned",
            "use the same tagger and version of spaCy on all machines",
        )
    with bench.changed(cell):
        return measured(bench.model, aligned, bench.study.batch, step)


HANDLERS: Mapping[str, Handler] = {KIND: surprisal_cell}
"""Kind of cell -> what computes it."""

"""Handlers that compute cells on a workbench: scans whole and in parts, perplexity, pairs, tasks, example tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from negspace.experiment.cells import CUT_BY
from negspace.experiment.examples import examples, windows_read
from negspace.experiment.workbench import Handler, Workbench
from negspace.neurons.scan import scan_windows
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.score.pairs import score_prepared
from negspace.score.perplexity import perplexity
from negspace.score.tasks import score_tasks
from negspace.stats.pair_rows import PairSample
from negspace.stats.parts import bounds, gather_part, grids_to_table, part_to_table, pilot
from negspace.stats.readings import batches_of, readings
from negspace.text.alignment import window_offsets
from negspace.text.names import partial_tokens, pieces, token_names
from negspace.text.windows import Windows, make_windows

Results = tuple[Mapping[str, Any], pd.DataFrame]
_INTERNAL = ("model", "behaviour", "text", "versions")
"""Fields of a scan's info that its record has elsewhere, or not at all."""


def _scan(bench: Workbench, cell: Cell, step: Step) -> Results:
    """The scan, of the study's text for statistics."""
    return scanned(bench, cell, windows_of(bench, cell.spec), step)


def scanned(bench: Workbench, cell: Cell, windows: Windows, step: Step) -> Results:
    """The scan of windows that a cell asks for; with histograms or, where nobody looks at them, without."""
    spec = cell.spec
    made = scan_windows(
        bench.model,
        windows,
        batch=bench.study.batch,
        md_pairs=spec["md_pairs"],
        exact=spec["exact"],
        seed=spec["seed"],
        merged=cell.inputs.get("merged"),
        progress=step,
    )
    # Names of files and folders stay out of the record: it depends on contents only.
    info = made.info.model_dump(mode="json")
    results: dict[str, Any] = {
        "info": {k: v for k, v in info.items() if k not in _INTERNAL},
        "warnings": made.warnings,
    }
    if spec["histograms"]:
        assert made.histograms is not None
        results["histograms"] = made.histograms.to_json()
    return results, made.table


def _grids(bench: Workbench, cell: Cell, _: Step) -> Results:
    return {}, grids_to_table(pilot(bench.model, windows_of(bench, cell.spec)))


def _part(bench: Workbench, cell: Cell, step: Step) -> Results:
    spec, windows = cell.spec, windows_of(bench, cell.spec)
    part = bounds(len(windows), windows.window, spec["parts"])[spec["part"]]
    made = gather_part(
        bench.model,
        windows,
        part,
        cell.inputs["grids"],
        batch=bench.study.batch,
        pairs=PairSample.draw(windows, spec["md_pairs"], spec["seed"]) if spec["md_pairs"] else None,
        progress=step,
    )
    return {"windows": list(part), "middle": made.middle}, part_to_table(made)


def windows_of(bench: Workbench, spec: Mapping[str, Any]) -> Windows:
    """The windows of the study's text for statistics, cut once for all cells: a long text takes a while to encode.

    Args:
        spec: what says how the text is cut, under the names of `CUT_BY`.
    """
    model, asked = bench.model, {name: spec[name] for name in CUT_BY}
    if bench not in _CUT or _CUT[bench][0] != asked:
        made = make_windows(bench.statistics, model.tokenizer, context=model.context, **asked)
        _CUT[bench] = asked, made
    return _CUT[bench][1]


_CUT: WeakKeyDictionary[Workbench, tuple[dict[str, Any], Windows]] = WeakKeyDictionary()
"""Workbench -> what its last windows were cut by, and the windows."""


def _perplexity(bench: Workbench, cell: Cell, step: Step) -> Results:
    with bench.changed(cell):
        made = perplexity(bench.model, bench.windows, batch=bench.study.batch, progress=step)
    results = {
        "value": made.value,
        "tokens": made.tokens,
        "window": made.window,
        "windows": made.windows,
        "available": made.available,
        "bos": made.bos,
    }
    return results, pd.DataFrame({"window": np.arange(made.windows), "nll": made.nll})


def _pairs(bench: Workbench, cell: Cell, step: Step) -> Results:
    prepared = bench.prepared[cell.spec["kind"]]
    made = score_prepared(bench.model, prepared, step, change=lambda: bench.changed(cell), ways=bench.ways)
    results = {
        "accuracy": made.accuracy,
        "pairs": len(made.items),
        "ties": made.ties,
        "identical": made.identical,
        "protocol": made.protocol,
        "score": made.score,
    }
    return results, made.items


def _tasks(bench: Workbench, cell: Cell, step: Step) -> Results:
    chosen = bench.tasks
    assert chosen is not None
    made = score_tasks(
        bench.model,
        chosen,
        batch=bench.study.batch,
        progress=step,
        change=lambda: bench.changed(cell),
        ways=bench.ways,
    )
    results = {
        "accuracy": made.accuracy,
        "items": len(made.items),
        "ties": made.ties,
        "metrics": dict(chosen.metrics),
        "notes": list(made.notes),
    }
    return results, made.items


def _examples(bench: Workbench, cell: Cell, step: Step) -> Results:
    """Example tokens, from some windows of the scan."""
    model, cut = bench.model, windows_of(bench, cell.spec)
    windows = windows_read(len(cut), cut.window, cut.stride)
    ids, special = cut.tokens[windows], cut.special[windows]
    # The first token of a window has no text before it, and models treat it unlike any other, whichever it is.
    special[:, 0] = True
    # In a layer that a pass runs several times, a neuron has several values at a token.
    once = {site.path for site in model.sites if site.passes == 1}
    chosen = {path: flat for path, flat in cell.inputs["chosen"].indices.items() if path in once}
    batches = batches_of(replace(cut, tokens=ids, special=special))
    names, partial = token_names(model.tokenizer, np.unique(ids)), {}
    start = end = np.zeros_like(ids)
    if model.tokenizer.is_fast:  # a slow one does not say of which character a token is a part
        partial = partial_tokens(model.tokenizer, np.unique(ids))
        start, end = window_offsets(bench.statistics, cut, model.tokenizer, windows)
    texts = pieces(bench.statistics.text, ids, start, end, names, partial)
    called = [names[token] for token in ids.ravel().tolist()]
    made = examples(readings(model, batches, chosen, progress=step), called, texts, windows)
    return {"windows": len(windows), "window": cut.window}, made


HANDLERS: Mapping[str, Handler] = {
    "scan": _scan,
    "scan_grids": _grids,
    "scan_part": _part,
    "perplexity": _perplexity,
    "pairs": _pairs,
    "tasks": _tasks,
    "examples": _examples,
}
"""Kind of cell -> what computes it."""

"""The cells of a scan: the scan itself and, where it is made in parts, the grids that they share and each part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pandas as pd

from negspace.neurons.scan import scan
from negspace.runs.cell import Cell
from negspace.runs.engine import Step
from negspace.stats.collect import PILOT_TOKENS
from negspace.stats.pair_rows import PairSample
from negspace.stats.parts import (
    Part,
    bounds,
    digest_of,
    gather_part,
    grids_from_table,
    grids_to_table,
    merge_parts,
    part_from_table,
    part_to_table,
    pilot,
)
from negspace.studies.analysis import Handler, Load
from negspace.text.windows import Windows, make_windows

if TYPE_CHECKING:
    from negspace.studies.lab import Lab
    from negspace.studies.workbench import Workbench

VERSION = 3
"""Version of what these cells compute; raise it whenever a spec comes to give another result."""
_INTERNAL = ("model", "text", "versions")
_CUT_BY = ("window", "stride", "windows", "bos")

Results = tuple[Mapping[str, Any], pd.DataFrame]


def scan_in_parts(lab: Lab) -> Part:
    """The pass of the study's scan, made by as many workers as there are: the grids first, then all parts.

    What the parts brought home is read and merged one by one: few sketches of the model are in memory at a time.
    """
    asked, count = lab.scan_cell, lab.study.scan_parts
    of_windows = {name: asked.spec[name] for name in ("text", *_CUT_BY)}
    lab.expect(Load(count + 1, asked.cost))
    first = lab.cell("scan_grids", VERSION, of_windows, "scan: the first windows", PILOT_TOKENS)
    grids = grids_from_table(lab.run([first])[0].items)
    # By what they hold: parts on grids that were made again, elsewhere, might lie on others.
    common = of_windows | {name: asked.spec[name] for name in ("md_pairs", "seed")}
    common |= {"grids": digest_of(grids), "parts": count}

    def cell(number: int) -> Cell:
        label = f"scan, part {number + 1} of {count}"
        return lab.cell("scan_part", VERSION, {**common, "part": number}, label, asked.cost / count, grids=grids)

    cells = [cell(number) for number in range(count)]
    lab.expect(Load(1, 0.0))
    lab.engine.ensure(cells)
    lab.expect(Load(0, 0.0))
    merged: Part | None = None
    for one in cells:
        record = lab.store.require(one.key)
        part = part_from_table(record.items, grids, tuple(record.results["windows"]), lab.study.md_pairs > 0)
        merged = part if merged is None else merge_parts([merged, part])
    assert merged is not None, "a scan has one part at least"
    return merged


def _scan(bench: Workbench, cell: Cell, step: Step) -> Results:
    """The scan, of the study's text for statistics; with histograms or, where nobody looks at them, without."""
    spec = cell.spec
    made = scan(
        bench.model,
        bench.statistics,
        **_cut_by(spec),
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
    return {}, grids_to_table(pilot(bench.model, _windows(bench, cell)))


def _part(bench: Workbench, cell: Cell, step: Step) -> Results:
    spec, windows = cell.spec, _windows(bench, cell)
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
    return {"windows": list(part)}, part_to_table(made)


def _windows(bench: Workbench, cell: Cell) -> Windows:
    """The windows of a cell, cut once for all of its kind: a long text takes a while to encode."""
    model, asked = bench.model, _cut_by(cell.spec)
    if bench not in _CUT or _CUT[bench][0] != asked:
        made = make_windows(bench.statistics, model.tokenizer, context=model.context, **asked)
        _CUT[bench] = asked, made
    return _CUT[bench][1]


def _cut_by(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell says of how the text is cut."""
    return {name: spec[name] for name in _CUT_BY}


_CUT: WeakKeyDictionary[Workbench, tuple[dict[str, Any], Windows]] = WeakKeyDictionary()
"""Workbench -> what its last windows were cut by, and the windows."""


PASSING = ("scan_part", "scan_grids")
"""Kinds of cells that only serve a scan: once that is recorded, their records go."""
HANDLERS: Mapping[str, Handler] = {"scan": _scan, "scan_grids": _grids, "scan_part": _part}
"""Kind of cell -> what computes it."""

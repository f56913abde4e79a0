"""Reading finished runs from their folders, one or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from negspace.errors import RecordError
from negspace.experiment.examples import EXAMPLES
from negspace.experiment.run import History, Part, Run
from negspace.given import named
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan
from negspace.runs.store import Store
from negspace.study.registry import analysis, names
from negspace.study.tables import Tables

SCAN_FILE = "scan.parquet"
"""The scan of a run, in its folder."""


def read_run(folder: str | Path) -> Run:
    """A finished run, its tables made from its records.

    Raises:
        RecordError: no finished run in the folder, or a record is missing or damaged.
    """
    store = Store(folder)
    tables = Tables(store)
    order = names()  # the manifest has them by the alphabet
    parts = {
        name: Part(
            name,
            analysis(name).title,
            made,
            analysis(name).schema,
            tuple(tables.sentences(name)),
        )
        for name, made in sorted(tables.by_analysis.items(), key=lambda entry: order.index(entry[0]))
    }
    scan = Scan.load(store.folder / SCAN_FILE) if (store.folder / SCAN_FILE).exists() else None
    sets = [NeuronSet.load(path) for path in sorted((store.folder / "neurons").glob("*.json"))]
    manifest = tables.manifest
    if scan is not None and (scan.info.fingerprint, scan.info.text_hash) != (
        manifest["identity"]["fingerprint"],
        manifest["data"]["statistics"][1],
    ):
        # Another study was killed in the folder before its manifest took this one's place.
        scan, sets = None, []
        again = "the scan and the sets of neurons in the folder are of another study, and left out: run this one again"
        manifest = {**manifest, "notes": [*manifest["notes"], again]}
    label = _label(tables.manifest["model"])
    origins = {path.origin: path for path in sets}
    history, claims = read_history(store.folder), tuple(tables.claims())
    examples = tables.all.get(EXAMPLES.name)
    return Run(label, manifest, parts, scan, origins, history, claims, examples)


def read_runs(folders: str | Path | Sequence[str | Path]) -> list[Run]:
    """Several runs, each with a label of its own; the folder's name is added where models are the same.

    Args:
        folders: the run folders, or one of them.

    Raises:
        RecordError: as `read_run`; the same folder is given twice; or something else than folders.
    """
    folders = [folders] if isinstance(folders, str) or not isinstance(folders, Iterable) else list(folders)
    for folder in folders:
        if not isinstance(folder, str | Path):
            raise RecordError("to read runs", f"{named(folder)} instead of a folder", "give the paths of run folders")
    paths = [Path(folder).resolve() for folder in folders]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise RecordError("to compare runs", f"{folders[place]} twice", "give each run once")
    runs = [read_run(folder) for folder in folders]
    labels = [run.label for run in runs]
    apart = [
        run if labels.count(run.label) == 1 else replace(run, label=f"{run.label} ({path.name})")
        for run, path in zip(runs, paths, strict=True)
    ]
    labels = [run.label for run in apart]
    return [
        run if labels.count(run.label) == 1 else replace(run, label=f"{place}: {run.label}")
        for place, run in enumerate(apart, start=1)
    ]


def read_history(folder: Path) -> History:
    """What the log of a run says of it, by its entries that have a time."""
    events = [event for event in Store(folder).events() if _is_time(event.get("time"))]
    starts = [event for event in events if event.get("event") == "start"]
    ends = [event["time"] for event in events if event.get("event") == "end"]
    computed = [event for event in events if event.get("event") == "computed"]
    told = {"time", "event", "study", "model", "fingerprint", "analyses"}
    return History(
        started=starts[0]["time"] if starts else "",
        ended=ends[-1] if ends else "",
        seconds=float(sum(event.get("seconds", 0) for event in computed)),
        cells=len(computed),
        starts=len(starts),
        surroundings={k: v for k, v in starts[-1].items() if k not in told} if starts else {},
    )


def _label(model: Mapping[str, Any]) -> str:
    """Last part of the model's name, and of each adapter's on it, with its revision."""
    name = " + ".join(Path(part).name or part for part in str(model["name"]).split(" + "))
    return f"{name} @ {model['revision']}" if model.get("revision") else name


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True

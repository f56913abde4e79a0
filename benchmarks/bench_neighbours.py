"""Forward passes beside busy processes, one a core: threads that soon fall asleep, as ours do, against spinning ones.

How OpenMP's threads wait is settled when torch is loaded. So each way has a process of its own, which runs passes when
it is told to. The same passes on the machine as it is show what falling asleep costs where nobody else wants the cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch

from benchmarks.child import ROOT
from benchmarks.place import HERE, Place
from benchmarks.row import Row, row
from benchmarks.shapes import about, random_ids, random_model
from benchmarks.timing import Times, in_turn

WAYS: Mapping[str, dict[str, str]] = {
    # GCC's own number of turns where it is told nothing; it is given here since the package would lower it.
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "ours": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""How threads wait, or how many there are -> environment of the process."""
LINES = 8
"""Sequences of a pass: of a few packs of sentences, as in scoring pairs."""
BUSY = "while True: pass"


def measure(place: Place = HERE) -> list[Row]:
    """Ratios of interleaved passes in processes that wait in different ways, beside others and without them."""
    if place.on_gpu:
        return []
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        works = {way: stack.enter_context(_worker(place, settings)) for way, settings in WAYS.items()}
        alone = in_turn({way: works[way] for way in ("spinning", "ours")}, place.rounds(20), warm=2)
        with _busy(cores):
            beside = in_turn(works, place.rounds(10), warm=1)
    return [
        _row(f"beside {cores} busy processes: forward on spinning threads / ours", beside, "spinning", "ours", place,
             (">", 1), readme=True),
        _row(f"beside {cores} busy processes: ours / forward on one thread", beside, "ours", "one thread", place),
        _row("nothing beside it: ours / forward on spinning threads", alone, "ours", "spinning", place, ("<=", 1.05)),
    ]  # fmt: skip


def _row(name: str, times: Times, top: str, bottom: str, place: Place, target=None, *, readme: bool = False) -> Row:
    detail = (
        f"{times.range(top, bottom)}; {top} {1e3 * times.median(top):.0f} ms, {bottom} {1e3 * times.median(bottom):.0f}"
        f" ms, {torch.get_num_threads()} threads; {about(place)}"
    )
    return row(name, times.ratio(top, bottom), target, detail, readme=readme)


@contextmanager
def _worker(place: Place, settings: Mapping[str, str]) -> Iterator[Callable[[], object]]:
    """A process that makes one forward pass each time the function is called."""
    command = [sys.executable, "-m", "benchmarks.bench_neighbours", json.dumps(place.as_json())]
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    process = subprocess.Popen(
        command, cwd=ROOT, env=plain | dict(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    given, said = process.stdin, process.stdout

    def work() -> None:
        given.write("\n")
        given.flush()
        if not said.readline():
            raise RuntimeError(f"the process that makes the passes ended with status {process.wait()}")

    try:
        yield work
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but use a core."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def serve(place: Place) -> None:
    """Make a forward pass for each line that is read, and write one when it is done."""
    model, ids = random_model(place), random_ids(place)[:LINES]
    for _ in sys.stdin:
        with torch.inference_mode():
            model.module(input_ids=ids, use_cache=False)
        print("done", flush=True)


if __name__ == "__main__":
    serve(Place(**json.loads(sys.argv[1])))

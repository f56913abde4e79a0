"""Forward passes beside busy processes, one a core: as we run them, on threads that spin where they wait, and on one.

How OpenMP's threads wait is settled when torch is loaded. So each way has a process of its own, which runs passes when
it is told to. Our way is threads that soon fall asleep, as many as a trial beside the same neighbours chose. The same
passes on the machine as it is show what that costs where nobody else wants the cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from benchmarks.child import ROOT
from benchmarks.place import HERE, Place
from benchmarks.row import Relation, Row, row
from benchmarks.shapes import about, random_ids, random_model
from benchmarks.timing import Times, in_turn
from negspace.threads import candidates, choose

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
        workers = {way: stack.enter_context(_worker(place, settings)) for way, settings in WAYS.items()}
        works = {way: partial(tell, "pass") for way, tell in workers.items()}
        workers["ours"]("choose")
        alone = in_turn({way: works[way] for way in ("spinning", "ours")}, place.rounds(20), warm=2)
        with _busy(cores):
            workers["ours"]("choose")
            beside = in_turn(works, place.rounds(10), warm=1)
    return [
        _row(f"beside {cores} busy processes: forward on spinning threads / ours", beside, "spinning", "ours", place,
             (">", 1), readme=True),
        _row(f"beside {cores} busy processes: ours / forward on one thread", beside, "ours", "one thread", place,
             ("<=", 1.1)),
        _row("nothing beside it: ours / forward on spinning threads", alone, "ours", "spinning", place, ("<=", 1.05)),
    ]  # fmt: skip


def _row(
    name: str,
    times: Times,
    top: str,
    bottom: str,
    place: Place,
    target: tuple[Relation, float] | None = None,
    *,
    readme: bool = False,
) -> Row:
    detail = (
        f"{times.range(top, bottom)}; {top} {1e3 * times.median(top):.0f} ms, {bottom} {1e3 * times.median(bottom):.0f}"
        f" ms, at most {torch.get_num_threads()} threads; {about(place)}"
    )
    return row(name, times.ratio(top, bottom), target, detail, readme=readme)


@contextmanager
def _worker(place: Place, settings: Mapping[str, str]) -> Iterator[Callable[[str], None]]:
    """A process that does what it is told: see `serve`."""
    command = [sys.executable, "-m", "benchmarks.bench_neighbours", json.dumps(place.as_json())]
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    process = subprocess.Popen(
        command, cwd=ROOT, env=plain | dict(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    given, said = process.stdin, process.stdout

    def tell(what: str) -> None:
        given.write(f"{what}\n")
        given.flush()
        if not said.readline():
            raise RuntimeError(f"the process that makes the passes ended with status {process.wait()}")

    try:
        yield tell
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
    """Do what each line says, a "pass" or to "choose" the number of threads, and write one when it is done."""
    model, ids = random_model(place), random_ids(place)[:LINES]
    most = torch.get_num_threads()

    def forward(tokens: int) -> torch.Tensor:
        with torch.inference_mode():
            return model.module(input_ids=ids[:, :tokens], use_cache=False).logits

    for line in sys.stdin:
        if line.strip() == "choose":
            choose(forward, ids.shape[1], candidates(most))
        else:
            forward(ids.shape[1])
        print("done", flush=True)


if __name__ == "__main__":
    serve(Place(**json.loads(sys.argv[1])))

"""The engines: what is missing is computed, in order, once; they stop when asked, and estimate what is left."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from negspace.runs import engine as module
from negspace.runs.cell import Cell, Record
from negspace.runs.cluster_engine import ClusterEngine
from negspace.runs.engine import Compute, Interrupted, LocalEngine, Progress, Step, on_sigint, versions
from negspace.runs.packing import pack
from negspace.runs.store import Store

CELLS = [Cell("square", {"n": n}, f"square of {n}", cost=10.0) for n in range(4)]


class Squares:
    def __init__(self, interrupt_at: int | None = None) -> None:
        self.computed: list[int] = []
        self.interrupt_at = interrupt_at

    def __call__(self, cell: Cell, step: Step) -> tuple[Mapping[str, object], pd.DataFrame]:
        n = cell.spec["n"]
        step(1, 2, "half")
        if n == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        self.computed.append(n)
        return {"value": n * n}, pd.DataFrame({"n": np.arange(n)})


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "run")
    with store.hold():
        yield store


def _bytes(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.cells.iterdir()}


def test_computes_in_order_and_only_once(store: Store) -> None:
    squares = Squares()
    records = LocalEngine(store, squares).run(CELLS)
    assert [record.results["value"] for record in records] == [0, 1, 4, 9]
    assert squares.computed == [0, 1, 2, 3]
    again = LocalEngine(store, squares).run([*CELLS, Cell("square", {"n": 5})])
    assert [record.results["value"] for record in again] == [0, 1, 4, 9, 25]
    assert squares.computed == [0, 1, 2, 3, 5]


def test_a_damaged_record_is_computed_again_and_said_so(store: Store) -> None:
    LocalEngine(store, Squares()).run(CELLS)
    before = _bytes(store)
    path = store.cells / f"{CELLS[2].key}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    squares, notes = Squares(), []
    LocalEngine(store, squares, note=notes.append).run(CELLS)
    assert squares.computed == [2]
    assert _bytes(store) == before
    assert "square of 2 is damaged" in notes[0]
    events = [json.loads(line)["event"] for line in (store.folder / "run.log.jsonl").read_text().splitlines()]
    assert events.count("damaged") == 1


def test_sigint_finishes_the_cell_and_a_second_run_ends_alike(store: Store, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    squares, notes = Squares(interrupt_at=1), []
    stopping = LocalEngine(store, squares, note=notes.append)
    with pytest.raises(Interrupted, match="2 computed and saved, about 2 left"), stopping as engine:
        engine.run(CELLS)
    assert squares.computed == [0, 1]
    assert "Ctrl-C" in notes[0]
    assert signal.getsignal(signal.SIGINT) is before
    LocalEngine(store, Squares()).run(CELLS)
    other = Store(tmp_path / "other")
    with other.hold():
        LocalEngine(other, Squares()).run(CELLS)
    assert _bytes(store) == _bytes(other)


def test_an_error_in_a_cell_leaves_no_record_of_it(store: Store) -> None:
    def fail(cell: Cell, step: Step):
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        LocalEngine(store, fail).run(CELLS[:1])
    assert not _bytes(store)


class Clock:
    """Seconds that pass only where somebody works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def working(self, compute: Compute, seconds: Callable[[Cell], float]) -> Compute:
        """The same computation, which takes some seconds, half of them before its first step."""

        def slow(cell: Cell, step: Step):
            def half(*done: object) -> None:
                self.now += seconds(cell) / 2
                step(*done)  # type: ignore[arg-type]

            made = compute(cell, half)
            self.now += seconds(cell) / 2
            return made

        return slow


def test_progress_counts_what_is_left_and_leaves_out_what_was_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    LocalEngine(store, Squares()).run(CELLS[:2])
    (store.folder / "run.log.jsonl").unlink()  # nobody knows how long these took
    seen: list[Progress] = []
    clock = Clock(monkeypatch)
    engine = LocalEngine(store, clock.working(Squares(), lambda _: 20.0), seen.append)
    engine.expect({}, {"square": (1, 30.0)})
    engine.run(CELLS)
    # Each as it begins, at half and once it is recorded.
    counts = [(p.computed, p.reused, p.left) for p in seen]
    assert counts == [(0, 2, 3), (0, 2, 3), (1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 1)]
    assert [p.spent for p in seen] == [0, 10, 20, 20, 30, 40]
    # Two seconds per unit of work, as the first of two cells of 10 showed; 30 more are to come.
    assert math.isnan(seen[0].ahead)
    assert [p.ahead for p in seen[2:]] == pytest.approx([80, 80, 70, 60])
    assert [p.label for p in seen] == ["square of 2"] * 3 + ["square of 3"] * 3


def test_cells_that_are_handed_in_are_taken_off_what_was_expected(store: Store) -> None:
    seen: list[Progress] = []
    engine = LocalEngine(store, Squares(), seen.append)
    engine.expect({"square": (6, 60.0)}, {"cube": (2, 10.0)})
    for part in (CELLS[:1], CELLS[1:3], CELLS):
        engine.run(part)
    assert [(p.computed, p.left) for p in seen if p.computed + p.left != 8] == []
    engine.expect({"square": (1, 10.0)}, {})
    more = [Cell("square", {"n": number}, f"square of {number}", 10.0) for number in (17, 18, 19)]
    engine.run(more)
    assert seen[-1].left == 0, "more cells than were expected leave none over"


def test_the_log_of_an_earlier_run_tells_how_long_cells_take(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    LocalEngine(store, clock.working(Squares(), lambda _: 20.0)).run(CELLS[:2])
    seen: list[Progress] = []
    engine = LocalEngine(store, clock.working(Squares(), lambda _: 20.0), seen.append)
    engine.run(CELLS[:2])
    engine.run(CELLS)
    assert seen[0].ahead == pytest.approx(40)
    assert engine.forecast.seconds("square", 10.0) == pytest.approx(20)
    with (store.folder / "run.log.jsonl").open("a") as log:  # a line that a kill cut short, and one that is nonsense
        log.write('{"event": "computed", "key": 3}\n["computed"]\n{"event": "comp')
    assert len(store.times()) == 5


def test_how_work_is_done_is_tried_at_the_start_and_where_it_has_become_slower(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tuned = Clock(monkeypatch), []

    def tune() -> float:
        tuned.append(clock.now)
        return 2.0

    cells = [Cell("square", {"n": n}, cost=10.0) for n in range(40)]
    slow = clock.working(Squares(), lambda cell: 50.0 if cell.spec["n"] >= 20 else 5.0)
    engine = LocalEngine(store, slow)
    engine.tuner = tune
    engine.run(cells)
    assert tuned[0] == 0
    assert engine.tune() == 2.0
    # Slow from second 100 on: noticed after a cell or two. Later on, that is the usual speed.
    assert 100 < tuned[1] <= 250
    assert all(90 <= later - earlier <= 700 for earlier, later in pairwise(tuned[1:]))
    assert len(tuned) < 8


def test_a_cluster_tells_of_each_cell_once_it_is_recorded(store: Store) -> None:
    def work(cells: Sequence[Cell], accept: Callable[[Cell, bytes, float], None], *_: object) -> None:
        for cell in reversed(cells):
            results, items = Squares()(cell, lambda *_: None)
            accept(cell, pack(Record(cell.key, cell.kind, cell.spec, results, items, versions())), 20.0)

    seen: list[Progress] = []
    ClusterEngine(work, store, seen.append, width=2).run(CELLS)
    assert [(p.computed, p.left) for p in seen] == [(1, 3), (2, 2), (3, 1), (4, 0)]
    assert [p.ahead for p in seen] == pytest.approx([30, 20, 10, 0])  # each cell takes 20 s, two at a time
    assert [p.label for p in seen] == [f"square of {n}" for n in (3, 2, 1, 0)]


def test_a_job_in_the_background_can_be_stopped_at_once_too() -> None:
    """A shell starts it with SIGINT ignored; the first one is asked for, and the second must not be ignored again."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asked: list[bool] = []
        with on_sigint(lambda: asked.append(True)):
            os.kill(os.getpid(), signal.SIGINT)
            assert asked == [True]
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)

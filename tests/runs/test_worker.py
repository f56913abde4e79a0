"""What a worker answers, without a cluster around it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pandas as pd

from negspace.errors import StudyError
from negspace.runs.cell import Cell
from negspace.runs.ray_worker import Worker


class Bench:
    """Says something whatever it is asked."""

    def listen(self, note: Callable[[str], None]) -> None:
        self.note = note

    def survey(self) -> str:
        self.note("said in the survey")
        return "surveyed"

    def rate(self) -> float:
        self.note("said of the rate")
        return 1.0

    def compute(self, cell: Cell, step: Any) -> tuple[dict[str, Any], pd.DataFrame]:
        self.note(f"said of {cell.label}")
        return {}, pd.DataFrame({"none": [0]})


def test_what_it_said_before_its_first_cell_comes_with_that_once() -> None:
    worker = Worker(Bench)
    assert worker.ask("survey") == ("made", "surveyed")
    assert worker.ask("rate") == ("made", 1.0)
    notes = [worker.compute(Cell("probe", {"n": n}, f"cell {n}"))[1] for n in range(2)]
    assert notes == [["said in the survey", "said of the rate", "said of cell 0"], ["said of cell 1"]]


def test_what_is_no_error_of_the_user_s_is_told_with_its_traceback() -> None:
    class Fails(Bench):
        def survey(self) -> str:
            raise ValueError("nothing to survey")

    how, (kind, text, where, trace, memory) = Worker(Fails).ask("survey")
    assert (how, kind, text, memory) == ("failed", "ValueError", "nothing to survey", False)
    assert where.startswith(f"in process {os.getpid()} on ")
    assert trace.startswith("Traceback")
    assert "in survey\n" in trace
    assert trace.endswith("ValueError: nothing to survey")


def test_a_bench_that_cannot_be_made_is_told_in_the_first_answer() -> None:
    def fails() -> Bench:
        raise StudyError("an analysis", "none of that name here", "install it")

    assert Worker(fails).hello() == ("raised", ("StudyError", "an analysis", "none of that name here", "install it"))

"""What a worker answers, without a cluster around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from negspace.runs.cell import Cell
from negspace.runs.ray_cluster import Worker


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

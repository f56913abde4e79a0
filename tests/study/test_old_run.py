"""A run folder made by negspace 0.1.0: its records are taken up as they are, and give the same results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import negspace as ns
from negspace.errors import RecordError
from negspace.experiment import workbench
from negspace.experiment.config import configure
from negspace.runs.cell import Cell
from negspace.runs.engine import Compute, LocalEngine, Step
from negspace.runs.packing import unpack
from negspace.runs.store import Store
from negspace.study.run import run_study
from negspace.study.tables import Tables

OLD = Path(__file__).parents[1] / "data" / "run-0.1.0"
MANIFEST = json.loads((OLD / "run.json").read_text())
SAME = {
    "summary": ["neurons", "perplexity", "ratio", "blimp_accuracy", "blimp_change", "blimp_ties"],
    "tasks_by_task": ["items", "ties", "cut", "chance", "accuracy", "change"],
    "dose": ["neurons", "left_out", "first_share", "value", "change"],
    "rankings": ["neurons", "value", "change"],
    "layers": ["neurons", "value", "change"],
    "controls": ["neurons", "value", "change"],
    "training": ["step", "neurons", "left_out", "value", "change"],
}
"""Table -> columns of figures that follow from the items alone, by no statistical choice. What three random sets were
once said to show is now called too few to judge."""
PARADIGMS = ("agreement_simple", "reflexive_number", "any_object", "gerund_and_infinitive")


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    """The same study again, in a copy of the folder, by an engine that computes nothing but what 0.1.0 did not have."""
    folder = tmp_path_factory.mktemp("old") / "run"
    shutil.copytree(OLD / "cells", folder / "cells")
    series, pairs = ns.reference.series_path(), ns.reference.pairs_path()
    given = dict(MANIFEST["study"])
    given["random_perplexity"] = given["random"]  # as many as there were
    given |= {
        "model": str(series / "step4096"),
        "text": str(ns.reference.text_path()),
        "blimp": [str(pairs / f"{name}.jsonl") for name in PARADIGMS],
        "tasks": ["negspace_copy", "negspace_order", str(ns.reference.tasks_path())],
    }
    revisions = [str(series / name) for name in ("step0", "step4096")]
    controls = ["random", "other_side", "count", "perplexity", "residual", "residual_random"]  # those that there were
    given["analyses"] = {**given["analyses"], "training": {"revisions": revisions}}
    given["analyses"]["controls"] = {**given["analyses"]["controls"], "controls": controls}
    # Software of other versions would be other cells, by design; what is tried here is all the rest of the keys.
    model = ns.load(given["model"])
    versions = {name: MANIFEST["identity"][name] for name in ("torch", "transformers")}
    model = replace(model, source=model.source.model_copy(update=versions))
    with pytest.MonkeyPatch.context() as patch:
        read, harness = workbench.read_tasks, _harness()
        patch.setattr(workbench, "read_tasks", lambda *a, **k: replace(read(*a, **k), harness=harness))
        tables = run_study(configure(given), folder, model=model, make_engine=_refusing)
    return folder, tables


def test_nothing_is_computed_and_every_record_is_found(again: tuple[Path, Tables]) -> None:
    folder, tables = again
    new = {path.name for path in folder.glob("cells/*")} - {path.name for path in OLD.glob("cells/*")}
    assert new == {f"{tables.manifest['examples']}.parquet"}
    for path in OLD.glob("cells/*"):
        assert path.read_bytes() == (folder / "cells" / path.name).read_bytes()
    assert _keys(tables.manifest) == _keys(MANIFEST)


@pytest.mark.parametrize("name", SAME)
def test_results_are_the_same(again: tuple[Path, Tables], name: str) -> None:
    old, new = (_sorted(table) for table in (pd.read_csv(OLD / "tables" / f"{name}.csv"), again[1][name]))
    assert len(new) == len(old)
    for column in SAME[name]:
        found, wanted = new[column].to_numpy(np.float64, na_value=np.nan), old[column].to_numpy(np.float64)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15, err_msg=column)


def test_an_old_manifest_is_refused_with_what_to_do(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    with pytest.raises(RecordError, match="give the same command again: records are reused"):
        Store(tmp_path / "run").read_manifest()


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """Rows in an order that does not depend on that of the table."""
    about = {"condition", "role", "share", "seed", "set", "by", "end", "intervention", "score", "control", "task"}
    about |= {"step", "checkpoint", "family", "layers"}
    keys = table[[name for name in table.columns if name in about]].astype(str).replace({"<NA>": "nan", "None": "nan"})
    keys = keys.apply(lambda column: column.str.removesuffix(".0"))
    return table.iloc[keys.sort_values(list(keys.columns), kind="stable").index]


def _refusing(store: Store, compute_new: Compute) -> LocalEngine:
    def compute(cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
        if cell.kind == "examples":
            return compute_new(cell, step)
        pytest.fail(f"computed again: {cell.kind}, {cell.label}")

    return LocalEngine(store, compute)


def _harness() -> str:
    """Version of lm-evaluation-harness with which the tasks were scored."""
    found = {unpack(path.read_bytes()).spec.get("harness") for path in OLD.glob("cells/*")} - {None}
    assert len(found) == 1
    return str(found.pop())


def _keys(value: Any) -> set[str]:
    """Every key of a record that a manifest names."""
    if isinstance(value, Mapping):
        return set().union(*map(_keys, value.values()))
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    return {value} if isinstance(value, str) and (OLD / "cells" / f"{value}.parquet").exists() else set()

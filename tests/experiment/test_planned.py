"""A cell is computed on the model and the data that its study was planned with, whoever computes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from negspace.errors import ModelError, StudyError
from negspace.experiment.config import Study, configure
from negspace.experiment.handlers import HANDLERS
from negspace.experiment.lab import Lab
from negspace.experiment.workbench import Workbench
from negspace.intervention import intervene
from negspace.models.load import load
from negspace.models.model import Model
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.cell import Cell
from negspace.runs.engine import LocalEngine
from negspace.runs.store import Store
from negspace.study.run import run_study


def _nothing(*_: Any) -> None: ...


@pytest.fixture
def study(tiny_fields: dict[str, Any], tmp_path: Path) -> Study:
    """A study whose files are its own, so that they can be changed."""
    text = Path(shutil.copy(tiny_fields["text"], tmp_path / "text.txt"))
    pairs = Path(shutil.copytree(tiny_fields["blimp"][0], tmp_path / "blimp"))
    return configure({**tiny_fields, "text": str(text), "blimp": [str(pairs)], "tse": []})


@pytest.fixture
def cells(study: Study, tmp_path: Path) -> dict[str, Cell]:
    """Cells as a driver plans them."""
    bench, store = Workbench(study, HANDLERS), Store(tmp_path / "run")
    with store.hold(), LocalEngine(store, bench.compute) as engine:
        lab = Lab(study, bench.describe(), store, engine)
        made = {"scan": lab.scan_cell}
        for score in ("perplexity", "blimp"):
            made[score] = lab.cell(
                {"blimp": "pairs"}.get(score, score),
                1,
                {"kind": "blimp", "protocol": study.protocol} if score == "blimp" else {},
                score,
                1.0,
            )
        return made


@pytest.mark.parametrize(
    ("score", "called"),
    [("scan", "text for the statistics"), ("perplexity", "windows for perplexity"), ("blimp", "minimal pairs")],
)
def test_data_that_changed_since_the_plan_are_refused(
    study: Study, cells: dict[str, Cell], score: str, called: str
) -> None:
    """As on a worker that reads a file hours after another made the plan."""
    text, folder = Path(study.text), Path(study.blimp[0])
    if score == "blimp":
        file = sorted(folder.glob("*.jsonl"))[0]
        file.write_text(file.read_text().replace("cat", "owl"))
    else:
        text.write_text(text.read_text()[40:])
    worker = Workbench(study, HANDLERS)
    with pytest.raises(StudyError, match=f"(?s)on its {called}.*a file was changed since.*run the study again"):
        worker.compute(cells[score], _nothing)
    # What was read before the cell came is looked at as well.
    late = Workbench(study, HANDLERS)
    _ = late.statistics, late.windows, late.pairs
    with pytest.raises(StudyError, match="a file was changed since"):
        late.compute(cells[score], _nothing)


def test_cells_of_analyses_are_computed_on_the_planned_model_too(
    study: Study, cells: dict[str, Cell], tiny_model_path: Path, tmp_path: Path
) -> None:
    """Also where the model is loaded within the cell, and where the worker has not made the survey."""
    other = Path(shutil.copytree(tiny_model_path, tmp_path / "other"))
    model = load(str(other), device="cpu")
    with torch.no_grad():
        next(model.module.parameters()).mul_(1.5)
    model.module.save_pretrained(other)
    seen: list[str] = []

    def own(bench: Workbench, cell: Cell, _: Any) -> Any:
        seen.append(bench.model.source.name)
        raise AssertionError("the cell is computed")

    planned = cells["perplexity"]
    cell = Cell("analysis", {"model": planned.spec["model"]}, "an analysis", planned=planned.planned)
    elsewhere = study.model_copy(update={"model": str(other)})
    for bench in (Workbench(elsewhere, {"analysis": own}), Workbench(elsewhere, {"analysis": own}, model)):
        with pytest.raises(ModelError, match="another model than the one that the study was planned with"):
            bench.compute(cell, _nothing)
    assert seen == []
    with pytest.raises(AssertionError, match="is computed"):
        Workbench(study, {"analysis": own}).compute(cell, _nothing)


def test_a_study_of_a_model_under_an_open_intervention_is_refused(study: Study, tmp_path: Path) -> None:
    """Its figures would be recorded as the plain model's."""
    model: Model = load(study.model, device="cpu")
    top = NeuronSet.from_indices(model, {0: [1, 2, 3]})
    with (
        intervene(model, top, zero="both"),
        pytest.raises(ModelError, match=r"(?s)an intervention that is open.*leave the context"),
    ):
        run_study(study, tmp_path / "run", model=model)

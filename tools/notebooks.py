"""Run the notebooks of the documentation and keep their outputs: `python tools/notebooks.py [NAME]`."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
LIMIT = 600
"""Seconds that one cell may take; on an idle machine a whole notebook takes less than 60."""


def execute(path: Path, folder: Path) -> NotebookNode:
    """The notebook with the outputs of a fresh kernel that works in `folder`; its file stays as it is.

    Raises:
        CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, 4)
    client = NotebookClient(
        notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        if cell.cell_type == "code":
            # Warnings of the environment, with its paths.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("language_info", None)  # names a version of Python
    return notebook


def main(names: list[str]) -> None:
    """Run the notebooks named, or all."""
    from tempfile import TemporaryDirectory

    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            with TemporaryDirectory() as folder:
                nbformat.write(execute(path, Path(folder)), path)


if __name__ == "__main__":
    main(sys.argv[1:])

"""A whole study on the tiny model, run once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negspace.studies.config import Study, configure
from negspace.studies.study import run_study
from negspace.studies.tables import Tables


@pytest.fixture(scope="session")
def tiny_fields(tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path) -> dict[str, Any]:
    """Fields of a small study with everything in it."""
    return {
        "model": str(tiny_model_path),
        "text": str(tiny_text_path),
        "window": 64,
        "windows": 12,
        "blimp": [str(tiny_pairs_path / "blimp")],
        "tse": [str(tiny_pairs_path / "tse")],
        "shares": [0.1, 0.3],
        "md_pairs": 64,
        "random": 3,
        "draws": 200,
        "limit": 4,
    }


@pytest.fixture(scope="session")
def tiny_study(tiny_fields: dict[str, Any]) -> Study:
    return configure(tiny_fields)


@pytest.fixture(scope="session")
def tiny_run(tiny_study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    """Run folder and tables."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, run_study(tiny_study, folder)

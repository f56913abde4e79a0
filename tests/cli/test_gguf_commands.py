"""Every command takes a GGUF file where it takes a folder, and says how its weights were quantised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

import ggufs
from negspace.models.load import load


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEGSPACE_CACHE", str(tmp_path / "cache"))
    ggufs.write(tmp_path / "tiny.gguf", stored=gguf.GGMLQuantizationType.Q8_0)
    return tmp_path / "tiny.gguf"


def test_sites_and_scan(call: Any, file: Path, tiny_text_path: Path, tmp_path: Path) -> None:
    shown = call("sites", file)
    assert shown.status == 0, shown.err
    assert "192 neurons at 2 sites" in " ".join(shown.out.split())
    assert "weights dequantised from tiny.gguf, Q8_0 (15 Q8_0, 5 F32 tensors)" in shown.out
    assert "pre-tokeniser smollm" in shown.out
    options = [
        "--text",
        tiny_text_path,
        "--window",
        64,
        "--windows",
        4,
        "--md-pairs",
        0,
        "--out",
        tmp_path / "s.parquet",
    ]
    shown = call("scan", file, *options)
    assert shown.status == 0, shown.err
    assert "weights dequantised from tiny.gguf" in shown.out
    content = json.loads(call("scan", file, *options, "--json").out)
    assert content["scan"]["model"]["gguf"]["quantisation"] == "Q8_0"


def test_a_run_and_its_report(
    call: Any, file: Path, tiny_text_path: Path, tiny_pairs_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = ["--text", tiny_text_path, "--blimp", tiny_pairs_path / "blimp", "--share", 0.2, "--random", 2]
    options += ["--no-matched", "--limit", 3, "--window", 64, "--windows", 4, "--perplexity-windows", 4]
    options += ["--md-pairs", 0, "--draws", 100, "--out", out]
    shown = call("run", "--model", file, *options)
    assert shown.status == 0, shown.err
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["model"]["gguf"]["tensors"] == {"Q8_0": 15, "F32": 5}
    assert manifest["identity"]["fingerprint"] == load(file, device="cpu").fingerprint
    shown = call("report", out, "--out", tmp_path / "report.html")
    assert shown.status == 0, shown.err
    page = (tmp_path / "report.html").read_text()
    assert "dequantised from" in page
    assert "tiny.gguf, Q8_0 (15 Q8_0, 5 F32 tensors)" in page
    again = call("run", "--model", file, *options)
    assert again.status == 0, again.err


def test_a_file_that_cannot_be_read_is_one_error(call: Any, tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_text("<!DOCTYPE html> not found, and more text")
    shown = call("sites", tmp_path / "page.gguf")
    assert shown.status == 2
    assert "not a GGUF file" in shown.err

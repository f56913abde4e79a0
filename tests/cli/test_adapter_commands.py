"""An adapter in every command that names a model: part of its identity, and in the report."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from negspace.models.load import load
from negspace.reference import model_path

peft = pytest.importorskip("peft")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    config = peft.LoraConfig(r=2, target_modules=["dense_h_to_4h"], task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for a name that is going
        module = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32), config)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(0))
    module.save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def test_sites(call: Any, adapter: Path, tmp_path: Path) -> None:
    plain = call("sites", model_path(), "--json").out
    assert call("sites", model_path(), "--adapter", adapter, "--json").out == plain
    assert call("sites", adapter, "--json").out == plain
    shown = call("sites", model_path(), "--adapter", tmp_path)
    assert shown.status == 2
    assert "a folder without an adapter" in shown.err


def test_a_run_and_its_report(
    call: Any, adapter: Path, tiny_text_path: Path, tiny_pairs_path: Path, tmp_path: Path
) -> None:
    options = ["--text", tiny_text_path, "--blimp", tiny_pairs_path / "blimp", "--share", 0.2, "--random", 2]
    options += ["--no-matched", "--limit", 3, "--window", 64, "--windows", 4, "--perplexity-windows", 4]
    options += ["--md-pairs", 0, "--draws", 100, "--out", tmp_path / "run"]
    for given, written in ((["--adapter", adapter], True), ([], False)):
        shown = call("run", "--model", model_path(), *given, *options)
        assert shown.status == 0, shown.err
        manifest = json.loads((tmp_path / "run" / "run.json").read_text())
        model = load(model_path(), adapter=given[1:], device="cpu")
        assert manifest["identity"]["fingerprint"] == model.fingerprint
        assert ("adapters" in manifest["model"], "adapter" in manifest["study"]) == (written, written)
        assert ("adapter" in (tmp_path / "run" / "study.yaml").read_text()) == written
        shown = call("report", tmp_path / "run", "--out", tmp_path / "report.html")
        assert shown.status == 0, shown.err
        assert (f"{adapter} (LORA)" in (tmp_path / "report.html").read_text()) == written

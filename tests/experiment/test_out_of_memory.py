"""A study that runs out of memory: smaller batches, a note, and the same figures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import Module

from negspace.analyses.training import cells as training_cells
from negspace.experiment.config import configure
from negspace.models.load import load
from negspace.study.run import run_study

FITS = 400
"""Tokens of a batch that fit: all of the scan's six windows of 64, but not eight of perplexity's."""


def halved(what: str, *factors: int) -> list[str]:
    """What is said of a cell."""
    return [f"out of memory in {what}: batches are {factor} times smaller from now on" for factor in factors]


def short_of_memory(module: Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Before a forward pass: fail as a GPU does where a batch does not fit."""
    ids = named.get("input_ids", given[0] if given else None)
    if isinstance(ids, torch.Tensor) and ids.numel() > FITS:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture(scope="module")
def fields(tiny_fields: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_fields, "shares": [0.1], "random": 1, "draws": 100, "windows": 6, "batch": 8}


def test_a_study_goes_on_with_smaller_batches_and_says_so(fields: dict[str, Any], tmp_path: Path) -> None:
    study = configure(fields)
    usual = run_study(study, tmp_path / "usual")
    model = load(study.model)
    model.module.base_model.register_forward_pre_hook(short_of_memory, with_kwargs=True)
    notes: list[str] = []
    made = run_study(study, tmp_path / "short", model=model, note=notes.append)
    assert notes[:1] == halved("baseline: perplexity", 2)
    assert all(note.startswith("out of memory in ") for note in notes)
    for name in usual:
        pd.testing.assert_frame_equal(made[name], usual[name], rtol=1e-5)
    assert {path.name for path in (tmp_path / "short" / "cells").iterdir()} == {
        path.name for path in (tmp_path / "usual" / "cells").iterdir()
    }


def test_so_does_a_series_of_checkpoints(
    fields: dict[str, Any], tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all of them, not at every checkpoint anew."""
    for step in (0, 10, 20):
        shutil.copytree(tiny_model_path, tmp_path / f"step{step}")
        path = tmp_path / f"step{step}" / "model.safetensors"
        weights = load_file(path)
        save_file({name: value * (1 + step / 100) for name, value in weights.items()}, path, {"format": "pt"})

    def hooked(name: str, **options: Any) -> Any:
        model = load(name, **options)
        model.module.base_model.register_forward_pre_hook(short_of_memory, with_kwargs=True)
        return model

    monkeypatch.setattr(training_cells, "load", hooked)
    settings = {"revisions": [str(tmp_path / "step*")]}
    notes: list[str] = []
    run_study(configure({**fields, "analyses": {"training": settings}}), tmp_path / "run", note=notes.append)
    assert notes[:1] == halved("step20, baseline: perplexity", 2)
    assert not [note for note in notes[1:] if "step0" in note or "step10" in note]

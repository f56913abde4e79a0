"""A run folder and a model that changes: nothing recorded is taken for the result of another function."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from negspace.errors import InterventionError, ModelError
from negspace.experiment.config import configure
from negspace.intervention import intervene
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.neurons.scan import scan
from negspace.score.perplexity import perplexity
from negspace.study.reading import SCAN_FILE, read_run
from negspace.study.run import BEHAVIOUR_FILE, run_study

# What PEFT asks of transformers is to go; it is no matter of ours.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture
def fields(tiny_model_path: Path, tiny_text_path: Path) -> dict[str, Any]:
    return {
        "model": str(tiny_model_path),
        "text": str(tiny_text_path),
        "window": 64,
        "windows": 4,
        "shares": [0.1],
        "md_pairs": 0,
        "random": 0,
        "matched": False,
        "draws": 100,
    }


def plain_perplexity(tables: Any) -> float:
    summary = tables["summary"]
    return float(summary[summary["role"] == "baseline"]["perplexity"].iloc[0])


@pytest.fixture
def adapted(tiny_model_path: Path) -> tuple[Any, Model]:
    base = load(tiny_model_path, device="cpu")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["dense_h_to_4h", "query_key_value"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peft: Any = get_peft_model(base.module, config).eval()
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    return peft, wrap(peft.get_base_model(), base.tokenizer, name="adapted")


def rescale(peft: Any, times: float) -> None:
    for part in peft.modules():
        if isinstance(getattr(part, "scaling", None), dict):
            part.scaling = {name: value * times for name, value in part.scaling.items()}


def test_another_scale_of_an_adapter_is_another_model(
    fields: dict[str, Any], adapted: tuple[Any, Model], tmp_path: Path
) -> None:
    peft, model = adapted
    study = configure(fields)
    first = plain_perplexity(run_study(study, tmp_path / "run", model=model))
    assert first == pytest.approx(perplexity(model, fields["text"], window=64).value, rel=1e-6)
    rescale(peft, 8)  # as lora_alpha 64 instead of 8
    second = plain_perplexity(run_study(study, tmp_path / "run", model=model))
    assert second == pytest.approx(perplexity(model, fields["text"], window=64).value, rel=1e-6)
    assert abs(second / first - 1) > 0.01


def test_a_scan_with_the_adapter_is_not_one_without(fields: dict[str, Any], adapted: tuple[Any, Model]) -> None:
    peft, model = adapted
    made = scan(model, fields["text"], window=64, windows=4, md_pairs=0)
    top = made.top(0.1)
    with intervene(model, top, mode="mean", scan=made):
        pass
    prints = {model.fingerprint}
    with peft.disable_adapter():
        prints.add(model.fingerprint)
        with pytest.raises(InterventionError, match="scan this model"):
            intervene(model, top, mode="mean", scan=made).__enter__()
    assert model.fingerprint in prints
    peft.merge_adapter()
    prints.add(model.fingerprint)
    peft.unmerge_adapter()
    peft.add_adapter("other", LoraConfig(r=2, target_modules=["dense_h_to_4h"]))
    peft.set_adapter("other")
    prints.add(model.fingerprint)
    assert len(prints) == 4


def test_an_adapter_that_is_switched_off_while_a_study_runs_stops_it(
    fields: dict[str, Any], adapted: tuple[Any, Model], tmp_path: Path
) -> None:
    peft, model = adapted
    done: list[str] = []

    def switch(progress: Any) -> None:
        done.append(progress.label)
        if progress.computed == 1:
            peft.base_model.disable_adapter_layers()

    with pytest.raises(ModelError, match="fingerprint differ") as caught:
        run_study(configure(fields), tmp_path / "run", model=model, progress=switch)
    assert "changed since" in caught.value.found
    assert done
    peft.base_model.enable_adapter_layers()
    run_study(configure(fields), tmp_path / "run", model=model)


def test_a_run_is_not_gone_on_with_by_a_model_that_gives_other_logits(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = configure(fields)
    run_study(study, tmp_path / "run")
    held = (tmp_path / "run" / BEHAVIOUR_FILE).read_bytes()
    assert len(json.loads(held)) == 1
    run_study(study, tmp_path / "run")
    assert (tmp_path / "run" / BEHAVIOUR_FILE).read_bytes() == held
    plain = torch.nn.functional.layer_norm
    monkeypatch.setattr(torch.nn.functional, "layer_norm", lambda *args: plain(*args) * 1.1)
    with pytest.raises(ModelError, match="gives other logits on the same tokens") as caught:
        run_study(study, tmp_path / "run")
    assert "--out" in caught.value.todo
    monkeypatch.undo()
    run_study(study, tmp_path / "run")


def test_a_scan_of_another_study_in_the_folder_is_left_out(tiny_run: tuple[Path, Any], tmp_path: Path) -> None:
    """As where another study in the folder was killed between its scan and its manifest."""
    folder = Path(shutil.copytree(tiny_run[0], tmp_path / "run"))
    whole = read_run(folder)
    assert whole.scan is not None
    info = whole.scan.info.model_copy(update={"text_hash": "another"})
    replace(whole.scan, info=info).save(folder / SCAN_FILE)
    run = read_run(folder)
    assert (run.scan, run.sets) == (None, {})
    assert "are of another study, and left out" in run.manifest["notes"][-1]

"""The plan: as many cells as a run then has, what analyses share once, and tokens that the model really reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.zoo import build
from transformers import AutoTokenizer

from negspace.analyses.controls.cells import noop_model
from negspace.experiment.config import configure
from negspace.experiment.plan import Load, union, work
from negspace.models.multiplications import multiplications
from negspace.runs.engine import LocalEngine, Progress
from negspace.runs.store import Store
from negspace.score.logprobs import LogProbs
from negspace.study.run import Plan, _time, plan_study, run_study, workbench

ANALYSES: dict[str, Any] = {
    "ablation": {},
    "dose": {"shares": [0.1, 0.3], "interventions": ["zero_negative", "zero_both"], "random": 2},
    "rankings": {"by": ["md", "skewness"], "residual": False, "random": 2},
    "layers": {"groups": 2},
    "parts_of_speech": {"matched": False},
}


def test_loads_are_sets_of_work() -> None:
    one = Load({("perplexity", "top"): 10.0, ("blimp", "top"): 5.0}, "detail")
    other = Load({("perplexity", "top"): 10.0, ("perplexity", "random"): 10.0})
    assert (one.cells, one.tokens) == (2, 15.0)
    assert one.beyond([other]) == Load({("blimp", "top"): 5.0}, "detail")
    assert work(union([one, other])) == {"perplexity": (2, 20.0), "blimp": (1, 5.0)}
    assert work(Load()) == {}


@pytest.mark.parametrize(("width", "seconds"), [(1, 30.0), (2, 20.0), (8, 20.0)])
def test_workers_do_not_share_a_cell(width: int, seconds: float, tmp_path: Path) -> None:
    engine = LocalEngine(Store(tmp_path), lambda *_: pytest.fail("nothing is computed"))
    engine.width = width
    engine.forecast.tried(2.0)
    load = Load({("scan", ""): 10.0, ("blimp", "a"): 3.0, ("blimp", "b"): 2.0, ("note", ""): 0.0})
    assert _time(load, engine) == pytest.approx(seconds)


def test_a_plan_counts_what_analyses_share_once(tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    study = configure({**tiny_fields, "shares": [0.1], "random": 2, "matched": False, "analyses": ANALYSES})
    plan = plan_study(study)
    announced: list[Plan] = []
    seen: list[Progress] = []
    run_study(study, tmp_path / "run", announce=announced.append, progress=seen.append)
    assert announced[0].loads == plan.loads
    assert plan.cells == len(list((tmp_path / "run" / "cells").iterdir()))
    # Of the twelve conditions of dose, four were ablation's: the plain model, the top set and two random ones.
    assert plan.loads["dose"].cells == 3 * (12 - 4)
    assert set(announced[0].loads) == {"scan", "examples", *ANALYSES}
    # At every moment the run knows what remains.
    assert all(now.computed + now.left == plan.cells for now in seen)
    # What one analysis computed and another reads is no further cell.
    assert {now.reused for now in seen} == {0}
    assert seen[-1].ahead == 0


def test_what_remains_of_an_analysis_that_measures_step_by_step_is_known_from_its_start(
    tiny_fields: dict[str, Any], tmp_path: Path
) -> None:
    study = configure({**tiny_fields, "shares": [0.1], "random": 2, "analyses": {"controls": {"share": 0.3}}})
    plans: list[Plan] = []
    seen: list[Progress] = []
    run_study(study, tmp_path / "run", announce=plans.append, progress=seen.append)
    first = next(now for now in seen if now.label.startswith("plain model"))
    assert first.computed + first.left == plans[0].cells
    # Searches take more or fewer evaluations than about four; the rest is as planned.
    assert all(now.computed + now.left <= plans[0].cells + 20 for now in seen)
    assert seen[len(seen) // 2].left > 10


def test_times_count_what_a_token_of_each_kind_costs(tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    """A scan leaves the output layer out, and the no-op control runs another model."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_fields["model"])
    rectified = build("opt", seed=1, vocab_size=len(tokenizer))
    rectified.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    study = configure({**tiny_fields, "shares": [0.1], "analyses": {"controls": {"noop_model": str(tmp_path)}}})
    bench, plan = workbench(study), plan_study(study)
    layers, output = multiplications(bench.model.module)
    scan = plan.loads["scan"]
    assert plan.times["scan"] == pytest.approx(scan.tokens / plan.rate * layers / (layers + output))
    other = sum(multiplications(rectified))
    # Two passes over 4 windows, and a scan of 8, as long as that model and the text allow.
    window = noop_model(bench, str(tmp_path), 4)[1].window
    tokens = plan.loads["controls"].planned["noop", ""]
    assert tokens == pytest.approx(2 * window * (4 + 8) * other / (layers + output))
    # Two passes over 16 windows of 64 tokens.
    (residual,) = {tokens for (kind, _), tokens in plan.loads["controls"].planned.items() if kind == "residual"}
    assert residual == 2 * 16 * 64
    assert bench.windows.tokens.size > 16 * 64


def test_costs_are_the_tokens_that_the_model_reads(tiny_fields: dict[str, Any]) -> None:
    study = configure({**tiny_fields, "windows": 8})
    bench = workbench(study)
    facts = bench.describe()
    read: list[int] = []
    handle = bench.model.module.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(_tokens(kwargs)), with_kwargs=True
    )
    try:
        for suite in facts.pairs:
            read.clear()
            LogProbs(bench.model.module, method="tree").score_forest(bench.prepared[suite].forest)
            # Less what packs of a batch are filled up with.
            assert 0.5 < facts.tokens[suite] / sum(read) <= 1
    finally:
        handle.remove()
    assert facts.tokens["perplexity"] == bench.windows.tokens.size
    assert facts.tokens["scan"] == 8 * 64
    assert facts.tokens["examples"] == 4 * 64


def _tokens(kwargs: dict[str, Any]) -> int:
    ids: torch.Tensor = kwargs["input_ids"]
    return ids.numel()

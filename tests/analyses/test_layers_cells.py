"""A cell of the layers analysis: its conditions are those of plain calls, and what they have in common is done once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import negspace as ns
import zoo
from negspace.analyses.layers.cells import sweep_cell
from negspace.intervention import Intervention
from negspace.models import identity
from negspace.models.behaviour import behaviour
from negspace.text.source import read_text
from negspace.text.windows import make_windows

WORDS = " ".join(f"w{3 + (7 * n * n + n) % 90}" for n in range(400))
CONDITIONS = [[0], [1], [3], [0, 1], [0, 1, 2, 3]]


@pytest.mark.parametrize("intervention", ["zero_both", "mean", "negative_mean"])
def test_conditions_are_those_of_plain_calls_and_the_scan_is_proved_once(
    intervention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ns.wrap(zoo.build("llama", scale=2.0, num_hidden_layers=4), zoo.tokenizer())
    scan = ns.scan(model, [WORDS], window=24)
    top = scan.top(0.2)
    windows = make_windows(read_text([WORDS], role="perplexity"), model.tokenizer, window=24)
    passes: list[object] = []
    monkeypatch.setattr(identity, "behaviour", lambda module: passes.append(module) or behaviour(module))
    bench: Any = SimpleNamespace(model=model, windows=windows, study=SimpleNamespace(batch=4))
    cell: Any = SimpleNamespace(
        spec={"intervention": intervention, "conditions": CONDITIONS, "score": "perplexity"},
        inputs={"neurons": top, "scan": scan},
    )
    results, items = sweep_cell(bench, cell, lambda *_: None)
    assert len(passes) == (intervention != "zero_both")
    zero, mode = Intervention(intervention).arguments
    for number, layers in enumerate(CONDITIONS):
        with ns.intervene(model, top.restrict(layers), zero, mode, scan):
            alone = ns.perplexity(model, windows, batch=4)
        assert results["values"][number] == alone.value
        np.testing.assert_array_equal(items[items["condition"] == number]["nll"], alone.nll)

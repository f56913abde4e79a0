"""The census of model types: its record is of the pinned transformers, is in the docs, and what resolved still does,
and can be scored."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import zoo
from negspace.score.logprobs import LogProbs

ROOT = Path(__file__).parents[1]
RECORD = json.loads((ROOT / "docs" / "records" / "census.json").read_text(encoding="utf-8"))
RESOLVED = [name for name, entry in RECORD["types"].items() if entry["outcome"] == "resolved"]
LONG = ("falcon_h1", "kimi_linear")
"""Types of which a plain forward pass already takes seconds on a CPU."""


@pytest.fixture
def census(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import census

    return census


def test_the_record_is_of_the_pinned_transformers(census: Any) -> None:
    pinned = re.search(r"^transformers==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert RECORD["transformers"] == pinned[1], "run python tools/census.py, then python tools/architectures.py"
    if transformers.__version__ == pinned[1]:
        assert sorted(RECORD["types"]) == sorted(census.TYPES)


def test_at_least_97_per_cent_resolve(census: Any) -> None:
    assert census.share(RECORD["types"]) >= 0.97
    assert len(RESOLVED) >= 172
    assert {entry["outcome"] for entry in RECORD["types"].values()} <= set(census.OUTCOMES)


def test_the_docs_show_the_record(census: Any) -> None:
    page = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    assert census.section(RECORD) in page, "run python tools/architectures.py"


def test_messages_cannot_break_the_table(census: Any) -> None:
    types = {"x": {"outcome": "refused", "found": "a | b <img src=x> [c](d) `e` " + "f" * 200}}
    last = census.section({"transformers": "1", "types": types}).splitlines()[-1]
    assert len(re.findall(r"(?<!\\)\|", last)) == 4
    assert "<img" not in last
    assert r"\[c\](d) \`e\`" in last


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LONG else name
        for name in RESOLVED
        if name not in zoo.ALL  # tests/models/test_architectures.py has these
    ],
)
def test_what_resolved_still_does(census: Any, name: str) -> None:
    if transformers.__version__ != RECORD["transformers"]:
        pytest.skip(f"the record is of transformers {RECORD['transformers']}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert census.outcome(name) == RECORD["types"][name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RESOLVED if name not in LONG])
def test_what_resolved_is_scored_as_by_plain_passes(census: Any, name: str) -> None:
    if transformers.__version__ != RECORD["transformers"]:
        pytest.skip(f"the record is of transformers {RECORD['transformers']}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = census.build(name)
    generator = np.random.default_rng(0)
    stems = generator.integers(3, 90, (4, 9)).tolist()
    sequences = [[*stem, *generator.integers(3, 90, 1 + k).tolist()] for k, stem in enumerate(stems * 3)]
    with torch.no_grad():
        expected = [
            module(input_ids=torch.tensor([one]), use_cache=False)
            .logits[0, :-1]
            .log_softmax(-1)
            .gather(1, torch.tensor(one[1:])[:, None])
            .sum()
            .item()
            for one in sequences
        ]
    np.testing.assert_allclose(LogProbs(module).score(sequences).total, expected, atol=2e-3, rtol=0)

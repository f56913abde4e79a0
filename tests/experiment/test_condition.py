"""One condition: written and read again, scored once for equal sets, and without neurons that have no mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from negspace.experiment.condition import Condition, condition, left_out, written
from negspace.experiment.config import configure
from negspace.experiment.handlers import HANDLERS
from negspace.experiment.lab import Lab
from negspace.experiment.workbench import Workbench
from negspace.runs.engine import LocalEngine
from negspace.runs.store import Store


@pytest.fixture(scope="module")
def lab(tiny_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    study = configure({**tiny_fields, "tse": []})
    bench, store = Workbench(study, HANDLERS), Store(tmp_path_factory.mktemp("lab") / "run")
    with store.hold(), LocalEngine(store, bench.compute) as engine:
        yield Lab(study, bench.describe(), store, engine)


def test_a_manifest_holds_all_but_the_neurons(lab: Lab) -> None:
    top = lab.scan.top(0.3)
    one = lab.condition("top 30%", "top", top, share=0.3, by="wd").scored({"perplexity": "k"})
    assert (one.neurons, one.key, one.intervention) == (len(top), top.key, "zero_negative")
    read = Condition.model_validate(json.loads(json.dumps(written([one])[0])))
    assert read == one.model_copy(update={"chosen": None})
    with pytest.raises(ValidationError, match="another"):
        Condition.model_validate({**written([one])[0], "another": 1})


def test_equal_sets_are_scored_once_and_keep_their_places(lab: Lab) -> None:
    top, bottom = lab.scan.top(0.3), lab.scan.bottom(0.3)
    conditions = [
        Condition(name="plain model"),
        lab.condition("top", "top", top),
        lab.condition("the same", "other", top),
        lab.condition("bottom", "bottom", bottom),
        lab.condition("top, positive", "top", top, intervention="zero_positive"),
    ]
    before = len(list(lab.store.cells.glob("*")))
    scored = lab.measure(conditions, ["perplexity", "blimp"])
    assert len(list(lab.store.cells.glob("*"))) - before == 4 * 2
    assert [one.name for one in scored] == [one.name for one in conditions]
    assert scored[1].cells == scored[2].cells
    assert len({one.cells["blimp"] for one in scored}) == 4
    values = [lab.store.require(one.cells["perplexity"]).results["value"] for one in scored]
    assert len(set(values)) == 4
    assert lab.measure(scored[:1]) == scored[:1]


def test_random_sets_have_as_many_neurons_at_each_site(lab: Lab) -> None:
    top = lab.scan.top(0.3)
    drawn = lab.random("random 30%", top, (4, 5), share=0.3)
    assert [(one.name, one.seed, one.role) for one in drawn] == [
        ("random 30%, seed 4", 4, "random"),
        ("random 30%, seed 5", 5, "random"),
    ]
    for one in drawn:
        assert one.chosen is not None
        assert {path: len(some) for path, some in one.chosen.indices.items()} == {
            path: len(some) for path, some in top.indices.items()
        }
    assert drawn[0].key != drawn[1].key
    assert lab.random("none", top, ()) == []


def test_an_intervention_on_means_leaves_out_what_has_none_and_says_so(lab: Lab) -> None:
    top = lab.scan.top(0.3)
    table = lab.scan.table.copy()
    table.loc[top.rows[:2], "mean"] = np.nan
    scan = replace(lab.scan, table=table)
    kept = condition("top", "top", top, "mean", scan)
    assert (kept.neurons, kept.facts) == (len(top) - 2, {"left_out": 2})
    assert left_out("dose", [kept]) == [
        "dose: top: neurons left as they are: 2 (no token of the statistics reached their experts, so they have no "
        "mean)"
    ]
    whole = condition("top", "top", top, "zero_negative", scan)
    assert (whole.key, whole.facts, left_out("dose", [whole])) == (top.key, {}, [])

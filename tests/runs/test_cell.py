"""Keys: canonical JSON, and nothing but what the result depends on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negspace.runs.cell import Cell, canonical

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


def test_order_of_keys_and_kind_of_sequence_do_not_matter() -> None:
    assert Cell("a", {"x": 1, "y": [1, 2]}).key == Cell("a", {"y": (1, 2), "x": 1}).key


def test_label_cost_and_inputs_are_not_part_of_the_key() -> None:
    assert Cell("a", {"x": 1}).key == Cell("a", {"x": 1}, "other", 9.0, {"big": object()}).key


@pytest.mark.parametrize(
    "other", [Cell("b", {"x": 1}), Cell("a", {"x": 2}), Cell("a", {"x": 1.0}), Cell("a", {"x": "1"}), Cell("a", {})]
)
def test_anything_else_changes_the_key(other: Cell) -> None:
    assert other.key != Cell("a", {"x": 1}).key


@given(JSON)
def test_canonical_form_is_stable_under_a_round_trip(value: object) -> None:
    import json

    assert canonical(json.loads(canonical(value))) == canonical(value)


def test_the_key_is_the_same_in_another_process() -> None:
    code = "from negspace.runs.cell import Cell; print(Cell('k', {'b': {'d': 0.1, 'c': 'é'}, 'a': [None, True]}).key)"
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert runs == {Cell("k", {"a": [None, True], "b": {"c": "é", "d": 0.1}}).key}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_numbers_have_no_form(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        canonical({"x": value})


@pytest.mark.parametrize("value", [Path("x"), {1: 2}, {"x": {1}}, b"x"])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"canonical JSON|must be strings"):
        canonical(value)

"""File names made of names: no two alike, in any script, and none that leads elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from made_up_run import made_up
from negspace.experiment.lab import Lab
from negspace.experiment.words import file_names
from negspace.neurons.neuronset import NeuronSet
from negspace.runs.store import Store


def test_plain_names_are_as_ever() -> None:
    names = ["top 1%", "random 0.5%, seed 0", "bottom 30%, matched to top 1%", "top 1% by c4.jsonl#text"]
    made = ["top-1pct", "random-0.5pct-seed-0", "bottom-30pct-matched-to-top-1pct", "top-1pct-by-c4.jsonl-text"]
    assert file_names(names) == made


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (["by 文.txt", "by 字.txt"], ["by-文.txt", "by-字.txt"]),
        (["gpt2 (run a)", "gpt2 (run-a)", "gpt2-run-a-2"], ["gpt2-run-a", "gpt2-run-a-2", "gpt2-run-a-2-2"]),
        (["A", "a"], ["A", "a-2"]),
        (["e\u0301", "\u00e9"], ["\u00e9", "\u00e9-2"]),
        (["../x", "/etc", ".hidden"], ["x", "etc", "hidden"]),
        ([".", "..", "", "\ud800"], ["unnamed", "unnamed-2", "unnamed-3", "unnamed-4"]),
    ],
)
def test_names_that_are_squeezed_stay_apart(names: list[str], made: list[str]) -> None:
    assert file_names(names) == made


def test_long_names_are_cut_and_stay_apart() -> None:
    made = file_names(["文" * 200, "文" * 201])
    assert len(set(made)) == 2
    assert all(len(name.encode()) < 200 for name in made)


def test_sets_of_texts_in_any_script_have_files_of_their_own(tmp_path: Path) -> None:
    nothing = cast(Any, None)
    lab = Lab(nothing, nothing, Store(tmp_path), nothing)
    one, two = made_up().sets.values()
    sets = {"top 1% by 文": one, "top 1% by 字": two, "..": one}
    for name, neurons in sets.items():
        lab.save_set(name, neurons)
    lab.write_sets()
    files = ["top-1pct-by-文.json", "top-1pct-by-字.json", "unnamed.json"]
    assert sorted(path.name for path in (tmp_path / "neurons").iterdir()) == sorted(files)
    assert [NeuronSet.load(tmp_path / "neurons" / file) for file in files] == list(sets.values())

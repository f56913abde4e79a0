"""Configurations: from options or the fields of a file, and what is wrong with them in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negspace.errors import NegspaceError, SelectionError, StudyError
from negspace.experiment.config import Study, configure


def test_defaults_and_single_values() -> None:
    study = configure({"model": "m", "shares": 0.05, "blimp": "folder"})
    assert study.shares == (0.05,)
    assert study.blimp == ("folder",)
    assert study.intervention == "zero_negative"
    assert study.seeds == (0, 1, 2, 3, 4)
    assert study.more_seeds == tuple(range(5, 20))
    assert study.model_copy(update={"random": 0}).more_seeds == ()


def test_a_mode_replaces_the_default_zero() -> None:
    assert configure({"model": "m", "mode": "sign_flip"}).intervention == "sign_flip"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no 'model'"),
        ({"model": "m", "shares": []}, "shares must be given"),
        ({"model": "m", "shares": [0.1, 0.1]}, "each once"),
        ({"model": "m", "zero": "negative", "mode": "mean"}, "either zero or mode"),
        ({"model": "m", "zero": None}, "either zero or mode"),
        ({"model": "m", "zero": "upwards"}, "zero: Input should be 'negative', 'positive' or 'both'"),
        ({"model": "m", "protocol": "mine"}, "protocol: Input should be 'paper' or 'lm-eval'"),
        ({"model": "m", "limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"model": "m", "by": "beauty"}, "by: Input should be 'wd', 'md', 'negative_share'"),
        ({"model": "m", "budget": "30"}, "budget: give a time such as 30m, 1h30m or 90s, not '30'"),
        ({"model": "m", "random": "many"}, "random: Input should be a valid integer"),
        ({"model": "m", "limit": True}, "limit cannot be true"),
        ({"model": "m", "pair_columns": "good=a,good=b,bad=c"}, "good is named twice, 'a' and 'b'"),
        ({"model": "m", "pair_columns": "good=a,bad"}, "give ROLE=COLUMN apart by commas"),
        ({"model": "m", "pair_columns": {"good": "a", "bad": "b"}}, "columns of pairs; give the files with --pairs"),
    ],
)
def test_wrong_configurations(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as error:
        configure(fields, "here")
    assert message in str(error.value)
    assert "here" in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"windos": 3}, "(?s)an unknown field 'windos'.*did you mean 'windows'"),
        ({"text": ["a"]}, r"text: Input should be a valid string, not \['a'\]"),
        ({"resources": {"cpu": 1}}, "(?s)an unknown field 'resources.cpu'.*did you mean 'cpus'"),
        ({"shares": 2}, "not a number from 0 to 1"),
        ({"shares": [0.1, 0]}, "no neurons"),
        ({"mode": "mean", "zero": "both"}, "either zero or mode"),
    ],
)
def test_a_study_made_in_python_says_the_same_of_what_is_wrong(fields: dict[str, Any], message: str) -> None:
    for make in (lambda: Study(model="m", **fields), lambda: Study.model_validate({"model": "m", **fields})):
        with pytest.raises(NegspaceError, match=message):
            make()
    with pytest.raises(StudyError, match="no 'model'"):
        Study()  # type: ignore[call-arg]


def test_a_study_made_in_python_takes_paths_and_a_mode() -> None:
    study = Study(model=Path("m"), pairs=[Path("a"), "b"], text=Path("t"), mode="mean")  # type: ignore[arg-type]
    assert (study.model, study.pairs, study.text, study.intervention) == ("m", ("a", "b"), "t", "mean")
    assert study == configure({"model": "m", "pairs": ["a", "b"], "text": "t", "mode": "mean"})


def test_an_unknown_field_lists_those_that_exist() -> None:
    with pytest.raises(StudyError, match=r"(?s)unknown field 'share'.*shares, by"):
        configure({"model": "m", "share": 0.1})


@pytest.mark.parametrize("share", [-0.1, 1.5, "a tenth", float("nan")])
def test_shares_out_of_range(share: Any) -> None:
    with pytest.raises(SelectionError, match="from 0 to 1"):
        configure({"model": "m", "shares": [share]})


def test_a_share_of_no_neurons_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(SelectionError, match="no neurons\nto do: give a fraction above 0"):
        configure({"model": "m", "shares": [0.1, 0]})


def test_blanks_around_the_columns_of_pairs_are_no_part_of_their_names() -> None:
    made = configure({"model": "m", "pairs": "a.csv", "pair_columns": "good=a, bad = the b"})
    assert made.pair_columns == {"good": "a", "bad": "the b"}

"""SyntaxGym's formulae: what they mean, and that nothing else is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negspace.text.formula import ALL, FormulaError, parse

SURPRISALS = {("a", 1): 5.0, ("a", 2): 4.0, ("b", 1): 3.0, ("b", 2): 1.5, ("a", ALL): 9.0, ("no-obj_x", 12): 7.0}


def margin(text: str) -> float:
    return parse(text).of(SURPRISALS).margin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(1;%b%) < (1;%a%)", 2.0),
        ("(1;%b%)>(1;%a%)", -2.0),
        ("((1;%b%) < (1;%a%))", 2.0),
        ("[(1;%b%) < (1;%a%)] & [(2;%a%) < (1;%a%)]", 1.0),
        ("[(1;%b%) < (1;%a%)] | [(2;%a%) < (1;%a%)]", 2.0),
        # & and | bind alike, from the left: (0.5 or less) and more.
        ("(1;%b%) < (1;%a%) | (1;%a%) < (1;%b%) & (2;%a%) < (1;%a%)", 1.0),
        ("(1;%a%) - (2;%a%) - (1;%b%) < 0", 2.0),
        ("((1;%a%) - (2;%a%)) > ((1;%b%) - (2;%b%))", -0.5),
        ("(1;%a%) - ((2;%a%) - (1;%b%)) > 0", 4.0),
        ("(*;%a%) > (12;%no-obj_x%)", 2.0),
        (" ( * ; %a% ) > (12;%no-obj_x%) ", 2.0),
        ("(1;%a%) > -1.5e1", 20.0),
        ("(1;%a%) + (2;%a%) = (*;%a%)", 1e-3 + 9e-5),
        ("(1;%a%) = (1;%b%)", 1e-3 + 3e-5 - 2),
    ],
)
def test_meaning(text, expected):
    assert math.isclose(margin(text), expected, abs_tol=1e-12)


def test_the_sides_are_those_of_the_comparison_that_decides():
    sides = parse("((1;%b%) < (1;%a%)) & ((1;%a%) > (2;%a%))").of(SURPRISALS)
    assert (sides.good, sides.bad) == (-4.0, -5.0)
    assert parse("(1;%b%) < (2;%a%)").places == {("b", 1), ("a", 2)}


def test_a_region_numbered_zero_is_not_the_whole_sentence():
    assert parse("(0;%a%) < (*;%a%)").places == {("a", 0), ("a", ALL)}
    assert parse("(0;%a%) < (*;%a%)").of({("a", 0): 1.0, ("a", ALL): 9.0}).margin == 8.0


numbers = st.recursive(
    st.sampled_from(sorted(SURPRISALS)).map(
        lambda place: (f"({'*' if place[1] == ALL else place[1]};%{place[0]}%)", SURPRISALS[place])
    )
    | st.integers(0, 9).map(lambda number: (str(number), float(number))),
    lambda part: st.tuples(part, st.sampled_from("+-"), part).map(
        lambda it: (f"({it[0][0]} {it[1]} {it[2][0]})", it[0][1] + it[2][1] * (1 if it[1] == "+" else -1))
    ),
    max_leaves=6,
)
truths = st.recursive(
    st.tuples(numbers, st.sampled_from("<>"), numbers).map(
        lambda it: (f"({it[0][0]}{it[1]}{it[2][0]})", it[0][1] < it[2][1] if it[1] == "<" else it[0][1] > it[2][1])
    ),
    lambda part: st.tuples(part, st.sampled_from("&|"), part).map(
        lambda it: (
            f"[{it[0][0]} {it[1]} {it[2][0]}]",
            (it[0][1] and it[2][1]) if it[1] == "&" else it[0][1] or it[2][1],
        )
    ),
    max_leaves=5,
)


@given(truths)
def test_a_formula_holds_exactly_if_its_margin_is_above_zero(case):
    text, holds = case
    assert (margin(text) > 0) is holds


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no formula"),
        ("(1;%a%)", "a number, where a comparison belongs"),
        ("(1;%a%) < ", "an end where a region belongs"),
        ("(1;%a%) < (2;%a%", "';%a%' at character 12"),
        ("((1;%a%) < (2;%a%)", "'(' that is not closed"),
        ("[(1;%a%) < (2;%a%))", "'[' that is not closed"),
        ("(1;%a%) < (2;%a%) < 3", "a second comparison, '<', without parentheses"),
        ("(1;%a%) & (2;%a%)", "a number beside '&'"),
        ("((1;%a%) < 2) + 1 > 0", "a comparison beside '+'"),
        ("(1;%a%) < (2;%a%) 3", "'3' after the end of the formula"),
        ("< 2", "'<' where a region belongs"),
        ("__import__('os').system('true') < 2", "\"__import__('os').sys\" at character 0"),
        ("(1;%a%) ** 9 > 0", "'** 9 > 0' at character 7"),
        ("(" * 100_000, "nested too deeply"),
        (f"({'9' * 5000};%a%) < (2;%a%)", "a region number of 5,000 digits"),
    ],
)
def test_what_is_no_formula_is_refused(text, found):
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("text", "chance"),
    [
        ("(2;%a%) < (2;%b%)", 0.5),
        ("[(2;%a%) - (3;%a%)] > [(2;%b%) - (3;%b%)]", 0.5),
        ("(2;%a%) - (2;%b%) > 0", 0.5),
        ("(2;%a%) > (2;%b%) + 1.5", np.nan),
        ("(2;%a%) = (2;%b%)", np.nan),
        ("(2;%a%) < (2;%b%) & (3;%a%) < (3;%b%)", np.nan),
        ("(2;%a%) < (2;%b%) | (3;%a%) < (3;%b%)", np.nan),
    ],
)
def test_how_often_a_guess_is_right(text: str, chance: float) -> None:
    assert parse(text).chance == pytest.approx(chance, nan_ok=True)

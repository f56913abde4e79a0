"""The forecast: units of work, not cells; kinds apart; what the machine does now; what earlier runs took."""

from __future__ import annotations

import math

import numpy as np
import pytest

from negspace.runs.forecast import Forecast


def test_nothing_is_known_before_a_trial_or_a_cell() -> None:
    assert math.isnan(Forecast().seconds("scan", 10))
    assert math.isnan(Forecast().cell("scan", 10, 0.0, 3.0))
    assert Forecast().cell("scan", 10, 0.25, 5.0) == 15
    made = Forecast()
    made.tried(2.0)
    assert made.seconds("scan", 10) == 20
    assert Forecast().whole({}) == 0
    assert Forecast().whole({"passages": (1, 0.0)}) == 0


def test_kinds_are_told_apart() -> None:
    made = Forecast()
    made.tried(9.0)
    for _ in range(3):
        made.learn("perplexity", 100, 50)
        made.learn("tasks", 100, 300)
    made.learn("passages", 0, 4.0)
    assert made.seconds("perplexity", 10) == pytest.approx(5, rel=0.05)
    assert made.seconds("tasks", 10) == pytest.approx(30, rel=0.05)
    assert 5 < made.seconds("another", 10) < 90
    assert made.whole({"perplexity": (2, 20.0), "tasks": (1, 10.0)}) == pytest.approx(40, rel=0.05)


def test_what_is_said_of_a_kind_holds_until_it_is_known() -> None:
    made = Forecast()
    made.price({"scan": 0.4})
    made.tried(1.0)
    assert made.seconds("scan", 10) == pytest.approx(4)
    assert made.seconds("perplexity", 10) == pytest.approx(10)
    # A scan that takes what was said of it tells that all else will, too.
    made.learn("scan", 100, 40)
    assert made.seconds("perplexity", 10) == pytest.approx(10, rel=0.05)
    for _ in range(3):
        made.learn("scan", 100, 90)
        made.learn("perplexity", 100, 100)
    assert made.seconds("scan", 10) == pytest.approx(9, rel=0.15)


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_a_machine_that_has_become_slower_or_faster_is_so_for_every_kind(factor: float) -> None:
    made = Forecast()
    for _ in range(30):
        made.learn("perplexity", 10, 10)
        made.learn("tasks", 10, 40)
    before = made.spent
    for _ in range(30):
        made.learn("perplexity", 10, 10 * factor)
    assert made.cell("perplexity", 10, 0.0, 0.0) == pytest.approx(10 * factor, rel=0.15)
    assert made.cell("tasks", 10, 0.0, 0.0) == pytest.approx(40 * factor, rel=0.2)
    # Of the work to come some will be done at this pace, and some perhaps at the old one again.
    assert sorted([10, 10 * factor])[0] < made.seconds("perplexity", 10) < sorted([10, 10 * factor])[1]
    assert made.slower(before / 2) == pytest.approx(factor, rel=0.2)
    assert made.slower(made.spent) == 1


def test_earlier_runs_tell_what_kinds_cost_among_one_another_and_this_one_how_fast_it_goes() -> None:
    made = Forecast()
    for _ in range(5):
        made.recall("perplexity", 1000, 1000)
        made.recall("tasks", 1000, 4000)
    assert made.seconds("tasks", 10) / made.seconds("perplexity", 10) == pytest.approx(4, rel=0.05)
    for _ in range(10):
        made.learn("perplexity", 10, 20)
    assert made.seconds("perplexity", 10) == pytest.approx(20, rel=0.1)
    assert made.seconds("tasks", 10) == pytest.approx(80, rel=0.1)


def test_what_is_done_of_a_long_cell_corrects_what_was_thought_of_it() -> None:
    made = Forecast()
    made.learn("scan", 100, 100)
    assert made.cell("scan", 100, 0.01, 30) == pytest.approx(99, rel=0.05)  # it may be preparing
    assert made.cell("scan", 100, 0.5, 100) == pytest.approx((100 + 50) / 2, rel=0.05)
    assert made.cell("scan", 100, 0.99, 198) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_after_a_tenth_of_a_study_the_forecast_is_within_a_quarter_of_the_truth(seed: int) -> None:
    """A study as they are: a scan first, then conditions each of which is scored in four ways, and searches; seconds a
    unit differ threefold among kinds, cells by a tenth at random, and the machine slows by a third and recovers."""
    draw = np.random.default_rng(seed)
    cost = {"scan": 1.0, "perplexity": 1.0, "blimp": 1.3, "tse": 0.9, "tasks": 2.7}
    units = {"scan": 131_072.0, "perplexity": 16_384.0, "blimp": 25_000.0, "tse": 9_000.0, "tasks": 30_000.0}
    kinds = ["scan"]
    for _ in range(40):
        kinds += ["perplexity", "blimp", "tse", "tasks"] if draw.random() < 0.7 else ["perplexity"] * 4
    took, now = [], 0.0
    for kind in kinds:
        slow = 1 + 0.33 * math.sin(now / 3000) ** 2
        took.append(units[kind] * cost[kind] / 400 * slow * draw.lognormal(0, 0.1))
        now += took[-1]
    made, spent = Forecast(), 0.0
    made.tried(1 / 250)
    for at, (kind, seconds) in enumerate(zip(kinds, took, strict=True)):
        made.learn(kind, units[kind], seconds)
        spent += seconds
        if spent > now / 10:
            ahead = sum(made.seconds(later, units[later]) for later in kinds[at + 1 :])
            assert ahead == pytest.approx(now - spent, rel=0.25), f"after {spent / now:.0%}"

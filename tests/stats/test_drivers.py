"""Drivers: counts as in a plain loop, what is planted is found, and no more false alarms than the level allows."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from negspace.stats.drivers import BLOCKS, driven, driven_by_group

NAMES = [f"v{number}" for number in range(6)]


def text(rng: np.random.Generator, passages: int = 24, length: int = 60) -> np.ndarray:
    """Labels in which each passage has a favourite, and values come in runs of three."""
    favourite = rng.integers(6, size=passages)
    made = rng.integers(6, size=(passages, length // 3))
    made = np.where(rng.random(made.shape) < 0.4, favourite[:, None], made)
    return np.repeat(made, 3, axis=1)


def test_counts_and_lift_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    labels, modes = text(rng), rng.integers(-1, 3, size=(24, 60))
    labels[0, :5] = -1
    made = driven(modes, labels, NAMES, permutations=99)
    assert made.values == tuple(NAMES)
    for mode in range(3):
        base = (modes == mode).sum() / (modes >= 0).sum()
        assert made.base[mode] == pytest.approx(base)
        for value in range(6):
            both, mine = ((labels == value) & (modes == mode)).sum(), ((labels == value) & (modes >= 0)).sum()
            assert made.count[value, mode] == both
            assert made.tokens[value] == mine
            assert made.lift[value, mode] == pytest.approx(both / mine / base)
            assert made.low[value, mode] <= made.lift[value, mode] <= made.high[value, mode]


def test_p_equals_the_share_of_all_permutations() -> None:
    rng = np.random.default_rng(1)
    labels, modes = rng.integers(2, size=(5, 40)), rng.integers(2, size=(5, 40))
    share = (modes == 1).mean(axis=1)

    def statistic(order) -> float:
        return sum(float(((labels[w] == 0) * ((modes[v] == 1) - share[v])).sum()) for w, v in enumerate(order))

    every = np.array([statistic(order) for order in permutations(range(5))])
    exact = np.mean(np.abs(every - every.mean()) >= abs(statistic(range(5)) - every.mean()) - 1e-9)
    made = driven(modes, labels, ["a", "b"], fewest=2, permutations=19_999)
    assert made.p[0, 1] == pytest.approx(exact, abs=0.015)
    assert made.excess[0, 1] == pytest.approx((statistic(range(5)) - every.mean()) / (labels == 0).sum())


def test_finds_what_is_planted() -> None:
    rng = np.random.default_rng(2)
    labels = text(rng)
    modes = (rng.random(labels.shape) < np.where(labels == 4, 0.6, 0.1)).astype(np.int64)
    made = driven(modes, labels, NAMES)
    assert made.p[4, 1] == 1e-4
    assert made.low[4, 1] > 1.5


def test_the_direction_is_that_of_the_test_and_not_of_the_lift() -> None:
    """A value of the topic that the neuron follows falls in the mode half as often as its neighbours everywhere."""
    rng = np.random.default_rng(0)
    topic = np.arange(64)[:, None] % 4 == 0
    labels = (rng.random((64, 256)) < np.where(topic, 0.3, 0.02)).astype(np.int64)
    rate = np.where(topic, 0.8, 0.05) * np.where(labels == 1, 0.5, 1)
    made = driven((rng.random(labels.shape) < rate).astype(np.int64), labels, ["other", "value"], permutations=999)
    assert made.p[1, 1] == 0.001
    assert made.low[1, 1] > 1
    assert made.excess[1, 1] < -0.1


@pytest.mark.parametrize("topical", [False, True])
def test_false_alarms_stay_within_the_level(topical: bool) -> None:
    """Modes that come in runs, and are frequent in some passages: a test that took tokens for units would fail."""
    alarms = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        labels = text(rng)
        rate = rng.uniform(0.05, 0.6, size=(24, 1)) if topical else 0.3
        modes = np.repeat((rng.random((24, 15)) < rate).astype(np.int64), 4, axis=1)
        alarms.append(driven(modes, labels, NAMES, permutations=199, draws=10).p[:, 1] <= 0.05)
    assert np.mean(alarms) < 0.075


def test_rare_values_are_left_out() -> None:
    labels = np.full((8, 30), 0)
    labels[0, :20] = 1  # often, but in one passage
    labels[:, -1] = 2  # once in each of eight passages
    labels[0, -2] = 3
    modes = np.tile([0, 1, 1], (8, 10))
    assert driven(modes, labels, ["a", "b", "c", "d"], permutations=99).values == ("a", "c")


def test_a_mode_without_tokens_or_with_all_has_no_test() -> None:
    rng = np.random.default_rng(3)
    modes = np.full((10, 30), 2)
    made = driven(modes, rng.integers(2, size=(10, 30)), ["a", "b"], permutations=99)
    assert np.isnan(made.p).all()
    assert (made.lift[:, 2] == 1).all()


def test_many_passages_are_taken_together_and_the_seed_decides() -> None:
    rng = np.random.default_rng(4)
    labels, modes = rng.integers(3, size=(3 * BLOCKS + 5, 20)), rng.integers(2, size=(3 * BLOCKS + 5, 20))
    one, two = (driven(modes, labels, ["a", "b", "c"], permutations=999, seed=seed) for seed in (0, 0))
    assert one.tokens.sum() == labels.size
    for field in ("p", "low", "high"):
        assert getattr(one, field).tobytes() == getattr(two, field).tobytes()


def test_one_passage_allows_no_test() -> None:
    rng = np.random.default_rng(5)
    made = driven(rng.integers(2, size=(1, 500)), rng.integers(2, size=(1, 500)), ["a", "b"], fewest=2)
    assert made.values == ()  # no value is in two passages
    assert made.p.shape == made.excess.shape == (0, 2)


def test_groups_against_all_permutations() -> None:
    shares = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.15, 0.85]])
    groups = ["high", "high", "low", "low", "single"]
    names, found = driven_by_group(shares, groups, permutations=19_999)
    lift, low, high = (found[column] for column in ("lift", "low", "high"))
    assert names == ("high", "low", "single")
    base = shares.mean(axis=0)
    assert lift[0] == pytest.approx([0.8, 0.2] / base)
    assert found["excess"][0] == pytest.approx([0.8, 0.2] - base)
    pairs = [shares[[a, b], 0].mean() for a in range(5) for b in range(a)]
    exact = np.mean(np.abs(np.array(pairs) - base[0]) >= abs(0.8 - base[0]) - 1e-12)
    assert found["p"][0, 0] == pytest.approx(exact, abs=0.02)
    assert np.isnan([low, high]).all()


def test_groups_that_cannot_be_tested() -> None:
    assert np.isnan(driven_by_group(np.array([[0.5], [0.7]]), ["one", "one"])[1]["p"]).all()
    assert np.isnan(driven_by_group(np.array([[0.5], [0.5]]), ["one", "two"])[1]["p"]).all()


def test_few_units_have_no_interval() -> None:
    """A bootstrap of four reaches no further than the least and the largest: it covers 87%."""
    shares = np.random.default_rng(0).uniform(0.2, 0.8, size=(9, 2))
    _, found = driven_by_group(shares, ["five"] * 5 + ["four"] * 4)
    assert np.isnan([found["low"][1], found["high"][1]]).all()
    assert (found["low"][0] <= found["lift"][0]).all()
    assert (found["lift"][0] <= found["high"][0]).all()

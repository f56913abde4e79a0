"""Random sets are a sample of sets: prediction intervals, how many are needed, and simulated nulls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from negspace.significance import Margin, Nesting, compare, compare_sets, compare_with_sets
from negspace.significance.sets import FEWEST, fewest_sets, rank_p

WINDOWS = Nesting.windows(40)
TASKS = Nesting.tasks(np.repeat(np.arange(10), 30))


def test_sets_that_differ_are_a_prediction_interval() -> None:
    """Where each set shifts all windows alike, only the sets' differing counts: t with R - 1 degrees."""
    rng = np.random.default_rng(0)
    shifts = rng.normal(0.1, 0.02, 20)
    plain = rng.normal(3, 0.3, 40)
    made = compare_with_sets(plain + 0.2, plain + shifts[:, None], WINDOWS, scale="log ratio")
    half = stats.t.ppf(0.975, 19) * shifts.std(ddof=1) * np.sqrt(1 + 1 / 20)
    assert made.estimate == pytest.approx(0.2 - shifts.mean())
    assert (made.low, made.high) == pytest.approx((made.estimate - half, made.estimate + half))
    assert made.degrees == pytest.approx(19)
    assert made.sets is not None
    assert made.sets.sd == pytest.approx(shifts.std(ddof=1))
    assert (made.sets.sets_share, made.sets.beyond, made.finding) == (pytest.approx(1), 0, "harm")
    assert made.sets.means == pytest.approx(shifts - shifts.mean())
    assert (made.p, made.sets.p) == (pytest.approx(1 / 21), pytest.approx(2 * stats.t.sf(made.estimate / made.se, 19)))


def test_items_alone_are_a_prediction_interval_of_the_sets_means_too() -> None:
    """The noise of each set over the items is in the spread of the sets' means; it is not counted twice."""
    rng = np.random.default_rng(1)
    sets = rng.normal(0, 1, (12, 300))
    made = compare_with_sets(rng.normal(0, 1, 300), sets, TASKS, scale="nats")
    means = sets.reshape(12, 10, 30).mean(axis=2).mean(axis=1)
    assert made.se**2 >= means.var(ddof=1) * 13 / 12 - 1e-12
    assert made.se**2 < 3 * (1 / 300) * 13 / 12


def test_a_noisier_condition_widens_the_interval() -> None:
    rng = np.random.default_rng(2)
    sets, condition = rng.normal(0, 0.1, (8, 300)), rng.normal(0, 3, 300)
    quiet = compare_with_sets(rng.normal(0, 0.1, 300), sets, TASKS, scale="nats")
    loud = compare_with_sets(condition, sets, TASKS, scale="nats")
    by_task = (condition - sets.mean(axis=0)).reshape(10, 30).mean(axis=1)
    assert loud.se == pytest.approx(by_task.std(ddof=1) / np.sqrt(10), rel=0.15)
    assert loud.se > 5 * quiet.se


def test_a_set_as_far_out_takes_the_finding_away() -> None:
    rng = np.random.default_rng(3)
    plain = rng.normal(3, 0.3, 40)
    shifts = np.concatenate([rng.normal(0.1, 0.001, 29), [0.2]])
    made = compare_with_sets(plain + 0.19, plain + shifts[:, None], WINDOWS, scale="log ratio")
    assert made.sets is not None
    assert made.sets.beyond == 1
    assert (made.p, made.finding) == (pytest.approx(2 / 31), "undecided")


def test_ranks_of_one_contrast_count_sets_as_far_out_and_of_several_step_down() -> None:
    drawn = np.array([-1.5, -0.5, 0.5, 1.5])
    assert rank_p([9.0], [drawn]) == pytest.approx([1 / 5])
    assert rank_p([0.0], [drawn]) == pytest.approx([1.0])
    assert rank_p([-1.5], [drawn]) == pytest.approx([3 / 5])  # either side counts
    # The first stands out beyond all; the second is judged without it.
    assert rank_p([0.6, 9.0], [drawn, drawn]) == pytest.approx([4 / 5, 1 / 5])
    # A wild set in one contrast hides what is moderate in another.
    assert rank_p([3.0, 0.0], [drawn, [-1.0, -1.0, -1.0, 3.0]]) == pytest.approx([2 / 5, 1.0])
    # As many sets as all have.
    assert rank_p([9.0, 9.0], [drawn, np.linspace(-1, 1, 30)]) == pytest.approx([1 / 5, 1 / 5])
    assert rank_p([0.0], [np.zeros(4)]) == pytest.approx([1.0])
    # What differs by rounding alone is a tie.
    assert rank_p([1.5 + 1e-15], [drawn]) == pytest.approx([3 / 5])
    assert rank_p([1e-17], [np.zeros(4)]) == pytest.approx([1.0])


def test_a_condition_that_is_one_of_the_sets_is_no_finding() -> None:
    rng = np.random.default_rng(9)
    plain = rng.normal(3, 0.3, 40)
    for _ in range(50):
        drawn = plain + rng.normal(0.1, 0.05, (20, 1)) * np.ones(40)
        furthest = drawn[np.argmax(np.abs(drawn.mean(axis=1) - drawn.mean()))]
        made = compare_with_sets(furthest, drawn, WINDOWS, scale="log ratio")
        assert made.sets is not None
        assert made.sets.beyond >= 1
        assert made.finding == "undecided"
        same = compare_with_sets(drawn[0], np.tile(drawn[0], (20, 1)), WINDOWS, scale="log ratio")
        assert (same.p, same.finding) == (1.0, "undecided")


@pytest.mark.parametrize("sets", [1, 2, FEWEST - 1])
def test_too_few_sets_give_no_number(sets: int) -> None:
    rng = np.random.default_rng(4)
    condition, drawn = (rng.random(300) < 0.2), rng.random((sets, 300)) < 0.8
    for made in (
        compare_with_sets(condition, drawn, TASKS, scale="points"),
        compare_sets(drawn, condition, TASKS, scale="points", margin=Margin(size=0.1)),
    ):
        assert made.finding == "cannot be judged"
        assert np.isnan([made.estimate, made.low, made.p, made.se, made.p_equivalent]).all()
        assert f"cannot be judged with {sets} random set" in made.reason
        assert "draw 5 or more" in made.reason


def test_perplexity_needs_as_many_sets_as_the_level_asks_for() -> None:
    rng = np.random.default_rng(5)
    drawn = rng.normal(0, 1, (18, 40))
    made = compare_with_sets(np.full(40, 9.0), drawn, WINDOWS, scale="log ratio")
    assert (made.finding, made.reason) == ("cannot be judged", "cannot be judged with 18 random sets; draw 19 or more")
    assert compare_with_sets(np.full(40, 9.0), drawn, WINDOWS, scale="log ratio", alpha=0.1).finding == "harm"
    assert (fewest_sets("log ratio", 0.05), fewest_sets("log ratio", 0.01), fewest_sets("log ratio", 0.5)) == (
        19,
        99,
        5,
    )
    assert (fewest_sets("points", 0.05), fewest_sets("points", 0.05, 0.6)) == (5, 19)


def test_sets_that_differ_by_more_than_their_items_bear_are_not_judged_by_a_few() -> None:
    rng = np.random.default_rng(6)
    drawn = rng.normal(0, 0.01, (8, 300)) + rng.normal(0, 1, 8)[:, None]
    made = compare_with_sets(np.full(300, 9.0), drawn, TASKS, scale="nats")
    assert made.finding == "cannot be judged"
    assert "their differing makes 100% of the error; draw 19 or more" in made.reason
    assert np.isnan([made.estimate, made.p]).all()


def test_sets_that_happen_to_agree_leave_the_items_error() -> None:
    """Five sets that each lose one pair of 480, each another: their means are one number, and still there is error."""
    paradigm = np.repeat(np.arange(24), 20)
    nesting = Nesting.pairs(paradigm, paradigm // 2)
    plain = np.ones(480)
    sets = np.tile(plain, (5, 1))
    sets[np.arange(5), 96 * np.arange(5)] = 0
    assert len(set(sets.mean(axis=1))) == 1
    alone = compare(sets.mean(axis=0), plain, nesting, scale="points")
    made = compare_sets(sets, plain, nesting, scale="points")
    assert made.estimate == pytest.approx(-1 / 480)
    assert made.se == pytest.approx(alone.se)
    assert made.p >= alone.p > 0.01
    beyond = compare_with_sets(plain, sets, nesting, scale="points")
    assert beyond.p >= alone.p


def test_the_sets_mean_holds_for_other_sets() -> None:
    rng = np.random.default_rng(7)
    shifts, plain = rng.normal(0.05, 0.02, 8), rng.normal(3, 0.3, 40)
    made = compare_sets(plain + shifts[:, None], plain, WINDOWS, scale="log ratio", margin=Margin(size=0.2))
    expected = stats.ttest_1samp(shifts, 0)
    assert (made.estimate, made.p) == pytest.approx((shifts.mean(), expected.pvalue))
    ends = expected.confidence_interval()
    assert (made.low, made.high) == pytest.approx((ends.low, ends.high))
    above = stats.ttest_1samp(shifts, -0.2, alternative="greater").pvalue
    below = stats.ttest_1samp(shifts, 0.2, alternative="less").pvalue
    assert made.p_equivalent == pytest.approx(max(above, below))
    assert made.finding == "equivalent"
    share = compare_sets(
        plain + shifts[:, None], plain, WINDOWS, scale="log ratio", margin=Margin(share=0.25, of=np.full(40, 0.8))
    )
    assert (share.margin, share.p_equivalent) == pytest.approx((0.2, made.p_equivalent))


def test_the_same_sets_under_two_interventions_are_compared_set_by_set() -> None:
    rng = np.random.default_rng(8)
    plain, first = rng.normal(3, 0.3, 40), rng.normal(0.1, 1, 8)
    second = first + rng.normal(0.05, 0.02, 8)
    sets, others = plain + second[:, None], plain + first[:, None]
    made = compare_sets(sets, others, WINDOWS, scale="log ratio")
    expected = stats.ttest_rel(second, first)
    assert (made.estimate, made.p) == pytest.approx((np.mean(second - first), expected.pvalue))
    ends = expected.confidence_interval()
    assert (made.low, made.high) == pytest.approx((ends.low, ends.high))
    assert made.finding == "harm"  # although the sets differ by twenty times as much
    assert compare_sets(sets, others.mean(axis=0), WINDOWS, scale="log ratio").finding == "undecided"
    right = (rng.random((2, 8, 300)) < [[[0.9]], [[0.6]]]) * 1.0
    lost = compare_sets(right[1], right[0], TASKS, scale="points")
    assert (lost.estimate, lost.finding) == (pytest.approx(right[1].mean() - right[0].mean()), "harm")
    with pytest.raises(ValueError, match="same sets"):
        compare_sets(sets, others[:6], WINDOWS, scale="log ratio")


@pytest.mark.parametrize(("sets", "differ", "loud"), [(5, 0.0, 1.0), (5, 1.0, 1.0), (8, 1.0, 3.0), (20, 3.0, 1.0)])
def test_one_more_random_set_seldom_stands_out(sets: int, differ: float, loud: float) -> None:
    """The condition is a random set itself, perhaps noisier over items; at most 5% are found, and few are judged where
    the sets' differing dominates and they are few."""
    rng = np.random.default_rng(8)
    nest, false = Nesting.tasks(np.arange(12)), 0
    for _ in range(400):
        values = differ * rng.standard_normal((sets + 1, 1)) / np.sqrt(12) + rng.standard_normal((sets + 1, 12))
        values[0] += (loud - 1) * rng.standard_normal(12)
        false += compare_with_sets(values[0], values[1:], nest, scale="nats").finding in ("harm", "gain")
    assert stats.binomtest(false, 400, 0.05, alternative="greater").pvalue > 0.01, false


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[sets, items\]"):
        compare_with_sets(np.zeros(40), np.zeros(40), WINDOWS, scale="nats")
    with pytest.raises(ValueError, match="same items"):
        compare_with_sets(np.zeros(40), np.zeros((20, 41)), WINDOWS, scale="nats")

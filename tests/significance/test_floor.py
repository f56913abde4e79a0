"""Floors, and accuracy over paradigms above chance without choosing and scoring on the same pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from negspace.significance import Nesting, above, above_chance, compare, floors, wilson

TASK = np.repeat(["easy", "guessed", "worse"], 100)
RIGHT = np.concatenate([np.arange(100) < 60, np.arange(100) < 27, np.arange(100) < 12]).astype(float)


def test_tasks_at_or_below_chance_are_named() -> None:
    made = floors(RIGHT, Nesting.tasks(TASK), 0.25)
    assert made.above.tolist() == [True, False, False]
    guessed, worse = made.left_out
    assert (guessed.group, guessed.accuracy, guessed.chance, guessed.items) == ("guessed", 0.27, 0.25, 100)
    assert guessed.p == pytest.approx(stats.binomtest(27, 100, 0.25, alternative="greater").pvalue)
    assert (guessed.why, worse.why) == ("cannot be told from chance", "below chance")


def test_chance_is_known_for_each_item_or_unknown() -> None:
    chance = np.where(TASK == "easy", 0.5, np.where(TASK == "guessed", np.nan, 0.0))
    made = floors(RIGHT, Nesting.tasks(TASK), chance)
    assert made.above.tolist() == [True, False, True]
    assert [(one.group, one.why) for one in made.left_out] == [("guessed", "chance unknown")]
    mixed = floors(RIGHT[:100], Nesting.tasks(TASK[:100]), np.tile([0.25, 0.5], 50))
    assert mixed.chance.tolist() == [0.375]
    with pytest.raises(ValueError, match="chance"):
        floors(RIGHT, Nesting.tasks(TASK), 1.0)


def test_graded_outcomes_are_tested_by_t() -> None:
    graded = np.random.default_rng(0).random(100) * 0.6
    made = floors(graded, Nesting.tasks(np.zeros(100)), 0.25)
    assert bool(made.above[0]) == (stats.ttest_1samp(graded, 0.25, alternative="greater").pvalue <= 0.05)
    low = floors(graded, Nesting.tasks(np.zeros(100)), 0.3)
    assert low.left_out[0].p == pytest.approx(stats.ttest_1samp(graded, 0.3, alternative="greater").pvalue)


def test_one_group_is_above_chance_where_its_exact_test_says_so() -> None:
    one = Nesting.tasks(np.zeros(40))
    for right in range(18, 32):
        outcomes = (np.arange(40) < right).astype(float)
        p = stats.binomtest(right, 40, 0.5, alternative="greater").pvalue
        assert above(outcomes, one, 0.5, within=True) == (p <= 0.05)


def test_guessing_is_rarely_above_chance_whatever_the_pairs_share() -> None:
    rng = np.random.default_rng(0)
    nest = Nesting.pairs(np.repeat(np.arange(24), 20), np.repeat(np.arange(24), 20) // 2)
    alone = [(rng.random(480) < 0.5).astype(float) for _ in range(400)]
    alike = [np.repeat(rng.random(24) < 0.5, 20).astype(float) for _ in range(400)]
    for worlds in (alone, alike):
        assert np.mean([above(world, nest, 0.5) for world in worlds]) < 0.08
    able = [(rng.random(480) < 0.65).astype(float) for _ in range(100)]
    assert np.mean([above(world, nest, 0.5) for world in able]) > 0.95


def _study(rng: np.random.Generator, accuracy: np.ndarray, pairs: int) -> tuple[np.ndarray, np.ndarray, Nesting]:
    """Independent outcomes of one accuracy before and after: nothing is lost on average."""
    paradigm = np.repeat(np.arange(accuracy.size), pairs)
    before, after = (rng.random((2, paradigm.size)) < accuracy[paradigm]).astype(float)
    return after, before, Nesting.pairs(paradigm, paradigm // 3)


def test_choosing_on_the_other_half_does_not_make_a_loss() -> None:
    rng = np.random.default_rng(1)
    accuracy, split, same = rng.uniform(0.4, 0.8, 48), [], []
    for seed in range(150):
        after, before, nest = _study(rng, accuracy, 40)
        split.append(above_chance(after, before, nest, seed=seed).contrast.estimate)
        kept = floors(before, nest, 0.5).above
        same.append((after - before)[kept[nest.group]].mean())
    assert abs(np.mean(split)) < 3 * np.std(split) / np.sqrt(150)
    assert np.mean(same) < -0.01  # what the split is for


def test_both_ways_are_averaged() -> None:
    """Against the definition, with loops."""
    rng = np.random.default_rng(2)
    after, before, nest = _study(rng, np.linspace(0.3, 0.9, 12), 30)
    made = above_chance(after, before, nest, seed=3)
    from negspace.significance.floor import _halves

    first = _halves(nest, 3)
    ways, plain, chosen = [], [], []
    for choose in (first, ~first):
        names = [
            g
            for g in range(12)
            if stats.binomtest(int(before[choose & (nest.group == g)].sum()), 15, 0.5, alternative="greater").pvalue
            <= 0.05
        ]
        ways.append(np.mean([(after - before)[~choose & (nest.group == g)].mean() for g in names]))
        plain.append(np.mean([before[~choose & (nest.group == g)].mean() for g in names]))
        chosen.append({nest.labels[g] for g in names})
    assert made.contrast.estimate == pytest.approx(np.mean(ways))
    assert made.plain == pytest.approx(np.mean(plain))
    assert (set(made.paradigms), set(made.half)) == (chosen[0] & chosen[1], chosen[0] ^ chosen[1])
    assert made.of == 12
    assert np.bincount(nest.group, weights=first).tolist() == [15] * 12


def test_no_paradigm_above_chance_cannot_be_judged() -> None:
    after, before, nest = _study(np.random.default_rng(4), np.full(24, 0.2), 30)
    made = above_chance(after, before, nest)
    assert made.contrast.finding == "cannot be judged"
    assert "no paradigm can be told from chance by half of its pairs" in made.contrast.reason
    assert np.isnan([made.contrast.estimate, made.plain]).all()
    single = Nesting.pairs(np.arange(24), np.arange(24) // 3)
    assert "add pairs" in above_chance(np.ones(24), np.ones(24), single).contrast.reason
    few = above_chance(*_study(np.random.default_rng(4), np.repeat([0.2, 0.95], [20, 4]), 40))
    assert few.contrast.finding == "cannot be judged"


@pytest.mark.parametrize("accuracy", [[0.95] * 12, [0.95] * 11 + [0.8]])
def test_pairs_that_all_stay_as_they_are_do_not_make_a_loss_of_zero_certain(accuracy: list[float]) -> None:
    """As for any contrast: Wilson's bound on the share that could change, over the pairs that are scored."""
    nest = Nesting.pairs(np.repeat(np.arange(12), 20), np.repeat(np.arange(12), 20) // 2)
    plain = (np.tile(np.arange(20), 12) < 20 * np.repeat(accuracy, 20)).astype(float)
    made = above_chance(plain, plain, nest, seed=1)
    scored = 20 * len(made.paradigms) + 10 * len(made.half)
    assert len(made.half) == (accuracy[-1] < 0.9)
    assert (made.contrast.estimate, made.contrast.p) == (0, 1)
    assert made.contrast.se == pytest.approx(wilson(0, scored).high / stats.norm.ppf(0.975))
    if not made.half:
        assert made.contrast.se == pytest.approx(compare(plain, plain, nest, scale="points").se)

"""The double dissociation's verdicts, its floors, its scales, and its place among random sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from negspace.significance import Dissociation, Doses, Nesting, Suite, dissociate, judge_together

EQUAL = Doses(0.7, 0.705, 0.01)
PARADIGM = np.repeat(np.arange(24), 60)
TASK = np.repeat([f"task {k}" for k in range(8)], 150)


def _outcomes(rng: np.random.Generator, group: np.ndarray, accuracy: float, spread: float = 0.01) -> np.ndarray:
    """Independent items; each phenomenon's or task's accuracy is its own."""
    _, number = np.unique(group, return_inverse=True)
    level = accuracy + spread * rng.standard_normal(int(number.max()) + 1)
    return (rng.random(group.size) < level[number]).astype(float)


def _suites(
    grammar: tuple[float, float, float] = (0.8, 0.7, 0.8),
    other: tuple[float, float, float] = (0.6, 0.6, 0.45),
    *,
    random: int = 0,
    seed: int = 0,
    spread: float = 0.01,
) -> tuple[Suite, Suite]:
    """Accuracies under the plain model, the top set and the control."""
    rng = np.random.default_rng(seed)
    made = []
    for group, accuracies, nest, chance in (
        (PARADIGM // 3, grammar, Nesting.pairs(PARADIGM, PARADIGM // 3), 0.5),
        (TASK, other, Nesting.tasks(TASK), 0.25),
    ):
        drawn = np.stack([_outcomes(rng, group, accuracies[0]) for _ in range(random)]) if random else None
        made.append(Suite(nest, chance, *(_outcomes(rng, group, a, spread) for a in accuracies), random=drawn))
    return made[0], made[1]


def _by_group(suite: Suite) -> np.ndarray:
    return np.array(
        [
            (np.asarray(suite.top) - np.asarray(suite.control))[suite.nesting.group == k].mean()
            for k in range(len(suite.nesting.labels))
        ]
    )


def test_crossing_over_is_established_and_its_numbers_are_welchs() -> None:
    grammar, other = _suites((0.85, 0.7, 0.85), (0.7, 0.7, 0.5), spread=0.1, seed=1)
    made = dissociate(grammar, other, EQUAL)
    phenomena, tasks = _by_group(grammar).reshape(8, 3).mean(axis=1), _by_group(other)
    expected = stats.ttest_ind(tasks, phenomena, equal_var=False)
    assert made.verdict == "established"
    assert (made.direction, made.carried_by) == ("as claimed", "")
    assert made.interaction.estimate == pytest.approx(tasks.mean() - phenomena.mean())
    assert made.interaction.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert made.grammar.p == pytest.approx(stats.ttest_1samp(phenomena, 0).pvalue)
    assert made.other.p == pytest.approx(stats.ttest_1samp(tasks, 0).pvalue)
    assert made.p_cross == max(made.grammar.p, made.other.p)
    assert (made.grammar.finding, made.other.finding, made.interaction.finding) == ("harm", "gain", "harm")
    assert (made.groups, made.left_out, made.scales_agree) == ((24, 8), (), True)


def test_the_other_way_round_is_reversed() -> None:
    made = dissociate(*_suites((0.8, 0.8, 0.7), (0.6, 0.45, 0.6)), EQUAL)
    assert (made.verdict, made.direction) == ("reversed", "against the claim")


@pytest.mark.parametrize(
    ("grammar", "other", "side"),
    [
        ((0.8, 0.65, 0.8), (0.6, 0.6, 0.6), "grammar"),
        ((0.8, 0.8, 0.8), (0.6, 0.6, 0.4), "other"),
        ((0.9, 0.6, 0.9), (0.6, 0.5, 0.6), "both"),
    ],
)
def test_one_side_alone_is_an_interaction_only(grammar: tuple, other: tuple, side: str) -> None:
    made = dissociate(*_suites(grammar, other), EQUAL)
    assert (made.verdict, made.carried_by, made.direction) == ("interaction only", side, "as claimed")


def test_nothing_is_not_established() -> None:
    made = dissociate(*_suites((0.8, 0.75, 0.75), (0.6, 0.5, 0.5)), EQUAL)
    assert (made.verdict, made.direction, made.carried_by) == ("not established", "", "")


def test_unequal_doses_and_no_control_are_not_testable() -> None:
    grammar, other = _suites()
    differ = dissociate(grammar, other, Doses(0.7, 0.75, 0.01))
    assert differ.verdict == "not testable: the doses differ"
    assert "perplexity by 2.117, the top set by 2.0138 (equal means within 1% of each other); search" in differ.reason
    rises = dissociate(grammar, other, Doses(0.002, 0.0023, 0.01, matched=False)).reason
    assert "by 1.0023, the top set by 1.002 (equal means within 1% of each other and within a tenth of the" in rises
    none = dissociate(replace(grammar, control=None), other, EQUAL)
    assert none.verdict == dissociate(grammar, other, None).verdict == "not testable: no control"
    assert "ask for one (`matched`), or see table `matching`" in none.reason
    for made in (differ, none):
        assert np.isnan([made.interaction.estimate, made.p, made.p_cross, made.grammar.p, made.other.low]).all()
        assert made.without == ()
        together = judge_together({"this": made})["this"]
        assert isinstance(together, Dissociation)
        assert together.verdict == made.verdict
    assert Doses(0.7, 0.7 + np.log1p(0.0099), 0.01).equal
    assert not Doses(0.7, 0.7 + np.log1p(0.0101), 0.01).equal


def test_what_is_at_its_floor_is_left_out_and_named() -> None:
    grammar, other = _suites()
    top, plain, control = (np.array(v) for v in (other.top, other.plain, other.control))
    rng, guessed = np.random.default_rng(1), TASK >= "task 6"
    for values in (top, plain, control):
        values[guessed] = rng.random(guessed.sum()) < 0.24
    made = dissociate(grammar, replace(other, plain=plain, top=top, control=control), EQUAL)
    assert [floor.group for floor in made.left_out] == ["task 6", "task 7"]
    assert made.groups == (24, 6)
    kept = ~guessed
    without = Suite(Nesting.tasks(TASK[kept]), 0.25, plain[kept], top[kept], control[kept])
    assert made.interaction.estimate == pytest.approx(dissociate(grammar, without, EQUAL).interaction.estimate)


def test_a_harsher_top_set_with_tasks_at_chance_is_not_established() -> None:
    """Raw points called this established in 200 of 200 simulated studies: what is at chance can lose nothing."""
    made = dissociate(*_suites((0.85, 0.6, 0.75), (0.25, 0.25, 0.25)), EQUAL)
    assert made.verdict == "not testable: too few units"
    assert "above chance in none of the tasks" in made.reason
    assert "8 not shown to be above chance are left out" in made.reason
    assert np.isnan(made.interaction.estimate)


def test_too_few_tasks_say_what_to_add() -> None:
    grammar, other = _suites()
    one = TASK == "task 0"
    single = Suite(
        Nesting.tasks(TASK[one]), 0.25, *(np.asarray(v)[one] for v in (other.plain, other.top, other.control))
    )
    made = dissociate(grammar, single, EQUAL)
    assert (made.verdict, made.reason) == ("not testable: too few units", "only 1 task; add tasks: 3 are needed")


def test_scales_that_disagree_give_no_verdict() -> None:
    """A loss near the ceiling is small in points and large in odds: which side loses more depends on the scale."""
    made = dissociate(*_suites((0.995, 0.88, 0.97), (0.6, 0.38, 0.6)), EQUAL)
    on = made.scales["interaction"]
    assert on.points < 0 < on.log_odds
    assert made.interaction.p < 0.01
    assert not made.scales_agree
    assert made.verdict == "not established"
    grammar = made.scales["grammar"]
    assert grammar.points == pytest.approx(made.grammar.estimate)
    assert grammar.chance_corrected == pytest.approx(2 * grammar.points)


def test_leaving_one_out_is_testing_without_it() -> None:
    grammar, other = _suites((0.8, 0.74, 0.78), (0.6, 0.6, 0.53), seed=3)
    made = dissociate(grammar, other, EQUAL)
    assert [one.left_out for one in made.without] == [str(k) for k in range(8)] + [f"task {k}" for k in range(8)]
    keep, drop = PARADIGM // 3 != 5, TASK != "task 2"
    less = Suite(
        Nesting.pairs(PARADIGM[keep], PARADIGM[keep] // 3), 0.5,
        *(np.asarray(v)[keep] for v in (grammar.plain, grammar.top, grammar.control)),
    )  # fmt: skip
    fewer = Suite(
        Nesting.tasks(TASK[drop]), 0.25, *(np.asarray(v)[drop] for v in (other.plain, other.top, other.control))
    )
    assert made.without[5].interaction == pytest.approx(dissociate(less, other, EQUAL).interaction.estimate)
    assert made.without[5].verdict == dissociate(less, other, EQUAL).verdict
    assert made.without[10].verdict == dissociate(grammar, fewer, EQUAL).verdict
    assert set(made.changed) == {one.left_out for one in made.without if one.verdict != made.verdict}


def test_of_three_tasks_none_can_be_spared() -> None:
    grammar, other = _suites((0.8, 0.8, 0.8), (0.6, 0.6, 0.42))
    three = np.isin(TASK, ["task 0", "task 1", "task 2"])
    small = Suite(
        Nesting.tasks(TASK[three]), 0.25, *(np.asarray(v)[three] for v in (other.plain, other.top, other.control))
    )
    made = dissociate(grammar, small, EQUAL)
    assert [w.verdict for w in made.without[-3:]] == ["not testable: too few units"] * 3
    assert not set(made.changed) & {"task 0", "task 1", "task 2"}, "that is no other verdict"


def test_among_random_sets() -> None:
    grammar, other = _suites(random=8)
    made = dissociate(grammar, other, EQUAL)
    values = []
    for drawn_g, drawn_o in zip(np.asarray(grammar.random), np.asarray(other.random), strict=True):
        values.append(drawn_o.reshape(8, 150).mean(axis=1).mean() - drawn_g.reshape(24, 60).mean(axis=1).mean())
    top = np.asarray(other.top).reshape(8, 150).mean() - np.asarray(grammar.top).reshape(24, 60).mean()
    assert made.among_random.estimate == pytest.approx(top - np.mean(values))
    assert made.among_random.sets is not None
    assert made.among_random.sets.sd == pytest.approx(np.std(values, ddof=1))
    assert made.among_random.finding == "harm"
    assert dissociate(*_suites(), EQUAL).among_random.reason == "there are no random sets; draw some"
    few = dissociate(*_suites(random=2), EQUAL)
    assert few.verdict == "established"
    assert few.among_random.finding == "cannot be judged"
    with pytest.raises(ValueError, match="same random sets"):
        dissociate(grammar, replace(other, random=np.asarray(other.random)[:6]), EQUAL)


def test_outcomes_that_do_not_fit_are_refused() -> None:
    grammar, other = _suites()
    with pytest.raises(ValueError, match="one outcome for each of 1440 items"):
        dissociate(replace(grammar, top=np.zeros(3)), other, EQUAL)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        dissociate(grammar, replace(other, control=np.full(TASK.size, 1.5)), EQUAL)

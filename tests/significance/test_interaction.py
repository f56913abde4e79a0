"""The interaction contrast: its arithmetic, its false positives, its power, and what it refuses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from negspace.significance.interaction import (
    Interaction,
    Outcomes,
    interaction,
    interactions,
    together,
)

FAST = {"draws": 200, "flips": 400}


def _family(
    rng: np.random.Generator,
    groups: int,
    items: int,
    ablation: float,
    control: float,
    *,
    spread: float = 0.0,
    baseline: float = 0.8,
    sets: int = 0,
) -> Outcomes:
    """Items that an ablation turns from right to wrong with a probability (its drop is that times the baseline).

    Args:
        spread: standard deviation over groups of what each ablation does there.
    """
    label = np.repeat(np.arange(groups), items)
    right = rng.random(label.size) < baseline

    def under(loss: float) -> np.ndarray:
        here = np.clip(loss + spread * rng.standard_normal(groups), 0, 1)[label]
        return (right & (rng.random(label.size) >= here)).astype(float)

    return Outcomes(label, right.astype(float), under(ablation), under(control), [under(control) for _ in range(sets)])


def _by_hand(grammar: Outcomes, other: Outcomes) -> float:
    def drop(family: Outcomes, name: str) -> float:
        groups, before, after = (
            np.asarray(family.groups),
            np.asarray(family.baseline),
            np.asarray(getattr(family, name)),
        )
        return float(np.mean([before[groups == g].mean() - after[groups == g].mean() for g in np.unique(groups)]))

    return (drop(grammar, "ablation") - drop(other, "ablation")) - (drop(grammar, "control") - drop(other, "control"))


def test_the_contrast_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat(["a", "b", "c"], [5, 20, 50])  # groups of unequal size weigh the same
    grammar = Outcomes(label, *(rng.integers(2, size=75) for _ in range(3)))
    other = _family(rng, 4, 30, 0.1, 0.3)
    made = interaction(grammar, other)
    assert made.contrast.estimate == pytest.approx(_by_hand(grammar, other), abs=1e-12)
    drops = made.grammar.ablation_drop - made.grammar.control_drop - made.other.ablation_drop + made.other.control_drop
    assert drops == pytest.approx(made.contrast.estimate, abs=1e-12)
    assert (made.grammar.groups, made.grammar.items, made.other.groups, made.other.items) == (3, 75, 4, 120)
    assert made.grammar.difference.estimate == pytest.approx(made.grammar.ablation_drop - made.grammar.control_drop)


def test_the_permutation_agrees_with_full_enumeration() -> None:
    grammar = Outcomes([0, 0, 0, 1, 1], [1] * 5, [0, 0, 1, 0, 1], [1, 1, 0, 1, 1])
    other = Outcomes([0, 0, 0], [1] * 3, [1, 1, 1], [0, 1, 0])
    made = interaction(grammar, other, flips=200_000)
    d = np.array([1, 1, -1, 1, 0, -1, 0, -1], float)
    weight = np.array([1 / 6, 1 / 6, 1 / 6, 1 / 4, 1 / 4, -1 / 3, -1 / 3, -1 / 3])
    signs = np.array(list(itertools.product([1, -1], repeat=8)))
    exact = np.mean(np.abs(signs @ (weight * d)) >= abs(weight @ d) - 1e-12)
    assert made.p_swap == pytest.approx(exact, abs=0.005)


def test_the_standard_error_is_that_of_an_explicit_bootstrap() -> None:
    rng = np.random.default_rng(1)
    grammar, other = _family(rng, 12, 40, 0.2, 0.1, spread=0.05), _family(rng, 6, 50, 0.1, 0.2, spread=0.05)
    made = interaction(grammar, other, draws=20_000)

    def resampled(family: Outcomes) -> float:
        d = np.asarray(family.control) - np.asarray(family.ablation)
        groups = np.asarray(family.groups)
        count = int(groups.max()) + 1
        parts = [d[groups == g] for g in range(count)]
        means = [
            np.mean([rng.choice(parts[g], parts[g].size).mean() for g in rng.integers(count, size=count)])
            for _ in range(3000)
        ]
        return float(np.std(means)) * math.sqrt(count / (count - 1))

    expected = math.hypot(resampled(grammar), resampled(other))
    assert made.se == pytest.approx(expected, rel=0.05)
    half = stats.t.ppf(0.975, made.degrees) * made.se
    assert made.contrast.high - made.contrast.estimate == pytest.approx(half)
    assert made.detectable == pytest.approx(
        (stats.t.ppf(0.975, made.degrees) + stats.t.ppf(0.8, made.degrees)) * made.se
    )


NULLS = {
    "nothing differs": {"ablation": 0.1, "control": 0.1},
    "the control hurts everything more": {"ablation": 0.05, "control": 0.2},
    "groups differ": {"ablation": 0.1, "control": 0.1, "spread": 0.08},
    "nothing is lost": {"ablation": 0.0, "control": 0.0},
}


# A single task says nothing of how tasks differ, and its result names that.
@pytest.mark.parametrize(
    ("null", "tasks"), [(n, t) for n in NULLS for t in (8, 2, 1) if not (t == 1 and n == "groups differ")]
)
def test_false_positives_are_at_most_nominal(null: str, tasks: int) -> None:
    rng = np.random.default_rng([tasks, list(NULLS).index(null)])
    found = [
        interaction(_family(rng, 20, 30, **NULLS[null]), _family(rng, tasks, 60, **NULLS[null]), seed=n, **FAST)
        for n in range(250)
    ]
    rejected = np.mean([made.verdict != "not established" for made in found])
    assert rejected <= 0.05
    covered = np.mean([made.contrast.low <= 0 <= made.contrast.high for made in found])
    assert covered >= 0.95 - 0.01
    assert not any(made.crossover for made in found)


def test_a_planted_double_dissociation_is_found() -> None:
    rng = np.random.default_rng(2)
    found = [
        interaction(
            _family(rng, 20, 50, 0.25, 0.1, spread=0.03), _family(rng, 8, 100, 0.05, 0.2, spread=0.03), seed=n, **FAST
        )
        for n in range(40)
    ]
    assert all(made.verdict == "established" and made.crossover for made in found)
    assert np.mean([made.contrast.estimate for made in found]) == pytest.approx(0.8 * 0.3, abs=0.02)


def test_the_reverse_is_called_reversed() -> None:
    rng = np.random.default_rng(3)
    grammar, other = _family(rng, 20, 50, 0.1, 0.25), _family(rng, 8, 100, 0.2, 0.05)
    made = interaction(grammar, other)
    assert (made.verdict, made.crossover) == ("reversed", False)
    assert made.contrast.high < 0


def test_an_interaction_from_one_side_is_no_crossover() -> None:
    rng = np.random.default_rng(4)
    made = interaction(_family(rng, 20, 50, 0.1, 0.1), _family(rng, 8, 100, 0.05, 0.35))
    assert (made.verdict, made.crossover) == ("established", False)


def test_effects_of_the_detectable_size_are_detected() -> None:
    rng = np.random.default_rng(5)
    size = np.mean([_detect(rng, 0.4, n).detectable for n in range(20)])
    found = [_detect(rng, 0.4 + size / 0.8, n) for n in range(200)]
    # Item noise counts twice in a hierarchical bootstrap: the stated power is a lower bound.
    assert 0.75 <= np.mean([made.verdict == "established" for made in found]) < 1
    assert np.mean([_detect(rng, 0.4 + size / 2.4, n).verdict == "established" for n in range(100)]) < 0.4


def _detect(rng: np.random.Generator, loss: float, seed: int) -> Interaction:
    grammar, other = _family(rng, 20, 50, loss, 0.4, spread=0.08), _family(rng, 8, 200, 0.4, 0.4, spread=0.08)
    return interaction(grammar, other, seed=seed, **FAST)


def test_random_sets_are_the_reference() -> None:
    rng = np.random.default_rng(6)
    grammar, other = _family(rng, 20, 50, 0.4, 0.1, sets=5), _family(rng, 8, 100, 0.05, 0.1, sets=5)
    made = interaction(grammar, other)
    assert made.reference is not None
    assert (made.reference.sets, made.reference.above, made.reference.below) == (5, 0, 5)
    assert made.reference.p == pytest.approx(2 / 6)  # five sets allow no less
    for number in range(5):
        one = Outcomes(grammar.groups, grammar.baseline, grammar.random[number], grammar.control)
        two = Outcomes(other.groups, other.baseline, other.random[number], other.control)
        contrast = _by_hand(one, two)
        assert made.reference.lowest - 1e-12 <= contrast <= made.reference.highest + 1e-12
    expected = (stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * made.reference.sd * math.sqrt(1.2)
    assert made.detectable_among_sets == pytest.approx(expected)
    single = interaction(
        *(Outcomes(f.groups, f.baseline, f.ablation, f.control, f.random[:1]) for f in (grammar, other))
    )
    assert math.isnan(single.detectable_among_sets)
    assert interaction(_family(rng, 2, 5, 0, 0), _family(rng, 2, 5, 0, 0)).reference is None


def test_several_tasks_are_corrected_together() -> None:
    rng = np.random.default_rng(7)
    grammar = _family(rng, 20, 50, 0.16, 0.1)
    others = {f"task {n}": _family(rng, 1, 80, 0.1, 0.1 + n * 0.03) for n in range(6)}
    made = interactions(grammar, others, **FAST)
    alone = {name: interaction(grammar, other, **FAST) for name, other in others.items()}
    raw = np.array([one.p for one in alone.values()])
    order = np.argsort(raw)
    holm = np.maximum.accumulate(raw[order] * np.arange(6, 0, -1)).clip(max=1)
    np.testing.assert_allclose([list(made.values())[place].p_adjusted for place in order], holm)
    assert all(one.p_adjusted == one.p for one in alone.values())
    for one in made.values():
        assert (one.verdict == "established") == (one.p_adjusted <= 0.05)
    lost = [name for name in made if alone[name].verdict == "established" != made[name].verdict]
    assert lost  # the correction must matter here, or this shows nothing
    assert repr(together(alone)) == repr(made)


def test_items_all_alike_claim_no_certainty() -> None:
    ones, zeros = np.ones(20), np.zeros(20)
    label = np.repeat([0, 1], 10)
    nothing = Outcomes(label, ones, ones, ones)
    made = interaction(nothing, nothing)
    assert (made.contrast.estimate, made.p, made.verdict) == (0, 1, "not established")
    assert made.contrast.low < 0 < made.contrast.high
    assert made.detectable > 0
    everything = interaction(Outcomes(label, ones, zeros, ones), Outcomes(label, ones, ones, zeros))
    assert everything.contrast.estimate == 2
    assert everything.contrast.low < 2
    assert everything.verdict == "established"


def test_a_single_item_shows_nothing() -> None:
    one = Outcomes([0], [1], [0], [1])
    made = interaction(one, one)
    assert (made.verdict, made.contrast.estimate) == ("not established", 0)
    assert interaction(one, Outcomes([0], [1], [1], [0])).verdict == "not established"


def test_fractions_count_as_outcomes() -> None:
    rng = np.random.default_rng(8)
    label = np.repeat([0, 1, 2], 20)
    thirds = Outcomes(label, np.ones(60), rng.integers(4, size=60) / 3, rng.integers(4, size=60) / 3)
    other = _family(rng, 3, 20, 0.1, 0.1)
    made = interaction(thirds, other)
    assert made.contrast.estimate == pytest.approx(_by_hand(thirds, other), abs=1e-9)
    assert 0 < made.p_swap <= 1


def test_the_seed_decides_and_leaves_the_global_generator_alone() -> None:
    rng = np.random.default_rng(9)
    families = _family(rng, 5, 20, 0.2, 0.1), _family(rng, 5, 20, 0.1, 0.1)
    before = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]  # noqa: NPY002
    assert repr(interaction(*families, seed=3)) == repr(interaction(*families, seed=3))  # nan differs from itself
    assert interaction(*families, seed=3).se != interaction(*families, seed=4).se
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index,union-attr]  # noqa: NPY002


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="need items"):
        Outcomes([], [], [], [])
    with pytest.raises(ValueError, match=r"the same 2 items in every condition, got \(3,\)"):
        Outcomes([0, 0], [1, 1], [1, 1, 1], [1, 1])
    with pytest.raises(ValueError, match=r"finite and in \[0, 1\]"):
        Outcomes([0, 0], [1, 1], [1, float("nan")], [1, 1])
    with pytest.raises(ValueError, match=r"finite and in \[0, 1\]"):
        Outcomes([0, 0], [1, 2], [1, 1], [1, 1])
    fine, more = Outcomes([0], [1], [1], [1]), Outcomes([0], [1], [1], [1], [[1]])
    with pytest.raises(ValueError, match="the same random sets, got 0 and 1"):
        interaction(fine, more)
    with pytest.raises(ValueError, match="0 < alpha < 1"):
        interaction(fine, fine, alpha=1)

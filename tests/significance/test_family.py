"""Holm's correction over all that a study tests, and ranks among random sets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from negspace.significance import (
    Contrast,
    Dissociation,
    Margin,
    Nesting,
    compare,
    compare_with_sets,
    dissociate,
    judge_together,
)
from significance.test_crossed_loss import EQUAL, _suites

WINDOWS = Nesting.windows(40)


def _contrast(shift: float, seed: int, **options: object) -> Contrast:
    change = np.random.default_rng(seed).normal(shift, 1, 40)
    return compare(change, np.zeros(40), WINDOWS, scale="nats", **options)  # type: ignore[arg-type]


def test_all_claims_are_one_family() -> None:
    claims = {k: _contrast(shift, k) for k, shift in enumerate((0.0, 0.3, 0.4, 0.45, 1.0))}
    claims[9] = dissociate(*_suites(), EQUAL)  # type: ignore[assignment]
    made = judge_together(claims)
    raw = [one.p for one in claims.values()]
    for one, p in zip(made.values(), multipletests(raw, method="holm")[1], strict=True):
        adjusted = one.p_adjusted if isinstance(one, Contrast) else one.interaction.p_adjusted
        assert adjusted == pytest.approx(p)
        assert isinstance(one, Dissociation) or one.finding == ("gain" if p <= 0.05 else "undecided")
    crossing = [one.p_cross if isinstance(one, Dissociation) else one.p for one in claims.values()]
    last = made[9]
    assert isinstance(last, Dissociation)
    assert last.p_cross_adjusted == pytest.approx(multipletests(crossing, method="holm")[1][-1])


def _beside_sets(top: float, drawn: np.ndarray, plain: np.ndarray) -> Contrast:
    return compare_with_sets(plain + top, plain + drawn[:, None], WINDOWS, scale="log ratio")


def test_a_share_at_which_a_set_stands_out_more_takes_the_finding_of_the_other_share() -> None:
    rng = np.random.default_rng(2)
    plain, calm = rng.normal(3, 0.3, 40), rng.normal(0.1, 0.01, 20)
    wild = np.concatenate([rng.normal(0.1, 0.01, 19), [0.4]])
    claims = {1: _beside_sets(0.14, calm, plain), 2: _beside_sets(0.11, wild, plain)}
    assert [one.finding for one in claims.values()] == ["harm", "undecided"]
    one, other = judge_together(claims).values()
    assert isinstance(one, Contrast)
    assert isinstance(other, Contrast)
    assert (one.finding, one.p_adjusted) == ("undecided", pytest.approx(2 / 21))
    assert other.p_adjusted == pytest.approx(max(other.p, 2 / 21))
    # Beside contrasts that no set enters, ranks are not corrected: t is.
    rest = judge_together({1: claims[1], **{k: _contrast(0.0, k) for k in range(10, 15)}})[1]
    assert isinstance(rest, Contrast)
    assert (rest.finding, rest.p_adjusted) == ("harm", pytest.approx(1 / 21))


def test_several_conditions_beside_the_same_sets_need_more_of_them() -> None:
    """Of K conditions and R sets, a condition is the most extreme with probability K / (K + R)."""
    rng, plain = np.random.default_rng(6), np.linspace(2, 4, 40)
    drawn = rng.normal(0.1, 0.01, 59)
    claims = {k: _beside_sets(0.2 + k / 100, drawn[:20], plain) for k in range(3)}
    assert {one.finding for one in claims.values() if isinstance(one, Contrast)} == {"harm"}
    few = judge_together(claims, dict(zip(claims, "abc", strict=True)))
    for one in few.values():
        assert isinstance(one, Contrast)
        assert (one.finding, one.reason) == (
            "cannot be judged",
            "cannot be judged with 20 random sets, with which 3 sets are compared; draw 59 or more",
        )
    first = compare_with_sets(plain + 0.2, plain + drawn[:5, None], WINDOWS, scale="log ratio", conditions=3)
    assert first.reason == "cannot be judged with 5 random sets, with which 3 sets are compared; draw 59 or more"
    enough = {k: _beside_sets(0.2 + k / 100, drawn, plain) for k in range(3)}
    for one in judge_together(enough, dict(zip(enough, "abc", strict=True))).values():
        assert isinstance(one, Contrast)
        assert (one.finding, one.p_adjusted) == ("harm", pytest.approx(3 / 60))


def test_a_contrast_with_more_sets_than_the_others_is_no_surer_for_these() -> None:
    rng, plain = np.random.default_rng(7), np.linspace(2, 4, 40)
    many = np.concatenate([rng.normal(0.1, 0.01, 48), [0.3, 0.31]])
    claims = {1: _beside_sets(0.25, many, plain), 2: _beside_sets(0.2, rng.normal(0.1, 0.01, 20), plain)}
    one = judge_together(claims)[1]
    assert isinstance(one, Contrast)
    assert one.p_adjusted >= one.p == pytest.approx(3 / 51)
    assert one.finding == "undecided"


@pytest.mark.parametrize("shares", [1, 5])
def test_skewed_sets_at_many_shares_stay_at_the_level(shares: int) -> None:
    """The top set is one more random set, and what sets do is exponential: t and Holm alone are wrong more often."""
    rng, wrong, plain = np.random.default_rng(3), 0, np.linspace(2, 4, 40)
    for _ in range(400):
        doses = rng.exponential(0.1, (shares, 21))
        found = judge_together({k: _beside_sets(row[0], row[1:], plain) for k, row in enumerate(doses)})
        wrong += any(isinstance(one, Contrast) and one.finding != "undecided" for one in found.values())
    assert stats.binomtest(wrong, 400, 0.05, alternative="greater").pvalue > 0.01, wrong


def test_a_finding_can_be_lost_to_the_correction_and_nothing_else_changes() -> None:
    alone = _contrast(0.4, 2)
    assert alone.finding == "gain"
    made = judge_together({"it": alone, **{k: _contrast(0.0, k + 50) for k in range(6)}})["it"]
    assert isinstance(made, Contrast)
    assert made.finding == "undecided"
    assert (made.estimate, made.low, made.p) == (alone.estimate, alone.low, alone.p)
    assert str(judge_together({"it": made})["it"]) == str(alone)


def test_equivalence_is_corrected_too_and_what_cannot_be_judged_does_not_count() -> None:
    near = _contrast(0.0, 1, margin=Margin(size=0.45))
    assert near.finding == "equivalent"
    others = {k: _contrast(0.5, k, margin=Margin(size=0.4)) for k in range(8)}
    made = judge_together({"near": near, **others})["near"]
    assert isinstance(made, Contrast)
    family = [near.p_equivalent, *(one.p_equivalent for one in others.values())]
    assert made.p_equivalent_adjusted == pytest.approx(multipletests(family, method="holm")[1][0])
    mute = {k: compare(np.zeros(3), np.zeros(3), Nesting.windows(3), scale="nats") for k in range(8)}
    assert str(judge_together({"near": near, **mute})["near"]) == str(near)
    assert judge_together({}) == {}


def test_a_dissociation_is_established_only_if_both_sides_survive() -> None:
    made = dissociate(*_suites((0.8, 0.74, 0.8), (0.6, 0.6, 0.53), seed=2), EQUAL)
    assert made.verdict == "established"
    assert made.p < 0.001 < made.p_cross
    many = judge_together({"it": made, **{k: _contrast(0.0, k + 50) for k in range(12)}})["it"]
    assert isinstance(many, Dissociation)
    assert many.verdict == "interaction only"
    assert {one.verdict for one in many.without} != {"established"}

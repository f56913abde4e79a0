"""Holm's correction over all that a study tests."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from negspace.significance import Contrast, Dissociation, Margin, Nesting, compare, dissociate, judge_together
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

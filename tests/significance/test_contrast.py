"""One rule: findings, equivalence and what cannot be judged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from negspace.errors import JudgementError
from negspace.significance import Contrast, Margin, Nesting, compare, plain_sd

RNG = np.random.default_rng(0)
WINDOWS = Nesting.windows(60)
PARADIGM = np.repeat(np.arange(24), 40)
PAIRS = Nesting.pairs(PARADIGM, PARADIGM // 3)


def _numbers(contrast: Contrast) -> list[float]:
    return [contrast.estimate, contrast.low, contrast.high, contrast.p, contrast.se, contrast.p_equivalent]


def test_windows_are_a_paired_t_test() -> None:
    plain = RNG.normal(3, 0.3, 60)
    ablated = plain + RNG.gamma(2, 0.05, 60)
    made, expected = compare(ablated, plain, WINDOWS, scale="log ratio", alpha=0.1), stats.ttest_rel(ablated, plain)
    ends = expected.confidence_interval(0.9)
    assert (made.estimate, made.p) == pytest.approx((float((ablated - plain).mean()), expected.pvalue))
    assert (made.low, made.high) == pytest.approx((ends.low, ends.high))
    assert (made.finding, made.units, made.count) == ("harm", "windows", 60)


@pytest.mark.parametrize(
    ("scale", "change", "finding"),
    [
        ("points", -0.3, "harm"),
        ("points", 0.3, "gain"),
        ("nats", -1.0, "harm"),
        ("sd", 1.0, "gain"),
        ("log ratio", 1.0, "harm"),
        ("log ratio", -1.0, "gain"),
        ("nats", 0.0, "undecided"),
    ],
)
def test_the_scale_says_which_sign_is_harm(scale: str, change: float, finding: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.random(960) < 0.5 if scale == "points" else rng.normal(0, 1, 960)
    other = rng.random(960) < 0.5 + change if scale == "points" else values + change + rng.normal(0, 1, 960)
    assert compare(other, values, PAIRS, scale=scale).finding == finding  # type: ignore[arg-type]


def test_equivalence_is_statsmodels_tost() -> None:
    change = np.random.default_rng(2).normal(0.01, 0.1, 60)
    made = compare(change, np.zeros(60), WINDOWS, scale="nats", margin=Margin(size=0.05))
    p, _, _ = DescrStatsW(change).ttost_mean(-0.05, 0.05)
    assert made.p_equivalent == pytest.approx(p)
    assert (made.finding, made.margin) == ("equivalent", 0.05)
    assert compare(change, np.zeros(60), WINDOWS, scale="nats", margin=Margin(size=0.02)).finding == "undecided"
    shifted = compare(change + 0.2, np.zeros(60), WINDOWS, scale="nats", margin=Margin(size=0.05))
    assert (shifted.finding, shifted.p_equivalent > 0.99) == ("gain", True)


def test_a_share_of_the_loss_is_tested_with_the_losss_own_error() -> None:
    rng = np.random.default_rng(3)
    top, control = rng.normal(-1.0, 1.0, 60), rng.normal(-0.02, 0.3, 60)
    made = compare(control, np.zeros(60), WINDOWS, scale="nats", margin=Margin(share=0.25, of=top))
    above = stats.ttest_1samp(control - 0.25 * top, 0, alternative="greater").pvalue
    below = stats.ttest_1samp(control + 0.25 * top, 0, alternative="less").pvalue
    assert made.p_equivalent == pytest.approx(max(above, below))
    assert made.margin == pytest.approx(-0.25 * top.mean())
    assert made.finding == "equivalent"
    # A top set that loses nothing leaves no room within a quarter of it.
    nothing = compare(control, np.zeros(60), WINDOWS, scale="nats", margin=Margin(share=0.25, of=-top))
    assert (nothing.finding, nothing.margin) == ("undecided", 0)
    both = compare(control, np.zeros(60), WINDOWS, scale="nats", margin=Margin(size=0.001, share=0.25, of=top))
    assert (both.finding, both.margin) == ("undecided", 0.001)


@pytest.mark.parametrize("margin", [{"size": 0.0}, {"size": -0.01}, {"size": math.nan}, {"share": 0.0, "of": [1.0]}])
def test_a_margin_of_zero_or_below_is_refused(margin: dict) -> None:
    with pytest.raises(JudgementError, match="margin that is not above zero"):
        Margin(**margin)


@pytest.mark.parametrize(
    "nesting",
    [
        Nesting.pairs(np.zeros(40), np.zeros(40)),
        Nesting.pairs(PARADIGM[:40], np.zeros(40)),
        Nesting.tasks(np.zeros(40)),
    ],
)
def test_a_single_phenomenon_paradigm_or_task_gives_no_number(nesting: Nesting) -> None:
    made = compare(np.ones(40), np.zeros(40), nesting, scale="points", margin=Margin(size=0.1))
    assert made.finding == "cannot be judged"
    assert np.isnan(_numbers(made)).all()
    assert "add" in made.reason
    within = compare(np.ones(40), np.zeros(40), nesting, scale="points", within=True)
    assert (within.finding, within.scope[:5]) == ("gain", "this ")


def test_nothing_changed_is_no_certainty() -> None:
    right = (np.random.default_rng(4).random(960) < 0.7).astype(float)
    same = compare(right, right, PAIRS, scale="points")
    assert (same.estimate, same.p, same.finding) == (0, 1, "undecided")
    assert same.low < 0 < same.high
    # On log-probabilities an ablation that does nothing at all is exactly nothing.
    exact = compare(right, right, PAIRS, scale="nats", margin=Margin(size=1e-9))
    assert (exact.low, exact.high, exact.finding) == (0, 0, "equivalent")


def test_pooled_pairs_weigh_the_same() -> None:
    sizes = [5, 300, 20, 40, 60, 10]
    construction = np.repeat(np.arange(6), sizes)
    change = np.random.default_rng(5).choice([-1.0, 0.0, 1.0], construction.size)
    nest = Nesting.constructions(construction, np.repeat([0, 0, 0, 1, 1, 2], sizes))
    plain = np.clip(-change, 0, 1)
    by_construction = compare(plain + change, plain, nest, scale="points")
    over_pairs = compare(plain + change, plain, nest.pooled(), scale="points")
    means = [change[construction == k].mean() for k in range(6)]
    assert by_construction.estimate == pytest.approx(np.mean(means))
    assert over_pairs.estimate == pytest.approx(change.mean())
    assert over_pairs.degrees < by_construction.degrees == pytest.approx(5)
    assert over_pairs.scope == "these 3 families"


def test_the_unit_of_sd_is_the_plain_margins() -> None:
    assert plain_sd([1.0, 2.0, 4.0]) == pytest.approx(np.std([1, 2, 4], ddof=1))
    with pytest.raises(JudgementError, match="do not vary"):
        plain_sd([1.0, 1.0])


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="same items in both"):
        compare(np.zeros(60), np.zeros(59), WINDOWS, scale="nats")
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        compare(np.full(60, np.nan), np.zeros(60), WINDOWS, scale="points")
    with pytest.raises(ValueError, match="unknown scale"):
        compare(np.zeros(60), np.zeros(60), WINDOWS, scale="percent")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alpha"):
        compare(np.zeros(60), np.zeros(60), WINDOWS, scale="nats", alpha=1.0)
    with pytest.raises(ValueError, match="same items"):
        compare(np.zeros(60), np.zeros(60), WINDOWS, scale="nats", margin=Margin(share=0.2, of=np.zeros(5)))

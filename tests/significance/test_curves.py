"""Curves of loss over damage: against plain interpolation, a bootstrap, and known worlds."""

from __future__ import annotations

import numpy as np
import pytest

from negspace.significance import Nesting, compare
from negspace.significance.curves import Curve, band, compare_curves

WINDOWS = Nesting.windows(40)
PARADIGM = np.repeat(np.arange(20), 10)
ITEMS = Nesting.pairs(PARADIGM, PARADIGM // 2)


def _curve(rng: np.random.Generator, x: list[float], slope: float, noise: float = 0.05) -> Curve:
    """Doses at ln ratios x, at which slope * x is lost, with noise over windows and items."""
    dose = np.array(x)[:, None]
    ratio = dose * (1 + 0.3 * rng.standard_normal((1, 40))) + 0.01 * rng.standard_normal((len(x), 40))
    lost = slope * dose * (1 + 0.5 * rng.standard_normal((1, 20)))[:, PARADIGM] + noise * rng.standard_normal(
        (len(x), 200)
    )
    return Curve(ratio, -lost)


def _area(curve: Curve, reach: float, windows: np.ndarray, phenomena: np.ndarray) -> float:
    """Mean height over [0, reach] by numpy's interpolation on a fine grid, of a resample."""
    x = np.asarray(curve.log_ratio)[:, windows].mean(axis=1)
    y = np.asarray(curve.change).reshape(len(x), 10, 20).mean(axis=2)[:, phenomena].mean(axis=1)
    order = np.argsort(x)
    grid = np.linspace(0, reach, 2001)
    return float(np.trapezoid(np.interp(grid, [0, *x[order]], [0, *y[order]]), grid) / reach)


def test_the_contrast_is_the_mean_difference_of_the_curves_over_the_common_range() -> None:
    rng = np.random.default_rng(0)
    top, bottom = _curve(rng, [0.1, 0.9, 0.4], 0.3), _curve(rng, [0.05, 0.3, 0.6], 0.1)
    made = compare_curves(top, bottom, ITEMS, WINDOWS, scale="nats")
    everything = np.arange(40), np.arange(10)
    assert made.reach == pytest.approx(max(np.asarray(bottom.log_ratio).mean(axis=1)))
    expected = _area(top, made.reach, *everything) - _area(bottom, made.reach, *everything)
    assert made.contrast.estimate == pytest.approx(expected, abs=1e-6)
    assert made.contrast.finding == "harm"
    same = compare_curves(top, top, ITEMS, WINDOWS, scale="nats")
    assert (same.contrast.estimate, same.contrast.se) == (pytest.approx(0), pytest.approx(0))


def test_its_error_is_that_of_a_bootstrap_over_items_and_windows() -> None:
    rng = np.random.default_rng(1)
    top, bottom = _curve(rng, [0.1, 0.5, 0.9], 0.3), _curve(rng, [0.05, 0.3, 0.6], 0.1)
    made = compare_curves(top, bottom, ITEMS, WINDOWS, scale="nats")
    drawn = []
    for _ in range(600):
        taken = rng.integers(40, size=40), rng.integers(10, size=10)
        drawn.append(_area(top, made.reach, *taken) - _area(bottom, made.reach, *taken))
    assert made.contrast.se == pytest.approx(np.std(drawn) * np.sqrt(10 / 9), rel=0.2)


def test_random_sets_are_one_curve_each() -> None:
    rng = np.random.default_rng(2)
    top = _curve(rng, [0.1, 0.5, 0.9], 0.3)
    sets = [_curve(rng, [0.1, 0.4], 0.1 + 0.02 * rng.standard_normal()) for _ in range(8)]
    made = compare_curves(top, sets, ITEMS, WINDOWS, scale="nats")
    assert made.contrast.sets is not None
    assert (made.contrast.sets.sets, made.contrast.finding) == (8, "harm")
    singles = [compare_curves(top, one, ITEMS, WINDOWS, scale="nats") for one in sets]
    assert made.reach == min(one.reach for one in singles)
    few = compare_curves(top, sets[:2], ITEMS, WINDOWS, scale="nats").contrast
    assert (few.finding, np.isnan(few.estimate)) == ("cannot be judged", True)


def test_no_damage_no_common_range() -> None:
    rng = np.random.default_rng(3)
    made = compare_curves(_curve(rng, [0.5], 0.3), _curve(rng, [-0.1, -0.2], 0.1), ITEMS, WINDOWS, scale="nats")
    assert made.contrast.finding == "cannot be judged"
    assert "share no range" in made.contrast.reason
    assert np.isnan([made.contrast.estimate, made.reach]).all()
    assert made.contrast.reason.startswith("perplexity is raised at no dose by a family")


def test_a_random_set_that_does_no_damage_is_not_its_family() -> None:
    rng = np.random.default_rng(3)
    top, sets = _curve(rng, [0.5], 0.3), [_curve(rng, [0.4], 0.1) for _ in range(7)]
    made = compare_curves(top, [*sets, _curve(rng, [-0.1], 0.1)], ITEMS, WINDOWS, scale="nats").contrast
    assert made.reason == (
        "perplexity is raised at no dose by 1 of 8 random sets, so that the curves share no range; add doses"
    )
    none = compare_curves(_curve(rng, [-0.5], 0.3), sets, ITEMS, WINDOWS, scale="nats").contrast
    assert none.reason.startswith("perplexity is raised at no dose by a family")


def test_a_dose_that_lowers_perplexity_does_not_move_the_curve() -> None:
    """The plain model alone is at zero, whatever a set does that helps text along."""
    rng = np.random.default_rng(6)
    top, bottom = _curve(rng, [0.2, 0.5, 0.9], 0.3), _curve(rng, [0.1, 0.3, 0.6], 0.1)
    helps = _curve(rng, [-0.3], 2.0)
    with_it = Curve(
        np.vstack([helps.log_ratio, np.zeros((1, 40)), top.log_ratio]),
        np.vstack([helps.change, np.full((1, 200), -5.0), top.change]),
    )
    alone, both = (compare_curves(one, bottom, ITEMS, WINDOWS, scale="nats") for one in (top, with_it))
    assert both.reach == alone.reach
    assert both.contrast.estimate == pytest.approx(alone.contrast.estimate, abs=1e-9)
    assert both.contrast.se == pytest.approx(alone.contrast.se, rel=1e-3)
    drawn, other = (band(one, ITEMS, WINDOWS) for one in (top, with_it))
    for name in ("at", "change", "low", "high"):
        assert getattr(other, name) == pytest.approx(getattr(drawn, name), rel=1e-3, abs=1e-6)
    assert len(other.doses) == 5


def test_a_dose_near_zero_is_no_edge() -> None:
    """The jump of the curve at zero must not be taken for a slope, which the dose's error over windows multiplies."""
    rng = np.random.default_rng(7)
    top, bottom = _curve(rng, [0.2, 0.9], 0.3), _curve(rng, [0.1, 0.6], 0.1)
    tiny = 0.01 * rng.standard_normal((1, 40))
    tiny += 1e-6 - tiny.mean()
    near = Curve(np.vstack([tiny, top.log_ratio]), np.vstack([np.full((1, 200), -0.05), top.change]))
    made = compare_curves(near, bottom, ITEMS, WINDOWS, scale="nats").contrast
    assert made.se < 1.5 * compare_curves(top, bottom, ITEMS, WINDOWS, scale="nats").contrast.se


def test_outcomes_that_all_stay_do_not_make_their_curves_certain() -> None:
    rng = np.random.default_rng(8)
    still = [Curve(_curve(rng, [0.2, dose], 0.1).log_ratio, np.zeros((2, 200))) for dose in (0.5, 0.8)]
    made = compare_curves(*still, ITEMS, WINDOWS, scale="points").contrast
    assert (made.estimate, made.p) == (0, 1)
    assert made.se == pytest.approx(compare(np.zeros(200), np.zeros(200), ITEMS, scale="points").se)
    assert (band(still[0], ITEMS, WINDOWS, outcomes=True).high[1:] > 0).all()


def test_a_band_begins_at_the_plain_model_and_meets_the_doses() -> None:
    rng = np.random.default_rng(4)
    curve = _curve(rng, [0.2, 0.8], 0.3)
    made = band(curve, ITEMS, WINDOWS)
    assert (made.at[0], made.change[0], made.low[0], made.high[0]) == (0, 0, 0, 0)
    assert made.at[-1] == pytest.approx(made.doses.max())
    assert made.change == pytest.approx(np.interp(made.at, [0, *made.doses], [0, *made.changes]))
    assert (made.low[1:] < made.change[1:]).all()
    assert (made.high[1:] > made.change[1:]).all()
    several = band([_curve(rng, [0.2, 0.8], slope) for slope in (0.1, 0.2, 0.3, 0.4, 0.5)], ITEMS, WINDOWS)
    assert (several.high - several.low)[-1] > (made.high - made.low)[-1]


def test_curves_that_do_not_fit_are_refused() -> None:
    curve = _curve(np.random.default_rng(5), [0.1], 0.1)
    with pytest.raises(ValueError, match=r"\[doses, 39 windows\]"):
        compare_curves(curve, curve, ITEMS, Nesting.windows(39), scale="nats")
    with pytest.raises(ValueError, match="at least one other"):
        compare_curves(curve, [], ITEMS, WINDOWS, scale="nats")
    with pytest.raises(ValueError, match="finite"):
        compare_curves(Curve(np.full((1, 40), np.nan), curve.change), curve, ITEMS, WINDOWS, scale="nats")

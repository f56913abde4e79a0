"""Curves of loss over damage: against plain interpolation, a bootstrap, and known worlds."""

from __future__ import annotations

import numpy as np
import pytest

from negspace.significance import Nesting
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

"""One axis of damage: what is lost as a function of the perplexity that it comes with, for several families of sets.

A matched control answers at one dose. Sets at several doses give a curve each: ln of the perplexity ratio on one axis,
accuracy or margin lost on the other. The contrast of two curves over the range that both reach says whether one family
loses more at the same damage to running text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from negspace.significance.contrast import Contrast, Scale, conclude
from negspace.significance.estimate import Estimate, grouped, mean, total
from negspace.significance.nesting import Nesting, Shortfall
from negspace.significance.sets import conclude_with_sets, fewest_sets, too_few

POINTS = 25
"""Points of a band."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A family of sets at several doses, on the same windows and items throughout."""

    log_ratio: ArrayLike
    """[doses, windows] change of each window's mean negative log-likelihood against the plain model, nats per token."""
    change: ArrayLike
    """[doses, items] change of each item against the plain model: of its outcome (scale "points") or its margin."""


@dataclass(frozen=True, eq=False)
class Band:
    """A curve as it is drawn: piecewise linear through the plain model at (0, 0) and what raises perplexity."""

    at: NDArray[np.float64]
    """[points] ln of the perplexity ratio, from 0 to the largest that the family reaches."""
    change: NDArray[np.float64]
    """[points] change there (negative: lost)."""
    low: NDArray[np.float64]
    """[points] lower end of the pointwise interval; NaN where it cannot be judged."""
    high: NDArray[np.float64]
    """[points] upper end."""
    doses: NDArray[np.float64]
    """[doses] ln of the perplexity ratio of each dose."""
    changes: NDArray[np.float64]
    """[doses] change at each."""


@dataclass(frozen=True)
class CurveContrast:
    """Two families at the same damage to running text."""

    contrast: Contrast
    """Mean over the common range of the first family's change minus the second's: negative where the first loses more.
    """
    reach: float
    """The common range goes from the plain model at 0 to this ln of the perplexity ratio."""


def compare_curves(
    top: Curve,
    others: Curve | Sequence[Curve],
    items: Nesting,
    windows: Nesting,
    *,
    scale: Scale,
    alpha: float = 0.05,
) -> CurveContrast:
    """The contrast of two curves over the range that both reach.

    A curve passes through the plain model at (0, 0) and its doses, sorted by ln of the perplexity ratio x, and is
    linear between; doses at equal x are averaged, and those at an x of zero or less have no weight. With X the smaller
    of both curves' largest x, the contrast is the integral from 0 to X of the difference of the curves, divided by X.
    For given x it is a weighted sum of the doses' changes, so its error over items is that of one value per item
    (`estimate.mean`); the error of x over windows is added to first order. Random sets are a random effect, one curve
    per set (`sets`).

    Args:
        top: the family in question.
        others: another family (the low-ranked sets), or one curve for each of R random sets drawn with different seeds.
        items: nesting of the items of `change`.
        windows: nesting of the windows of `log_ratio`.
        scale: what `change` is in: "points", "nats" or "sd".
        alpha: level.

    Returns:
        "cannot be judged" where the curves share no range (a family, or one of the random sets, does not damage text),
        with too few units, or too few random sets.

    Raises:
        ValueError: curves that do not fit the nestings.
    """
    single = isinstance(others, Curve)
    first, rest = _Path(top, items, windows), [_Path(c, items, windows) for c in ([others] if single else others)]
    if not rest:
        raise ValueError("need at least one other curve")
    reach = min(path.x.max() for path in (first, *rest))
    if not reach > 0:
        stuck = sum(not path.x.max() > 0 for path in rest)
        one = single or not first.x.max() > 0
        who = "a family" if one else f"{stuck} of {len(rest)} random sets"
        few = Shortfall(f"perplexity is raised at no dose by {who}, so that the curves share no range", "add doses")
        return CurveContrast(conclude(few, scale, alpha), float("nan"))
    if not single and (few := too_few(len(rest), fewest_sets(scale, alpha))) is not None:
        return CurveContrast(conclude(few, scale, alpha), reach)
    parts = [path.average(reach) for path in rest]
    own = first.average(reach)
    over_items = own.items - np.mean([part.items for part in parts], axis=0)
    over_windows = own.windows - np.mean([part.windows for part in parts], axis=0)
    found = _joined(over_items, over_windows, items, windows, outcomes=scale == "points")
    if isinstance(found, Shortfall) or single:
        return CurveContrast(conclude(found, scale, alpha), reach)
    common = np.mean([part.items for part in parts], axis=0), np.mean([part.windows for part in parts], axis=0)
    values, noise = np.empty(len(parts)), 0.0
    for place, part in enumerate(parts):
        each = _joined(part.items - common[0], part.windows - common[1], items, windows)
        assert isinstance(each, Estimate)  # `found` has the same nestings
        values[place] = each.value
        noise += each.variance / (len(parts) - 1)
    return CurveContrast(conclude_with_sets(found, values, noise, scale, alpha), reach)


def band(
    curve: Curve | Sequence[Curve], items: Nesting, windows: Nesting, *, outcomes: bool = False, alpha: float = 0.05
) -> Band:
    """A family's curve with its pointwise interval, for the figure.

    Args:
        curve: one curve, or one for each random set: the mean curve is drawn, and the sets' differing is in the band.
        items, windows, alpha: as for `compare_curves`.
        outcomes: whether the changes are of outcomes; see `Grouped.floor`.
    """
    paths = [_Path(member, items, windows) for member in ([curve] if isinstance(curve, Curve) else curve)]
    reach = min(path.x.max() for path in paths)
    at = np.linspace(0.0, max(float(reach), 0.0), POINTS)
    ends = np.full((POINTS, 2), np.nan)
    change = np.zeros(POINTS)
    for place, x in enumerate(at):
        parts = [path.at(float(x)) for path in paths]
        found = _joined(
            np.mean([part.items for part in parts], axis=0),
            np.mean([part.windows for part in parts], axis=0),
            items,
            windows,
            outcomes=outcomes,
        )
        values = np.array([float(items.weights @ grouped(part.items, items).means) for part in parts])
        change[place] = values.mean()
        if x == 0:
            change[place], ends[place] = 0.0, 0.0  # the plain model is where every curve begins
        elif isinstance(found, Estimate):
            if len(paths) > 1:
                among = Estimate(0.0, values.var(ddof=1) / len(values), len(values) - 1, "", len(values), "", 0.0)
                found = total([found, among], [1, 1])
            ends[place] = found.interval(alpha)
    doses = np.mean([path.x for path in paths], axis=0) if len({path.x.size for path in paths}) == 1 else paths[0].x
    changes = np.mean([path.y for path in paths], axis=0) if len({path.x.size for path in paths}) == 1 else paths[0].y
    return Band(at, change, ends[:, 0], ends[:, 1], doses, changes)


@dataclass(frozen=True, eq=False)
class _Linear:
    """A functional of a curve, as one value per item and one deviation a window."""

    items: NDArray[np.float64]
    """[items] its mean over items is the functional."""
    windows: NDArray[np.float64]
    """[windows] deviations whose mean is its first-order error from the windows."""


class _Path:
    """A curve as a path: doses sorted by damage, ties averaged, the plain model first."""

    def __init__(self, curve: Curve, items: Nesting, windows: Nesting) -> None:
        ratio, change = (np.atleast_2d(np.asarray(v, np.float64)) for v in (curve.log_ratio, curve.change))
        if ratio.shape[1:] != windows.group.shape or change.shape[1:] != items.group.shape or len(ratio) != len(change):
            raise ValueError(
                f"need [doses, {windows.group.size} windows] and [doses, {items.group.size} items], "
                f"got {ratio.shape} and {change.shape}"
            )
        if not (np.isfinite(ratio).all() and np.isfinite(change).all()):
            raise ValueError("changes must be finite")
        self.x = np.array([grouped(row, windows).mean for row in ratio])
        self.y = np.array([grouped(row, items).mean for row in change])
        self.ratio, self.change = ratio, change

    def at(self, x: float) -> _Linear:
        """The curve's height at x."""
        return self._linear(lambda knots: _interpolation(knots, x))

    def average(self, reach: float) -> _Linear:
        """The curve's mean height over [0, reach]."""
        return self._linear(lambda knots: _integral(knots, reach) / reach)

    def _linear(self, weights: _Weights) -> _Linear:
        """Weights of the doses, and by differences how the functional moves with each dose's x."""
        base = weights(self.x)
        step = 1e-5 * max(float(np.ptp(self.x)), 1e-3)
        slopes = np.zeros(self.x.size)
        for j in np.flatnonzero(self.x > 0):
            own = min(step, self.x[j] / 2)  # at zero the curve jumps
            moved = np.array([self.x, self.x])
            moved[:, j] += (own, -own)
            slopes[j] = (weights(moved[0]) - weights(moved[1])) @ self.y / (2 * own)
        return _Linear(base @ self.change, slopes @ (self.ratio - self.x[:, None]))


class _Weights(Protocol):
    """[doses] -> [doses]: the weight of each dose's change, from the doses' x."""

    def __call__(self, knots: NDArray[np.float64], /) -> NDArray[np.float64]: ...


def _hats(knots: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    """Distinct places with the plain model's 0 first; which of them each dose is at; and [doses] its share of what that
    place counts: none at 0, which is the plain model's alone."""
    places, which = np.unique(np.concatenate([[0.0], np.maximum(knots, 0.0)]), return_inverse=True)
    return places, which[1:], (which[1:] > 0) / np.bincount(which)[which[1:]]


def _interpolation(knots: NDArray[np.float64], x: float) -> NDArray[np.float64]:
    places, which, part = _hats(knots)
    hats = np.array([np.interp(x, places, np.eye(places.size)[k]) for k in range(places.size)])
    return hats[which] * part


def _integral(knots: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Integral from 0 to reach of the hat function of each dose."""
    places, which, part = _hats(knots)
    inner = np.unique(np.concatenate([places[places < reach], [reach]]))
    hats = np.array([np.interp(inner, places, np.eye(places.size)[k]) for k in range(places.size)])
    return np.trapezoid(hats, inner, axis=1)[which] * part


def _joined(
    over_items: NDArray[np.float64],
    over_windows: NDArray[np.float64],
    items: Nesting,
    windows: Nesting,
    outcomes: bool = False,
) -> Estimate | Shortfall:
    one, two = mean(grouped(over_items, items, outcomes=outcomes)), mean(grouped(over_windows, windows))
    if isinstance(one, Shortfall):
        return one
    if isinstance(two, Shortfall):
        return two
    joined = total([one, two], [1, 1])
    return Estimate(one.value, joined.variance, joined.degrees, one.units, one.count, one.scope, one.items_variance)

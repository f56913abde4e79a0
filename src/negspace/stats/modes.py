"""The modes of a neuron: a mixture of Gaussians fitted to its pre-activations, as many components as BIC asks for.

Everything here is deterministic: starts are quantiles and splits, not draws, so that the same values give the same
modes to the bit. A component is a part of the distribution's shape, not always a peak of it: a skewed neuron's tail
takes one too. `Mixture.peaks` says how many peaks the whole density has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from negspace.errors import StatisticsError

MOST = 4
"""Largest number of components tried unless told otherwise."""
POINTS = 512
"""A sample of more distinct values is fitted as the means of this many equal bins."""
_COARSE = 1 / 8
"""Width of a bin, in distances between quartiles, from which on bins hold a part of the tokens each, too: where a few
lie far out, equal bins would leave the bulk in one or two, and likelihood would split these."""
_FINE = 4 * POINTS
"""Such parts of all tokens: few enough, and the bulk's own tails are not lost."""
_TRIAL, _LONGEST = 40, 1000
"""Steps of EM for every start, and the most for the best of them."""
_TOLERANCE = 1e-9
"""Gain in log-likelihood a token at which EM stops."""
_FLOOR = 0.01
"""Smallest standard deviation of a component, in standard deviations of the whole: no component sits on one value."""
_LEAST, _FEWEST = 0.001, 8
"""Least share of the tokens, and fewest tokens, of a component: likelihood alone puts one on any few close ones."""
_VALLEY = 0.85
"""Two peaks are two where the density between them falls to this share of the lower one."""
_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussian components, in order of their means."""

    weights: NDArray[np.float64]
    """[components] shares of the tokens; they sum to 1."""
    means: NDArray[np.float64]
    """[components] means, in units of the pre-activation."""
    stds: NDArray[np.float64]
    """[components] standard deviations."""
    tokens: float
    """Tokens that were fitted."""
    bic: tuple[float, ...]
    """Bayesian information criterion of the best mixture of 1, 2, ... components; the lowest was taken."""

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def peaks(self) -> int:
        """Peaks of the mixture's density: 1 for a neuron of one hump, however many components describe it.

        A valley that falls by less than 15% of the lower peak beside it is a ripple of the fit and parts no peaks.
        """
        if len(self) == 1:
            return 1
        # Every peak of a mixture of Gaussians lies between the least and the largest mean.
        spread = np.linspace(-4, 4, 161)
        grid = np.unique(np.clip(self.means[:, None] + self.stds[:, None] * spread, self.means[0], self.means[-1]))
        peaks, top, bottom = 1, 0.0, np.inf
        for height in np.exp(_log_joint(self, grid)).sum(axis=1):
            if bottom <= _VALLEY * min(top, height):
                peaks, top, bottom = peaks + 1, height, np.inf
            elif height > top:
                top, bottom = height, np.inf
            else:
                bottom = min(bottom, height)
        return peaks

    def density(self, values: ArrayLike) -> NDArray[np.float64]:
        """Density of the mixture at values, float64 of their shape; of a neuron that never varies, infinite or zero."""
        data = np.asarray(values, np.float64)
        if self.stds[0] == 0:
            return np.where(data == self.means[0], np.inf, 0.0)
        return np.exp(_log_joint(self, data.reshape(-1))).sum(axis=1).reshape(data.shape)

    def assign(self, values: ArrayLike) -> NDArray[np.int64]:
        """Component to which each value most probably belongs (the lower one of equals), int64 of the values' shape."""
        data = np.asarray(values, np.float64)
        if len(self) == 1:
            return np.zeros(data.shape, np.int64)
        return np.argmax(_log_joint(self, data.reshape(-1)), axis=1).reshape(data.shape)


def fit_modes(values: ArrayLike, weights: ArrayLike | None = None, *, most: int = MOST) -> Mixture:
    """Fit mixtures of 1 to `most` Gaussians by maximum likelihood, and take the one of lowest BIC.

    BIC = -2 log-likelihood + (3 k - 1) log n for k components and n tokens (Schwarz 1978). It takes the tokens as
    independent; those of running text are not, so it errs towards more components. Each number of components is
    fitted by EM from several fixed starts (quantiles, equal parts of the range, splits of the mixture of one component
    less), and the likeliest result is kept in which every component has a thousandth of the tokens, and eight, at
    least. No component's standard deviation is below a hundredth of the whole's.

    Args:
        values: [tokens] pre-activations; or points that stand for several tokens each.
        weights: [tokens] how many tokens each value stands for; None for one each.
        most: largest number of components tried.

    Raises:
        StatisticsError: no values, values or weights that are not finite, negative weights, or most below 1.
    """
    points, counts = _checked(values, weights, most)
    total = float(counts.sum())
    points, counts = _gathered(points, counts)
    mean = float(counts @ points / total)
    std = float(np.sqrt(counts @ (points - mean) ** 2 / total))
    if std <= abs(mean) * 1e-12:
        return Mixture(np.ones(1), np.array([mean]), np.zeros(1), total, ())
    z = (points - mean) / std  # fitted in standard deviations, so that the result scales with the values
    share = counts / total
    best = Mixture(np.ones(1), np.zeros(1), np.ones(1), total, ())
    fits, bic = [best], [_bic(best, z, share, total)]
    # A mixture of more components than points has nothing to tell them apart by.
    for size in range(2, min(most, len(points) - 1) + 1):
        found = _fit(z, share, total, size, best)
        if found is None:
            break
        best = found
        fits.append(best)
        bic.append(_bic(best, z, share, total))
    chosen = fits[int(np.argmin(bic))]
    order = np.lexsort((chosen.stds, chosen.means))
    shift = 2 * total * float(np.log(std))  # a density in units of the activation, not of its standard deviation
    return Mixture(
        chosen.weights[order],
        chosen.means[order] * std + mean,
        chosen.stds[order] * std,
        total,
        tuple(value + shift for value in bic),
    )


def _checked(
    values: ArrayLike, weights: ArrayLike | None, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = np.asarray(values, np.float64).reshape(-1)
    counts = np.ones(points.shape) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    asked = f"the modes of {points.size:,} pre-activations"
    if most < 1:
        raise StatisticsError(asked, f"most={most}", "ask for at least one component")
    if counts.shape != points.shape:
        raise StatisticsError(asked, f"{counts.size:,} weights", "give one weight per value")
    if not np.isfinite(points).all() or not np.isfinite(counts).all() or (counts < 0).any():
        raise StatisticsError(
            asked, "values that are not finite, or weights that are not or are negative", "check the activations"
        )
    kept = counts > 0
    if not kept.any():
        raise StatisticsError(asked, "no token", "give values of tokens that reached the neuron")
    return points[kept], counts[kept]


def _gathered(
    points: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct values in order with their counts; of many, the means of bins over their range."""
    order = np.argsort(points, kind="stable")
    points, counts = points[order], counts[order]
    starts = np.flatnonzero(np.append(True, points[1:] > points[:-1]))
    if len(starts) <= POINTS:
        return points[starts], np.add.reduceat(counts, starts)
    width = (points[-1] - points[0]) / POINTS
    place = np.minimum((points - points[0]) / width, POINTS - 1).astype(np.int64)
    rank = np.cumsum(counts) / counts.sum()
    lower, upper = points[np.searchsorted(rank, [0.25, 0.75])]
    cut = place[1:] > place[:-1]
    if width > _COARSE * (upper - lower):
        part = (rank * _FINE).astype(np.int64)
        cut |= part[1:] > part[:-1]
    starts = np.flatnonzero(np.append(True, cut) & np.append(True, points[1:] > points[:-1]))
    sums = np.add.reduceat(counts, starts)
    return np.add.reduceat(counts * points, starts) / sums, sums


def _fit(
    z: NDArray[np.float64], share: NDArray[np.float64], total: float, size: int, smaller: Mixture
) -> Mixture | None:
    """The likeliest mixture of a size that EM finds from all starts; None if all have a component of too few tokens."""
    trials = [_climb(start, z, share, _TRIAL) for start in _starts(z, share, total, size, smaller)]
    for start, _ in sorted(trials, key=lambda made: -made[1]):
        made, _ = _climb(start, z, share, _LONGEST)
        if made.weights.min() >= max(_LEAST, _FEWEST / total):
            return made
    return None


def _starts(
    z: NDArray[np.float64], share: NDArray[np.float64], total: float, size: int, smaller: Mixture
) -> Iterator[Mixture]:
    """Mixtures to begin from."""
    rank = np.cumsum(share) - share / 2
    yield _of_parts(z, share, total, np.minimum((rank * size).astype(np.int64), size - 1), size)
    low, high = np.interp([0.001, 0.999], rank, z)
    if high > low:
        place = np.clip((z - low) / (high - low) * size, 0, size - 1).astype(np.int64)
        yield _of_parts(z, share, total, place, size)
    for part in range(len(smaller)):
        w, m, s = (list(array) for array in (smaller.weights, smaller.means, smaller.stds))
        w[part : part + 1] = [w[part] / 2] * 2
        m[part : part + 1] = [m[part] - s[part], m[part] + s[part]]
        s[part : part + 1] = [s[part] / 2] * 2
        yield Mixture(np.array(w), np.array(m), np.array(s), total, ())
        # The same place with two widths: what a sharp peak on a broad foot is made of.
        m[part : part + 2] = [smaller.means[part]] * 2
        s[part : part + 2] = [smaller.stds[part] / 2, smaller.stds[part] * 2]
        yield Mixture(np.array(w), np.array(m), np.array(s), total, ())


def _of_parts(
    z: NDArray[np.float64], share: NDArray[np.float64], total: float, part: NDArray[np.int64], size: int
) -> Mixture:
    """Mixture of the Gaussians of disjoint parts; an empty part starts as the whole."""
    member = (part[:, None] == np.arange(size)) * share[:, None]
    weights = member.sum(axis=0)
    safe = np.where(weights > 0, weights, 1.0)
    means = np.where(weights > 0, z @ member / safe, 0.0)
    stds = np.sqrt(np.where(weights > 0, ((z[:, None] - means) ** 2 * member).sum(axis=0) / safe, 1.0))
    weights = np.maximum(weights, 1e-6)
    return Mixture(weights / weights.sum(), means, np.maximum(stds, _FLOOR), total, ())


def _climb(start: Mixture, z: NDArray[np.float64], share: NDArray[np.float64], steps: int) -> tuple[Mixture, float]:
    """EM from a start; the mixture and its mean log-likelihood a token."""
    now, before = start, -np.inf
    value = before
    for _ in range(steps):
        joint = _log_joint(now, z)
        top = joint.max(axis=1, keepdims=True)
        odds = np.exp(joint - top)
        whole = odds.sum(axis=1, keepdims=True)
        value = float(share @ (top + np.log(whole))[:, 0])
        if value - before < _TOLERANCE:
            break
        before = value
        member = odds / whole * share[:, None]
        weights = np.maximum(member.sum(axis=0), 1e-12)
        means = z @ member / weights
        stds = np.sqrt(((z[:, None] - means) ** 2 * member).sum(axis=0) / weights)
        now = Mixture(weights / weights.sum(), means, np.maximum(stds, _FLOOR), now.tokens, ())
    return now, value


def _bic(made: Mixture, z: NDArray[np.float64], share: NDArray[np.float64], total: float) -> float:
    joint = _log_joint(made, z)
    top = joint.max(axis=1)
    mean = float(share @ (top + np.log(np.exp(joint - top[:, None]).sum(axis=1))))
    return -2 * total * mean + (3 * len(made) - 1) * float(np.log(total))


def _log_joint(made: Mixture, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[values, components] log of weight times density."""
    z = (values[:, None] - made.means) / made.stds
    return np.log(made.weights) - np.log(made.stds) - 0.5 * (z * z + _LOG_2PI)

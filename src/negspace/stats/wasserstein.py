"""Distance of a standardised neuron from the Gaussian, W1(F, N(0, 1)) = integral |F(t) - Phi(t)| dt.

Two ways to the same number: exactly, from every activation (`exact`), and from a sketch (`from_sketch`), which states
how far it may be off. Both also give the negative share, the part of the integral below the standardised zero.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import cumulative_trapezoid
from scipy.special import ndtr, ndtri

from negspace.stats.moments import Moments, moments_of, moments_of_sketch
from negspace.stats.sketch import BINS, PART_BITS, Sketch

_CHUNK = 128  # neurons at a time: half a megabyte of float64 per array stays in the cache, and in memory once obtained


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances from the Gaussian, float64 [neurons] each; NaN where a neuron does not vary."""

    wd: NDArray[np.float64]
    """The Wasserstein distance, in standard deviations of the neuron."""
    error: NDArray[np.float64]
    """The true distance lies within this of `wd`, whatever the tokens' arrangement within the bins."""
    negative_share: NDArray[np.float64]
    """Part of the distance that lies below the standardised zero, from 0 to 1."""


def exact(activations: NDArray[np.floating]) -> Distances:
    """Distances in closed form, in float64, from all activations.

    W1 is also the integral over u of |x(u) - Q(u)|, Q the Gaussian quantile function and x(u) the sorted sample; on
    [(i - 1) / n, i / n] x is constant and the integral of Q is -phi(Q), so every piece is known, split where its sign
    changes. The part below t0 is the same integral with both x and Q cut off at t0.

    Args:
        activations: [tokens, neurons], finite.
    """
    a = np.asarray(activations)
    moments = moments_of(a)
    n, neurons = a.shape
    wd, share = np.full(neurons, np.nan), np.full(neurons, np.nan)
    if n == 0:
        return Distances(wd, wd.copy(), share)
    u = np.arange(n + 1) / n
    q = ndtri(u)
    below_q = -_density(q)  # antiderivative of Q
    std = moments.std
    for neuron in np.flatnonzero(moments.variance > 0):
        x = (np.sort(a[:, neuron]).astype(np.float64) - moments.mean[neuron]) / std[neuron]
        wd[neuron] = _between(x, u, q, below_q)
        zero = -moments.mean[neuron] / std[neuron]
        at = ndtr(zero)
        cut = np.where(u <= at, below_q, -_density(zero) + zero * (u - at))
        share[neuron] = _between(np.minimum(x, zero), u, np.minimum(q, zero), cut)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Distances(wd, np.where(np.isnan(wd), np.nan, 0.0), share / wd)


def _between(
    x: NDArray[np.float64],
    u: NDArray[np.float64],
    q: NDArray[np.float64],
    below: NDArray[np.float64],
) -> float:
    """Integral of |x(u) - q(u)| for a sorted sample x and quantiles q with the antiderivative `below`, at the edges u.

    Both may be cut off at one value: q still rises wherever it crosses x, so that they meet at Phi(x).
    """
    n = len(x)
    piece = np.diff(below) - x / n  # integral of q - x
    mixed = np.flatnonzero((x > q[:-1]) & (x < q[1:]))
    part = np.abs(piece)
    if len(mixed):
        value = x[mixed]
        turn = np.clip(ndtr(value), u[mixed], u[mixed + 1])
        low = -_density(value)
        part[mixed] = value * (turn - u[mixed]) - (low - below[mixed])
        part[mixed] += (below[mixed + 1] - low) - value * (u[mixed + 1] - turn)
    return float(part.sum())


def from_sketch(sketch: Sketch, moments: Moments | None = None) -> Distances:
    """Distances from a sketch, with a bound on the error that holds for every sample with this sketch.

    Take a bin of width h (in standard deviations) that holds the share m of the tokens, their mean at the fraction c of
    its width, and F and Phi at its ends. The integral of F over the bin is known from c. Where F and Phi cannot cross
    in the bin, that settles the integral of |F - Phi|. Where they may, the tokens are taken as spread evenly around
    their mean, as far as the nearer end of the bin, or as all being at the mean: if there is but one, which is certain,
    or if the bin towers eightfold over a neighbour. F is then piecewise linear, Phi nearly so, and the integral has a
    closed form with its changes of sign.
    Any other arrangement with the same mean is, in W1, at most 2 c (1 - c)^2 m h (spread; c the smaller of c and 1 - c)
    or 2 c (1 - c) m h (at one point) away: both are attained by all tokens at the ends. Beyond the grid, count and sum
    give the integral A of F (or of 1 - F) exactly and B that of Phi in closed form; the result lies between |A - B| and
    A + B. The bound adds these up, with h / 512 for the place of each token within its bin and h^3 / 49 for taking Phi
    as straight.

    For neurons far from Gaussian hardly a bin is in doubt and the bound is a few 1e-4. For nearly Gaussian ones, whose
    F and Phi may cross anywhere, it approaches h / 4, since it allows the worst arrangement in every bin at once; the
    error itself is of the order of 1e-5 for continuous distributions.

    Args:
        sketch: of any number of tokens.
        moments: of the same sketch, if already made.
    """
    moments = moments_of_sketch(sketch) if moments is None else moments
    varying = np.flatnonzero(moments.variance > 0)
    result = Distances(*(np.full(sketch.size, np.nan) for _ in range(3)))

    def fill(begin: int) -> None:
        chosen = varying[begin : begin + _CHUNK]
        part = _chunk(sketch.take(chosen), moments.mean[chosen], moments.std[chosen], moments.fraction_negative[chosen],
                      moments.mean_negative[chosen])  # fmt: skip
        result.wd[chosen], result.error[chosen], result.negative_share[chosen] = part

    with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="negspace-wd") as threads:
        list(threads.map(fill, range(0, len(varying), _CHUNK)))
    return result


def _chunk(
    sketch: Sketch,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    fraction_negative: NDArray[np.float64],
    mean_negative: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Distance, bound and negative share of neurons that vary."""
    grid, n = sketch.grid, sketch.tally("tokens").astype(np.float64)
    edges = (grid.edges() - mean[:, None]) / std[:, None]
    width = grid.step / std
    mass = sketch.counts() / n[:, None]
    below, above = sketch.tally("below") / n, sketch.tally("above") / n
    cdf = np.empty_like(edges)
    cdf[:, 0] = below
    np.cumsum(mass, axis=1, out=cdf[:, 1:])
    cdf[:, 1:] += below[:, None]
    single = sketch.counts() == 1
    phi = ndtr(edges)
    integral = _integral(edges, phi)
    area, doubt = _bins(cdf, phi, integral, mass, single, sketch.centres(), width)

    # Beyond the grid: the sums are about the pivot, in units.
    def beyond(edge: NDArray[np.float64], share: NDArray[np.float64], total: str) -> NDArray[np.float64]:
        placed = (share * (grid.pivot - mean) + sketch.sum(total) * grid.unit / n) / std
        return np.maximum(np.abs(edge * share - placed), 0.0)

    left = beyond(edges[:, 0], below, "below"), integral[:, 0]
    right = beyond(edges[:, -1], above, "above"), _integral(-edges[:, -1])
    left_area, right_area = np.abs(left[0] - left[1]), np.abs(right[0] - right[1])
    wd = area.sum(axis=1) + left_area + right_area
    error = doubt.sum(axis=1) + width / (2 << PART_BITS) + 2 * np.minimum(*left) + 2 * np.minimum(*right) + 1e-9

    # The part below zero: zero lies on an edge, or beyond the grid, where the negative tokens' count and sum tell.
    zero = -mean / std
    edge = np.rint(-grid.origin.astype(np.float64) / grid.step).astype(np.int64)
    running = np.cumsum(area, axis=1)
    inner = np.take_along_axis(running, np.clip(edge, 1, BINS)[:, None] - 1, axis=1)[:, 0]
    lower = left_area + np.where(edge > 0, inner, 0.0)
    negatives = np.nan_to_num(fraction_negative * mean_negative) / std  # the integral of F up to zero is minus this
    under = np.abs(-negatives - _integral(zero))
    over = np.abs(mean / std - negatives - _integral(-zero))
    lower = np.where(edge < 0, np.minimum(under, left_area), lower)
    lower = np.where(edge > BINS, wd - np.minimum(over, right_area), lower)
    return wd, error, np.clip(lower / np.where(wd > 0, wd, np.nan), 0.0, 1.0)


def _bins(
    cdf: NDArray[np.float64],
    phi: NDArray[np.float64],
    integral: NDArray[np.float64],
    mass: NDArray[np.float64],
    single: NDArray[np.bool_],
    centre: NDArray[np.float64],
    width: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integral of |F - Phi| over every bin, and how far it may be off."""
    h = width[:, None]
    area = np.abs((cdf[:, :-1] + mass * (1.0 - centre)) * h - np.diff(integral, axis=1))
    doubt = np.zeros_like(area)
    rows, at = np.nonzero((cdf[:, :-1] < phi[:, 1:]) & (cdf[:, 1:] > phi[:, :-1]))
    if len(rows) == 0:
        return area, doubt
    c, m, w = centre[rows, at], mass[rows, at], width[rows]
    neighbours = np.pad(mass, ((0, 0), (1, 1)))
    one = single[rows, at]
    alone = one | (m > 8 * np.minimum(neighbours[rows, at], neighbours[rows, at + 2]))
    near = np.minimum(c, 1.0 - c)
    spread = np.where(alone, 0.0, near)
    # F is level, rises over [c - spread, c + spread], and is level again; Phi is straight.
    low, high = cdf[rows, at], cdf[rows, at + 1]
    start, slope = phi[rows, at], phi[rows, at + 1] - phi[rows, at]
    first, last = c - spread, c + spread
    gap1, gap2 = low - (start + slope * first), high - (start + slope * last)
    total = _trapezium(low - start, gap1, first)
    total += _trapezium(gap1, gap2, last - first)
    total += _trapezium(gap2, high - (start + slope), 1.0 - last)
    area[rows, at] = total * w
    arrangement = np.where(alone, 2 * near * (1 - near), 2 * near * (1 - near) ** 2)
    doubt[rows, at] = np.where(one, 0.0, np.minimum(arrangement * m * w, w)) + w**3 / 49
    return area, doubt


def _trapezium(a: NDArray[np.float64], b: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral of |a line from a to b| over a length."""
    size = np.abs(a) + np.abs(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = (a * a + b * b) / size
    return 0.5 * length * np.where(a * b < 0, crossed, size)


def _density(t: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Density of the standard Gaussian."""
    return np.exp(-0.5 * np.square(t)) / np.sqrt(2 * np.pi)


def _integral(t: NDArray[np.float64], phi: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Integral of Phi up to t; phi is Phi(t), if already made."""
    return np.maximum(t * (ndtr(t) if phi is None else phi) + _density(t), 0.0)


def gaussian_negative_share(zero: ArrayLike) -> NDArray[np.float64]:
    """Negative share that a Gaussian neuron would have by the chance of its sample, for where its zero lies.

    The negative share grows with the part of the axis that is below zero, whatever the shape. A Gaussian's distance is
    all sampling noise: the empirical CDF of n standardised tokens is off at t by a Gaussian of variance v(t) / n,
    v = Phi (1 - Phi) - phi^2 (1 + t^2 / 2), mean and variance being estimated from the same tokens (Durbin 1973). The
    expected |F - Phi| is proportional to sqrt(v), so that its share below t0 is the integral of sqrt(v) up to t0 over
    that of all of it, for any n. A half for a zero at the mean.

    Args:
        zero: [...] standardised zeros, t0 = -mean / std; NaN stays NaN.

    Returns:
        [...] from 0 to 1.
    """
    t = np.linspace(-9, 9, 3601)
    v = ndtr(t) * ndtr(-t) - _density(t) ** 2 * (1 + t**2 / 2)
    below = cumulative_trapezoid(np.sqrt(np.maximum(v, 0.0)), t, initial=0)
    return np.asarray(np.interp(np.asarray(zero, np.float64), t, below / below[-1]), np.float64)


def negative_excess(negative_share: ArrayLike, mean: ArrayLike, std: ArrayLike) -> NDArray[np.float64]:
    """Negative share corrected for where zero lies: minus what a Gaussian of the same mean and deviation would have.

    Args:
        negative_share, mean, std: [neurons] of the pre-activations; a std of 0 gives NaN.

    Returns:
        [neurons] from -1 to 1, above 0 where more of the structure lies below zero than the place of zero explains.
    """
    share, centre, spread = (np.asarray(values, np.float64) for values in (negative_share, mean, std))
    zero = np.divide(-centre, spread, out=np.full(centre.shape, np.nan), where=spread > 0)
    return share - gaussian_negative_share(zero)

"""Over-representation of values in a mode, with intervals and tests.

Tokens of a text are not independent: a word comes again where it came before, a neuron stays in its mode over a
phrase, and what is frequent in one article is rare in the next. The unit of every interval and test here is the
passage. The null hypothesis is that which passage's labels stand beside which passage's modes makes no difference:
passages' sequences of modes are permuted as wholes, place by place, so that everything that holds within a sequence
stays as it is. What is compared is the excess over the mode's share in the same passage, so that a neuron that follows
a passage's topic is not taken to follow the words that are frequent there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_UNITS = 5  # fewest units of an interval, as of a mean (`significance.interval.FEWEST`)
PERMUTATIONS = 9999
"""Permutations of passages; no p-value is below one over one more than these."""
BLOCKS = 64
"""Most units of the permutation; of more passages, neighbours are taken together."""
FEWEST = 8
"""Tokens of a value below which it is left out, and passages (a quarter as many) that they must come from."""
ABSENT = -1
"""Stands for the mode or label of a token that has none."""


@dataclass(frozen=True, eq=False)
class Driven:
    """Association of values and modes; arrays are [values, modes] unless stated otherwise."""

    values: tuple[str, ...]
    """The values that were frequent enough, in order."""
    tokens: NDArray[np.int64]
    """[values] tokens of each that have a mode."""
    count: NDArray[np.int64]
    """Tokens of the value that fall in the mode."""
    base: NDArray[np.float64]
    """[modes] share of all tokens that fall in the mode."""
    lift: NDArray[np.float64]
    """Share of the value's tokens that fall in the mode, divided by `base`."""
    low: NDArray[np.float64]
    """Lower end of the lift's interval (bootstrap over passages, percentile)."""
    high: NDArray[np.float64]
    """Upper end."""
    excess: NDArray[np.float64]
    """What is tested: (T - E T) / `tokens`, a share. Its sign is the direction of the test; `lift` also holds what
    differs between passages, and can point the other way. NaN for a single passage."""
    p: NDArray[np.float64]
    """Two-sided permutation p-value; NaN where a mode holds no token, or all."""


def driven(
    modes: NDArray[np.int64],
    labels: NDArray[np.int64],
    names: Sequence[str],
    *,
    fewest: int = FEWEST,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Driven:
    """Test which values' tokens fall in which modes more, or less, often than others.

    With I the indicator that a token has the value and M that it is in the mode, and r_w the mode's share in passage w,
    the statistic is T = sum over tokens of I * (M - r_w). Under the null the modes (and r) of passage w are those of
    passage pi(w), for any permutation pi. E T is the exact mean over all of them, and
    p = (1 + permutations drawn with |T - E T| as large) / (1 + permutations drawn).

    Args:
        modes: int64 [passages, length] mode of each token, -1 where it has none (special tokens, tokens that did not
            reach the neuron's expert).
        labels: int64 [passages, length] number of each token's value in `names`, -1 without one.
        names: the values.
        fewest: values of fewer tokens, or in fewer than max(2, fewest // 4) passages, are left out.
        permutations: how many to draw.
        level: of the intervals.
        draws: bootstrap resamples of passages.
        seed: of permutations and resamples.
    """
    modes, labels = _blocks(modes), _blocks(labels)
    blocks, count_modes = len(modes), int(modes.max(initial=0)) + 1
    kept = _frequent(modes, labels, len(names), fewest)
    renumber = np.full(len(names) + 1, ABSENT)
    renumber[kept] = np.arange(len(kept))
    labels = renumber[labels]  # -1 takes the element put last
    size = len(kept), count_modes
    here = np.zeros((blocks, *size), np.int64)
    both = (labels >= 0) & (modes >= 0)
    np.add.at(here, (np.nonzero(both)[0], labels[both], modes[both]), 1)
    of_mode = np.stack([np.count_nonzero(modes == mode, axis=1) for mode in range(count_modes)], axis=1)
    total = max(1, int(of_mode.sum()))
    base, count, tokens = of_mode.sum(axis=0) / total, here.sum(axis=0), here.sum(axis=(0, 2))
    lift = _lift(count, tokens, base)
    rng = np.random.default_rng(seed)
    low, high = _interval(here, of_mode, level, draws, rng)
    p, beyond = _permute(modes, labels, of_mode, size, permutations, rng)
    p[:, (base == 0) | (base == 1)] = np.nan
    excess = beyond / tokens[:, None]
    return Driven(tuple(str(names[at]) for at in kept.tolist()), tokens, count, base, lift, low, high, excess, p)


def _blocks(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """[blocks, tokens of a block]: the passages, or equally many neighbours together, the last block filled up."""
    passages, length = table.shape
    together = -(-passages // BLOCKS)
    filled = np.full((-(-passages // together) * together, length), ABSENT, np.int64)
    filled[:passages] = table
    return filled.reshape(-1, together * length)


def _frequent(modes: NDArray[np.int64], labels: NDArray[np.int64], size: int, fewest: int) -> NDArray[np.int64]:
    """Values with enough tokens that have a mode, in enough passages."""
    counts = np.zeros((len(labels), size), np.int64)
    there = (labels >= 0) & (modes >= 0)
    np.add.at(counts, (np.nonzero(there)[0], labels[there]), 1)
    return np.flatnonzero((counts.sum(axis=0) >= fewest) & ((counts > 0).sum(axis=0) >= max(2, fewest // 4)))


def _lift(count: NDArray[np.int64], tokens: NDArray[np.int64], base: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return count / tokens[:, None] / base


def _interval(
    here: NDArray[np.int64], of_mode: NDArray[np.int64], level: float, draws: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the lifts' intervals; resamples without a token of a value do not count for it."""
    blocks, values, modes = here.shape
    times = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(np.float64)
    bases = times @ of_mode
    bases /= np.maximum(bases.sum(axis=1, keepdims=True), 1)
    low, high = np.full((values, modes), np.nan), np.full((values, modes), np.nan)
    ends = (1 - level) / 2, (1 + level) / 2
    for value in range(values):
        counts = times @ here[:, value]
        with np.errstate(divide="ignore", invalid="ignore"):
            lifts = counts / counts.sum(axis=1, keepdims=True) / bases
        for mode in range(modes):
            drawn = lifts[np.isfinite(lifts[:, mode]), mode]
            if len(drawn):
                low[value, mode], high[value, mode] = np.quantile(drawn, ends)
    return low, high


def _permute(
    modes: NDArray[np.int64],
    labels: NDArray[np.int64],
    of_mode: NDArray[np.int64],
    size: tuple[int, int],
    permutations: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Permutation p-values, and T - E T in tokens; [values, modes] each."""
    from negspace.stats.permute import as_large  # numba loads slowly and is needed here only

    blocks, (values, count_modes) = len(modes), size
    if blocks < 2 or values == 0:
        return np.full(size, np.nan), np.full(size, np.nan)
    share = of_mode / np.maximum(of_mode.sum(axis=1, keepdims=True), 1)
    # cost[w, v]: what the labels of passage w give together with the modes of passage v.
    cost = np.zeros((blocks, blocks, values, count_modes))
    for w in range(blocks):
        for v in range(blocks):
            there = (labels[w] >= 0) & (modes[v] >= 0)
            cost[w, v] = np.bincount(
                labels[w][there] * count_modes + modes[v][there], minlength=values * count_modes
            ).reshape(values, count_modes)
    cost -= cost.sum(axis=3, keepdims=True) * share[None, :, None, :]
    cost = cost.reshape(blocks, blocks, -1)
    mean = cost.sum(axis=(0, 1)) / blocks
    excess = np.einsum("wwc->c", cost) - mean
    orders = rng.permuted(np.broadcast_to(np.arange(blocks), (permutations, blocks)), axis=1)
    # Sums in another order differ in the last bits; what is equal must count as such.
    larger = as_large(cost, orders, mean, np.abs(excess) - 1e-9)
    return ((1 + larger) / (1 + permutations)).reshape(size), excess.reshape(size)


def driven_by_group(
    shares: NDArray[np.float64],
    groups: Sequence[str],
    *,
    permutations: int = PERMUTATIONS,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[tuple[str, ...], dict[str, NDArray[np.float64]]]:
    """Test which groups of units have larger shares: phenomena, whose units are paradigms of minimal pairs.

    A group's share is the mean over its units, the base the mean over all units. Groups of units are permuted; the
    interval is a bootstrap over the units of the group and over all; groups of fewer than 5 units have none, since a
    bootstrap of so few reaches no further than the least and the largest.

    Args:
        shares: [units, modes] share of each unit's tokens that fall in each mode.
        groups: [units] the group of each.

    Returns:
        Names of the groups in order; lift, low, high, excess (the share minus the base) and p as in `Driven`, each
        [groups, modes]. p is NaN for a single group, and for a mode that all units share alike.
    """
    names, group = np.unique(np.asarray(groups, str), return_inverse=True)
    size, modes = len(names), shares.shape[1]
    counts = np.bincount(group, minlength=size)
    base = shares.mean(axis=0)
    means = np.stack([shares[group == number].mean(axis=0) for number in range(size)])
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = means / base
    rng = np.random.default_rng(seed)
    low, high = np.full((size, modes), np.nan), np.full((size, modes), np.nan)
    bases = shares[rng.integers(len(shares), size=(draws, len(shares)))].mean(axis=1)
    for one in np.flatnonzero(counts >= _UNITS):
        mine = shares[group == one]
        drawn = mine[rng.integers(len(mine), size=(draws, len(mine)))].mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            lifts = drawn / bases
        for mode in range(modes):
            finite = lifts[np.isfinite(lifts[:, mode]), mode]
            if len(finite):
                low[one, mode], high[one, mode] = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    excess, p = means - base, np.full((size, modes), np.nan)
    if size > 1:
        member = (group == np.arange(size)[:, None]) / counts[:, None]
        observed = np.abs(excess) - 1e-12
        larger = np.zeros((size, modes), np.int64)
        for _ in range(permutations):
            larger += np.abs(member @ shares[rng.permutation(len(shares))] - base) >= observed
        p = (1 + larger) / (1 + permutations)
        p[:, np.ptp(shares, axis=0) == 0] = np.nan
    return tuple(names.tolist()), {"lift": lift, "low": low, "high": high, "excess": excess, "p": p}

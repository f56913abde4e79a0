"""Worlds in which studies are simulated item by item, with the answer known.

An item has a margin: what its group, and itself, contribute. An ablation takes something off it: its dose, which is
one number for each set of neurons; a deviation of its own in each phenomenon or task and in each paradigm; and noise.
A pair is right where its margin is above zero. An item of a task is right where its margin is, or else by guessing.

Under the null the top set's dose is drawn as those of random sets are, the control's is the same, and the deviations of
all sets come from one distribution. Then no set stands out from random ones, and neither grammar nor the tasks tell the
top set from its control but by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from negspace.significance.dissociation import Doses
from negspace.significance.nesting import Nesting
from negspace.significance.sides import Suite

BLIMP = (9, 8, 8, 7, 7, 7, 6, 5, 4, 2, 2, 2)
"""Paradigms in each of BLiMP's phenomena."""
TSE = (15, 4, 3)
"""Constructions in each of TSE's families."""
HALF = (3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1)
"""A smaller suite of twelve phenomena, as a demonstration's."""


@dataclass(frozen=True)
class World:
    """Properties of the items of a simulated study. Margins are in standard deviations of an item's own part."""

    blimp: tuple[int, ...] = HALF
    """Paradigms in each phenomenon."""
    pairs: int = 40
    """Pairs in each."""
    tse: tuple[int, ...] = ()
    """Constructions in each family; empty: no such suite."""
    tse_pairs: int = 40
    """Pairs in each."""
    tasks: int = 8
    """Tasks, the last `guessed` included."""
    items: int = 60
    """Items in each."""
    guessed: int = 0
    """Tasks at which the plain model guesses."""
    flat: int = 0
    """Paradigms at which the plain model is at chance."""
    choices: int = 4
    """Choices of a task's item."""
    grammar: float = 0.9
    """Mean margin of a paradigm."""
    other: float = 0.2
    """Mean margin of a task."""
    between: float = 0.5
    """Standard deviation of these means over paradigms and over tasks."""
    dose: float = 0.15
    """Mean over sets of what a set takes off every margin."""
    dose_sd: float = 0.05
    """Its standard deviation over sets; exponential, so that a few sets do much."""
    phenomenon_sd: float = 0.0
    """Standard deviation over phenomena (families) of a set's deviation."""
    own_sd: float = 0.15
    """The same over paradigms, constructions and tasks."""
    noise: float = 0.3
    """The same over items."""
    sets: int = 5
    """Random sets that are scored on everything."""
    text_sets: int = 20
    """Random sets that are scored on perplexity, those among them."""
    shares: int = 1
    """Shares, each with a top set, a control and random sets of its own."""
    windows: int = 64
    """Windows of text."""
    harsher: float = 0.0
    """Loss of every margin under the top set beyond the control, in grammar and tasks alike, at equal perplexity."""
    mismatch: float = 0.0
    """ln of the ratio of the control's perplexity to the top set's; the control's dose changes with it."""
    grammar_top: float = 0.0
    """Loss of grammar's margins under the top set beyond its dose: the effect to be found."""
    other_control: float = 0.0
    """Loss of the tasks' margins under the control beyond its dose."""

    def points_lost(self, dose: float, dose_sd: float, paradigms: int) -> float:
        """Accuracy on minimal pairs that an ablation costs, in a suite of so many paradigms, expected over all items.

        Args:
            dose: what it takes off a margin; the mean over sets, where it is of random sets.
            dose_sd: its standard deviation over sets; 0 for a single one.
        """
        doses = dose + dose_sd * (_EXPONENTIAL - 1)
        items = 1 + self.between**2
        moved = items + self.own_sd**2 + self.phenomenon_sd**2 + self.noise**2
        lost = ndtr(self.grammar / np.sqrt(items)) - _WEIGHTS @ ndtr((self.grammar - doses) / np.sqrt(moved))
        # A paradigm at chance has a mean margin of zero, and half of its pairs right.
        items, moved = items - self.between**2, moved - self.between**2
        flat = 0.5 - _WEIGHTS @ ndtr(-doses / np.sqrt(moved))
        return float(lost + self.flat / paradigms * (flat - lost))


@dataclass(frozen=True, eq=False)
class Drawn:
    """The outcomes of one share of one simulated study."""

    margins: Mapping[str, NDArray[np.float64]]
    """Suite -> [conditions, pairs] margins: plain, top, control, random sets that are scored on everything."""
    suites: Mapping[str, Suite]
    """blimp, tse (where the world has it) -> minimal pairs."""
    tasks: Suite
    """The tasks."""
    nll: NDArray[np.float64]
    """[conditions, windows] mean negative log-likelihoods: plain, top, control, random sets."""
    doses: Doses
    """Perplexities under top set and control."""
    windows: Nesting = field(repr=False)
    """Nesting of the windows."""
    taken: tuple[float, float]
    """What top set and control take off the margin of a minimal pair, expected over pairs."""


_EXPONENTIAL, _WEIGHTS = np.polynomial.laguerre.laggauss(20)
"""Nodes and weights of the mean over an exponential distribution."""
TOLERANCE = 0.01
"""Mismatch of perplexities that a simulated study accepts."""


def draw(world: World, rng: np.random.Generator) -> list[Drawn]:
    """One simulated study: its shares, on the same items and with the same plain model."""
    bases = {name: _base(world, sizes, pairs, world.grammar, rng) for name, sizes, pairs in _grammar(world)}
    task = np.repeat(np.arange(world.tasks), world.items)
    level = np.where(np.arange(world.tasks) < world.tasks - world.guessed, world.other, -99.0)
    at = level[task] + world.between * rng.standard_normal(world.tasks)[task] + rng.standard_normal(task.size)
    luck = rng.random(task.size)
    hard = 3 + 0.3 * rng.standard_normal(world.windows)
    return [_share(world, bases, task, at, luck, hard, rng) for _ in range(world.shares)]


def _grammar(world: World) -> list[tuple[str, tuple[int, ...], int]]:
    suites = [("blimp", world.blimp, world.pairs), ("tse", world.tse, world.tse_pairs)]
    return [suite for suite in suites if suite[1]]


def _base(
    world: World, sizes: tuple[int, ...], pairs: int, level: float, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Paradigm and phenomenon of each pair, and its margin under the plain model."""
    phenomenon = np.repeat(np.arange(len(sizes)), sizes)
    means = level + world.between * rng.standard_normal(phenomenon.size)
    if world.flat:
        means[rng.choice(phenomenon.size, world.flat, replace=False)] = 0.0
    paradigm = np.repeat(np.arange(phenomenon.size), pairs)
    return paradigm, phenomenon[paradigm], means[paradigm] + rng.standard_normal(paradigm.size)


def _share(
    world: World,
    bases: Mapping[str, tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]],
    task: NDArray[np.intp],
    at: NDArray[np.float64],
    luck: NDArray[np.float64],
    hard: NDArray[np.float64],
    rng: np.random.Generator,
) -> Drawn:
    # Exponential doses of a given mean and standard deviation: top set and random sets alike.
    doses = world.dose + world.dose_sd * (rng.exponential(size=1 + max(world.sets, world.text_sets)) - 1)
    dose = np.concatenate([doses[:1], doses[:1] * np.exp(world.mismatch), doses[1:]])
    grammar, other = dose[: 2 + world.sets].copy(), dose[: 2 + world.sets].copy()
    grammar[0] += world.harsher + world.grammar_top
    other[0] += world.harsher
    other[1] += world.other_control
    margins, suites = {}, {}
    for name, (paradigm, phenomenon, base) in bases.items():
        nest = Nesting.pairs if name == "blimp" else Nesting.constructions
        made = _ablated(world, base, paradigm, phenomenon, grammar, rng)
        margins[name] = made
        right = (made > 0).astype(np.float64)
        suites[name] = Suite(nest(paradigm, phenomenon), 0.5, right[0], right[1], right[2], right[3:])
    made = _ablated(world, at, task, None, other, rng)
    # Guesses are mostly the same under every condition, as a model's biases are.
    again = rng.random(made.shape) < 0.3
    guessed = np.where(again, rng.random(made.shape), luck) < 1 / world.choices
    right = ((made > 0) | guessed).astype(np.float64)
    tasks = Suite(Nesting.tasks(task), 1 / world.choices, right[0], right[1], right[2], right[3:])
    # A window's loss grows with the dose; windows differ in how much, and the more so the larger it is.
    each = rng.gamma(4.0, 0.25, (dose.size, world.windows))
    nll = np.vstack([hard, hard + np.maximum(dose, 0)[:, None] * each])
    top = float(nll[1].mean() - nll[0].mean())
    return Drawn(
        margins,
        suites,
        tasks,
        nll,
        Doses(top, top + world.mismatch, TOLERANCE),
        Nesting.windows(world.windows),
        (float(grammar[0]), float(grammar[1])),
    )


def _ablated(
    world: World,
    base: NDArray[np.float64],
    group: NDArray[np.intp],
    cluster: NDArray[np.intp] | None,
    dose: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Margins [conditions, items]: the plain model's first."""
    made = np.empty((1 + dose.size, base.size))
    made[0] = base
    for place, own in enumerate(dose, start=1):
        taken = own + world.own_sd * rng.standard_normal(int(group[-1]) + 1)[group]
        if cluster is not None and world.phenomenon_sd:
            taken += world.phenomenon_sd * rng.standard_normal(int(cluster[-1]) + 1)[cluster]
        made[place] = base - taken - world.noise * rng.standard_normal(base.size)
    return made

"""Studies simulated under the null: how often do the tests find what is not there?

A simulated item has a margin, the sum of what its paradigm or task, its words and itself contribute, and is right where
that is above zero. An ablation takes something off the margin: a part common to all items, one of its own in each
paradigm or task, one shared by items with the same words, and noise. Under the null the two ablations are drawn from
one distribution, so that neither differs from the other but by chance, in whatever family and whatever its baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from negspace.significance.interaction import Outcomes, interaction, interactions, together
from negspace.significance.interval import wilson
from negspace.significance.paired import compare_accuracy, compare_perplexity

ALPHA = 0.05
FAST: Mapping[str, int] = {"draws": 500, "flips": 1000}
"""Resamples of the interaction contrast: enough for rates, since a p-value of 0.05 is then known to within 0.01."""


@dataclass(frozen=True)
class World:
    """What the items of a simulated study are like. Margins are in standard deviations of an item's own part."""

    paradigms: int = 24
    """Paradigms of minimal pairs."""
    pairs: int = 40
    """Pairs in each."""
    tasks: int = 8
    """Tasks that are not about grammar."""
    items: int = 60
    """Items in each."""
    grammar: float = 0.8
    """Accuracy of the plain model on grammar, about."""
    other: float = 0.5
    """Accuracy of the plain model on the tasks, about."""
    between: float = 0.5
    """Standard deviation between paradigms and between tasks."""
    words: int = 1
    """Items that share words, one after the other; 1: none do."""
    effect: float = 0.15
    """What both ablations take off every margin."""
    own: float = 0.15
    """Standard deviation over paradigms and tasks of what an ablation takes off there."""
    noise: float = 0.3
    """Standard deviation over items, and over groups of words, of what an ablation takes off."""
    windows: int = 64
    """Windows of text for perplexity."""


WORLDS: Mapping[str, World] = {
    "alike": World(own=0.0),
    "paradigms and tasks differ": World(),
    "items share words": World(words=5),
    "near ceiling and near chance": World(grammar=0.97, other=0.3),
    "hardly any effect": World(effect=0.02, own=0.02, noise=0.05),
    "three tasks": World(tasks=3, items=150),
    "many pairs": World(paradigms=67, pairs=100, items=200),
}
"""Name -> a world in which nothing is to be found."""


@dataclass(frozen=True)
class Rate:
    """How often a test rejected in simulated studies in which there was nothing to find."""

    test: str
    """The test."""
    world: str
    """The world."""
    nominal: float
    """Its level."""
    rejected: int
    """Studies in which it rejected."""
    studies: int
    """Studies in which it could be made."""
    allowed: bool = True
    """Whether the world is one that the test allows for; where not, its rate is shown and not held against it."""

    @property
    def rate(self) -> float:
        """Share of studies in which it rejected."""
        return self.rejected / self.studies if self.studies else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the rate."""
        made = wilson(self.rejected, self.studies)
        return made.low, made.high

    @property
    def too_often(self) -> bool:
        """Whether the rate is above the level by more than chance, that is, its interval lies above it."""
        return self.allowed and self.interval[0] > self.nominal


def family(world: World, grammar: bool, rng: np.random.Generator) -> Outcomes:
    """One family of items of a world, under the plain model, the ablation and the control."""
    groups, size, accuracy = (
        (world.paradigms, world.pairs, world.grammar) if grammar else (world.tasks, world.items, world.other)
    )
    group = np.repeat(np.arange(groups), size)
    words = np.arange(group.size) // world.words
    spread = np.hypot(1.0, world.between)
    level = stats.norm.ppf(accuracy) * spread
    margin = level + world.between * rng.standard_normal(groups)[group]
    margin += _mixed(words, 1.0, rng)

    def under() -> NDArray[np.float64]:
        taken = world.effect + world.own * rng.standard_normal(groups)[group] + _mixed(words, world.noise, rng)
        return (margin > taken).astype(np.float64)

    baseline = (margin > 0).astype(np.float64)
    return Outcomes(group, baseline, under(), under())


def _mixed(words: NDArray[np.intp], sd: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """One value an item, half of its variance shared by the items with its words."""
    shared = rng.standard_normal(int(words[-1]) + 1)[words]
    return sd * np.sqrt(0.5) * (shared + rng.standard_normal(words.size))


def _one_contrast(world: World, rng: np.random.Generator) -> dict[str, float]:
    made = interaction(family(world, True, rng), family(world, False, rng), seed=_seed(rng), **FAST)
    return {
        "double dissociation: verdict": made.p,
        "double dissociation: interval alone": made.p_bootstrap,
        "double dissociation: crossover": 0.0 if made.crossover else 1.0,
    }


def _several_contrasts(world: World, rng: np.random.Generator) -> dict[str, float]:
    """Two suites at two shares, judged together; the smallest corrected p-value counts."""
    made = {}
    for share in range(2):
        other = family(world, False, rng)
        for suite in range(2):
            kind = world if suite == 0 else replace(world, paradigms=max(2, world.paradigms // 2))
            made[f"{share} {suite}"] = interaction(family(kind, True, rng), other, seed=_seed(rng), **FAST)
    return {
        "double dissociation: any of two suites at two shares": min(one.p_adjusted for one in together(made).values())
    }


def _by_task(world: World, rng: np.random.Generator) -> dict[str, float]:
    """Grammar against each task by itself; the smallest corrected p-value counts.

    Such a verdict holds for that task only, so what an ablation does to a task of its own would be a finding.
    """
    grammar, other = family(world, True, rng), family(replace(world, own=0.0), False, rng)
    each = {}
    for task in range(world.tasks):
        own = np.asarray(other.groups) == task
        before, ablated, controlled = (np.asarray(v)[own] for v in (other.baseline, other.ablation, other.control))
        each[str(task)] = Outcomes(np.zeros(before.size), before, ablated, controlled)
    made = interactions(grammar, each, seed=_seed(rng), **FAST)
    return {"double dissociation: any of the tasks": min(one.p_adjusted for one in made.values())}


def _accuracies(world: World, rng: np.random.Generator) -> dict[str, float]:
    f = family(world, True, rng)
    made = compare_accuracy(f.control, f.ablation, f.groups, seed=_seed(rng))
    excluded = not made.change.spans_zero
    return {
        # What is called a drop or a rise is one by both.
        "accuracy: interval and McNemar": made.p if excluded else 1.0,
        "accuracy: interval alone": 0.0 if excluded else 1.0,
        "accuracy: McNemar alone": made.p,
        "accuracy: sign flips of paradigms": made.p_paradigms,
    }


def _perplexities(world: World, rng: np.random.Generator) -> dict[str, float]:
    """Windows of a text, each with a difficulty of its own, and skewed changes."""
    hard = 3 + 0.3 * rng.standard_normal(world.windows)
    one, two = (hard + world.effect + world.noise * rng.gamma(2.0, 0.1, world.windows) for _ in range(2))
    made = compare_perplexity(one, two, seed=_seed(rng))
    return {
        "perplexity: sign flips of windows": made.p,
        "perplexity: interval": 0.0 if made.ratio.low > 1 or made.ratio.high < 1 else 1.0,
    }


INDEPENDENT: Mapping[str, Callable[[World], bool]] = {
    "accuracy: McNemar alone": lambda world: world.words == 1 and world.own == 0,
    "double dissociation: any of the tasks": lambda world: world.words == 1,
}
"""Tests that take items as independent -> whether they are, in a world. No outcome is called a drop or a rise by
McNemar's test alone; what is said of grammar against a single task rests on that task's items being independent."""


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


PROCEDURES: Sequence[Callable[[World, np.random.Generator], dict[str, float]]] = (
    _one_contrast,
    _several_contrasts,
    _by_task,
    _accuracies,
    _perplexities,
)
"""Each simulates one study of a world and returns p-values by the name of the test, NaN where one cannot be made."""


def rates(
    world: str, studies: int = 500, *, seed: int = 0, alpha: float = ALPHA, procedures: Sequence[int] | None = None
) -> list[Rate]:
    """How often the tests reject in a world of WORLDS.

    Args:
        studies: how many to simulate, by each procedure.
        seed: of the simulation.
        alpha: level of the tests.
        procedures: which of PROCEDURES, by their places; all if None.
    """
    made = []
    for place in range(len(PROCEDURES)) if procedures is None else procedures:
        rng = np.random.default_rng([seed, place, list(WORLDS).index(world)])
        found = [PROCEDURES[place](WORLDS[world], rng) for _ in range(studies)]
        for test in found[0]:
            p = np.array([one[test] for one in found])
            p = p[np.isfinite(p)]
            allowed = test not in INDEPENDENT or INDEPENDENT[test](WORLDS[world])
            made.append(Rate(test, world, alpha, int(np.count_nonzero(p <= alpha)), p.size, allowed))
    return made

"""Rates of false and true findings: simulated studies passed through the rule itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from negspace.significance.contrast import Contrast, Margin, compare
from negspace.significance.dissociation import Dissociation, dissociate
from negspace.significance.family import judge_together
from negspace.significance.interval import wilson
from negspace.significance.sets import compare_sets, compare_with_sets
from negspace.significance.worlds import BLIMP, TSE, Drawn, World, draw

ALPHA = 0.05
Claims = dict[tuple[int, str], Contrast | Dissociation]
"""(share, name) -> what a study says in its headline."""


def study(shares: list[Drawn], alpha: float = ALPHA) -> Claims:
    """All that a study says in its headline, judged together: every share, suite and score.

    Names: "blimp vs control", "blimp vs sets", "blimp margins vs control", "perplexity vs sets", "blimp intact under
    sets", "blimp dissociation", and the same for tse.
    """
    claims: Claims = {}
    for share, scores in enumerate(shares):
        claims[share, "perplexity vs sets"] = compare_with_sets(
            scores.nll[1], scores.nll[3:], scores.windows, scale="log ratio", alpha=alpha
        )
        for name, suite in scores.suites.items():
            margins, nest = scores.margins[name], suite.nesting
            right = (margins > 0).astype(np.float64)
            claims[share, f"{name} vs control"] = compare(right[1], right[2], nest, scale="points", alpha=alpha)
            claims[share, f"{name} vs sets"] = compare_with_sets(right[1], right[3:], nest, scale="points", alpha=alpha)
            claims[share, f"{name} margins vs control"] = compare(
                margins[1], margins[2], nest, scale="nats", alpha=alpha
            )
            margin = Margin(share=0.25, of=right[1] - right[0])
            claims[share, f"{name} intact under sets"] = compare_sets(
                right[3:], right[0], nest, scale="points", alpha=alpha, margin=margin
            )
            claims[share, f"{name} dissociation"] = dissociate(suite, scores.tasks, scores.doses, alpha=alpha)
    return judge_together(claims)


def findings(claims: Claims) -> dict[str, frozenset[str]]:
    """Name -> findings or verdicts at all shares."""
    said: dict[str, frozenset[str]] = {}
    for (_, name), claim in claims.items():
        finding = claim.verdict if isinstance(claim, Dissociation) else claim.finding
        said[name] = said.get(name, frozenset()) | {finding}
    return said


NULL = {"harm", "gain", "established", "interaction only", "reversed"}
"""Sentences that are false if nothing differs."""


@dataclass(frozen=True)
class Case:
    """A world with what a study must not say in it, or should."""

    world: World
    """The world."""
    false: Mapping[str, frozenset[str]]
    """Part of a claim's name -> findings that would be false."""
    true: Mapping[str, frozenset[str]]
    """Part of a claim's name -> findings that would be right: the share of studies with them is the power."""


def _null(world: World) -> Case:
    # Random sets lose what the top set does, which is another of them.
    return Case(world, {" vs ": frozenset(NULL), "dissociation": frozenset(NULL), "intact": frozenset(_INTACT)}, {})


_INTACT = {"equivalent"}


_CROSSED = frozenset({"established"})
_NOT_CROSSED = frozenset({"established", "reversed"})
_FULL = World(blimp=BLIMP, pairs=100, tse=TSE, tse_pairs=50, items=200)
_PAPER: Mapping[str, Any] = {"dose": 0.1, "grammar_top": 0.3, "other_control": 0.3, "phenomenon_sd": 0.15}
CASES: Mapping[str, Case] = {
    "nothing differs": _null(World()),
    "phenomena, sd 0.15": _null(World(phenomenon_sd=0.15)),
    "phenomena, sd 0.3": _null(World(phenomenon_sd=0.3)),
    "phenomena, sd 0.3, many pairs": _null(World(blimp=BLIMP, pairs=100, phenomenon_sd=0.3, items=200)),
    "floors": _null(World(guessed=3, flat=6, phenomenon_sd=0.15)),
    "two shares": _null(World(shares=2, phenomenon_sd=0.15)),
    "two shares, twenty sets": _null(World(shares=2, phenomenon_sd=0.15, sets=20)),
    "sets differ much": _null(World(phenomenon_sd=0.15, dose_sd=0.14, sets=20)),
    "near ceiling": _null(World(grammar=2.0, other=-0.5, phenomenon_sd=0.15)),
    "three tasks": _null(World(tasks=3, items=150, phenomenon_sd=0.15)),
    "two suites at two shares": _null(World(tse=TSE, shares=2)),
    "doses differ": Case(World(mismatch=0.5, guessed=3, phenomenon_sd=0.15), {"dissociation": frozenset(NULL)}, {}),
    "harsher top, tasks at chance": Case(
        World(harsher=0.6, guessed=4, phenomenon_sd=0.15), {"dissociation": _NOT_CROSSED}, {}
    ),
    "one side only": Case(World(grammar_top=0.5, phenomenon_sd=0.15), {"dissociation": _NOT_CROSSED}, {}),
    "effect of the paper's size, demonstration": Case(World(**_PAPER), {}, {"dissociation": _CROSSED}),
    "effect of the paper's size, real model": Case(replace(_FULL, tse=(), **_PAPER), {}, {"dissociation": _CROSSED}),
    # A case's place in this table is part of its seed: new ones go to the end.
    "five shares, sets differ much": _null(World(shares=5, phenomenon_sd=0.15, dose_sd=0.14, sets=20)),
    "some effects nil, some at the margin": Case(
        World(shares=2, blimp=BLIMP, pairs=100, dose=0.075, dose_sd=0.02, grammar_top=0.3, sets=20),
        {"perplexity": frozenset(NULL), "intact": frozenset(_INTACT)},
        {},
    ),
}
"""Name -> a world and what is false or true in it."""


@dataclass(frozen=True)
class Rate:
    """The rate at which simulated studies printed a sentence."""

    case: str
    """Name of the case."""
    claim: str
    """Claim, or "any false sentence"."""
    kind: str
    """"false" or "power"."""
    said: int
    """Studies that said it."""
    studies: int
    """Studies simulated."""
    nominal: float
    """Level of the tests."""

    @property
    def rate(self) -> float:
        """Share of studies."""
        return self.said / self.studies

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the rate."""
        made = wilson(self.said, self.studies)
        return made.low, made.high

    @property
    def too_often(self) -> bool:
        """True if false sentences are more frequent than the level allows, beyond chance."""
        return self.kind == "false" and self.interval[0] > self.nominal


def calibrate(
    case: str,
    studies: int = 500,
    *,
    seed: int = 0,
    alpha: float = ALPHA,
    judge: Callable[[list[Drawn], float], Mapping[str, Collection[str]]] | None = None,
) -> list[Rate]:
    """Simulate studies of a case of CASES and count what they say.

    Args:
        studies: how many.
        seed: of the simulation.
        alpha: level of the tests.
        judge: from a study's outcomes to claim -> findings at all shares; `study` and `findings` if None.

    Returns:
        A rate for every claim that could be false or true, and one for any false sentence.
    """
    about, judge = CASES[case], judge or (lambda drawn, level: findings(study(drawn, level)))
    rng = np.random.default_rng([seed, list(CASES).index(case)])
    counts: dict[tuple[str, str], int] = {}
    for _ in range(studies):
        said = judge(draw(about.world, rng), alpha)
        wrong = False
        for name, found in said.items():
            for kind, table in (("false", about.false), ("power", about.true)):
                for part, what in table.items():
                    if part in name:
                        hit = not what.isdisjoint(found)
                        counts[name, kind] = counts.get((name, kind), 0) + hit
                        wrong |= hit and kind == "false"
        if about.false:
            counts["any false sentence", "false"] = counts.get(("any false sentence", "false"), 0) + wrong
    return [Rate(case, name, kind, said, studies, alpha) for (name, kind), said in counts.items()]


def all_rates(studies: int = 500, *, seed: int = 0) -> Iterator[Rate]:
    """Rates of every case."""
    for case in CASES:
        yield from calibrate(case, studies, seed=seed)

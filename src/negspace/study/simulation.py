"""Rates of false and true findings: simulated studies passed through what makes and judges the main study's contrasts.

Of every sentence that a study can print, `false_sentences` says what would be false in a world. A claim without a truth
is an error, so that a contrast added to the main study must be given one here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from scipy import stats

from negspace.analyses.ablation.contrasts import judged
from negspace.experiment.book import Book
from negspace.experiment.condition import BASELINE, NEAREST, RANDOM, Condition
from negspace.experiment.config import Study
from negspace.experiment.effects import Effects, Entry
from negspace.experiment.scored import Scored
from negspace.runs.cell import Record
from negspace.score.pairs import GUESS
from negspace.significance import Contrast, Dissociation, dissociate
from negspace.significance.correction import correct
from negspace.significance.interval import wilson
from negspace.study.worlds import BLIMP, TSE, Drawn, World, draw

ALPHA, SIZE, SHARE = (Study.model_fields[name].default for name in ("alpha", "margin", "margin_share"))
"""Level and margins of equivalence of a simulated study: a study's own by default."""
Claims = dict[tuple[int, str], Contrast | Dissociation]
"""(share, name) -> what a study says in its headline."""
ANY = "any false sentence"
"""Name of the claim that counts studies with a false sentence of any kind."""


def study(drawn: list[Drawn], alpha: float = ALPHA) -> Claims:
    """All that a main study says in its headline, judged together: every share, suite, score, scale and control.

    Names: "SCORE SET vs REFERENCE", of margins "SCORE margins SET vs REFERENCE", and "SUITE dissociation", as in
    "blimp margins top vs random".
    """
    shares = [float(place) for place in range(len(drawn))]
    records: dict[str, Record] = {}
    book = Book({"alpha": alpha, "margin": SIZE, "margin_share": SHARE, "shares": shares}, {}, {}, records.__getitem__)
    effects = Effects(book, ["perplexity", *drawn[0].suites])
    plain = _scores(drawn[0], 0)
    entries = [Entry(Condition(name=BASELINE), plain, plain)]
    for share, own in zip(shares, drawn, strict=True):
        roles = ["top", "matched" if own.doses.equal else NEAREST, *[RANDOM] * (len(own.nll) - 3)]
        entries += [
            Entry(Condition(name=role, role=role, share=share, seed=place), _scores(own, place), plain)
            for place, role in enumerate(roles, start=1)
        ]
    alone = {
        (share, name): dissociate(suite, own.tasks, own.doses, alpha=alpha)
        for share, own in zip(shares, drawn, strict=True)
        for name, suite in own.suites.items()
    }
    contrasts, dissociations = judged(effects, entries, alone)
    claims: Claims = {(int(share), f"{name} dissociation"): found for (share, name), found in dissociations.items()}
    for row, scales in contrasts:
        for scale, claim in scales.items():
            score = f"{row['score']} margins" if scale == "nats" else row["score"]
            claims[int(row["share"]), f"{score} {row['set']} vs {row['against']}"] = claim
    return claims


def _scores(drawn: Drawn, place: int) -> dict[str, Scored]:
    """The scores of a condition by its place; random sets beyond those scored on everything have perplexity alone."""
    none = np.empty(0, dtype=object)
    made = {"perplexity": Scored("perplexity", drawn.nll[place], None, drawn.windows, none)}
    for name, suite in drawn.suites.items():
        if place < len(drawn.margins[name]):
            margins = drawn.margins[name][place]
            made[name] = Scored(name, (margins > 0).astype(np.float64), margins, suite.nesting, none, GUESS)
    return made


def said(claim: Contrast | Dissociation) -> frozenset[str]:
    """What a claim says: its finding; or its verdict, direction and the side that carries it."""
    if isinstance(claim, Contrast):
        return frozenset({claim.finding})
    return frozenset({claim.verdict, claim.direction, f"carried by {claim.carried_by}"})


def false_sentences(world: World, drawn: Drawn) -> dict[str, frozenset[str]]:
    """Name of a claim -> what would be false of one share of a study in its world.

    Every ablation costs something, so that no gain against the plain model is true. Top set and random sets are drawn
    alike but for what the world takes off beyond the dose, and so are top set and control.
    """
    beyond = world.harsher + world.grammar_top > 0
    nil, worse = frozenset({"harm", "gain"}), frozenset({"gain"})
    made = {f"perplexity {name} vs plain": worse for name in ("top", "matched", "random")}
    made["perplexity top vs random"] = nil
    top, control = drawn.taken
    for suite, items in drawn.suites.items():
        paradigms = len(items.nesting.labels)
        points, *lost_points = (
            world.points_lost(dose, sd, paradigms)
            for dose, sd in ((top, 0.0), (control, 0.0), (world.dose, world.dose_sd))
        )
        for score, margin, lost in (
            (suite, min(SIZE, SHARE * points), lost_points),
            (f"{suite} margins", SHARE * top, [control, world.dose]),
        ):
            made[f"{score} top vs plain"] = worse
            made |= {f"{score} top vs {other}": worse if beyond else nil for other in ("random", "matched")}
            for name, loss in zip(("matched", "random"), lost, strict=True):
                within = loss < margin - _ROUNDING
                made[f"{score} {name} vs plain"] = worse if within else worse | {"equivalent"}
        made[f"{suite} dissociation"] = _false_verdicts(world)
    return made


_ROUNDING = 1e-9
"""A loss nearer than this to its margin is at it."""


def _false_verdicts(world: World) -> frozenset[str]:
    grammar = world.harsher + world.grammar_top > 0
    other = world.other_control - world.harsher
    false = {"reversed"}
    if not (grammar and other > 0):
        false.add("established")
    if world.mismatch or not (grammar or other):
        false.add("interaction only")
    if not world.harsher:
        # What is harsher on everything may cost tasks more points, which then goes against the claim.
        false.add("against the claim")
    carried = {"grammar": grammar, "other": bool(other), "both": grammar and bool(other)}
    return frozenset(false | {f"carried by {side}" for side, true in carried.items() if not true})


def _right(world: World) -> dict[str, str]:
    """Name of a claim -> what is right of it, where the world has the whole effect: its rate is the power."""
    if not (world.grammar_top and world.other_control):
        return {}
    suites = ["blimp", *["tse"] * bool(world.tse)]
    each = product(suites, ("", " margins"), ("random", "matched"))
    contrasts = {f"{suite}{scale} top vs {other}": "harm" for suite, scale, other in each}
    return {f"{suite} dissociation": "established" for suite in suites} | contrasts


_FULL = World(blimp=BLIMP, pairs=100, items=200)
_PAPER: Mapping[str, Any] = {"dose": 0.1, "grammar_top": 0.3, "other_control": 0.3, "phenomenon_sd": 0.15}
CASES: Mapping[str, World] = {
    "nothing differs": World(),
    "phenomena, sd 0.15": World(phenomenon_sd=0.15),
    "phenomena, sd 0.3": World(phenomenon_sd=0.3),
    "phenomena, sd 0.3, many pairs": replace(_FULL, phenomenon_sd=0.3),
    "floors": World(guessed=3, flat=6, phenomenon_sd=0.15),
    "two shares": World(shares=2, phenomenon_sd=0.15),
    "two shares, twenty sets": World(shares=2, phenomenon_sd=0.15, sets=20),
    "sets differ much": World(phenomenon_sd=0.15, dose_sd=0.14, sets=20),
    "near ceiling": World(grammar=2.0, other=-0.5, phenomenon_sd=0.15),
    "three tasks": World(tasks=3, items=150, phenomenon_sd=0.15),
    "two suites at two shares": World(tse=TSE, shares=2),
    "doses differ": World(mismatch=0.5, guessed=3, phenomenon_sd=0.15),
    "harsher top, tasks at chance": World(harsher=0.6, guessed=4, phenomenon_sd=0.15),
    "one side only": World(grammar_top=0.5, phenomenon_sd=0.15),
    "effect of the paper's size, demonstration": World(**_PAPER),
    "effect of the paper's size, real model": replace(_FULL, **_PAPER),
    # A case's place in this table is part of its seed: new ones go to the end.
    "five shares, sets differ much": World(shares=5, phenomenon_sd=0.15, dose_sd=0.14, sets=20),
    # The controls take about a quarter of the top set's loss of margins, and about one point of accuracy.
    "some effects nil, some at the margin": replace(
        _FULL, shares=2, dose=0.034, dose_sd=0.01, grammar_top=0.102, own_sd=0.05, noise=0.1, sets=20
    ),
}
"""Name -> a world."""


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


def too_often(rates: Sequence[Rate], alpha: float = ALPHA) -> list[Rate]:
    """Worlds in which studies with any false sentence are shown to be more frequent than the level allows.

    By exact binomial tests, corrected over the worlds (Holm): of eighteen that are right at their level, one in three
    simulations would show an interval above it.
    """
    worlds = [rate for rate in rates if rate.claim == ANY]
    found = correct([stats.binom.sf(rate.said - 1, rate.studies, rate.nominal) for rate in worlds], alpha=alpha)
    return [rate for rate, rejected in zip(worlds, found.rejected, strict=True) if rejected]


def calibrate(case: str, studies: int = 500, *, seed: int = 0, alpha: float = ALPHA) -> list[Rate]:
    """Simulate studies of a case of CASES and count what they say.

    Args:
        case: its name.
        studies: how many.
        seed: of the simulation.
        alpha: level of the tests.

    Returns:
        A rate for every claim that could be false, one for any of them, and one for every claim sought.
    """
    world, right = CASES[case], _right(CASES[case])
    rng = np.random.default_rng([seed, list(CASES).index(case)])
    counts: dict[tuple[str, str], int] = {}
    for _ in range(studies):
        drawn = draw(world, rng)
        false = [false_sentences(world, share) for share in drawn]
        hits: dict[tuple[str, str], bool] = {(ANY, "false"): False}
        for (share, name), claim in study(drawn, alpha).items():
            wrong = not said(claim).isdisjoint(false[share][name])
            hits[name, "false"] = hits.get((name, "false"), False) or wrong
            hits[ANY, "false"] |= wrong
            if name in right:
                hits[name, "power"] = right[name] in said(claim)
        for key, hit in hits.items():
            counts[key] = counts.get(key, 0) + hit
    return [Rate(case, name, kind, count, studies, alpha) for (name, kind), count in counts.items()]

"""Judging several contrasts together: Holm's correction over all that a study tests, and ranks among random sets."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from negspace.significance.contrast import Contrast, Sets, adjusted, conclude
from negspace.significance.correction import correct
from negspace.significance.dissociation import Dissociation, judged
from negspace.significance.sets import rank_p, sets_for, too_few

Key = TypeVar("Key", bound=Hashable)


def judge_together(
    claims: Mapping[Key, Contrast | Dissociation], conditions: Mapping[Key, Hashable] | None = None
) -> dict[Key, Contrast | Dissociation]:
    """The same contrasts and dissociations with p-values corrected over all, and what they then bear.

    Give all that a study says in its headline at once: shares, suites, scores and controls together. A table by
    phenomenon or by task is a family of its own. What cannot be judged does not count.

    Three families of hypotheses are corrected by Holm's method, each over all claims: that nothing differs (contrasts
    and interactions); that a change is as large as its margin (equivalence); and that two sides do not cross over.
    Where each test keeps its level, the share of studies with any false sentence of one family stays at alpha. Of one
    claim at most one is true: no change is both nil and as large as its margin (where the top set loses nothing, a
    share of its loss is no margin), and where an interaction is real, at most one side is nil. So where all claims are
    of one kind, all sentences together stay at alpha; in a study of both kinds, some nil and some exactly at their
    margin, they may reach twice that. One correction over all of them (Shaffer 1986) would not, but finds a
    dissociation of the paper's size in 28% of simulated studies, instead of 33%.

    Contrasts with random sets whose differing makes most of the error need ranks besides (`rank_p`), since t may not
    keep it: the largest p-value counts. Ranks are corrected over all contrasts of one condition with its sets, and
    multiplied by the conditions, since those may be compared with the same sets. By ranks alone, any of these contrasts
    is false in alpha of studies at most, however skewed the sets; the others' share comes on top where t is too bold.

    Args:
        claims: name -> contrast or dissociation, as first judged; those of another call are corrected anew.
        conditions: name -> which condition is compared with random sets, where there are several. The top set at
            several shares is one, since random sets are drawn at each of them.

    Returns:
        Contrasts that need ranks "cannot be judged" where the sets are too few for as many conditions.
    """
    differ = {key: claim.p if isinstance(claim, Dissociation) else _test(claim) for key, claim in claims.items()}
    equal = {key: claim.p_equivalent for key, claim in claims.items() if isinstance(claim, Contrast)}
    cross = differ | {key: claim.p_cross for key, claim in claims.items() if isinstance(claim, Dissociation)}
    p, p_equal, p_cross = (_holm(family) for family in (differ, equal, cross))
    tests = sum(value == value for value in differ.values())
    ranked, several = _ranked(claims, conditions or {})
    made: dict[Key, Contrast | Dissociation] = {}
    for key, claim in claims.items():
        if isinstance(claim, Dissociation):
            made[key] = judged(claim, p[key], p_cross[key], tests)
        elif (sets := _ranks(claim)) and (few := too_few(sets.sets, sets_for(claim.alpha, several), several)):
            made[key] = conclude(few, claim.scale, claim.alpha)
        else:
            made[key] = adjusted(claim, max(p[key], ranked.get(key, p[key]), claim.p), p_equal[key])
    return made


def correct_rows(p: ArrayLike, contrasts: Mapping[int, Contrast]) -> NDArray[np.float64]:
    """Corrected p-values of a table's rows, of which some are contrasts of one condition with random sets [rows].

    Args:
        p: [rows] their own p-values; NaN where nothing was tested.
        contrasts: row -> contrast with random sets, whose t-tests are corrected with the rest, and ranks by themselves.
    """
    raw = np.array(p, np.float64)
    for row, claim in contrasts.items():
        raw[row] = _test(claim)
    made = correct(raw).p
    for row, ranked in _ranked(contrasts, {})[0].items():
        made[row] = max(made[row], ranked, contrasts[row].p)
    return made


def _holm(family: Mapping[Key, float]) -> dict[Key, float]:
    if not family:
        return {}
    return dict(zip(family, correct(list(family.values())).p.tolist(), strict=True))


def _test(claim: Contrast) -> float:
    """The p-value of a contrast that Holm's method corrects: without ranks, where these are corrected by themselves."""
    sets = _ranks(claim)
    return sets.p if sets else claim.p


def _ranks(claim: Contrast | Dissociation) -> Sets | None:
    """The random sets whose ranks a claim needs."""
    if isinstance(claim, Dissociation) or claim.reason or claim.sets is None or not claim.sets.dominant:
        return None
    return claim.sets


def _ranked(
    claims: Mapping[Key, Contrast] | Mapping[Key, Contrast | Dissociation], conditions: Mapping[Key, Hashable]
) -> tuple[dict[Key, float], int]:
    """p-values by ranks of the contrasts that need them, and how many conditions they are of."""
    groups: dict[Hashable, dict[Key, Contrast]] = {}
    for key, claim in claims.items():
        if isinstance(claim, Contrast) and _ranks(claim):
            groups.setdefault(conditions.get(key), {})[key] = claim
    made: dict[Key, float] = {}
    for group in groups.values():
        p = rank_p([claim.estimate for claim in group.values()], [c.sets.means for c in group.values() if c.sets])
        made |= zip(group, np.minimum(1, len(groups) * p).tolist(), strict=True)
    return made, len(groups)

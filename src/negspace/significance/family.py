"""Judging several contrasts together: Holm's correction over all that a study tests."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from negspace.significance.contrast import Contrast, adjusted
from negspace.significance.correction import correct
from negspace.significance.dissociation import Dissociation, judged

Key = TypeVar("Key", bound=Hashable)


def judge_together(claims: Mapping[Key, Contrast | Dissociation]) -> dict[Key, Contrast | Dissociation]:
    """The same contrasts and dissociations with p-values corrected by Holm's method over all, and what they then bear.

    Give all that a study says in its headline at once: shares, suites, scores and controls together. A table by
    phenomenon or by task is a family of its own. What cannot be judged does not count.

    Three families of hypotheses are corrected, each over all claims: that nothing differs (contrasts and interactions);
    that a change is as large as its margin (equivalence); and that two sides do not cross over. The share of studies
    with any false sentence of one family stays at alpha. Of one claim at most one is true: no change is both nil and as
    large as its margin, and where an interaction is real, at most one side is nil. So where all claims are of one kind,
    all sentences together stay at alpha; in a study of both kinds, some nil and some exactly at their margin, they may
    reach twice that.

    Args:
        claims: name -> contrast or dissociation, as first judged; those of another call are corrected anew.
    """
    differ = {key: claim.p for key, claim in claims.items()}
    equal = {key: claim.p_equivalent for key, claim in claims.items() if isinstance(claim, Contrast)}
    cross = {key: claim.p_cross if isinstance(claim, Dissociation) else claim.p for key, claim in claims.items()}
    p, p_equal, p_cross = (_holm(family) for family in (differ, equal, cross))
    tests = sum(value == value for value in differ.values())
    return {
        key: judged(claim, p[key], p_cross[key], tests)
        if isinstance(claim, Dissociation)
        else adjusted(claim, p[key], p_equal[key])
        for key, claim in claims.items()
    }


def _holm(family: Mapping[Key, float]) -> dict[Key, float]:
    if not family:
        return {}
    return dict(zip(family, (float(p) for p in correct(list(family.values()), "holm").p), strict=True))

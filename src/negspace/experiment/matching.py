"""The main study's perplexity-matched set for a share, searched through the same cells: what is recorded is read."""

from __future__ import annotations

from dataclasses import replace

from negspace.controls import Match, Trial, find_share
from negspace.experiment.effects import percent
from negspace.experiment.lab import PLAIN, Change, Lab
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.select import share as exact_share

SEARCH = 4
"""Evaluations that a search takes, about; for estimates only."""


def matched_set(lab: Lab, share: float) -> Match:
    """The low-ranked set that does the damage to perplexity which the top set of a share does; see `find_share`.

    A study of several shares searches one after the other, each helped by the trials before it. The same is done here
    up to the share asked for, so that both find the same set, from the same records.
    """
    known: list[Trial] = []
    order = list(lab.study.shares)
    for earlier in order[: order.index(share)] if share in order else ():
        trail = _search(lab, earlier, known).trail
        known = list({trial.share: trial for trial in [*known, *trail]}.values())
    found = _search(lab, share, known)
    return replace(found, neurons=_bottom(lab, found.share) if found.share else None)


def _search(lab: Lab, share: float, known: list[Trial]) -> Match:
    s = lab.study
    top = lab.scan.top(share, by=s.by, layers=s.layers)

    def perplexity(label: str, change: Change) -> float:
        return lab.run([lab.score("perplexity", label, change)])[0].results["value"]

    return find_share(
        lambda m: perplexity(f"matching {percent(share)}: bottom {percent(m)}", Change(_bottom(lab, m))),
        target=perplexity(f"top {percent(share)}", Change(top)),
        baseline=perplexity("baseline", PLAIN),
        sizes=list(lab.facts.layout.sizes.values()),
        # Sets that reach into the top share would be no control.
        largest=float(1 - exact_share(share)) if share < 1 else 1.0,
        tolerance=s.tolerance,
        max_evaluations=s.evaluations,
        known=known,
    )


def _bottom(lab: Lab, m: float) -> NeuronSet:
    return lab.scan.bottom(m, by=lab.study.by, layers=lab.study.layers)

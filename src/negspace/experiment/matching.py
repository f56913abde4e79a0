"""The main study's perplexity-matched set for a share, searched through the same cells: what is recorded is read."""

from __future__ import annotations

from dataclasses import replace

from negspace.controls import Match, Trial, find_share
from negspace.experiment.condition import Condition
from negspace.experiment.lab import Lab
from negspace.experiment.words import percent
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.shares import share as exact_share


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

    def perplexity(under: Condition) -> float:
        return lab.run([lab.score("perplexity", under)])[0].results["value"]

    def bottom(m: float) -> Condition:
        return lab.condition(f"matching {percent(share)}: bottom {percent(m)}", "matched", _bottom(lab, m))

    return find_share(
        lambda m: perplexity(bottom(m)),
        target=perplexity(lab.condition(f"top {percent(share)}", "top", top)),
        baseline=perplexity(Condition(name="baseline")),
        sizes=list(lab.facts.layout.sizes.values()),
        # Sets that reach into the top share would be no control.
        largest=float(1 - exact_share(share)) if share < 1 else 1.0,
        tolerance=s.tolerance,
        max_evaluations=s.evaluations,
        known=known,
    )


def _bottom(lab: Lab, m: float) -> NeuronSet:
    return lab.scan.bottom(m, by=lab.study.by, layers=lab.study.layers)

"""Sets that do the damage to perplexity which a top set does, searched through cells: what is recorded is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from negspace.controls import TOGETHER, Match, Trial, find_share, growth
from negspace.experiment.condition import Condition
from negspace.experiment.lab import Lab
from negspace.experiment.words import percent
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.shares import share as exact_share

_Known = dict[tuple[float, str], Trial]
"""Share m and key of a set -> its trial: without another top set, the same m can be another set."""


def matched_set(lab: Lab, share: float) -> Match:
    """The low-ranked set that does the damage to perplexity which the top set of a share does; see `find_share`.

    It is the bottom share m of each site without the neurons of the top set. Bottom and top meet where neurons have no
    score (those that never vary, those of starved experts) or equal ones, and for a top share of 1: the set is then
    smaller than m says, and None if it is empty.

    A study of several shares searches one after the other, each helped by the trials before it. The same is done here
    up to the share asked for, so that both find the same set, from the same records.
    """
    known: _Known = {}
    order = list(lab.study.shares)
    for earlier in order[: order.index(share)] if share in order else ():
        trail = _search(lab, earlier, known).trail
        known |= {(trial.share, _low(lab, earlier, trial.share).key): trial for trial in trail}
    found = _search(lab, share, known)
    return replace(found, neurons=_low(lab, share, found.share) or None)


def matched_random(lab: Lab, share: float, seed: int, first: float | None = None) -> Match:
    """The random set that does the damage to perplexity which the top set of a share does, none of that set in it.

    Its neurons are taken in one random order, as many of each site in proportion, until perplexity fits.

    Args:
        seed: of the order.
        first: share of the neurons outside the top set with which to begin, such as what fitted another seed.
    """
    s = lab.study
    top = lab.scan.top(share, by=s.by, layers=s.layers)
    grown = growth(lab.scan, None, exclude=top, seed=seed, layers=s.layers, together=True)
    available = grown.sizes[TOGETHER]

    def drawn(m: float) -> NeuronSet:
        return grown.take({TOGETHER: max(1, round(m * available))})

    found = _find(lab, share, drawn, f"random, seed {seed}", sizes=[available + 1], first=first)
    return replace(found, neurons=drawn(found.share) if found.share else None)


def _search(lab: Lab, share: float, known: _Known) -> Match:
    # Sets that reach into the top share would be no control.
    largest = float(1 - exact_share(share)) if share < 1 else 1.0
    sizes = list(lab.facts.layout.sizes.values())
    same = [trial for (m, key), trial in known.items() if _low(lab, share, m).key == key]
    return _find(lab, share, lambda m: _low(lab, share, m), "bottom", sizes=sizes, largest=largest, known=same)


def _find(lab: Lab, share: float, sets: Callable[[float], NeuronSet], kind: str, **options: Any) -> Match:
    """Search a family of sets that grow with m, each evaluation a cell of its own."""
    s = lab.study
    top = lab.scan.top(share, by=s.by, layers=s.layers)

    def perplexity(under: Condition) -> float:
        return lab.run([lab.score("perplexity", under)])[0].results["value"]

    def evaluate(m: float) -> float:
        return perplexity(lab.condition(f"matching {percent(share)}: {kind} {percent(m)}", "matched", sets(m)))

    return find_share(
        evaluate,
        target=perplexity(lab.condition(f"top {percent(share)}", "top", top)),
        baseline=perplexity(Condition(name="baseline")),
        tolerance=s.tolerance,
        max_evaluations=s.evaluations,
        **options,
    )


def _low(lab: Lab, share: float, m: float) -> NeuronSet:
    """The bottom share m of each site, without the neurons of the top share."""
    by, layers = lab.study.by, lab.study.layers
    top, low = lab.scan.top(share, by=by, layers=layers), lab.scan.bottom(m, by=by, layers=layers)
    return low - top if len(low & top) else low

"""The planned work of analyses, as far as it is known before the scan chooses the neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from negspace.experiment.config import Study
from negspace.experiment.facts import Facts
from negspace.neurons.shares import size_of
from negspace.runs.forecast import Work

PLAIN = "the plain model"
"""Name of the plain model in plans."""
_SEARCH = 4
"""Evaluations of a search for a matched set, about."""

Planned = Mapping[tuple[str, str], float]
"""(kind of work, what it is done under) -> tokens that the model will read. Two analyses that name the same need it
once."""


@dataclass(frozen=True)
class Load:
    """Cells that will be computed."""

    planned: Planned = field(default_factory=dict)
    """One entry per cell."""
    detail: str = ""
    """Description in a few words: "9 shares, 3 kinds of sets"."""

    @property
    def cells(self) -> int:
        """The number of planned cells."""
        return len(self.planned)

    @property
    def tokens(self) -> float:
        """Tokens that the model will read in them."""
        return sum(self.planned.values())

    def beyond(self, others: Iterable[Load]) -> Load:
        """Return the part of this work that others do not contain."""
        known = {key for other in others for key in other.planned}
        return Load({key: tokens for key, tokens in self.planned.items() if key not in known}, self.detail)

    def less(self, recorded: Mapping[str, int]) -> Load:
        """Return the work left after some cells of each kind are recorded, assuming the first ones are."""
        gone = dict(recorded)
        left: dict[tuple[str, str], float] = {}
        for (kind, under), tokens in self.planned.items():
            if gone.get(kind, 0):
                gone[kind] -= 1
            else:
                left[kind, under] = tokens
        return Load(left, self.detail)


def union(loads: Iterable[Load]) -> Load:
    """All of several loads, what they share once."""
    return Load({key: tokens for load in loads for key, tokens in load.planned.items()})


def work(load: Load) -> Work:
    """Cells and tokens of each kind of work."""
    made: dict[str, tuple[int, float]] = {}
    for (kind, _), tokens in load.planned.items():
        cells, before = made.get(kind, (0, 0.0))
        made[kind] = cells + 1, before + tokens
    return made


class Planner:
    """Names conditions as far as a study and the shape of its model tell them apart.

    Args:
        study, facts: what to do, and on what.
        cost: tokens that the model reads for "scan", "perplexity", a suite of minimal pairs, or "tasks".
    """

    def __init__(self, study: Study, facts: Facts, cost: Callable[[str], float]) -> None:
        self.study, self.facts, self.cost = study, facts, cost

    def sets(self, end: str, share: float, *, by: str | None = None, intervention: str | None = None) -> str:
        """A top, bottom or otherwise chosen set of a share. Shares of as many neurons at each site are one."""
        s = self.study
        sizes = ",".join(str(size_of(share, site.size)) for site in self.facts.layout.within(s.layers))
        return f"{end} {sizes} by {by or s.by}, {intervention or s.intervention}"

    def random(self, share: float, seeds: Iterable[int], intervention: str | None = None) -> list[str]:
        """Random sets of a share."""
        name = self.sets("random", share, by="chance", intervention=intervention)
        return [f"{name}, seed {seed}" for seed in seeds]

    def matched(self, share: float, seed: int | None = None) -> str:
        """The set of low-ranked neurons, or with a seed of random ones, that does as much damage to perplexity as the
        top set of a share."""
        which = "" if seed is None else f"random, seed {seed}, "
        return f"{which}matched to {self.sets('top', share)}"

    def search(self, share: float, seed: int | None = None) -> Planned:
        """The evaluations that finding it takes; its own is the last one."""
        unders = [f"{self.matched(share, seed)}, evaluation {number}" for number in range(1, _SEARCH)]
        return self.scores(unders, ("perplexity",))

    def scores(self, unders: Iterable[str], scores: Iterable[str]) -> Planned:
        """Some scores under conditions."""
        scores = list(scores)
        return {(score, under): self.cost(score) for under in unders for score in scores}

"""Internal: how texts rank a model's neurons: top sets, rank correlations, and what two texts have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.errors import SelectionError
from negspace.experiment.claim import Answer
from negspace.experiment.words import percent
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.overlap import overlap
from negspace.neurons.shares import Share
from negspace.significance import Interval, reliability
from negspace.significance.ranks import spearman

NO_HALVES = (
    "the scan has no halves (a single window, exact statistics of routed experts, a scan by version 0.1.0, or a "
    "ranking by another statistic than WD): scan two windows or more"
)
EMPTY = "the top set is empty: give a larger share"
FEWEST = 2
"""Neurons of a set that stands for what texts agree on, or differ in: of one neuron nothing is said of a set."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chosen:
    """The top neurons by one text."""

    top: NeuronSet
    """From the whole text."""
    halves: tuple[NeuronSet, ...]
    """From its first and from its second half; empty without halves."""
    scored: NDArray[np.bool_]
    """[neurons] those that have a score, among which they were chosen."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """How one text ranks the neurons of a model."""

    text: str
    """What to call the text."""
    tokens: int
    """Tokens that were counted."""
    layout: Layout
    """The model's sites."""
    scores: Numbers
    """[neurons] the statistic; NaN where a neuron has none."""
    halves: tuple[Numbers, Numbers] | None = None
    """[neurons] the same from the text's first and second half; None where the scan has no halves."""

    @classmethod
    def of(cls, table: pd.DataFrame, layout: Layout, text: str, tokens: int, by: str = "wd") -> Ranking:
        """The ranking in a scan's table; halves are kept of WD alone."""
        halves = None
        if by == "wd" and {"wd_first", "wd_second"} <= set(table.columns):
            first, second = (select.ranked(table, layout, name) for name in ("wd_first", "wd_second"))
            enough = min(np.isfinite(first).sum(), np.isfinite(second).sum()) >= 3
            halves = (first, second) if enough else None
        return cls(text, tokens, layout, select.ranked(table, layout, by), halves)

    def choose(self, share: Share, layers: Sequence[int] | None = None) -> Chosen:
        """The top set of a share, and those of both halves of the text where every site has them."""
        sites = self.layout.within(layers)
        halves = self.halves or ()
        if any(np.isnan(half[self.layout.rows[site.path]]).all() for half in halves for site in sites):
            halves = ()
        whole, *parts = (
            select.top(pd.DataFrame({"wd": scores}), self.layout, share, "wd", layers)
            for scores in (self.scores, *halves)
        )
        return Chosen(whole, tuple(parts), ~np.isnan(self.scores))

    def reliability(self, rows: slice) -> float:
        """Reliability of the ranking at a site, from both halves; NaN without halves."""
        if self.halves is None:
            return float("nan")
        first, second = self.halves
        return reliability(first[rows], second[rows], self.tokens).reliability


@dataclass(frozen=True)
class Correlation:
    """How far two texts rank the neurons of a site alike."""

    rho: Interval
    """Spearman's rank correlation, neurons as units."""
    neurons: int
    """Neurons that both texts rank."""
    first: float
    """Reliability of the first text's ranking (Spearman and Brown, from its halves); NaN without halves."""
    second: float
    """Of the second's."""

    @property
    def ceiling(self) -> float:
        """The correlation that two rankings of these reliabilities have where the texts do not matter."""
        return float(np.sqrt(self.first * self.second))


@dataclass(frozen=True)
class Common:
    """How far two texts choose the same neurons."""

    neurons: int
    """Neurons of the first text's top set."""
    common: int
    """Those of them that are in the second's."""
    chance: float
    """Neurons that two sets of these sizes have in common on average where chance draws them site by site."""
    p: float
    """Exact two-sided p-value against that."""
    first: float
    """Share of the top set of the first text's first half that is in that of its second half; NaN without halves."""
    second: float
    """The same of the second text."""
    between: float
    """The same of halves of different texts, mean over the four pairs of them."""

    @property
    def share(self) -> float:
        """Share of the first top set that is in the second; NaN where the first is empty."""
        return self.common / self.neurons if self.neurons else float("nan")

    @property
    def relative(self) -> float:
        """`between` over the geometric mean of `first` and `second`; NaN without halves, or where these share nothing.

        All have half a text's tokens. 1 where the text makes no difference to the choice.
        """
        within = self.first * self.second
        return float(self.between / np.sqrt(within)) if within > 0 else float("nan")

    def beyond_chance(self, p: float, alpha: float) -> Answer:
        """The answer to whether the texts choose the same neurons more often than chance.

        Args:
            p: `p`, corrected for the other comparisons made with it.
            alpha: level of the test.
        """
        if not self.neurons:
            return "cannot be judged"
        if not p <= alpha:
            return "undecided"
        return "holds" if self.common > self.chance else "does not hold"

    @property
    def finding(self) -> str:
        """The shares in words: "41% in common, 5.1% by chance"; with half the tokens, those of halves."""
        if not self.neurons:
            return EMPTY
        said = f"{self.share:.0%} in common, {self.chance / self.neurons:.1%} by chance"
        if np.isnan(self.between):
            return said
        said += f"; with half the tokens, {self.first:.0%} and {self.second:.0%} within a text and {self.between:.0%} "
        return f"{said}between the two"

    def sentence(self, first: str, second: str, share: float) -> str:
        """The overlap in words: a description, since two halves of each text are too few for a test."""
        said = f"{first} and {second}, top {percent(share)}: "
        if self.neurons:
            said += f"{self.common:,} of {self.neurons:,} neurons, "
        unknown = f"; what the number of tokens allows is not known: {NO_HALVES}" if np.isnan(self.between) else ""
        return f"{said}{self.finding}{unknown}"


def correlate(first: Ranking, second: Ranking, rows: slice, level: float = 0.95) -> Correlation:
    """Rank correlation of two texts at one site, and the reliability of each."""
    rho = spearman(first.scores[rows], second.scores[rows], level=level)
    both = np.isfinite(first.scores[rows]) & np.isfinite(second.scores[rows])
    return Correlation(rho, int(both.sum()), first.reliability(rows), second.reliability(rows))


def over_sites(found: Sequence[Correlation]) -> Mapping[str, float]:
    """Medians over sites of rho, both reliabilities and the ceiling; NaN where no site has one."""
    values = {
        "rho": [one.rho.estimate for one in found],
        "first": [one.first for one in found],
        "second": [one.second for one in found],
        "ceiling": [one.ceiling for one in found],
    }
    return {name: float(np.median(own)) if (own := _known(each)) else float("nan") for name, each in values.items()}


def correlation_sentence(first: str, second: str, medians: Mapping[str, float], by: str = "WD") -> str:
    """The rank correlation of two texts in words, beside the ceiling that the halves of each set."""
    if not np.isfinite(medians["rho"]):
        return f"{first} and {second}: no rank correlation of {by}, since no site has three neurons that vary"
    said = f"{first} and {second}: rank correlation of {by} over the neurons of a site {medians['rho']:.2f} (median)"
    if not np.isfinite(medians["ceiling"]):
        return f"{said}; what the texts' reliability allows is not known: a scan has no halves"
    return f"{said}; reliability {medians['first']:.2f} and {medians['second']:.2f} allows {medians['ceiling']:.2f}"


def in_common(first: Chosen, second: Chosen, paths: Sequence[str] | None = None) -> Common:
    """Overlap of two texts' top sets, beside chance and the halves of each text.

    The halves have half the tokens each: where halves of one text agree and halves of two texts do not, it is the text
    and not the number of tokens.

    Args:
        paths: of the sites that count; None: all.
    """
    rows, both = first.top.layout.rows, first.scored & second.scored
    paths = list(rows) if paths is None else paths
    found = overlap(first.top, second.top, sites=paths, eligible=both)
    chance = sum(
        len(first.top.at(path)) * len(second.top.at(path)) / max(1, int(both[rows[path]].sum())) for path in paths
    )

    def shared(pairs: Iterable[Sequence[NeuronSet]]) -> float:
        each = [
            sum(len(np.intersect1d(left.at(path), right.at(path))) for path in paths)
            / max(1, sum(len(left.at(path)) for path in paths))
            for left, right in pairs
        ]
        return float(np.mean(each)) if each else float("nan")

    return Common(
        neurons=found.first,
        common=found.common,
        chance=chance,
        p=found.p,
        first=shared([first.halves] if first.halves else []),
        second=shared([second.halves] if second.halves else []),
        between=shared(product(first.halves, second.halves)),
    )


def split(tops: Sequence[NeuronSet]) -> tuple[NeuronSet, list[NeuronSet]]:
    """The neurons that all sets have, and those of each set that no other has."""
    common = tops[0]
    for other in tops[1:]:
        common = common & other
    own = []
    for place, top in enumerate(tops):
        rest = top
        for other in (*tops[:place], *tops[place + 1 :]):
            rest = rest - other
        own.append(rest)
    return common, own


def too_small(neurons: NeuronSet) -> str:
    """Why a set is too small to be ablated as one, and what to do; empty where it is not."""
    if len(neurons) >= FEWEST:
        return ""
    return f"{'a single neuron' if len(neurons) else 'no neuron'}, and no set to ablate; give a larger share"


def distinct(texts: Sequence[tuple[str, ...]], asked: str) -> list[str]:
    """Names for texts, each given with its name and hashes: a number is put behind a name that was given before.

    Raises:
        SelectionError: two have a hash in common, so that one text would be compared with itself.
    """
    names: list[str] = []
    for place, (name, *hashes) in enumerate(texts):
        for before, (_, *others) in enumerate(texts[:place]):
            if any(digest == other for digest, other in zip(hashes, others, strict=True)):
                found = f"{name} is the very text of {names[before]}, or begins with it as far as it is read"
                raise SelectionError(asked, found, "give texts of different sources; halves of one are compared anyway")
        count = 2
        unique = name
        while unique in names:
            unique, count = f"{name} ({count})", count + 1
        names.append(unique)
    return names


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)]

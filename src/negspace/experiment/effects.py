"""Scores under conditions and the changes between them, item by item, from records: what several analyses share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from negspace.experiment.book import Book
from negspace.experiment.condition import Condition
from negspace.runs.cell import Record
from negspace.significance import (
    Interval,
    accuracy_interval,
    compare_accuracy,
    compare_perplexity,
    correct,
    grouped_interval,
    mcnemar,
    perplexity_interval,
    stand,
)
from negspace.text.suites import SUITES

Finding = Literal["harm", "gain", "null result"]
Unit = Literal["paradigm", "pair"]
FLIPS = 10_000
MEAN = "random mean"
"""Role of the mean over random sets."""
TESTS = 20
"""Tests that a correction must leave room for."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One score under one condition, or the mean over several conditions, item by item."""

    score: str
    """"perplexity", or a suite of minimal pairs."""
    values: NDArray[np.float64]
    """[items] a window's mean negative log-likelihood in nats; for a pair 1 where it is right, else 0 (in a mean over
    conditions, the share of them that have it right). Pairs of identical sentences are left out."""
    paradigms: NDArray[Any]
    """[items] the paradigm of each pair; empty for perplexity."""
    groups: NDArray[Any]
    """[items] BLiMP's phenomenon or TSE's construction; empty for perplexity."""


@dataclass(frozen=True)
class Change:
    """How a score changed between two conditions on the same items."""

    estimate: float
    """Perplexity: second / first. Accuracy: second - first."""
    low: float
    """Lower end of its paired interval."""
    high: float
    """Upper end of its paired interval."""
    p: float
    """Its p-value (two-sided): see `change`; NaN for a single window."""


def scored(score: str, record: Record) -> Scored:
    """The items of a record of "perplexity" or of a suite of minimal pairs."""
    items, none = record.items, np.empty(0, dtype=object)
    if score == "perplexity":
        return Scored(score, items["nll"].to_numpy(np.float64), none, none)
    kept = items[items["outcome"] != "identical"]
    right = np.asarray(kept["outcome"] == "right", dtype=np.float64)
    return Scored(score, right, kept["paradigm"].to_numpy(object), kept[SUITES[score].column].to_numpy(object))


def mean_of(several: Sequence[Scored]) -> Scored:
    """The mean over conditions, item by item: of perplexities the geometric mean, of accuracies the mean."""
    return replace(several[0], values=np.mean([one.values for one in several], axis=0))


def part(one: Scored, group: str) -> Scored:
    """The items of one phenomenon or construction."""
    here = one.groups == group
    return replace(one, values=one.values[here], paradigms=one.paradigms[here], groups=one.groups[here])


def value(one: Scored, *, level: float, draws: int, seed: int) -> Interval:
    """Perplexity (windows are the units), or accuracy as the mean over paradigms, with its interval."""
    options = {"level": level, "draws": draws, "seed": seed}
    if one.score == "perplexity":
        return perplexity_interval(one.values, **options)
    if np.isin(one.values, (0.0, 1.0)).all():
        return accuracy_interval(one.values, one.paradigms, **options)
    return grouped_interval(np.round(one.values, 12), one.paradigms, **options)


def change(first: Scored, second: Scored, *, unit: Unit = "paradigm", level: float, draws: int, seed: int) -> Change:
    """The change from one condition to another on the same items, with a paired interval and test.

    Intervals are those of `compare_perplexity` and `compare_accuracy`. Perplexity is tested by the paired t-test over
    windows: each is a mean over many tokens, and a permutation of few windows could not reach the level once it is
    corrected. Accuracy is tested by flipping the signs of paradigms' differences; of pairs' where asked for, or where
    there are so few paradigms that a correction over 20 tests could not reach the level (2^(1 - paradigms) >
    (1 - level) / 20). Over pairs that are right or not, that is McNemar's exact test.

    Args:
        unit: what is flipped for accuracy.
    """
    options = {"level": level, "draws": draws, "seed": seed}
    if first.score == "perplexity":
        ratio = compare_perplexity(first.values, second.values, **options)
        p = _t_test(second.values - first.values)
        return Change(ratio.ratio.estimate, ratio.ratio.low, ratio.ratio.high, p)
    made = compare_accuracy(first.values, second.values, first.paradigms, **options)
    by_pair = unit == "pair" or not _testable(made.paradigms, level)
    p = flip_items(second.values - first.values, seed=seed) if by_pair else made.p_paradigms
    return Change(made.change.estimate, made.change.low, made.change.high, p)


def none(score: str) -> float:
    """The change that is no change: a ratio of 1, a difference of 0."""
    return 1.0 if score == "perplexity" else 0.0


def finding(score: str, low: float, high: float, p: float, alpha: float) -> Finding:
    """Harm or gain where the interval excludes no change and the corrected p-value is below alpha, else a null result.

    Without a p-value (NaN) the interval decides; without an interval nothing is shown. Harm is a higher perplexity or a
    lower accuracy.
    """
    if np.isfinite(p) and p >= alpha:
        return "null result"
    above, below = low > none(score), high < none(score)
    if score == "perplexity":
        return "harm" if above else "gain" if below else "null result"
    return "harm" if below else "gain" if above else "null result"


def level_of(one: Scored) -> float:
    """Perplexity, or accuracy as the mean over paradigms."""
    if one.score == "perplexity":
        return float(np.exp(one.values.mean()))
    _, group = np.unique(one.paradigms.astype(str), return_inverse=True)
    return float((np.bincount(group, weights=one.values) / np.bincount(group)).mean())


def corrected(
    rows: list[dict[str, Any]],
    family: Sequence[str],
    alpha: float,
    *,
    ends: tuple[str, str] = ("low", "high"),
    p: str = "p",
    name: str | None = "finding",
) -> list[dict[str, Any]]:
    """Rows of changes with corrected p-values and findings; rows without a p-value are left as they are.

    Args:
        rows: with "share", "score", "p" and the ends of an interval. One with "first_share" below its "share" repeats
            the row of that share: it takes its figures and adds no test.
        family: entries that tests of one family have in common.
        alpha: level of the tests.
        ends: names of the interval's ends.
        p: name of the p-value; the corrected one is called the same with _holm.
        name: name of the finding; None: it is not asked for.
    """
    families: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if p in row:
            families.setdefault(tuple(row.get(column) for column in family), []).append(row)
    for tests in families.values():
        own = [row for row in tests if row.get("first_share", row.get("share")) == row.get("share")]
        adjusted = correct([row[p] for row in own], alpha=alpha).p
        for row, value in zip(own, adjusted, strict=True):
            row[f"{p}_holm"] = float(value)
        by_share = {row.get("share"): row[f"{p}_holm"] for row in own}
        for row in tests:
            row.setdefault(f"{p}_holm", by_share.get(row.get("first_share")))
            if name is not None:
                row[name] = finding(row["score"], row[ends[0]], row[ends[1]], row[f"{p}_holm"], alpha)
    return rows


@dataclass(frozen=True, eq=False)
class Entry:
    """A condition with its scores, or the mean over several conditions with theirs."""

    about: Condition
    """The condition; of a mean, the first, under the mean's name and role."""
    scores: Mapping[str, Scored]
    """Score -> items."""
    members: tuple[Entry, ...] = ()
    """What it is the mean of; empty for a single condition."""

    def part(self, score: str, group: str) -> Entry:
        """The same on the items of one phenomenon or construction, of one suite."""
        return Entry(self.about, {score: part(self.scores[score], group)}, self.members)

    def groups(self, score: str) -> list[str]:
        """Phenomena or constructions of a suite, sorted; none for perplexity."""
        return sorted(set(self.scores[score].groups))


class Effects:
    """From the conditions of a run to the figures of its tables: values, changes, contrasts, groups.

    Every analysis's numbers, tests and findings are made here and nowhere else.

    Args:
        book: records, level and seeds.
        scores: what is read of each condition.
    """

    def __init__(self, book: Book, scores: Sequence[str]) -> None:
        self.book, self.scores, self.alpha = book, tuple(scores), book.alpha
        self._options = book.bootstrap

    def read(self, conditions: Sequence[Condition]) -> list[Entry]:
        """Conditions with their scores. Where one record holds several conditions, "place" of its facts says which."""
        records: dict[str, Record] = {}
        found = []
        for one in conditions:
            scores = {}
            for score in self.scores:
                record = records.setdefault(one.cells[score], self.book.record(one.cells[score]))
                if "place" in one.facts:
                    record = replace(record, items=record.items[record.items["condition"] == one.facts["place"]])
                scores[score] = scored(score, record)
            found.append(Entry(one, scores))
        return found

    def mean(self, members: Sequence[Entry], name: str = "", role: str = MEAN, **facts: Any) -> Entry:
        """The mean over conditions, item by item; it keeps what the first of them says but for name, role and seed.

        Args:
            facts: further facts of the mean.
        """
        first = members[0].about
        update = {"name": name or role, "role": role, "seed": None, "cells": {}, "facts": {**first.facts, **facts}}
        means = {score: mean_of([one.scores[score] for one in members]) for score in self.scores}
        return Entry(first.model_copy(update=update), means, tuple(members))

    def level(self, one: Entry, score: str) -> float:
        """Perplexity, or accuracy as the mean over paradigms."""
        return level_of(one.scores[score])

    def value(self, one: Entry, score: str, name: str = "value", ends: tuple[str, str] | None = None) -> dict[str, Any]:
        """The score with its interval, as columns: `name`, `name`_low, `name`_high, or the ends as they are called."""
        found = value(one.scores[score], **self._options)
        return _columns(name, ends, found.estimate, found.low, found.high)

    def change(
        self,
        before: Entry,
        after: Entry,
        score: str,
        name: str = "change",
        ends: tuple[str, str] | None = None,
        p: str = "p",
        unit: Unit = "paradigm",
    ) -> dict[str, Any]:
        """The change from one condition to another on the same items, with its interval and p-value, as columns."""
        found = change(before.scores[score], after.scores[score], unit=unit, **self._options)
        return {**_columns(name, ends, found.estimate, found.low, found.high), p: found.p}

    def spread(self, one: Entry, score: str) -> dict[str, Any]:
        """Of a mean: how many sets, and the standard deviation over them; nothing for a single condition."""
        if not one.members:
            return {}
        each = [self.level(member, score) for member in one.members]
        return {"sets": len(each), "sd": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan}

    def place(self, one: Entry, among: Entry, score: str) -> dict[str, Any]:
        """Where a condition stands among the sets of a mean, for which see `stand`; nothing for a single condition."""
        if not among.members:
            return {}
        found = stand(self.level(one, score), [self.level(member, score) for member in among.members])
        return {name: getattr(found, name) for name in ("sets", "sd", "z", "below", "above")}

    def by_group(self, plain: Entry, one: Entry, score: str) -> Iterator[dict[str, Any]]:
        """A row for each phenomenon or construction: pairs, accuracies, and the change against the plain model."""
        for group in one.groups(score):
            before, after = plain.part(score, group), one.part(score, group)
            yield {
                "score": score,
                "group": group,
                "neurons": one.about.neurons,
                "paradigms": len(set(after.scores[score].paradigms)),
                "pairs": len(after.scores[score].values),
                "baseline": self.level(before, score),
                "accuracy": self.level(after, score),
                **self.change(before, after, score, ends=("low", "high"), unit="pair"),
            }

    def judged(
        self,
        rows: list[dict[str, Any]],
        family: Sequence[str],
        *,
        ends: tuple[str, str] = ("low", "high"),
        p: str = "p",
        finding: str | None = "finding",
    ) -> list[dict[str, Any]]:
        """Rows with corrected p-values and findings; see `corrected`."""
        return corrected(rows, family, self.alpha, ends=ends, p=p, name=finding)


def _columns(name: str, ends: tuple[str, str] | None, estimate: float, low: float, high: float) -> dict[str, Any]:
    first, second = ends or (f"{name}_low", f"{name}_high")
    return {name: estimate, first: low, second: high}


def flip_items(differences: NDArray[np.float64], *, seed: int = 0) -> float:
    """Two-sided sign-flip p-value of a sum of differences over many items that take few distinct values.

    Items of one magnitude v, n of them, sum to v * (2 * Binomial(n, 1/2) - n) under random signs, so that a draw costs
    one variate a magnitude. With a single magnitude the test is exact (McNemar's); else p = (1 + as large) /
    (1 + 10,000).
    """
    data = np.round(differences, 12)
    data = data[data != 0]
    if data.size == 0:
        return 1.0
    sizes, counts = np.unique(np.abs(data), return_counts=True)
    if sizes.size == 1:
        return mcnemar(int((data > 0).sum()), int((data < 0).sum()))
    observed = abs(data.sum()) - 1e-9
    rng = np.random.default_rng(seed)
    sums = (2 * rng.binomial(counts, 0.5, size=(FLIPS, sizes.size)) - counts) @ sizes
    return float((1 + np.count_nonzero(np.abs(sums) >= observed)) / (1 + FLIPS))


def _t_test(differences: NDArray[np.float64]) -> float:
    """Two-sided p-value of a zero mean; 1 where all are zero, NaN for a single one."""
    n = differences.size
    if n == 1:
        return float("nan")
    error = differences.std(ddof=1) / np.sqrt(n)
    if error == 0:
        return 0.0 if differences.any() else 1.0
    return float(2 * stats.t.sf(abs(differences.mean()) / error, n - 1))


def _testable(paradigms: int, level: float) -> bool:
    return 2.0 ** (1 - paradigms) <= (1 - level) / TESTS

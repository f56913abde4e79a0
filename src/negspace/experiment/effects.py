"""Values, changes, contrasts and findings from the records of a run: the source of every analysis's tables.

The rule itself is `significance`; here records become its arguments, and its contrasts become columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from negspace.experiment.book import Book
from negspace.experiment.changes import CHANGE, GROUP, Changes, Row, rests_on
from negspace.experiment.condition import Condition
from negspace.experiment.floors import floored
from negspace.experiment.scored import Scored, scored
from negspace.runs.cell import Record
from negspace.significance import (
    Contrast,
    Dissociation,
    Margin,
    Scale,
    compare,
    compare_sets,
    compare_with_sets,
    describe,
    judge_together,
)

MEAN = "random mean"
"""Role of the mean over random sets."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A condition with its scores, or the mean over several conditions with theirs."""

    about: Condition
    """The condition; of a mean, the first, under the mean's name and role."""
    scores: Mapping[str, Scored]
    """Score -> items; of a mean over several sets, their mean item by item."""
    plain: Mapping[str, Scored]
    """Score -> the same items of the plain model."""
    members: tuple[Entry, ...] = ()
    """The conditions that it averages; empty for a single condition."""

    def part(self, score: str, group: str) -> Entry:
        """The same on the items of one phenomenon or construction, of one suite."""
        members = tuple(member.part(score, group) for member in self.members if score in member.scores)
        own, plain = ({score: scores[score].part(group)} for scores in (self.scores, self.plain))
        return Entry(self.about, own, plain, members)

    def groups(self, score: str) -> list[str]:
        """Phenomena or constructions of a suite, sorted; none for perplexity."""
        return sorted(set(self.scores[score].groups))

    def sets(self, score: str) -> tuple[Entry, ...]:
        """The members that have a score."""
        return tuple(member for member in self.members if score in member.scores)


class Effects:
    """Values, changes, contrasts and groups from the conditions of a run.

    Every analysis's numbers, tests and findings on perplexity and minimal pairs are made here and nowhere else.

    Args:
        book: records, level and seeds.
        scores: what is read of each condition.
    """

    def __init__(self, book: Book, scores: Sequence[str]) -> None:
        self.book, self.scores, self.alpha = book, tuple(scores), book.alpha
        self._like: dict[str, Scored] = {}

    def read(self, conditions: Sequence[Condition], plain: Entry | None = None) -> list[Entry]:
        """Conditions with their scores; one that has no record of a score lacks it.

        Where one record holds several conditions, "place" of its facts says which.

        Args:
            plain: the plain model that they are ablations of; None: the first condition.
        """
        records: dict[str, Record] = {}
        entries: list[Entry] = []
        for condition in conditions:
            scores: dict[str, Scored] = {}
            for score in (score for score in self.scores if score in condition.cells):
                key = condition.cells[score]
                if key not in records:
                    records[key] = self.book.record(key)
                record = records[key]
                if "place" in condition.facts:
                    record = replace(record, items=record.items[record.items["condition"] == condition.facts["place"]])
                scores[score] = scored(score, record, self._like.get(score))
                self._like.setdefault(score, scores[score])
            before = plain.scores if plain is not None else entries[0].scores if entries else scores
            entries.append(Entry(condition, scores, before))
        return entries

    def mean(self, members: Sequence[Entry], name: str = "", role: str = MEAN, **facts: Any) -> Entry:
        """The mean over conditions, item by item (perplexity: the geometric mean); what is contrasted with it is
        contrasted with the distribution of these sets.

        It keeps what the first condition says but for name, role and seed. A score that only some of the conditions
        have is the mean over these.

        Args:
            facts: further facts of the mean.
        """
        first = members[0].about
        update = {"name": name or role, "role": role, "seed": None, "cells": {}, "facts": {**first.facts, **facts}}
        means = {}
        for score in self.scores:
            have = [member.scores[score] for member in members if score in member.scores]
            if have:
                margins = [entry.margins for entry in have if entry.margins is not None]
                means[score] = replace(
                    have[0],
                    values=np.mean([entry.values for entry in have], axis=0),
                    margins=np.mean(margins, axis=0) if len(margins) == len(have) else None,
                )
        return Entry(first.model_copy(update=update), means, members[0].plain, tuple(members))

    def level(self, entry: Entry, score: str) -> float:
        """Perplexity, or accuracy as the mean over paradigms."""
        return entry.scores[score].level

    def value(self, entry: Entry, score: str, name: str = "value", ends: tuple[str, str] | None = None) -> Row:
        """The score with its interval, as columns: `name`, `name`_low, `name`_high, or the ends as they are called."""
        items = entry.scores[score]
        text = score == "perplexity"
        found = describe(items.values, items.nesting, outcomes=not text, alpha=self.alpha)
        numbers = np.array([found.estimate, found.low, found.high])
        first, second = ends or (f"{name}_low", f"{name}_high")
        return dict(zip((name, first, second), np.exp(numbers) if text else numbers, strict=True))

    def claims(
        self,
        before: Entry,
        after: Entry,
        score: str,
        *,
        within: bool = False,
        margins: Mapping[Scale, Margin] | None = None,
        conditions: int = 1,
    ) -> dict[Scale, Contrast]:
        """The contrast after minus before on each scale of a score: "log ratio", or "points" and "nats".

        Accuracy at a floor cannot be judged (`floors`).

        Args:
            within: whether to judge these very groups alone; see `Nesting.level`.
            margins: scale -> margin of equivalence, where one is to be tested.
            conditions: how many are compared with the same random sets and judged together.
        """
        scales: tuple[Scale, ...] = ("log ratio",) if score == "perplexity" else ("points", "nats")
        claims: dict[Scale, Contrast] = {}
        for scale in scales:
            nesting = before.scores[score].nesting
            first, second = (entry.scores[score].on(scale) for entry in (before, after))
            if first is None or second is None:
                continue
            margin = (margins or {}).get(scale)
            options: dict[str, Any] = {"scale": scale, "alpha": self.alpha, "within": within}
            if before.members and after.members:
                own, other = (_sets(entry, score, scale) for entry in (after, before))
                assert _seeds(after, score) == _seeds(before, score)
                claims[scale] = compare_sets(own, other, nesting, margin=margin, **options)
            elif before.members:
                sets = _sets(before, score, scale)
                claims[scale] = compare_with_sets(second, sets, nesting, conditions=conditions, **options)
            elif after.members:
                sets = _sets(after, score, scale)
                claims[scale] = compare_sets(sets, first, nesting, margin=margin, **options)
            else:
                claims[scale] = compare(second, first, nesting, margin=margin, **options)
            sides = (before.scores[score], after.scores[score])
            claims[scale] = floored(claims[scale], before.plain[score], *sides, within=within)
        return claims

    def change(
        self,
        before: Entry,
        after: Entry,
        score: str,
        columns: Changes = CHANGE,
        *,
        within: bool = False,
        margins: Mapping[Scale, Margin] | None = None,
        conditions: int = 1,
    ) -> Row:
        """The change from one condition to another on the same items, as columns; `judged` adds what it bears.

        A mean over random sets stands for their distribution: see `compare_with_sets` and `compare_sets`. Two means
        must be over the same sets, which are contrasted set by set. Arguments are those of `claims`.
        """
        claims = self.claims(before, after, score, within=within, margins=margins, conditions=conditions)
        main = next(iter(claims.values()))
        row: Row = {**columns.row(main), columns.claims: claims}
        if main.reason and not before.members:
            # What these very items show is said; that it cannot be judged is its finding. Of sets not drawn nothing is.
            first, second = self.level(before, score), self.level(after, score)
            row[columns.name] = second / first if score == "perplexity" else second - first
        if "nats" in claims:
            nats = claims["nats"]
            estimate = nats.estimate
            if nats.reason and not before.members:
                first, second = before.scores[score], after.scores[score]
                assert first.margins is not None
                assert second.margins is not None
                estimate = first.mean(second.margins - first.margins)
            row |= {
                f"{columns.name}_nats": estimate,
                f"{columns.name}_nats_low": nats.low,
                f"{columns.name}_nats_high": nats.high,
                f"{columns.prefix}nats_se": nats.se,
                f"{columns.prefix}nats_p": nats.p,
                f"{columns.prefix}nats_reason": nats.reason,
                # Where accuracy is at a floor, margins are what rests on units.
                f"{columns.prefix}units": rests_on(main) or rests_on(nats),
            }
        if (sets := before.sets(score)) and not after.members:
            value, levels = self.level(after, score), [self.level(member, score) for member in sets]
            row |= {
                f"{columns.prefix}sets": len(sets),
                f"{columns.prefix}below": sum(level < value for level in levels),
                f"{columns.prefix}above": sum(level > value for level in levels),
            }
            if main.sets is not None:
                row |= {f"{columns.prefix}sets_sd": main.sets.sd, f"{columns.prefix}sets_share": main.sets.sets_share}
        return row

    def spread(self, entry: Entry, score: str) -> Row:
        """Return the number of sets in a mean and the standard deviation over them; nothing for a single condition."""
        if not entry.members:
            return {}
        each = [self.level(member, score) for member in entry.sets(score)]
        return {"sets": len(each), "sd": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan}

    def by_group(self, plain: Entry, entry: Entry, score: str) -> Iterator[Row]:
        """A row for each phenomenon or construction: pairs, accuracies, and the change against the plain model."""
        for group in entry.groups(score):
            before, after = plain.part(score, group), entry.part(score, group)
            yield {
                "score": score,
                "group": group,
                "neurons": entry.about.neurons,
                "paradigms": len(after.scores[score].nesting.labels),
                "pairs": len(after.scores[score].values),
                "baseline": self.level(before, score),
                "accuracy": self.level(after, score),
                **self.change(before, after, score, GROUP, within=True),
            }

    def judged(
        self, rows: list[Row], family: Sequence[str], columns: Changes = CHANGE, conditions: Sequence[str] = ()
    ) -> list[Row]:
        """Rows of `change` with corrected p-values and findings; rows without a change are left as they are.

        Args:
            rows: one with "first_share" below its "share" repeats the row of that share: it takes its figures and adds
                no test.
            family: entries that claims of one family have in common.
            columns: the change to judge.
            conditions: entries by which rows of one family differ that are compared with the same random sets.
        """
        families: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            if columns.claims in row:
                families.setdefault(tuple(row.get(column) for column in family), []).append(row)
        for tests in families.values():
            own = [row for row in tests if row.get("first_share", row.get("share")) == row.get("share")]
            claims = {(n, scale): one for n, row in enumerate(own) for scale, one in row[columns.claims].items()}
            about = [tuple(row.get(column) for column in conditions) for row in own]
            judged = judge_together(claims, {key: about[key[0]] for key in claims})
            for (n, scale), claim in judged.items():
                assert isinstance(claim, Contrast)
                own[n] |= columns.said(claim, scale)
            by_share = {row.get("share"): row for row in own}
            wanted = [f"{columns.prefix}{name}" for name in ("p_holm", "finding", "nats_finding")]
            for row in tests:
                source = by_share.get(row["first_share"], {}) if "first_share" in row else {}
                for name in (name for name in wanted if name in source):
                    row.setdefault(name, source[name])
        return rows


def equivalence_margins(
    before: Entry, after: Entry, score: str, *, size: float, share: float
) -> Mapping[Scale, Margin]:
    """The margins within which a change counts as none: a share of what a set loses, and for accuracy a size as well.

    Args:
        before, after: the plain model, and the set whose loss is the yardstick (the top set).
        size: accuracy; 0.01 is one point.
        share: of the loss.
    """
    margins: dict[Scale, Margin] = {}
    for scale in ("points", "nats"):
        first, second = before.scores[score].on(scale), after.scores[score].on(scale)
        if first is not None and second is not None:
            margins[scale] = Margin(size if scale == "points" else None, share, of=second - first)
    return margins


def together(claims: Iterable[Mapping[Any, Contrast | Dissociation]]) -> list[dict[Any, Any]]:
    """Several rows' claims, judged as one family."""
    several = list(claims)
    judged = judge_together({(n, key): claim for n, row in enumerate(several) for key, claim in row.items()})
    return [{key: judged[n, key] for key in row} for n, row in enumerate(several)]


def _sets(mean: Entry, score: str, scale: Scale) -> NDArray[np.float64]:
    """[sets, items] values of the sets behind a mean."""
    each = [member.scores[score].on(scale) for member in mean.sets(score)]
    return np.stack([values for values in each if values is not None])


def _seeds(mean: Entry, score: str) -> list[int | None]:
    """Seeds of these sets."""
    return [member.about.seed for member in mean.sets(score)]

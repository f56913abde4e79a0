"""From the records of the analysis of layers to its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from negspace.experiment.analysis import Book
from negspace.experiment.effects import Change, Scored, change, corrected, level_of, mean_of, part, scored, value
from negspace.experiment.schema import Column, Table, schema
from negspace.significance import stand

MEAN = "random mean"
RANDOM, FIRST, BEFORE = "random mean", "first group", "one group less"

_WHERE = (
    Column("family", str, "alone (one group of layers) or cumulative (all groups up to it)"),
    Column("layers", str, "the layers whose neurons are changed: first-last"),
    Column("first_layer", int, "the first of them, from 0"),
    Column("last_layer", int, "the last of them"),
    Column("share", float, "share p of each site's neurons"),
)
_SET = (Column("set", str, "top, random (one set), or random mean (over the random sets, item by item)"),)
_P = (
    Column(
        "p",
        float,
        "p-value: for perplexity the paired t-test over windows; for accuracy the sign-flip test over paradigms, over "
        "pairs where there are fewer than about 10",
    ),
    Column("p_holm", float, "the same, Holm-corrected (family: see the table)"),
    Column(
        "finding", str, "harm or gain where the interval excludes no change and p_holm is below alpha; else null result"
    ),
)
_CHANGE = (
    Column(
        "change", float, "perplexity divided by the plain model's; accuracy minus the plain model's; on the same items"
    ),
    Column("change_low", float, "lower end of its paired interval"),
    Column("change_high", float, "upper end of its paired interval"),
)
TABLES = schema(
    Table(
        "layers",
        (
            *_WHERE,
            *_SET,
            Column("seed", int, "seed of a random set"),
            Column("sets", int, "sets in a random mean"),
            Column("score", str, "perplexity, blimp or tse"),
            Column("neurons", int, "how many neurons are changed"),
            Column(
                "value",
                float,
                "perplexity, or accuracy as the mean over paradigms (ties not right, identical pairs left out)",
            ),
            Column("value_low", float, "lower end of its interval"),
            Column("value_high", float, "upper end of its interval"),
            Column("sd", float, "standard deviation over the sets of a random mean"),
            *_CHANGE,
            *_P,
        ),
        family="groups of layers of one family, set and score",
    ),
    Table(
        "layers_contrasts",
        (
            *_WHERE,
            Column("score", str, "perplexity, blimp or tse"),
            Column(
                "against",
                str,
                "what the top set in these layers is compared with: the random mean in the same layers; the top set "
                "in the first group alone; the top set in all groups but the last of these",
            ),
            Column("value", float, "perplexity or accuracy under the top set in these layers"),
            Column("reference", float, "the other's"),
            Column(
                "difference",
                float,
                "perplexity: value divided by the other; accuracy: value minus the other; on the same items",
            ),
            Column("low", float, "lower end of its paired interval"),
            Column("high", float, "upper end of its paired interval"),
            *_P,
            Column("sets", int, "random sets"),
            Column("below", int, "random sets of a lower score"),
            Column("above", int, "random sets of a higher score"),
        ),
        family="groups of layers of one family, score and thing compared with",
    ),
    Table(
        "layers_by_group",
        (
            *_WHERE,
            *_SET,
            Column("score", str, "blimp or tse"),
            Column("group", str, "BLiMP's phenomenon or TSE's construction"),
            Column("neurons", int, "how many neurons are changed"),
            Column("paradigms", int, "paradigms in the group"),
            Column("pairs", int, "pairs in the group (identical ones left out)"),
            Column("baseline", float, "the plain model's accuracy"),
            Column("accuracy", float, "accuracy under the ablation"),
            Column("change", float, "accuracy minus the plain model's on the same pairs"),
            Column("low", float, "lower end of its paired interval"),
            Column("high", float, "upper end of its paired interval"),
            Column("p", float, "p-value: McNemar's exact test over pairs; for a random mean, their sign-flip test"),
            *_P[1:],
        ),
        family="groups of layers and phenomena (constructions) of one family, set and score",
    ),
)
"""The tables, by name."""


@dataclass(frozen=True, eq=False)
class _Entry:
    """One set, or the mean of the random ones, in the layers of one condition."""

    family: str
    layers: tuple[int, ...]
    share: float
    set: str
    neurons: int
    scores: Mapping[str, Scored]
    seed: int | None = None
    members: Sequence[_Entry] = field(default_factory=tuple)

    @property
    def where(self) -> dict[str, Any]:
        first, last = self.layers[0], self.layers[-1]
        return {
            "family": self.family,
            "layers": str(first) if first == last else f"{first}-{last}",
            "first_layer": first,
            "last_layer": last,
            "share": self.share,
        }


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    plain = {score: scored(score, book.record(key)) for score, key in book.part["baseline"].items()}
    entries = _entries(book)
    return {
        "layers": _layers(book, plain, entries),
        "layers_contrasts": _contrasts(book, entries),
        "layers_by_group": _by_group(book, plain, entries),
    }


def _entries(book: Book) -> list[_Entry]:
    """Conditions in their order; in each the top set, the random ones, and their mean."""
    of_set = [_read(book, about) for about in book.part["sets"]]
    made: list[_Entry] = []
    for number in range(len(book.part["conditions"])):
        here = [entries[number] for entries in of_set]
        random = [one for one in here if one.set == "random"]
        made += here
        if random:
            means = {score: mean_of([one.scores[score] for one in random]) for score in random[0].scores}
            made.append(replace(random[0], set=MEAN, seed=None, scores=means, members=tuple(random)))
    return made


def _read(book: Book, about: Mapping[str, Any]) -> list[_Entry]:
    """One set under all conditions."""
    conditions = book.part["conditions"]
    scores: list[dict[str, Scored]] = [{} for _ in conditions]
    for score, key in about["cells"].items():
        record = book.record(key)
        for number, items in record.items.groupby("condition"):
            scores[int(number)][score] = scored(score, replace(record, items=items))  # type: ignore[arg-type]
    return [
        _Entry(
            family=condition["family"],
            layers=tuple(condition["layers"]),
            share=book.part["share"],
            set=about["set"],
            neurons=about["neurons"][number],
            scores=scores[number],
            seed=about["seed"],
        )
        for number, condition in enumerate(conditions)
    ]


def _layers(book: Book, plain: Mapping[str, Scored], entries: Sequence[_Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for one in entries:
        for score, now in one.scores.items():
            found = value(now, **book.bootstrap)
            changed = change(plain[score], now, **book.bootstrap)
            row = {
                **one.where,
                "set": one.set,
                "seed": one.seed,
                "score": score,
                "neurons": one.neurons,
                "value": found.estimate,
                "value_low": found.low,
                "value_high": found.high,
                "change": changed.estimate,
                "change_low": changed.low,
                "change_high": changed.high,
                "p": changed.p,
            }
            if one.members:
                each = [level_of(member.scores[score]) for member in one.members]
                row |= {"sets": len(each), "sd": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan}
            rows.append(row)
    family = ("family", "set", "seed", "score")
    return TABLES["layers"].of(corrected(rows, family, book.study["alpha"], ends=("change_low", "change_high")))


def _contrasts(book: Book, entries: Sequence[_Entry]) -> pd.DataFrame:
    """The top set in some layers against random sets there, and against itself in others."""
    rows: list[dict[str, Any]] = []
    tops = [one for one in entries if one.set == "top"]
    for position, one in enumerate(tops):
        family = [other for other in tops if other.family == one.family]
        against = {
            RANDOM: [other for other in entries if other.set == MEAN and _same_place(other, one)],
            FIRST: family[:1] if one.family == "alone" and family[0] is not one else [],
            BEFORE: [tops[position - 1]] if one.family == "cumulative" and family[0] is not one else [],
        }
        for name, others in against.items():
            for other in others:
                for score, now in one.scores.items():
                    before = other.scores[score]
                    made = change(before, now, **book.bootstrap)
                    row = {
                        **one.where,
                        "score": score,
                        "against": name,
                        "value": level_of(now),
                        "reference": level_of(before),
                        **_figures(made),
                    }
                    if other.members:
                        place = stand(row["value"], [level_of(member.scores[score]) for member in other.members])
                        row |= {"sets": place.sets, "below": place.below, "above": place.above}
                    rows.append(row)
    return TABLES["layers_contrasts"].of(corrected(rows, ("family", "score", "against"), book.study["alpha"]))


def _by_group(book: Book, plain: Mapping[str, Scored], entries: Sequence[_Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for one in (one for one in entries if one.set != "random"):
        for score, now in one.scores.items():
            for group in sorted(set(now.groups)):
                before, after = part(plain[score], group), part(now, group)
                rows.append(
                    {
                        **one.where,
                        "set": one.set,
                        "score": score,
                        "group": group,
                        "neurons": one.neurons,
                        "paradigms": len(set(after.paradigms)),
                        "pairs": len(after.values),
                        "baseline": level_of(before),
                        "accuracy": level_of(after),
                        **_figures(change(before, after, unit="pair", **book.bootstrap), "change"),
                    }
                )
    return TABLES["layers_by_group"].of(corrected(rows, ("family", "set", "score"), book.study["alpha"]))


def _figures(made: Change, name: str = "difference") -> dict[str, float]:
    return {name: made.estimate, "low": made.low, "high": made.high, "p": made.p}


def _same_place(one: _Entry, other: _Entry) -> bool:
    return (one.family, one.layers) == (other.family, other.layers)

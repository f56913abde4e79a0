"""Tables of the layers analysis, made from its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.layers.columns import BEFORE, EXCESS, FIRST, TABLES
from negspace.experiment.analysis import Book
from negspace.experiment.changes import DIFFERENCE, GROUP
from negspace.experiment.condition import RANDOM, Condition
from negspace.experiment.effects import MEAN, Effects, Entry
from negspace.experiment.floors import floored
from negspace.neurons.layout import in_ranges
from negspace.significance import Additivity, Contrast, Scale, additivity, judge_together


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    effects = Effects(book, book.part["scores"])
    plain = effects.read([book.baseline])[0]
    entries = _entries(effects, book.conditions, plain)
    return {
        "layers": _layers(effects, plain, entries),
        "layers_contrasts": _contrasts(effects, entries),
        "layers_by_group": _by_group(effects, plain, entries),
        "layers_additivity": _additivity(effects, plain, entries),
    }


def _entries(effects: Effects, conditions: Sequence[Condition], plain: Entry) -> list[Entry]:
    """The sets in each choice of layers in their order, and after them the random ones' mean."""
    found: list[Entry] = []
    for _, here in groupby(effects.read(conditions, plain), _place):
        own = list(here)
        drawn = [entry for entry in own if entry.about.role == RANDOM]
        found += [*own, *([effects.mean(drawn)] if drawn else [])]
    return found


def _place(entry: Entry) -> int:
    return entry.about.facts["place"]


def _where(entry: Entry) -> dict[str, Any]:
    layers = entry.about.facts["layers"]
    return {
        "family": entry.about.facts["family"],
        "layers": in_ranges(layers),
        "first_layer": layers[0],
        "last_layer": layers[-1],
        "share": entry.about.share,
    }


def _layers(effects: Effects, plain: Entry, entries: Sequence[Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for entry in entries:
        for score in effects.scores:
            rows.append(
                {
                    **_where(entry),
                    "set": entry.about.role,
                    "seed": entry.about.seed,
                    "score": score,
                    "neurons": entry.about.neurons,
                    **effects.value(entry, score),
                    **effects.change(plain, entry, score),
                    **effects.spread(entry, score),
                }
            )
    family = ("family", "set", "seed", "score")
    return TABLES["layers"].of(effects.judged(rows, family))


def _contrasts(effects: Effects, entries: Sequence[Entry]) -> pd.DataFrame:
    """The top set in some layers against random sets there, and against itself in others."""
    rows: list[dict[str, Any]] = []
    tops = [entry for entry in entries if entry.about.role == "top"]
    for position, top in enumerate(tops):
        name = top.about.facts["family"]
        family = [other for other in tops if other.about.facts["family"] == name]
        against = {
            MEAN: [other for other in entries if other.members and _place(other) == _place(top)],
            FIRST: family[:1] if name == "alone" and family[0] is not top else [],
            BEFORE: [tops[position - 1]] if name == "cumulative" and family[0] is not top else [],
        }
        for words, others in against.items():
            for other in others:
                for score in effects.scores:
                    rows.append(
                        {
                            **_where(top),
                            "score": score,
                            "against": words,
                            "value": effects.level(top, score),
                            "reference": effects.level(other, score),
                            **effects.change(other, top, score, DIFFERENCE),
                        }
                    )
    return TABLES["layers_contrasts"].of(effects.judged(rows, ("family", "score", "against"), DIFFERENCE))


def _by_group(effects: Effects, plain: Entry, entries: Sequence[Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for shown in (entry for entry in entries if entry.about.role != RANDOM):
        for score in effects.scores:
            about = {**_where(shown), "set": shown.about.role}
            rows += [{**about, **row} for row in effects.by_group(plain, shown, score)]
    return TABLES["layers_by_group"].of(effects.judged(rows, ("family", "set", "score"), GROUP))


def _additivity(effects: Effects, plain: Entry, entries: Sequence[Entry]) -> pd.DataFrame:
    """The top set in all groups of layers against the sum of what it does in each alone."""
    tops = [entry for entry in entries if entry.about.role == "top"]
    alone = [entry for entry in tops if entry.about.facts["family"] == "alone"]
    joint = [entry for entry in tops if entry.about.facts["family"] == "cumulative"][-1:]
    found: list[tuple[dict[str, Any], Additivity]] = []
    if joint and len(alone) > 1:
        for score in effects.scores:
            scales: tuple[Scale, ...] = ("log ratio",) if score == "perplexity" else ("points", "nats")
            for scale in scales:
                together, before = (entry.scores[score].on(scale) for entry in (joint[0], plain))
                each = [entry.scores[score].on(scale) for entry in alone]
                singles = np.array([values for values in each if values is not None])
                if together is None or before is None or len(singles) < len(alone):
                    continue
                nesting = plain.scores[score].nesting
                added = additivity(together, singles, before, nesting, scale=scale, alpha=effects.alpha)
                excess = floored(added.excess, plain.scores[score], joint[0].scores[score])
                found.append(({"score": score, "scale": scale}, replace(added, excess=excess)))
    judged = judge_together({n: added.excess for n, (_, added) in enumerate(found)})
    rows = []
    for n, (where, added) in enumerate(found):
        claim = judged[n]
        assert isinstance(claim, Contrast)
        about = {**where, "groups": added.groups, "joint": added.joint, "sum": added.total}
        rows.append({**about, **EXCESS.row(claim), "excess": claim.estimate, "low": claim.low, "high": claim.high})
        rows[-1] |= EXCESS.said(claim)
    return TABLES["layers_additivity"].of(rows)

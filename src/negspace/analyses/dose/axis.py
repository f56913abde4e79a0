"""One axis of damage: grammar lost as a function of what the same sets do to perplexity, a curve for each family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from negspace.experiment.book import Book
from negspace.experiment.changes import DIFFERENCE, Row
from negspace.experiment.claim import Claim, answered
from negspace.experiment.condition import MATCHED_RANDOM, RANDOM
from negspace.experiment.effects import Effects, Entry
from negspace.experiment.floors import floored
from negspace.experiment.schema import Column, Table, schema
from negspace.experiment.words import amount, compared, inside, on_margin, scope, unit, unjudgeable
from negspace.significance import (
    Contrast,
    Curve,
    CurveContrast,
    Scale,
    band,
    compare_curves,
    judge_together,
)
from negspace.significance.sets import FEWEST
from negspace.text.suites import TITLES

FAMILIES = ("top", RANDOM, "bottom")
"""Families of sets, as the tables name them."""
EQUAL = "random, equal perplexity"
"""Random sets that the run has matched on the top set's perplexity: points without a curve."""
_WHERE = (
    Column("score", str, "blimp, tse or pairs"),
    Column("scale", str, "points (accuracy; 0.01 is one point) or nats (margins; TSE: nats per token)"),
)
TABLES = schema(
    Table(
        "damage_axis",
        (
            *_WHERE,
            Column(
                "set",
                str,
                f"top, random (mean over one curve per seed), bottom, or {EQUAL} (a point for each set of the analysis "
                "of controls)",
            ),
            Column("dose", bool, "true for a measured dose, false for a point of the fitted curve"),
            Column("ratio", float, "perplexity divided by the plain model's"),
            Column("change", float, "change of the score from the plain model at that perplexity"),
            Column("low", float, "lower end of its pointwise interval, for points of the curve"),
            Column("high", float, "upper end"),
        ),
    ),
    Table(
        "damage_axis_contrasts",
        (
            *_WHERE,
            Column("against", str, "family that the top sets are compared with: random or bottom"),
            Column(
                "reach", float, "upper end of the common range of perplexity ratios, which starts at the plain model"
            ),
            *DIFFERENCE.columns(
                "the top sets' change minus the other family's, averaged over the common range of ln perplexity ratio",
                margins=False,
            ),
        ),
        family="all rows of the table",
    ),
)
"""The tables, by name."""


def make(book: Book, effects: Effects, plain: Entry, entries: Sequence[Entry], own: str) -> dict[str, pd.DataFrame]:
    """Both tables; without perplexity, or with fewer than two families, there is nothing to compare.

    Args:
        entries: conditions of the analysis; only those of the study's own intervention enter.
        own: that intervention.
    """
    rows: list[Row] = []
    contrasts: list[tuple[Row, CurveContrast]] = []
    suites = [score for score in effects.scores if score != "perplexity"]
    if "perplexity" in effects.scores:
        windows = plain.scores["perplexity"].nesting
        matched = [
            entry for entry in effects.read(book.of_role(MATCHED_RANDOM), plain) if entry.about.intervention == own
        ]
        for suite in suites:
            items = plain.scores[suite].nesting
            for scale in ("points", "nats"):
                curves = _curves(plain, entries, suite, scale, own)
                where = {"score": suite, "scale": scale}
                for family, several in curves.items():
                    own_curve = several if family == RANDOM else several[0]
                    drawn = band(own_curve, items, windows, outcomes=scale == "points", alpha=book.alpha)
                    # A family has no curve but its doses where it, or one of its sets, never raises perplexity.
                    shown = drawn.at if drawn.at[-1] > 0 else drawn.at[:0]
                    # What a few sets share with sets not drawn cannot be told.
                    few = family == RANDOM and len(several) < FEWEST
                    ends = [np.where(drawn.at > 0, np.nan, end) if few else end for end in (drawn.low, drawn.high)]
                    points_ = zip(shown, drawn.change, *ends, strict=False)
                    rows += [
                        {**where, "set": family, "dose": False, "ratio": np.exp(x), "change": y, "low": a, "high": b}
                        for x, y, a, b in points_
                    ]
                    rows += [
                        {**where, "set": family, "dose": True, "ratio": np.exp(x), "change": y}
                        for x, y in zip(drawn.doses, drawn.changes, strict=True)
                    ]
                for entry in matched if curves else ():
                    x, y = _moved(plain, entry, "perplexity", "log ratio"), _moved(plain, entry, suite, scale)
                    rows.append({**where, "set": EQUAL, "dose": True, "ratio": np.exp(x), "change": y})
                for against in FAMILIES[1:] if "top" in curves else ():
                    if against not in curves:
                        continue
                    others = curves[against] if against == RANDOM else curves[against][0]
                    top = curves["top"][0]
                    found = compare_curves(top, others, items, windows, scale=scale, alpha=book.alpha)
                    claim = floored(found.contrast, plain.scores[suite])
                    contrasts.append(({**where, "against": against}, replace(found, contrast=claim)))
    judged = judge_together({n: found.contrast for n, (_, found) in enumerate(contrasts)})
    told = []
    for n, (where, found) in enumerate(contrasts):
        claim = judged[n]
        assert isinstance(claim, Contrast)
        reach = float(np.exp(found.reach))
        told.append({**where, "reach": reach, **DIFFERENCE.row(claim), **DIFFERENCE.said(claim)})
    return {
        "damage_axis": TABLES["damage_axis"].of(rows),
        "damage_axis_contrasts": TABLES["damage_axis_contrasts"].of(told),
    }


def sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the top sets' loss beyond the other families at the same perplexity."""
    said = []
    for _, row in tables["damage_axis_contrasts"].iterrows():
        who = f"{_of(row)} at equal perplexity, top against {row['against']} sets"
        if row["finding"] == "cannot be judged":
            said.append(f"{who}: {unjudgeable(row['reason'])}.")
            continue
        say = on_margin if row["scale"] == "nats" else amount
        found = f"{compared(row['finding'])}{inside(scope(row))}"
        mean = say(row["score"], row["difference"], row["low"], row["high"])
        said.append(f"{who}: {found}, {mean} on average from {_reached(row)}.")
    return said


def claims(tables: Mapping[str, pd.DataFrame]) -> Iterator[Claim]:
    """Yield the claim that the top sets lose more grammar than either family at equal perplexity."""
    words = "At equal damage to perplexity the top sets lose more grammar"
    for _, row in tables["damage_axis_contrasts"].iterrows():
        value, low, high = (float(row[name]) for name in ("difference", "low", "high"))
        answer, finding = answered(row["finding"]), compared(row["finding"])
        scale = unit(row["score"]) if row["scale"] == "nats" else "points"
        who = f"{_of(row)}, against {row['against']} sets"
        # Without its range, a mean over models that are hardly harmed and models that are broken would say too much.
        mean = "" if answer == "cannot be judged" else f"the mean from {_reached(row)}"
        where = ", in ".join(filter(None, (scope(row), mean)))
        yield Claim("damage", words, who, None, answer, finding, scale, value, low, high, row["reason"], where)


def _reached(row: pd.Series) -> str:
    """The common range of perplexity ratios in words."""
    return f"x 1 to x {row['reach']:.3g} in perplexity"


def _of(row: pd.Series) -> str:
    return TITLES[row["score"]] + (", margins" if row["scale"] == "nats" else "")


def _moved(plain: Entry, entry: Entry, score: str, scale: Scale) -> float:
    """Mean change of a score from the plain model."""
    before, after = plain.scores[score].on(scale), entry.scores[score].on(scale)
    assert before is not None
    assert after is not None
    return plain.scores[score].mean(after - before)


def _curves(plain: Entry, entries: Sequence[Entry], suite: str, scale: Scale, own: str) -> dict[str, list[Curve]]:
    """Family -> its curve; of random sets one curve for each seed that has all doses."""
    doses: dict[tuple[str, int | None], dict[float, Entry]] = {}
    for entry in entries:
        about = entry.about
        repeats = about.share != about.facts.get("first_share", about.share)
        if entry.members or about.intervention != own or about.role not in FAMILIES or repeats or about.share is None:
            continue
        doses.setdefault((about.role, about.seed), {})[about.share] = entry
    most: dict[str, int] = {}
    for (role, _), own_doses in doses.items():
        most[role] = max(most.get(role, 0), len(own_doses))
    curves: dict[str, list[Curve]] = {}
    before = plain.scores[suite].on(scale)
    for (role, _), own_doses in doses.items():
        if len(own_doses) < most[role] or before is None:
            continue
        several = [own_doses[share] for share in sorted(own_doses)]
        after = [entry.scores[suite].on(scale) for entry in several]
        text = [entry.scores["perplexity"].values - plain.scores["perplexity"].values for entry in several]
        curve = Curve(np.stack(text), np.stack([values - before for values in after if values is not None]))
        curves.setdefault(role, []).append(curve)
    return {family: curves[family] for family in FAMILIES if family in curves}

"""From the records of the dose analysis to its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from negspace.analyses.dose.columns import ANSWERS, MEAN, PLAIN, QUESTIONS, TABLES
from negspace.experiment.analysis import Book
from negspace.experiment.effects import Scored, change, corrected, level_of, mean_of, part, scored, value
from negspace.significance import stand

DOUBLE = 2.0


@dataclass(frozen=True, eq=False)
class _Entry:
    """One condition, or the mean of the random ones, with its items."""

    set: str
    share: float
    intervention: str
    neurons: int
    first_share: float
    scores: Mapping[str, Scored]
    seed: int | None = None
    left_out: int = 0
    members: Sequence[_Entry] = field(default_factory=tuple)

    @property
    def where(self) -> dict[str, Any]:
        return {"share": self.share, "set": self.set, "intervention": self.intervention}


def own(book: Book) -> str:
    """Name of the study's own intervention."""
    return book.study["mode"] or f"zero_{book.study['zero']}"


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    scores = book.part["scores"]
    plain = {score: scored(score, book.record(book.part["baseline"][score])) for score in scores}
    entries = _entries(book)
    dose = _dose(book, plain, entries)
    made = {
        "dose": dose,
        "dose_contrasts": _contrasts(book, entries),
        "dose_by_group": _by_group(book, plain, entries),
        "dose_thresholds": _thresholds(book, plain, entries, dose),
    }
    contrasts = _sign_or_magnitude(book, plain, entries)
    return made | {"sign_or_magnitude": contrasts, "sign_or_magnitude_answer": _answers(contrasts)}


def _entries(book: Book) -> list[_Entry]:
    """The conditions in their order, and the mean after the random ones of a share."""
    first: dict[tuple[Any, ...], float] = {}
    for about in book.part["conditions"]:
        same = (about["set"], about["seed"], about["intervention"], about["key"])
        first[same] = min(about["share"], first.get(same, 1.0))
    made: list[_Entry] = []
    for about in book.part["conditions"]:
        same = (about["set"], about["seed"], about["intervention"], about["key"])
        made.append(
            _Entry(
                set=about["set"],
                share=about["share"],
                intervention=about["intervention"],
                neurons=about["neurons"],
                first_share=first[same],
                scores={score: scored(score, book.record(key)) for score, key in about["cells"].items()},
                seed=about["seed"],
                left_out=about["left_out"],
            )
        )
    groups: dict[tuple[str, float], list[_Entry]] = {}
    for one in made:
        if one.set == "random":
            groups.setdefault((one.intervention, one.share), []).append(one)
    for (intervention, share), members in groups.items():
        means = {score: mean_of([one.scores[score] for one in members]) for score in members[0].scores}
        mean = _Entry(
            MEAN, share, intervention, members[0].neurons, max(one.first_share for one in members), means,
            members=members,
        )  # fmt: skip
        made.insert(made.index(members[-1]) + 1, mean)
    return made


def _dose(book: Book, plain: Mapping[str, Scored], entries: Sequence[_Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for score, before in plain.items():
        rows.append({"set": PLAIN, "score": score, "neurons": 0, **_value(before, book)})
    for one in entries:
        for score, now in one.scores.items():
            changed = change(plain[score], now, **book.bootstrap)
            row = {
                **one.where,
                "seed": one.seed,
                "score": score,
                "neurons": one.neurons,
                "left_out": one.left_out,
                "first_share": one.first_share,
                **_value(now, book),
                "change": changed.estimate,
                "change_low": changed.low,
                "change_high": changed.high,
                "p": changed.p,
            }
            if one.members:
                each = [level_of(member.scores[score]) for member in one.members]
                row |= {"sets": len(each), "sd": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan}
            rows.append(row)
    found = corrected(
        rows, ("set", "seed", "intervention", "score"), book.study["alpha"], ends=("change_low", "change_high")
    )
    return TABLES["dose"].of(found)


def _contrasts(book: Book, entries: Sequence[_Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for top in (one for one in entries if one.set == "top"):
        same = [one for one in entries if (one.share, one.intervention) == (top.share, top.intervention)]
        for other in (one for one in same if one.set in (MEAN, "bottom")):
            for score, now in top.scores.items():
                row = {
                    "share": top.share,
                    "intervention": top.intervention,
                    "score": score,
                    "against": "random" if other.members else "bottom",
                    "neurons": top.neurons,
                    "first_share": max(top.first_share, other.first_share),
                    "top": level_of(now),
                    "reference": level_of(other.scores[score]),
                    **_difference(other.scores[score], now, book),
                }
                if other.members:
                    place = stand(row["top"], [level_of(member.scores[score]) for member in other.members])
                    row |= {"sets": place.sets, "below": place.below, "above": place.above}
                rows.append(row)
    return TABLES["dose_contrasts"].of(corrected(rows, ("intervention", "score", "against"), book.study["alpha"]))


def _by_group(book: Book, plain: Mapping[str, Scored], entries: Sequence[_Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for one in (one for one in entries if one.set != "random" and one.share == one.first_share):
        for score, now in one.scores.items():
            for group in sorted(set(now.groups)):
                before, after = part(plain[score], group), part(now, group)
                made = change(before, after, unit="pair", **book.bootstrap)
                rows.append(
                    {
                        **one.where,
                        "score": score,
                        "group": group,
                        "neurons": one.neurons,
                        "paradigms": len(set(after.paradigms)),
                        "pairs": len(after.values),
                        "baseline": level_of(before),
                        "accuracy": level_of(after),
                        "change": made.estimate,
                        "low": made.low,
                        "high": made.high,
                        "p": made.p,
                    }
                )
    return TABLES["dose_by_group"].of(corrected(rows, ("share", "set", "intervention", "score"), book.study["alpha"]))


def _thresholds(book: Book, plain: Mapping[str, Scored], entries: Sequence[_Entry], dose: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    curves: dict[tuple[str, str], list[_Entry]] = {}
    for one in entries:
        if one.set != "random" and one.share == one.first_share:
            curves.setdefault((one.set, one.intervention), []).append(one)
    for (kind, intervention), points in curves.items():
        points = sorted(points, key=lambda one: one.share)
        if len(points) < 2 or intervention != own(book):
            continue
        for score in plain:
            here = dose[(dose["set"] == kind) & (dose["intervention"] == intervention) & (dose["score"] == score)]
            harmed = here[here["finding"] == "harm"].sort_values("share")
            row: dict[str, Any] = {"set": kind, "intervention": intervention, "score": score}
            if len(harmed):
                row |= {"first_harm": harmed["share"].iloc[0], "neurons": harmed["neurons"].iloc[0]}
            if score == "perplexity":
                differences = np.stack([one.scores[score].values - plain[score].values for one in points])
                shares = np.array([one.share for one in points])
                estimate, low, high = doubling(shares, differences, **book.bootstrap)
                row |= {"doubling": estimate, "doubling_low": low, "doubling_high": high}
            rows.append(row)
    return TABLES["dose_thresholds"].of(rows)


def doubling(
    shares: NDArray[np.float64], differences: NDArray[np.float64], *, level: float, draws: int, seed: int
) -> tuple[float, float, float]:
    """The share at which perplexity doubles, and an interval for it.

    Windows are resampled, all shares together, and the crossing is read off each resampled curve; ends by the expanded
    percentile method (see `mean_interval`). inf where the curve stays below; a single window allows no interval (NaN).

    Args:
        shares: [shares] upwards, above 0.
        differences: [shares, windows] mean negative log-likelihood minus the plain model's, in nats.
    """
    estimate = float(_crossing(shares, differences.mean(axis=1)[:, None])[0])
    n = differences.shape[1]
    if n == 1:
        return estimate, float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws).T / n
    found = _crossing(shares, differences @ weights)
    tail = float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + level / 2, n - 1)))
    low, high = np.quantile(found, [tail, 1 - tail], method="inverted_cdf")  # no interpolation towards infinity
    return estimate, float(low), float(high)


def _crossing(shares: NDArray[np.float64], curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each curve [shares, curves] of log ratios first reaches log 2; inf where it does not."""
    target = np.log(DOUBLE)
    reached = curves >= target
    first = np.where(reached.any(axis=0), reached.argmax(axis=0), -1)
    found = np.full(curves.shape[1], np.inf)
    for k in range(len(shares)):
        here = np.flatnonzero(first == k)
        y = curves[k, here]
        if k == 0:
            found[here] = shares[0] * target / y
            continue
        before = curves[k - 1, here]
        along = (target - before) / (y - before)
        found[here] = shares[k - 1] * (shares[k] / shares[k - 1]) ** along
    return found


def _sign_or_magnitude(book: Book, plain: Mapping[str, Scored], entries: Sequence[_Entry]) -> pd.DataFrame:
    by_name: dict[tuple[float, str], dict[str, _Entry]] = {}
    for one in entries:
        if one.set in ("top", MEAN):
            by_name.setdefault((one.share, one.set), {})[one.intervention] = one
    rows: list[dict[str, Any]] = []
    for (share, kind), found in by_name.items():
        if len(found) < 2:
            continue
        for score in plain:
            for first, second, question in QUESTIONS:
                if first not in found or second not in (PLAIN, *found):
                    continue
                after = found[first].scores[score]
                before = plain[score] if second == PLAIN else found[second].scores[score]
                rows.append(
                    {
                        "share": share,
                        "set": kind,
                        "score": score,
                        "question": question,
                        "first": first,
                        "second": second,
                        "first_value": level_of(after),
                        "second_value": level_of(before),
                        **_difference(before, after, book),
                    }
                )
    return TABLES["sign_or_magnitude"].of(corrected(rows, ("share", "set", "score"), book.study["alpha"]))


def _answers(contrasts: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for keys, part_ in contrasts.groupby(["share", "set", "score"], sort=False):
        found = {(row["first"], row["second"]): row["finding"] for _, row in part_.iterrows()}
        wanted = [("sign_flip", PLAIN), ("negative_mean", PLAIN), ("sign_flip", "negative_mean")]
        if not all(pair in found for pair in wanted):
            continue
        sign, magnitude, between = (found[pair] for pair in wanted)
        rows.append(
            {
                **dict(zip(("share", "set", "score"), keys, strict=True)),  # type: ignore[arg-type]
                "negative_part": found.get(("zero_negative", PLAIN)),
                "sign": sign,
                "magnitude": magnitude,
                "sign_against_magnitude": between,
                "answer": answer(sign, magnitude, between),
            }
        )
    return TABLES["sign_or_magnitude_answer"].of(rows)


def answer(sign: str, magnitude: str, between: str) -> str:
    """Sign or magnitude: that one is shown to harm and the other is not does not say that they differ; `between` does.

    Args:
        sign: finding for the loss of sign against the plain model.
        magnitude: finding for the loss of magnitude against the plain model.
        between: finding for the loss of sign against the loss of magnitude.
    """
    by_sign, by_magnitude = sign == "harm", magnitude == "harm"
    if not by_sign and not by_magnitude:
        return ANSWERS[0]
    if by_sign and between == "harm":
        return ANSWERS[1]
    if by_magnitude and between == "gain":
        return ANSWERS[2]
    if by_sign and by_magnitude:
        return ANSWERS[3]
    return ANSWERS[4] if by_sign else ANSWERS[5]


def _value(one: Scored, book: Book) -> dict[str, float]:
    found = value(one, **book.bootstrap)
    return {"value": found.estimate, "value_low": found.low, "value_high": found.high}


def _difference(before: Scored, after: Scored, book: Book) -> dict[str, float]:
    made = change(before, after, **book.bootstrap)
    return {"difference": made.estimate, "low": made.low, "high": made.high, "p": made.p}

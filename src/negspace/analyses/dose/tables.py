"""Tables of the dose analysis, made from its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from negspace.analyses.dose import axis
from negspace.analyses.dose.columns import PLAIN, QUESTIONS, SIGN_OR_MAGNITUDE, TABLES
from negspace.experiment.analysis import Book
from negspace.experiment.changes import DIFFERENCE, GROUP
from negspace.experiment.condition import LEFT_OUT, RANDOM, Condition
from negspace.experiment.effects import MEAN, Effects, Entry
from negspace.significance.interval import FEWEST

DOUBLE = 2.0


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    effects = Effects(book, book.part["scores"])
    plain = effects.read([book.baseline])[0]
    entries = _entries(effects, book.conditions, plain)
    dose = _dose(effects, plain, entries)
    contrasts = _sign_or_magnitude(effects, plain, entries)
    return {
        "dose": dose,
        "dose_contrasts": _contrasts(effects, entries),
        "dose_by_group": _by_group(effects, plain, entries),
        "dose_thresholds": _thresholds(book, plain, entries, dose),
        "sign_or_magnitude": contrasts,
        "sign_or_magnitude_answer": _answers(contrasts),
        **axis.make(book, effects, plain, entries, book.intervention),
    }


def _entries(effects: Effects, conditions: Sequence[Condition], plain: Entry) -> list[Entry]:
    """The conditions in their order, and the mean after the random ones of a share; each knows its first share."""
    first: dict[tuple[Any, ...], float] = {}
    for condition in conditions:
        assert condition.share is not None
        first[_same(condition)] = min(condition.share, first.get(_same(condition), 1.0))
    told = [
        condition.model_copy(update={"facts": {**condition.facts, "first_share": first[_same(condition)]}})
        for condition in conditions
    ]
    made = effects.read(told, plain)
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in made:
        if entry.about.role == RANDOM:
            groups.setdefault((entry.about.intervention, entry.about.share), []).append(entry)
    for members in groups.values():
        # A mean repeats another share's where all of its sets do.
        mean = effects.mean(members, first_share=max(map(_first_share, members)))
        made.insert(made.index(members[-1]) + 1, mean)
    return made


def _same(condition: Condition) -> tuple[Any, ...]:
    """Return the key by which two shares with the same set are recognised."""
    return condition.role, condition.seed, condition.intervention, condition.key


def _first_share(entry: Entry) -> float:
    return entry.about.facts["first_share"]


def _where(entry: Entry) -> dict[str, Any]:
    return {"share": entry.about.share, "set": entry.about.role, "intervention": entry.about.intervention}


def _dose(effects: Effects, plain: Entry, entries: Sequence[Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"set": PLAIN, "score": score, "neurons": 0, **effects.value(plain, score)} for score in effects.scores
    ]
    for entry in entries:
        for score in effects.scores:
            rows.append(
                {
                    **_where(entry),
                    "seed": entry.about.seed,
                    "score": score,
                    "neurons": entry.about.neurons,
                    "left_out": 0 if entry.members else entry.about.facts.get(LEFT_OUT, 0),
                    "first_share": _first_share(entry),
                    **effects.value(entry, score),
                    **effects.change(plain, entry, score),
                    **effects.spread(entry, score),
                }
            )
    family = ("set", "seed", "intervention", "score")
    return TABLES["dose"].of(effects.judged(rows, family))


def _contrasts(effects: Effects, entries: Sequence[Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for top in (entry for entry in entries if entry.about.role == "top"):
        place = (top.about.share, top.about.intervention)
        same = [entry for entry in entries if (entry.about.share, entry.about.intervention) == place]
        for other in (one for one in same if one.about.role in (MEAN, "bottom")):
            for score in effects.scores:
                rows.append(
                    {
                        "share": top.about.share,
                        "intervention": top.about.intervention,
                        "score": score,
                        "against": "random" if other.members else "bottom",
                        "neurons": top.about.neurons,
                        "first_share": max(_first_share(top), _first_share(other)),
                        "top": effects.level(top, score),
                        "reference": effects.level(other, score),
                        **effects.change(other, top, score, DIFFERENCE),
                    }
                )
    return TABLES["dose_contrasts"].of(effects.judged(rows, ("intervention", "score", "against"), DIFFERENCE))


def _by_group(effects: Effects, plain: Entry, entries: Sequence[Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for shown in (
        entry for entry in entries if entry.about.role != RANDOM and entry.about.share == _first_share(entry)
    ):
        for score in effects.scores:
            rows += [{**_where(shown), **row} for row in effects.by_group(plain, shown, score)]
    return TABLES["dose_by_group"].of(effects.judged(rows, ("share", "set", "intervention", "score"), GROUP))


def _thresholds(book: Book, plain: Entry, entries: Sequence[Entry], dose: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    curves: dict[tuple[str, str | None], list[Entry]] = {}
    for entry in entries:
        if entry.about.role != RANDOM and entry.about.share == _first_share(entry):
            curves.setdefault((entry.about.role, entry.about.intervention), []).append(entry)
    for (kind, intervention), points in curves.items():
        points = sorted(points, key=_share)
        if len(points) < 2 or intervention != book.intervention:
            continue
        for score in book.part["scores"]:
            here = dose[(dose["set"] == kind) & (dose["intervention"] == intervention) & (dose["score"] == score)]
            harmed = here[here["finding"] == "harm"].sort_values("share")
            row: dict[str, Any] = {"set": kind, "intervention": intervention, "score": score}
            if len(harmed):
                row |= {"first_harm": harmed["share"].iloc[0], "neurons": harmed["neurons"].iloc[0]}
            if score == "perplexity":
                differences = np.stack([_differences(plain, point, score) for point in points])
                shares = np.array([_share(point) for point in points])
                estimate, low, high = doubling(shares, differences, **book.bootstrap)
                row |= {"doubling": estimate, "doubling_low": low, "doubling_high": high}
            rows.append(row)
    return TABLES["dose_thresholds"].of(rows)


def _share(entry: Entry) -> float:
    assert entry.about.share is not None
    return entry.about.share


def _differences(plain: Entry, entry: Entry, score: str) -> NDArray[np.float64]:
    """[windows] change from the plain model; of a mean over random sets [sets, windows], in order of their seeds."""
    before = plain.scores[score].values
    if not entry.members:
        return entry.scores[score].values - before
    return np.stack([member.scores[score].values - before for member in entry.sets(score)])


def doubling(
    shares: NDArray[np.float64], differences: NDArray[np.float64], *, level: float, draws: int, seed: int
) -> tuple[float, float, float]:
    """The share at which perplexity doubles, and an interval for it.

    Windows are resampled, all shares together, and the crossing is read off each resampled curve; ends by the expanded
    percentile method (see `mean_interval`). inf where the curve stays below. Random sets are a sample as windows are:
    sets, each with all of its shares, are resampled independently of the windows, and the ends expanded for the fewer
    of the two. Fewer than `FEWEST` windows or sets allow no interval: the ends are NaN.

    Args:
        shares: [shares] upwards, above 0.
        differences: [shares, windows] mean negative log-likelihood minus the plain model's, in nats; or
            [shares, sets, windows] of random sets, for the doubling of their mean.
    """
    over_sets = differences.ndim == 3
    mean = differences.mean(axis=1) if over_sets else differences
    estimate = float(_crossing(shares, mean.mean(axis=1)[:, None])[0])
    n = min(differences.shape[1:])
    if n < FEWEST:
        return estimate, float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    curves = differences @ _resampled(differences.shape[-1], draws, rng)
    if over_sets:
        curves = (curves * _resampled(differences.shape[1], draws, rng)).sum(axis=1)
    found = _crossing(shares, curves)
    tail = float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + level / 2, n - 1)))
    low, high = np.quantile(found, [tail, 1 - tail], method="inverted_cdf")  # no interpolation towards infinity
    return estimate, float(low), float(high)


def _resampled(units: int, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[units, draws] weights of units that are drawn with replacement."""
    return rng.multinomial(units, np.full(units, 1 / units), size=draws).T / units


def _crossing(shares: NDArray[np.float64], curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share at which each curve [shares, curves] of log ratios first reaches log 2; inf if it does not."""
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


def _sign_or_magnitude(effects: Effects, plain: Entry, entries: Sequence[Entry]) -> pd.DataFrame:
    by_name: dict[tuple[float | None, str], dict[str | None, Entry]] = {}
    for entry in entries:
        if entry.about.role in ("top", MEAN):
            by_name.setdefault((entry.about.share, entry.about.role), {})[entry.about.intervention] = entry
    rows: list[dict[str, Any]] = []
    for (share, kind), found in by_name.items():
        if len(found) < 2:
            continue
        for score in effects.scores:
            for first, second, question in QUESTIONS:
                if first not in found or second not in (PLAIN, *found):
                    continue
                after, before = found[first], plain if second == PLAIN else found[second]
                rows.append(
                    {
                        "share": share,
                        "set": kind,
                        "score": score,
                        "question": question,
                        "first": first,
                        "second": second,
                        "first_value": effects.level(after, score),
                        "second_value": effects.level(before, score),
                        **effects.change(before, after, score, DIFFERENCE),
                    }
                )
    return TABLES["sign_or_magnitude"].of(effects.judged(rows, ("share", "set", "score"), DIFFERENCE))


def _answers(contrasts: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for keys, part_ in contrasts.groupby(["share", "set", "score"], sort=False):
        found = {(row["first"], row["second"]): row["finding"] for _, row in part_.iterrows()}
        if not all(pair in found for pair in SIGN_OR_MAGNITUDE):
            continue
        sign, magnitude, between = (found[pair] for pair in SIGN_OR_MAGNITUDE)
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
    if "cannot be judged" in (sign, magnitude):
        return "cannot be judged"
    by_sign, by_magnitude = sign == "harm", magnitude == "harm"
    if not by_sign and not by_magnitude:
        return "neither shown to harm"
    if by_sign and between == "harm":
        return "sign more than magnitude"
    if by_magnitude and between == "gain":
        return "magnitude more than sign"
    if by_sign and by_magnitude:
        return "both, no difference shown"
    return f"{'sign' if by_sign else 'magnitude'}, not shown to harm more than {'magnitude' if by_sign else 'sign'}"

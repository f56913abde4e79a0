"""From the records of the dose analysis to its tables and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from negspace.significance import correct, stand
from negspace.studies.analysis import Book
from negspace.studies.comparison import Scored, amount, change, finding, mean_of, part, percent, scored, title, value
from negspace.studies.schema import typed

MEAN = "random mean"
PLAIN = "plain model"
DOUBLE = 2.0
ANSWERS = (
    "neither shown to harm",
    "sign more than magnitude",
    "magnitude more than sign",
    "both, without a difference",
    "sign, not shown to harm more than magnitude",
    "magnitude, not shown to harm more than sign",
)
QUESTIONS = (
    ("zero_negative", PLAIN, "does the negative part matter?"),
    ("sign_flip", PLAIN, "does its sign matter, the magnitude kept?"),
    ("negative_mean", PLAIN, "does its magnitude matter, the sign kept?"),
    ("sign_flip", "negative_mean", "does losing the sign harm more than losing the magnitude?"),
    ("zero_negative", "negative_mean", "is no negative part worse than a constant one?"),
    ("sign_flip", "zero_negative", "is a wrong sign worse than no negative part?"),
    ("zero_negative", "zero_positive", "does the negative part matter more than the positive one?"),
    ("zero_negative", "relu_on_positives", "is it the negative part, not the shape of the positive one?"),
    ("zero_positive", PLAIN, "does the positive part matter?"),
    ("relu_on_positives", PLAIN, "does the shape of the positive part matter?"),
    ("mean", PLAIN, "does it matter that the neurons vary?"),
    ("mean", "negative_mean", "does the positive part's variation matter beyond the negative one's?"),
    ("zero_both", PLAIN, "do the neurons matter?"),
    ("zero_both", "zero_negative", "does the positive part matter once the negative one is gone?"),
)
"""Contrasts of interventions, the first against the second, and what each asks."""

_SET = {
    "share": "share p of each site's neurons",
    "set": "top, bottom, random (one set), or random mean (over the random sets, item by item)",
    "intervention": "what is done to the neurons",
}
_RANGE = {"low": "lower end of its interval", "high": "upper end of its interval"}
_P = {
    "p": "p-value: for perplexity the paired t-test over windows; for accuracy the sign-flip test over paradigms, over "
    "pairs where there are fewer than about 10",
    "p_holm": "the same, Holm-corrected (family: see the table)",
}
_FINDING = "harm or gain where the interval excludes no change and p_holm is below alpha; else null result"
COLUMNS: dict[str, dict[str, str]] = {
    "dose": {
        **_SET,
        "seed": "seed of a random set",
        "sets": "sets in a random mean",
        "score": "perplexity, blimp or tse",
        "neurons": "how many neurons are changed: ceil(p (D - 1)) of a site of D",
        "left_out": "neurons of the set that an intervention on means leaves as they are, having none in the scan",
        "first_share": "smallest share that gives this very set; below `share`, the row repeats that one's result",
        "value": "perplexity, or accuracy as the mean over paradigms (ties not right, identical pairs left out)",
        "value_low": "lower end of its interval",
        "value_high": "upper end of its interval",
        "sd": "standard deviation over the sets of a random mean",
        "change": "perplexity divided by the plain model's; accuracy minus the plain model's; on the same items",
        "change_low": "lower end of its paired interval",
        "change_high": "upper end of its paired interval",
        **_P,
        "finding": _FINDING,
    },
    "dose_contrasts": {
        "share": "share p of each site's neurons",
        "intervention": "what is done to the neurons",
        "score": "perplexity, blimp or tse",
        "against": "what the top set is compared with: random (mean over the sets) or bottom",
        "neurons": "neurons of the top set",
        "first_share": "smallest share that gives this very top set; below `share`, the row repeats that one's result",
        "top": "the top set's perplexity or accuracy",
        "reference": "the other's",
        "difference": "perplexity: top divided by the other; accuracy: top minus the other; on the same items",
        **_RANGE,
        **_P,
        "sets": "random sets",
        "below": "random sets of a lower score than the top set",
        "above": "random sets of a higher score than the top set",
        "finding": _FINDING,
    },
    "dose_by_group": {
        **_SET,
        "score": "blimp or tse",
        "group": "BLiMP's phenomenon or TSE's construction",
        "neurons": "how many neurons are changed",
        "paradigms": "paradigms in the group",
        "pairs": "pairs that are counted",
        "baseline": "accuracy of the plain model: the mean over paradigms",
        "accuracy": "accuracy under the intervention",
        "change": "accuracy minus baseline on the same pairs",
        **_RANGE,
        "p": "sign-flip p-value over pairs (McNemar's exact test but in a random mean)",
        "p_holm": _P["p_holm"],
        "finding": _FINDING,
    },
    "dose_thresholds": {
        "set": _SET["set"],
        "intervention": _SET["intervention"],
        "score": "perplexity, blimp or tse",
        "first_harm": "smallest share at which harm is shown; missing if at none",
        "neurons": "how many neurons that is",
        "doubling": "share at which perplexity is twice the plain model's: its logarithm is interpolated linearly "
        "between the shares on their log scale, below the first from no change at p = 0; inf: not reached",
        "doubling_low": "lower end of its interval (bootstrap over windows)",
        "doubling_high": "upper end of its interval; inf: not reached",
    },
    "sign_or_magnitude": {
        "share": "share p of each site's neurons",
        "set": "top, or random mean as the reference",
        "score": "perplexity, blimp or tse",
        "question": "what the contrast asks",
        "first": "an intervention",
        "second": "another, or the plain model",
        "first_value": "perplexity or accuracy under the first",
        "second_value": "perplexity or accuracy under the second",
        "difference": "perplexity: first divided by second; accuracy: first minus second; on the same items",
        **_RANGE,
        **_P,
        "finding": "harm: the first harms more than the second, by interval and p_holm; gain: less; else null result",
    },
    "sign_or_magnitude_answer": {
        "share": "share p of each site's neurons",
        "set": "top, or random mean as the reference",
        "score": "perplexity, blimp or tse",
        "negative_part": "finding for zero_negative against the plain model",
        "sign": "finding for sign_flip against the plain model: act(a) -> -act(a) where negative",
        "magnitude": "finding for negative_mean against the plain model: a -> its negative mean where negative",
        "sign_against_magnitude": "finding for sign_flip against negative_mean",
        "answer": "one of: "
        + "; ".join(ANSWERS)
        + ". A flip moves the output by twice the value, a zero by once: compare with the reference set",
    },
}
FAMILIES = {
    "dose": "different shares of one set, intervention and score",
    "dose_contrasts": "different shares of one intervention, score and control",
    "dose_by_group": "groups of one share, set, intervention and suite",
    "sign_or_magnitude": "contrasts of one share, set and score",
}
_WORDS = (
    "set", "intervention", "score", "finding", "against", "group", "question", "first", "second", "answer",
    "negative_part", "sign", "magnitude", "sign_against_magnitude",
)  # fmt: skip
_WHOLE = ("seed", "sets", "neurons", "left_out", "below", "above", "paradigms", "pairs")


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


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What the tables say: from which share on there is harm, where perplexity doubles, and sign against magnitude."""
    said = [_threshold_sentence(row) for _, row in tables["dose_thresholds"].iterrows()]
    contrasts, own = tables["dose_contrasts"], _own(book)
    against = contrasts[(contrasts["against"] == "random") & (contrasts["intervention"] == own)]
    different = against[against["share"] == against["first_share"]]
    for score in book.part["scores"]:
        rows = different[different["score"] == score]
        more, less = (rows[rows["finding"] == what]["share"] for what in ("harm", "gain"))
        if len(rows) > 1:
            said.append(
                f"{_capital(title(score))}, {own}: the top set does more harm than random ones at {_shares(more)}, "
                f"less at {_shares(less)}; {len(rows)} different shares."
            )
    contrasts = tables["sign_or_magnitude"]
    for _, row in tables["sign_or_magnitude_answer"].iterrows():
        here = (contrasts[["share", "set", "score"]] == row[["share", "set", "score"]]).all(axis=1)
        parts = [
            f"{words} {_described(contrasts[here], first, second)}"
            for first, second, words in (
                ("sign_flip", PLAIN, "sign lost"),
                ("negative_mean", PLAIN, "magnitude lost"),
                ("sign_flip", "negative_mean", "the first against the second"),
            )
        ]
        said.append(
            f"Sign or magnitude, {row['set']} {percent(row['share'])}, {title(row['score'])}: {row['answer']} "
            f"({'; '.join(parts)})."
        )
    return said


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
                each = [_level(member.scores[score]) for member in one.members]
                row |= {"sets": len(each), "sd": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan}
            rows.append(row)
    found = _corrected(rows, ("set", "seed", "intervention", "score"), book, ("change_low", "change_high"))
    return _typed("dose", found)


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
                    "top": _level(now),
                    "reference": _level(other.scores[score]),
                    **_difference(other.scores[score], now, book),
                }
                if other.members:
                    place = stand(row["top"], [_level(member.scores[score]) for member in other.members])
                    row |= {"sets": place.sets, "below": place.below, "above": place.above}
                rows.append(row)
    return _typed("dose_contrasts", _corrected(rows, ("intervention", "score", "against"), book))


def _by_group(book: Book, plain: Mapping[str, Scored], entries: Sequence[_Entry]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for one in (one for one in entries if one.set != "random"):
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
                        "baseline": _level(before),
                        "accuracy": _level(after),
                        "change": made.estimate,
                        "low": made.low,
                        "high": made.high,
                        "p": made.p,
                    }
                )
    return _typed("dose_by_group", _corrected(rows, ("share", "set", "intervention", "score"), book))


def _thresholds(book: Book, plain: Mapping[str, Scored], entries: Sequence[_Entry], dose: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    curves: dict[tuple[str, str], list[_Entry]] = {}
    for one in entries:
        if one.set != "random" and one.share == one.first_share:
            curves.setdefault((one.set, one.intervention), []).append(one)
    for (kind, intervention), points in curves.items():
        points = sorted(points, key=lambda one: one.share)
        if len(points) < 2 or intervention != _own(book):
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
    return _typed("dose_thresholds", rows)


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
                        "first_value": _level(after),
                        "second_value": _level(before),
                        **_difference(before, after, book),
                    }
                )
    return _typed("sign_or_magnitude", _corrected(rows, ("share", "set", "score"), book))


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
    return _typed("sign_or_magnitude_answer", rows)


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


def _own(book: Book) -> str:
    return book.study["mode"] or f"zero_{book.study['zero']}"


def _level(one: Scored) -> float:
    """Perplexity, or accuracy as the mean over paradigms."""
    if one.score == "perplexity":
        return float(np.exp(one.values.mean()))
    _, group = np.unique(one.paradigms.astype(str), return_inverse=True)
    return float((np.bincount(group, weights=one.values) / np.bincount(group)).mean())


def _value(one: Scored, book: Book) -> dict[str, float]:
    found = value(one, **book.bootstrap)
    return {"value": found.estimate, "value_low": found.low, "value_high": found.high}


def _difference(before: Scored, after: Scored, book: Book) -> dict[str, float]:
    made = change(before, after, **book.bootstrap)
    return {"difference": made.estimate, "low": made.low, "high": made.high, "p": made.p}


def _corrected(
    rows: list[dict[str, Any]], family: Iterable[str], book: Book, ends: tuple[str, str] = ("low", "high")
) -> list[dict[str, Any]]:
    """Rows with p_holm and finding; a row that repeats a smaller share's takes its figures and adds no test."""
    families: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if "p" in row:
            families.setdefault(tuple(row.get(name) for name in family), []).append(row)
    for tests in families.values():
        own = [row for row in tests if row.get("first_share", row["share"]) == row["share"]]
        adjusted = correct([row["p"] for row in own], alpha=book.study["alpha"]).p
        by_share = {row["share"]: p for row, p in zip(own, adjusted, strict=True)}
        for number, row in enumerate(own):
            row["p_holm"] = float(adjusted[number])
        for row in tests:
            if "p_holm" not in row:
                row["p_holm"] = float(by_share[row["first_share"]])
            low, high = row[ends[0]], row[ends[1]]
            row["finding"] = finding(row["score"], low, high, row["p_holm"], book.study["alpha"])
    return rows


def _typed(name: str, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return typed(rows, COLUMNS[name], words=_WORDS, whole=_WHOLE)


def _threshold_sentence(row: pd.Series) -> str:
    text = f"{_capital(title(row['score']))}, {row['set']}, {row['intervention']}: "
    if np.isfinite(row["first_harm"]):
        text += f"harm is first shown at {percent(row['first_harm'])} ({row['neurons']:,} neurons)"
    else:
        text += "a null result, harm is shown at no share"
    if row["score"] != "perplexity":
        return text + "."
    if not np.isfinite(row["doubling"]):
        return f"{text}; it is doubled at none{_limits(row)}."
    return f"{text}; it is doubled at {percent(row['doubling'])}{_limits(row)}."


def _limits(row: pd.Series) -> str:
    low, high = row["doubling_low"], row["doubling_high"]
    if np.isnan(low):
        return ""
    words = [percent(end) if np.isfinite(end) else "not reached" for end in (low, high)]
    return f" [{words[0]}, {words[1]}]"


def _described(rows: pd.DataFrame, first: str, second: str) -> str:
    row = rows[(rows["first"] == first) & (rows["second"] == second)].iloc[0]
    return f"{amount(row['score'], row['difference'], row['low'], row['high'])}: {row['finding']}"


def _shares(shares: pd.Series) -> str:
    return ", ".join(percent(share) for share in shares) or "none"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

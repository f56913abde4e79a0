"""Tables of the comparison of statistics, made from its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from negspace.analyses.rankings.columns import CORRELATED, PARTIAL, TABLES
from negspace.analyses.rankings.sets import choose, statistic
from negspace.errors import RecordError
from negspace.experiment.analysis import Book
from negspace.experiment.changes import DIFFERENCE
from negspace.experiment.condition import RANDOM, Condition
from negspace.experiment.effects import MEAN, Effects, Entry
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.overlap import overlap
from negspace.significance import Interval, correct, mean_interval
from negspace.significance.interval import FEWEST
from negspace.significance.ranks import explained, spearman


@dataclass(frozen=True, eq=False)
class Place:
    """A site: where it is, and its rows in the scan."""

    path: str
    layer: int
    branch: str
    rows: slice


@dataclass(frozen=True, eq=False)
class _Ground:
    """The conditions of one share, end and choice of sites: they are compared with each other."""

    share: float
    end: str
    within: str
    sets: Mapping[str, Entry]
    """Statistic -> the set that it chose."""
    random: Entry
    """The mean over random sets."""

    @property
    def where(self) -> dict[str, Any]:
        return {"share": self.share, "end": self.end, "within": self.within}


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    record = book.record(book.part["scan"])
    layout = Layout.from_rows(record.results["info"]["layout"])
    table = record.items
    places = [
        Place(site.path, site.layer, str(table["branch"].iloc[rows.start]), rows)
        for site in layout.within(book.part["layers"])
        for rows in [layout.rows[site.path]]
    ]
    effects = Effects(book, book.part["scores"])
    plain = effects.read([Condition.model_validate(book.part["baseline"])])[0]
    grounds = _grounds(effects, book.conditions, plain)
    chosen = {
        (ground.share, ground.end, ground.within, by): _again(table, layout, book, ground, by)
        for ground in grounds
        for by in ground.sets
    }
    names = dict.fromkeys([*CORRELATED, *(name for name in book.part["statistics"] if name in table.columns)])
    values = {name: statistic(table, layout, name) for name in names}
    return {
        "rankings": _rankings(effects, plain, grounds),
        "rankings_contrasts": _contrasts(effects, grounds, chosen),
        "rankings_overlap": _overlap(book, grounds, chosen, table, layout, places),
        "rankings_correlation": _correlation(book, values, places),
        "rankings_partial": _partial(book, values, places),
    }


def _grounds(effects: Effects, conditions: Sequence[Condition], plain: Entry) -> list[_Ground]:
    found: dict[tuple[float, str, str], list[Entry]] = {}
    for one in effects.read(conditions, plain):
        assert one.about.share is not None
        found.setdefault((one.about.share, one.about.facts["end"], one.about.facts["within"]), []).append(one)
    grounds, drawn = [], {}
    for (share, end, within), entries in found.items():
        # Random sets are drawn once a share; the other end of the ranking is compared with the same ones.
        if mine := [entry for entry in entries if entry.about.role == RANDOM]:
            drawn[share, within] = effects.mean(mine)
        sets = {entry.about.facts["by"]: entry for entry in entries if entry.about.role != RANDOM}
        grounds.append(_Ground(share, end, within, sets, drawn[share, within]))
    return grounds


def _again(table: pd.DataFrame, layout: Layout, book: Book, ground: _Ground, by: str) -> NeuronSet:
    """The set that was ablated, chosen again from the scan's record."""
    where = book.part["sites"][ground.within or "wd"]
    made = choose(table, layout, ground.share, by, ground.end, where)
    if made.key != ground.sets[by].about.key:
        raise RecordError(
            f"the {ground.end} set by {by} at a share of {ground.share}",
            "the scan's record now gives another set than was ablated",
            "run the same study again with the same --out",
        )
    return made


def _rankings(effects: Effects, plain: Entry, grounds: Sequence[_Ground]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"by": "plain model", "score": score, "neurons": 0, "within": "", **effects.value(plain, score)}
        for score in effects.scores
    ]
    for ground in grounds:
        for by, entry in {**ground.sets, MEAN: ground.random}.items():
            for score in effects.scores:
                rows.append(
                    {
                        **ground.where,
                        "by": by,
                        "neurons": ground.sets["wd" if by == MEAN else by].about.neurons,
                        "score": score,
                        **effects.value(entry, score),
                        **effects.change(plain, entry, score),
                        **effects.spread(entry, score),
                    }
                )
    family = ("share", "end", "score", "within")
    return TABLES["rankings"].of(effects.judged(rows, family))


def _contrasts(
    effects: Effects, grounds: Sequence[_Ground], chosen: Mapping[tuple[Any, ...], NeuronSet]
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for ground in grounds:
        place = (ground.share, ground.end, ground.within)
        for by, entry in ground.sets.items():
            common = len(chosen[*place, by] & chosen[*place, "wd"])
            for against, other in (("wd", ground.sets["wd"]), ("random", ground.random)):
                if by == against:
                    continue
                for score in effects.scores:
                    rows.append(
                        {
                            **ground.where,
                            "by": by,
                            "neurons": entry.about.neurons,
                            "score": score,
                            "against": against,
                            "common": common,
                            "value": effects.level(entry, score),
                            "reference": effects.level(other, score),
                            **effects.change(other, entry, score, DIFFERENCE, conditions=len(ground.sets)),
                        }
                    )
    return TABLES["rankings_contrasts"].of(
        effects.judged(rows, ("share", "end", "score", "within", "against"), DIFFERENCE, ("by",))
    )


def _overlap(
    book: Book,
    grounds: Sequence[_Ground],
    chosen: Mapping[tuple[Any, ...], NeuronSet],
    table: pd.DataFrame,
    layout: Layout,
    places: Sequence[Place],
) -> pd.DataFrame:
    """Pairs of sets, over all sites that have both statistics and at each site by itself."""
    rows: list[dict[str, Any]] = []
    covered, level = book.part["sites"], book.level
    for share, end in dict.fromkeys((ground.share, ground.end) for ground in grounds):
        for first, second in combinations(book.part["statistics"], 2):
            both = [path for path in covered[first] if path in covered[second]]
            # A site's part of a set does not depend on which other sites it is chosen from.
            one, two = (
                next(made for (p, e, _, by), made in chosen.items() if (p, e, by) == (share, end, name))
                for name in (first, second)
            )
            here = {"share": share, "end": end, "first": first, "second": second}
            missing = [np.isnan(statistic(table, layout, name)) for name in (first, second)]
            for place, paths in [(None, both), *((place, [place.path]) for place in places)]:
                row = {**here, **_place(place)}
                if place is not None and place.path not in both:
                    rows.append(row)
                    continue
                found = overlap(one, two, sites=paths, eligible=~(missing[0] | missing[1]), level=level)
                rows.append(
                    row
                    | {
                        "first_neurons": found.first,
                        "second_neurons": found.second,
                        "common": found.common,
                        "jaccard": found.jaccard,
                        "expected": found.expected,
                        "expected_low": found.expected_low,
                        "expected_high": found.expected_high,
                        "p": found.p,
                    }
                )
    made = TABLES["rankings_overlap"].of(rows)
    for _, part in made.groupby(["share", "end", "layer", "branch"], dropna=False):
        made.loc[part.index, "p_holm"] = correct(part["p"].to_numpy(np.float64), alpha=book.alpha).p
    return made


def _correlation(book: Book, values: Mapping[str, NDArray[np.float64]], places: Sequence[Place]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    level = book.level
    for first, second in combinations(values, 2):

        def one(rows_: slice, first: str = first, second: str = second) -> Interval:
            return spearman(values[first][rows_], values[second][rows_], level=level)

        for place, made, neurons, count in _by_place(book, places, one, [values[first], values[second]]):
            found = {"rho": made.estimate, "low": made.low, "high": made.high, "neurons": neurons, "sites": count}
            rows.append({**_place(place), "first": first, "second": second, **found})
    return TABLES["rankings_correlation"].of(rows)


def _partial(book: Book, values: Mapping[str, NDArray[np.float64]], places: Sequence[Place]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    level = book.level
    for first, second, given in PARTIAL:
        x, y, held = values[first], values[second], [values[name] for name in given]

        def plain(r: slice, x: Any = x, y: Any = y, held: Any = held) -> Interval:
            # Of the neurons that have all statistics, so that it is comparable with the partial one.
            gap = np.isnan([one[r] for one in held]).any(axis=0)
            return spearman(np.where(gap, np.nan, x[r]), y[r], level=level)

        def partial(r: slice, x: Any = x, y: Any = y, held: Any = held) -> Interval:
            return spearman(x[r], y[r], given=[one[r] for one in held], level=level)

        def share(r: slice, x: Any = x, y: Any = y, held: Any = held) -> Interval:
            found = explained(np.where(np.isnan(y[r]), np.nan, x[r]), [one[r] for one in held])
            return Interval(found, np.nan, np.nan, level, "none")

        everything = [x, y, *held]
        parts = [list(_by_place(book, places, function, everything)) for function in (plain, partial, share)]
        for (place, rho, neurons, count), (_, rest, _, _), (_, fit, _, _) in zip(*parts, strict=True):
            rows.append(
                {
                    **_place(place),
                    "first": first,
                    "second": second,
                    "given": ", ".join(given),
                    "rho": rho.estimate,
                    "partial": rest.estimate,
                    "low": rest.low,
                    "high": rest.high,
                    "explained": fit.estimate,
                    "neurons": neurons,
                    "sites": count,
                }
            )
    table = pd.DataFrame(rows)
    whole = table["layer"].isna()
    sites = table[~whole].groupby(["first", "second"], sort=False)["partial"]
    found = {pair: p_of_mean(own.dropna().to_numpy(np.float64)) for pair, own in sites}
    table.loc[whole, "p"] = [
        found.get(pair, np.nan) for pair in table.loc[whole, ["first", "second"]].itertuples(False)
    ]
    table.loc[whole, "p_holm"] = correct(table.loc[whole, "p"].to_numpy(np.float64), alpha=book.alpha).p
    return TABLES["rankings_partial"].of(table)


def p_of_mean(values: NDArray[np.float64]) -> float:
    """p-value of Student's t-test that the mean over sites is zero; NaN for too few of them."""
    return float(stats.ttest_1samp(values, 0.0).pvalue) if len(values) >= FEWEST else np.nan


def _by_place(
    book: Book,
    places: Sequence[Place],
    function: Callable[[slice], Interval],
    needed: Sequence[NDArray[np.float64]],
) -> list[tuple[Place | None, Interval, int, int | None]]:
    """A figure over all sites (the mean, with sites as units), then of each; neurons that have all that is needed."""
    found, counts = [], []
    for place in places:
        found.append(function(place.rows))
        counts.append(int((~np.isnan([name[place.rows] for name in needed]).any(axis=0)).sum()))
    estimates = np.array([estimate.estimate for estimate in found])
    estimates = estimates[~np.isnan(estimates)]
    nothing = Interval(float("nan"), float("nan"), float("nan"), book.level, "none: at no site")
    overall = mean_interval(estimates, **book.bootstrap) if len(estimates) else nothing
    each = [(place, estimate, count, None) for place, estimate, count in zip(places, found, counts, strict=True)]
    return [(None, overall, sum(counts), len(estimates)), *each]


def _place(place: Place | None) -> dict[str, Any]:
    return {"layer": None, "branch": "all"} if place is None else {"layer": place.layer, "branch": place.branch}

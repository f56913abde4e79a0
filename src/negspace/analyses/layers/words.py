"""Sentences of the layers analysis."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from negspace.analyses.layers.columns import BEFORE, FIRST
from negspace.experiment.analysis import Book
from negspace.experiment.changes import CHANGE, DIFFERENCE, GROUP, Changes
from negspace.experiment.claim import RANKING, Answer, Claim, Scale
from negspace.experiment.effects import MEAN
from negspace.experiment.words import (
    amount,
    capital,
    inside,
    not_judged,
    on_margin,
    percent,
    scope,
    scopes,
    title,
    unit,
    unjudgeable,
    unjudged,
)
from negspace.text.suites import SUITES
from negspace.wording import counted


def sentences(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return sentences per score, of pairs on accuracy and on margins: harmful groups, the first against the others,
    accumulation, comparison with random sets; then the hardest hit phenomenon and construction."""
    top, sets = tables["layers"][tables["layers"]["set"] == "top"], _sets(book)
    contrasts, parts = tables["layers_contrasts"], tables["layers_by_group"]
    said = []
    for score in book.part["scores"]:
        here, against = top[top["score"] == score], contrasts[contrasts["score"] == score]
        name = capital(title(score)) + inside(scopes(here)) + sets
        said += _said(name, here, against)
        said += _said(f"{name}, margins", _margins(here, CHANGE), _margins(against, DIFFERENCE))
    for _, row in tables["layers_additivity"].iterrows():
        said.append(_added(row, sets))
    for score, suite in SUITES.items():
        part = suite.group
        rows = parts[(parts["score"] == score) & (parts["set"] == "top") & (parts["family"] == "alone")]
        for name, own in ((title(score), rows), (f"{title(score)}, margins", _margins(rows, GROUP))):
            if len(own):
                said.append(f"{name} by {part}{sets}, each group of layers alone: {_hardest(own, part)}.")
    return said


def _sets(book: Book) -> str:
    """Return ", top 5% by md": the top sets in words, where another statistic than the paper's ranks them; else ""."""
    by = book.part["by"]
    return "" if by == RANKING else f", top {percent(book.part['share'])} by {by}"


def _said(name: str, here: pd.DataFrame, against: pd.DataFrame) -> list[str]:
    """Return the sentences on one score, from the rows of the top set and those of its contrasts."""
    said = []
    alone, cumulative = (here[here["family"] == family] for family in ("alone", "cumulative"))
    if len(alone):
        said.append(f"{name}, each group of layers alone: {_alone(alone)}.")
    if len(rows := against[against["against"] == FIRST]):
        outcome = f"against the others {why}" if (why := unjudged(rows)) else _beside_others(rows, "is ", "does ")
        said.append(f"{name}: the first group ({_layers(alone.iloc[0])}) {outcome}.")
    if len(cumulative):
        said.append(f"{name}, cumulatively: {_cumulative(cumulative, against[against['against'] == BEFORE])}.")
    for family, rows in against[against["against"] == MEAN].groupby("family", sort=True):
        if why := unjudged(rows):
            said.append(f"{name}, {family}: the top set against random sets {why}.")
            continue
        said.append(
            f"{name}, {family}: the top set is shown to do more harm than random sets in {_count(rows, 'harm')} of "
            f"{counted(len(rows), 'group')} and less in {_count(rows, 'gain')}{not_judged(rows)}."
        )
    return said


def _margins(rows: pd.DataFrame, columns: Changes) -> pd.DataFrame:
    """The rows that have margins, with their change, finding and reason on margins in place of those on accuracy."""
    here = rows[rows["nats_finding"].fillna("") != ""]
    own = f"{columns.name}_nats"
    names = dict(zip((columns.name, *columns.interval), (own, f"{own}_low", f"{own}_high"), strict=True))
    names |= {"finding": "nats_finding", "reason": "nats_reason"}
    return here.assign(on_margins=True, **{name: here[source] for name, source in names.items()})


def _added(row: pd.Series, sets: str) -> str:
    """Return the sentence on additivity over groups of layers, on one scale; `sets` as of `_sets`."""
    scale = unit(row["score"]) if row["scale"] == "nats" else row["scale"]
    name = f"{capital(title(row['score']))}{inside(scope(row))} ({scale}){sets}"
    head = f"{name}, all {row['groups']} groups together against the sum of each alone"
    if row["finding"] == "cannot be judged":
        return f"{head}: {unjudgeable(row['reason'])}."
    factor, form = (100, "+.1f") if row["scale"] == "points" else (1, "+.4f")
    values = [f"{row[column] * factor:{form}}" for column in ("joint", "sum", "excess", "low", "high")]
    what = {"harm": "more than the sum", "gain": "less than the sum"}.get(row["finding"], row["finding"])
    return f"{head}: {what}, {values[0]} and {values[1]}, excess {values[2]} [{values[3]}, {values[4]}]."


def _alone(rows: pd.DataFrame) -> str:
    if why := unjudged(rows):
        return why
    harmed = rows[rows["finding"] == "harm"]
    if not len(harmed):
        return f"no harm is shown in any of {len(rows)}" + _gains(rows)
    # More perplexity is harm, more accuracy is not.
    order = harmed.sort_values("change", ascending=harmed["score"].iloc[0] != "perplexity", kind="stable")
    worst = order.iloc[0]
    # No test compares these groups with one another: the largest estimate is no more than that.
    largest = f"largest estimate in {_layers(worst)} ({_amount(worst)})"
    return f"harm in {len(harmed)} of {len(rows)}, {largest}{_gains(rows)}"


def _cumulative(rows: pd.DataFrame, steps: pd.DataFrame) -> str:
    last = rows.iloc[-1]
    if last["finding"] == "cannot be judged":
        return f"all groups {unjudgeable(str(last['reason']))}"
    text = f"{_amount(last)} with all groups ({last['finding']})"
    if not len(steps):
        return text
    return (
        f"{text}; harm is shown to grow with {_count(steps, 'harm')} of {counted(len(steps), 'further group')} and to "
        f"shrink with {_count(steps, 'gain')}{not_judged(steps)}"
    )


def _hardest(rows: pd.DataFrame, part: str) -> str:
    if why := unjudged(rows):
        return why
    each = rows.drop_duplicates("group")  # a floor is one in every group of layers
    harmed = rows[rows["finding"] == "harm"]
    if not len(harmed):
        return f"no harm is shown for any {part}{not_judged(each)}"
    worst = harmed.sort_values("change", kind="stable").iloc[0]
    several = "phenomena" if part == "phenomenon" else f"{part}s"
    return (
        f"harm for {harmed['group'].nunique()} of {rows['group'].nunique()} {several}{not_judged(each)}, "
        f"largest estimate for {worst['group']} in {_layers(worst)} ({_amount(worst, GROUP)})"
    )


def _gains(rows: pd.DataFrame) -> str:
    gains = _count(rows, "gain")
    return f"; gain in {gains}" if gains else ""


def _amount(row: pd.Series, columns: Changes = CHANGE) -> str:
    value, low, high = (row[name] for name in (columns.name, *columns.interval))
    if "on_margins" in row:
        return on_margin(row["score"], value, low, high)
    return amount(row["score"], value, low, high)


def _layers(row: pd.Series) -> str:
    return ("layers " if row["first_layer"] != row["last_layer"] else "layer ") + row["layers"]


def _count(rows: pd.DataFrame, finding: str) -> int:
    return int((rows["finding"] == finding).sum())


def _beside_others(rows: pd.DataFrame, none: str = "", some: str = "") -> str:
    """Return from how many groups the first is shown to differ: "more harm than 3 and less than 1 of the 5 others".

    Args:
        none, some: what stands before, where no difference is shown and where one is.
    """
    less, more = _count(rows, "gain"), _count(rows, "harm")
    if len(rows) == 1:
        others, each, any_ = "other group", "the", "the"
    else:
        others, each, any_ = f"{len(rows)} others", "each of the", "any of the"
    if not less and not more:
        return f"{none}not shown to differ from {any_} {others}{not_judged(rows)}"
    if len(rows) in (less, more):
        return f"{some}{'more' if less else 'less'} harm than {each} {others}"
    shown = " and ".join(f"{words} than {count}" for words, count in (("more harm", less), ("less", more)) if count)
    shown = shown if less else shown.replace("less", "less harm")
    return f"{some}{shown} of the {others}{not_judged(rows)}"


def claims(book: Book, tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
    """Return the claim that the first group of layers, ablated alone, does more harm than every other; of pairs on
    accuracy and on margins."""
    alone = tables["layers"]
    alone = alone[(alone["set"] == "top") & (alone["family"] == "alone")]
    contrasts = tables["layers_contrasts"]
    said = []
    for score in book.part["scores"]:
        first = alone[alone["score"] == score]
        rows = contrasts[(contrasts["score"] == score) & (contrasts["against"] == FIRST)]
        of, main = ("text", "ratio") if score == "perplexity" else (title(score), "points")
        said += _first_most(of, main, book.part["share"], first, rows)
        margins = _margins(first, CHANGE), _margins(rows, DIFFERENCE)
        said += _first_most(f"{of}, margins", unit(score), book.part["share"], *margins)
    return said


def _first_most(of: str, scale: Scale, share: float, alone: pd.DataFrame, rows: pd.DataFrame) -> list[Claim]:
    """Return the claim on one score, on one scale; none without other groups."""
    words = "The first layers matter most: ablated alone, they do more harm than any other group of layers"
    if alone.empty or rows.empty:
        return []
    less, more = _count(rows, "gain"), _count(rows, "harm")
    finding = _beside_others(rows)
    harmed = alone.iloc[0]["finding"] == "harm"
    answer: Answer = "does not hold" if more else "holds" if harmed and less == len(rows) else "undecided"
    if why := unjudged(rows):
        answer, finding = "cannot be judged", why
    value, low, high = (float(alone.iloc[0][name]) for name in (CHANGE.name, *CHANGE.interval))
    return [Claim("layers", words, of, share, answer, finding, scale, value, low, high, scope=scopes(alone))]

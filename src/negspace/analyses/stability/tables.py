"""From the records of several scans and of the ablations to the tables of the stability analysis."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from negspace.analyses.stability.columns import RANDOM_CHANGE, TABLES
from negspace.experiment.analysis import Book
from negspace.experiment.changes import CHANGE, Changes, Row
from negspace.experiment.condition import RANDOM
from negspace.experiment.effects import MEAN, Effects, Entry, equivalence_margins
from negspace.experiment.ranking import Ranking, correlate, in_common, over_sites
from negspace.neurons.layout import Layout
from negspace.significance import correct

NO_SETS = "no random sets: give 5 or more (random), for perplexity 19 or more (random_perplexity)"


def make(book: Book) -> dict[str, pd.DataFrame]:
    """All tables of the analysis, by name."""
    rankings = []
    for text in book.part["texts"]:
        record = book.record(text["scan"])
        layout = Layout.from_rows(record.results["info"]["layout"])
        rankings.append(Ranking.of(record.items, layout, text["name"], text["tokens"], book.study["by"]))
    return {
        "stability_correlation": _correlation(book, rankings),
        "stability_overlap": _overlap(book, rankings),
        "stability": _ablations(book),
    }


def _sites(book: Book, ranking: Ranking) -> list[tuple[str, dict[str, Any]]]:
    """Path of each site, and the columns that say where it is."""
    layout = ranking.layout
    branch = book.record(book.part["texts"][0]["scan"]).items["branch"]
    return [
        (site.path, {"layer": site.layer, "branch": str(branch.iloc[layout.rows[site.path].start])})
        for site in layout.within(book.part["layers"])
    ]


def _correlation(book: Book, rankings: list[Ranking]) -> pd.DataFrame:
    rows: list[Row] = []
    sites, layout = _sites(book, rankings[0]), rankings[0].layout
    for first, second in combinations(rankings, 2):
        pair = {"first": first.text, "second": second.text}
        found = [correlate(first, second, layout.rows[path], book.level) for path, _ in sites]
        medians = over_sites(found)
        rows.append(
            {
                **pair,
                "branch": "all",
                "rho": medians["rho"],
                "reliability_first": medians["first"],
                "reliability_second": medians["second"],
                "ceiling": medians["ceiling"],
                "neurons": sum(agreed.neurons for agreed in found),
            }
        )
        rows += [
            {
                **pair,
                **where,
                "rho": agreed.rho.estimate,
                "low": agreed.rho.low,
                "high": agreed.rho.high,
                "reliability_first": agreed.first,
                "reliability_second": agreed.second,
                "ceiling": agreed.ceiling,
                "neurons": agreed.neurons,
            }
            for agreed, (_, where) in zip(found, sites, strict=True)
        ]
    return TABLES["stability_correlation"].of(rows)


def _overlap(book: Book, rankings: list[Ranking]) -> pd.DataFrame:
    rows: list[Row] = []
    sites = _sites(book, rankings[0])
    places = [([path for path, _ in sites], {"branch": "all"}), *(([path], where) for path, where in sites)]
    for share in book.study["shares"]:
        chosen = [(ranking.text, ranking.choose(share, book.part["layers"])) for ranking in rankings]
        for (first, one), (second, two) in combinations(chosen, 2):
            for paths, where in places:
                found = in_common(one, two, paths)
                rows.append(
                    {
                        "share": share,
                        "first": first,
                        "second": second,
                        **where,
                        "neurons": found.neurons,
                        "common": found.common,
                        "overlap": found.share,
                        "chance": found.chance / found.neurons if found.neurons else np.nan,
                        "p": found.p,
                        "halves_first": found.first,
                        "halves_second": found.second,
                        "halves_between": found.between,
                        "relative": found.relative,
                    }
                )
    made = TABLES["stability_overlap"].of(rows)
    for _, part in made.groupby(["share", "layer", "branch"], dropna=False):
        made.loc[part.index, "p_holm"] = correct(part["p"].to_numpy(np.float64), alpha=book.alpha).p
    return made


def _ablations(book: Book) -> pd.DataFrame:
    effects = Effects(book, book.part["scores"])
    plain = effects.read([book.baseline])[0]
    entries = effects.read(book.conditions, plain)
    drawn: dict[tuple[Any, ...], list[Entry]] = {}
    for one in entries:
        if one.about.role == RANDOM:
            drawn.setdefault((one.about.share, one.about.facts["part"], one.about.facts["text"]), []).append(one)
    means = {key: effects.mean(members) for key, members in drawn.items()}
    tops = {(entry.about.share, entry.about.facts["text"]): entry for entry in entries if entry.about.role == "top"}
    rows: list[Row] = [
        {"set": "plain model", "text": "", "like": "", "score": score, "neurons": 0, **effects.value(plain, score)}
        for score in effects.scores
    ]
    shown = [*(entry for entry in entries if entry.about.role != RANDOM), *means.values()]
    for one in (one for share in book.study["shares"] for one in shown if one.about.share == share):
        for score in effects.scores:
            rows.append({**_about(one), "score": score, **_row(effects, plain, one, tops, means, score)})
    effects.judged(rows, ())
    # Sets of one text and of another are compared with the same random ones: each is a question of its own.
    return TABLES["stability"].of(effects.judged(rows, ("set", "text"), RANDOM_CHANGE))


def _about(entry: Entry) -> Row:
    about = entry.about
    return {
        "share": about.share,
        "set": about.role,
        "text": about.facts["text"],
        "like": about.facts.get("part", ""),
        "neurons": about.neurons,
    }


def _row(
    effects: Effects,
    plain: Entry,
    entry: Entry,
    tops: Mapping[tuple[Any, ...], Entry],
    means: Mapping[tuple[Any, ...], Entry],
    score: str,
) -> Row:
    """What an ablation does to a score, against the plain model and, where sets were drawn for it, against these.

    A part, and random sets as large, are equivalent to the plain model within a share of what the whole loses: the top
    set by the part's text; of the common part, that by the study's own text.
    """
    about = entry.about
    if score not in entry.scores:
        reason = about.facts["reason"]
        return {**_unjudged(CHANGE, reason), **_unjudged(RANDOM_CHANGE, reason)}
    margins = None
    if score != "perplexity" and about.role != "top":
        study, text = effects.book.study, about.facts["text"] or effects.book.part["texts"][0]["name"]
        top = tops[about.share, text]
        margins = equivalence_margins(plain, top, score, size=study["margin"], share=study["margin_share"])
    row = {**effects.value(entry, score), **effects.change(plain, entry, score, margins=margins)}
    if about.role == MEAN:
        row["drawn"] = len(entry.sets(score))
    elif about.role in ("common", "own"):
        mean = means.get((about.share, about.role, about.facts["text"]))
        row |= _unjudged(RANDOM_CHANGE, NO_SETS) if mean is None else effects.change(mean, entry, score, RANDOM_CHANGE)
    return row


def _unjudged(columns: Changes, reason: str) -> Row:
    return {f"{columns.prefix}finding": "cannot be judged", f"{columns.prefix}reason": reason}

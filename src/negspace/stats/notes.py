"""Notes for the reader of a scan, one sentence each: what has no statistics, or coarse ones, and why."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from negspace.models.site import Site
from negspace.stats.difficulty import Difficulty
from negspace.text.windows import Windows
from negspace.wording import counted

_NAMED = 10  # neurons that a note names before it only counts


def of_table(table: pd.DataFrame, windows: Windows, regridded: int, bound: float) -> tuple[str, ...]:
    """Notes on the text, and on neurons that have no statistics, or coarse ones.

    Args:
        table: as `Measured.table`.
        windows: the tokens.
        regridded: neurons that were sketched on a second pass.
        bound: error of a WD beyond which it is named.
    """
    found = list(windows.notes)
    unreached = table[table["tokens"] == 0]
    if len(unreached):
        experts = unreached[["layer", "expert"]].drop_duplicates()
        names = [f"layer {row.layer} expert {row.expert}" for row in experts.itertuples()]
        said = _agreeing(len(names), "expert", "was reached by no token and has", "were reached by no token and have")
        found.append(f"{said} no statistics: {some(names)}")
    constant = table[table["std"] == 0]
    if len(constant):
        said = _agreeing(
            len(constant),
            "neuron",
            "never varies (standard deviation 0) and has",
            "never vary (standard deviation 0) and have",
        )
        found.append(f"{said} no WD, skewness or kurtosis: {some(_names(constant))}")
    if regridded:
        said = _agreeing(
            regridded,
            "neuron",
            "was sketched on a second pass: on the first windows it",
            "were sketched on a second pass: on the first windows they",
        )
        found.append(f"{said} behaved unlike the rest")
    coarse = table[table["wd_error"] > bound]
    if len(coarse):
        said = _agreeing(len(coarse), "neuron", "has", "have")
        found.append(f"{said} a WD known to no better than {bound}: {some(_names(coarse))}")
    return tuple(found)


def of_loops(sites: Sequence[Site]) -> tuple[str, ...]:
    """The note on layers that are run several times in a pass; none without."""
    most = max(site.passes for site in sites)
    if most == 1:
        return ()
    return (
        f"layers are run up to {most} times in a forward pass: their neurons have as many values at a token, which all "
        "count as tokens",
    )


def of_pairs(sites: Sequence[Site], hard: Sequence[Difficulty | None], pairs: int) -> tuple[str, ...]:
    """Notes on the mapping difficulty: the neurons and sites without it, and pairs left out.

    Args:
        hard: the difficulty of each site.
        pairs: pairs that were drawn.
    """
    found, flat, alike, equal = [], [], [], 0
    for site, result in zip(sites, hard, strict=True):
        if result is not None and not result.pairs:
            alike.append(f"layer {site.layer}")
        elif result is not None:
            flat += [f"layer {site.layer} neuron {neuron}" for neuron in result.flat]
            equal = max(equal, result.equal)
    routed = [site for site in sites if site.experts]
    blind = [site for site in sites if not site.experts and site.projection is None]
    if pairs == 0:
        return ("too few tokens for a pair: MD is undefined",)
    if flat:
        said = _agreeing(
            len(flat), "neuron", "gives most token pairs one value and has", "give most token pairs one value and have"
        )
        found.append(f"{said} no MD: {some(flat)}")
    if alike:
        found.append(f"all token pairs have equal inputs, hence no MD, in {some(alike)}")
    if equal:
        drawn = pairs * max(site.passes for site in sites)
        found.append(f"up to {equal:,} of {drawn:,} token pairs had equal inputs in a layer and were left out of MD")
    if routed:
        without = counted(len(routed), "site")
        found.append(f"MD is not defined for routed experts, whose tokens differ: {without} without it")
    if blind:
        found.append(f"no projection to read inputs from, hence no MD, at {some([site.path for site in blind])}")
    return tuple(found)


def _agreeing(number: int, noun: str, one: str, several: str) -> str:
    """A number of things, and a verb that agrees with it."""
    return f"{counted(number, noun)} {one if number == 1 else several}"


def _names(rows: pd.DataFrame) -> list[str]:
    return [
        f"layer {row.layer}{'' if row.expert == -1 else f' expert {row.expert}'} neuron {row.neuron}"
        for row in rows.head(_NAMED + 1).itertuples()
    ] + [""] * max(0, len(rows) - _NAMED - 1)


def some(names: Sequence[str]) -> str:
    """The first names, and how many more."""
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED:,} more"

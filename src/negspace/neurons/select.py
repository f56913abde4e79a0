"""Choosing neurons by a score: top, bottom or random, site by site.

A site of D neurons gives ceil(p * (D - 1)), as many as lie strictly above the (1 - p) quantile with linear
interpolation: what Kong et al. (2026) take. The product is exact in decimal: p = 0.01 means one hundredth, not its
nearest binary number. Ties go to the lower index.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.errors import SelectionError
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.shares import Share, share, size_of
from negspace.stats.scores import SCORES

ENOUGH = 1024
"""Tokens with which an expert's neurons can be ranked beside those of other experts. The WD of a Gaussian sample of n
tokens is about 0.8 / sqrt(n): 0.025 here, and 0.27 with 8 tokens, more than that of most neurons."""
_SHARE = 4


def starved(table: pd.DataFrame, layout: Layout) -> NDArray[np.bool_]:
    """Neurons of routed experts that too few tokens reached for their statistics to be more than noise, [neurons].

    These are experts with fewer than 1,024 tokens and fewer than a quarter of what an expert of their site has on
    average: in a short scan all have few, and are ranked as far as it goes.

    Args:
        table: a scan's; without the column `tokens` nothing is known, and no neuron is one of these.
        layout: the sites.
    """
    found = np.zeros(len(table), bool)
    if "tokens" not in table:
        return found
    for site in layout:
        if site.experts:
            rows = layout.rows[site.path]
            tokens = table["tokens"].to_numpy(np.float64)[rows]
            found[rows] = (tokens < ENOUGH) & (tokens < tokens.mean() / _SHARE)
    return found


def ranked(table: pd.DataFrame, layout: Layout, by: str) -> NDArray[np.float64]:
    """A statistic as neurons are ranked by it [neurons]: skewness by its magnitude; NaN for those that are `starved`.

    Args:
        table: a scan's.
        layout: the sites.
        by: a column of it.
    """
    values = table[by].to_numpy(np.float64)
    return np.where(starved(table, layout), np.nan, np.abs(values) if by == "skewness" else values)


def top(
    table: pd.DataFrame, layout: Layout, p: Share, by: str = "wd", layers: Iterable[int] | None = None
) -> NeuronSet:
    """The neurons of highest score in each site.

    Args:
        table: one row per neuron, sites in the order of the layout (`Scan.table`).
        layout: the sites.
        p: share of each site's neurons.
        by: column to rank by, one of SCORES; skewness counts by its magnitude.
        layers: only these; None for all.

    Neurons without a score (NaN: those that never vary), and those of experts that hardly a token reached (`starved`),
    are never chosen; a site with too few others gives what it has.

    Raises:
        SelectionError: p out of range, unknown score or layer, or a site without a single score.
    """
    return _extreme(table, layout, p, by, layers, "top")


def bottom(
    table: pd.DataFrame, layout: Layout, p: Share, by: str = "wd", layers: Iterable[int] | None = None
) -> NeuronSet:
    """The neurons of lowest score in each site; otherwise as `top`."""
    return _extreme(table, layout, p, by, layers, "bottom")


def random(
    layout: Layout,
    p: Share | None = None,
    seed: int = 0,
    like: NeuronSet | None = None,
    layers: Iterable[int] | None = None,
    exclude: NeuronSet | None = None,
) -> NeuronSet:
    """Neurons drawn at random, each equally likely, from each site: a share p, or as many as another set has there.

    A site's draw depends on the seed and on the site's place in the layout only, so that restricting the layers leaves
    the others' draws as they are. All neurons can be drawn, those that never vary too.

    Args:
        layout: the sites.
        p: share of each site's neurons; give this or `like`.
        seed: of the draw, not negative.
        like: a set whose number of neurons at every site to match.
        layers: only these; None for all.
        exclude: neurons that must not be drawn.

    Raises:
        SelectionError: neither or both of p and like, p out of range, another layout, or too few neurons left to draw.
    """
    if (p is None) == (like is None):
        raise SelectionError(
            "a random set", "neither p nor like, or both", "give p (a share) or like (a set), not both"
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SelectionError(f"a random set with seed {seed!r}", "not a whole number from 0 up", "give such a seed")
    for other in (like, exclude):
        if other is not None and other.layout != layout:
            raise SelectionError(
                f"a random set matched to '{other.origin}'",
                f"that set is of {other.layout}; this scan is of {layout}",
                "take both from one model",
            )
    wanted = None if layers is None else layout.check(layers)
    chosen: dict[str, NDArray[np.int64]] = {}
    for position, site in enumerate(layout):
        if wanted is not None and site.layer not in wanted:
            continue
        if like is not None:
            count = len(like.at(site.path))
        else:
            assert p is not None
            count = size_of(p, site.size)
        pool = np.arange(site.size)
        if exclude is not None:
            pool = np.setdiff1d(pool, exclude.at(site.path))
        if count > len(pool):
            raise SelectionError(
                f"{count:,} random neurons of {site.path}",
                f"only {len(pool):,} are left of its {site.size:,} after the excluded ones",
                "draw fewer or exclude fewer",
            )
        drawn = np.random.default_rng([int(seed), position]).permutation(len(pool))[:count]
        chosen[site.path] = pool[drawn].astype(np.int64)
    origin = "random"
    if p is not None:
        origin = f"random {_percent(p)}"
    elif like is not None:
        origin = f"random, as many as in ({like.origin})"
    origin += f", seed {seed}" + (f", none of ({exclude.origin})" if exclude is not None else "")
    return NeuronSet(chosen, layout, origin + _where(wanted))


def _extreme(
    table: pd.DataFrame, layout: Layout, p: Share, by: str, layers: Iterable[int] | None, end: str
) -> NeuronSet:
    fraction = share(p)
    if by not in SCORES:
        raise SelectionError(f"the {end} {_percent(p)} by {by!r}", "no such score", f"use one of {', '.join(SCORES)}")
    wanted = None if layers is None else layout.check(layers)
    column = ranked(table, layout, by)
    chosen: dict[str, NDArray[np.int64]] = {}
    for site in layout.within(wanted):
        scores = column[layout.rows[site.path]]
        count = size_of(fraction, site.size)
        if count == 0:
            continue
        scored = np.flatnonzero(~np.isnan(scores))
        if len(scored) == 0:
            raise SelectionError(
                f"the {end} {_percent(p)} by {by}",
                f"not one neuron of {site.path} has this score",
                "rank by another score, or give the layers that have it",
            )
        upwards = scores[scored] if end == "bottom" else -scores[scored]
        chosen[site.path] = scored[np.argsort(upwards, kind="stable")[:count]]
    return NeuronSet(chosen, layout, f"{end} {_percent(p)} by {by}{_where(wanted)}")


def _percent(p: Share | None) -> str:
    assert p is not None
    percent = share(p) * 100
    return f"{float(percent):.12g}%"


def _where(layers: frozenset[int] | None) -> str:
    return "" if layers is None else f", layers {', '.join(map(str, sorted(layers)))}"

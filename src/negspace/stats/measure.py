"""The table of statistics from windows, one row per neuron, with notes for the reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.errors import StatisticsError
from negspace.models.model import Model
from negspace.models.site import Site
from negspace.shelf import Shelf
from negspace.stats.collect import Gathered, Progress, experts_per_token, gather
from negspace.stats.difficulty import Difficulty
from negspace.stats.histogram import Histograms, joined, kept, of_sample, of_sketch
from negspace.stats.moments import Moments, moments_of, moments_of_sketch
from negspace.stats.notes import of_loops, of_pairs, of_table, some
from negspace.stats.pair_rows import PairSample
from negspace.stats.parts import Part
from negspace.stats.shape import bimodality, kurtosis, skewness
from negspace.stats.sketch import Grid, Sketch
from negspace.stats.wasserstein import Distances, exact, from_sketch
from negspace.text.windows import Windows

T = TypeVar("T", Moments, Distances)

REGRID_ERROR = 0.02
"""Error bound of a distance from which on its neuron is sketched again, on a grid around its true mean."""
REGRID_REACH = 6.0
"""Half the width of that grid, in standard deviations: its bound cannot exceed 0.007."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Statistics of every neuron of a model."""

    table: pd.DataFrame
    """One row per neuron: layer, branch, expert, neuron, the SCORES, wd_error, tokens, wd_first and wd_second."""
    warnings: tuple[str, ...]
    """Notes for the reader; one sentence each."""
    regridded: int
    """Neurons whose pilot was not representative and that were sketched again on a second pass."""
    halves: tuple[int, int] | None
    """Counted tokens of the text's two halves; None where it was not halved (a single window)."""
    histograms: Histograms
    """Histograms of the neurons furthest from Gaussian and of some at the median; of all in a small model."""


@dataclass(frozen=True, eq=False)
class _SiteResult:
    moments: Moments
    distances: Distances
    halves: tuple[NDArray[np.float64], NDArray[np.float64]]
    """WD [size] over the first and over the second half of the text; NaN where it was not halved."""
    sketch: Callable[[], Sketch] | None = None
    """What gives the site's sketch; None where samples were kept, or the site was never called."""
    again: NDArray[np.bool_] | None = None
    """[size] neurons that were sketched again; None: no neuron of the site."""
    second: Sketch | None = None
    """Their sketch, which holds the others of the site as well."""


def measure(
    model: Model,
    windows: Windows,
    *,
    batch: int | None = None,
    md_pairs: int = 1024,
    exactly: bool = False,
    seed: int = 0,
    merged: Part | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Statistics of every neuron over the counted tokens of the windows.

    One forward pass. Only when the error bound of some distance exceeds 0.02, since the pilot was unlike the rest, do
    these neurons' sites take part in a second pass, on grids around the means that the first one found.

    Args:
        model: the model.
        windows: the tokens.
        batch: windows of a forward pass; moves the results by float rounding only.
        md_pairs: random token pairs for the mapping difficulty; 0 leaves it out (NaN).
        exactly: keep all activations and use the closed forms; for samples that fit in memory.
        seed: of the draw of pairs.
        merged: what the pass brought home, where it has been made in parts, with the same pairs.
        progress: called as progress(windows done, windows, what).

    Raises:
        StatisticsError: activations that are not finite, no counted token, a sample that memory cannot hold, or parts
            that are not all of the windows.
    """
    counted = int((~windows.special).sum())
    if counted == 0:
        raise StatisticsError(
            f"statistics over {windows.text_name}",
            f"no token to count among {windows.tokens.size}: all are special tokens (BOS, EOS, padding and others)",
            "give running text",
        )
    if exactly:
        _check_memory(model, counted)
    pairs = PairSample.draw(windows, md_pairs, seed) if md_pairs > 0 else None
    if merged is None:
        gathered = gather(model, windows, batch=batch, pairs=pairs, exact=exactly, progress=progress)
    else:
        _check_whole(merged, model, windows, pairs, exactly)
        gathered = merged.gathered(model.sites)
    hard = [None if gathered.rows is None else gathered.rows.difficulty(site) for site in gathered.sites]
    halves = None
    if gathered.middle is not None:
        first = int((~windows.special[: gathered.middle]).sum())
        halves = (first, counted - first) if 0 < first < counted else None
    results = [_site_result(gathered, position, halves) for position in range(len(gathered.sites))]
    gathered = replace(gathered, sketches=())  # the results hold them, until a second pass needs the room
    regridded = 0
    if not exactly:
        results, regridded = _regrid(model, windows, gathered.sites, results, batch, progress)
    table = pd.concat(
        [_rows(site, r, d) for site, r, d in zip(gathered.sites, results, hard, strict=True)], ignore_index=True
    )
    warnings = of_table(table, windows, regridded, REGRID_ERROR) + of_loops(gathered.sites)
    if pairs is not None:
        warnings += of_pairs(gathered.sites, hard, pairs.pairs)
    return Measured(table, warnings, regridded, halves, _histograms(gathered, results))


def _check_whole(merged: Part, model: Model, windows: Windows, pairs: PairSample | None, exactly: bool) -> None:
    """Refuse parts that are not all of the windows, each once, with all tokens of all pairs."""
    asked = f"statistics over {windows.text_name}, merged from parts"
    if exactly:
        raise StatisticsError(asked, "exact=True, but parts are sketches", "leave out exact, or the parts")
    read = [stretch for stretch in merged.windows if stretch[0] < stretch[1]]
    ends = [0, *(stop for _, stop in read)]
    if [begin for begin, _ in read] != ends[:-1] or ends[-1] != len(windows):
        raise StatisticsError(
            asked,
            f"parts of the windows {', '.join(f'{begin} to {stop - 1}' for begin, stop in read)} out of {len(windows)}",
            "merge every part of these windows, each once",
        )
    if all(site.experts or site.projection is None for site in model.sites):
        return  # no site whose tokens could be kept
    wanted = 0 if pairs is None else len(pairs.slots)
    found = 0 if merged.rows is None else merged.rows.tokens
    whole = merged.rows is None or np.array_equal(np.sort(merged.rows.pairs), np.arange(wanted // 2))
    if found != wanted or not whole:
        raise StatisticsError(
            asked,
            f"{found:,} of {wanted:,} tokens of the pairs for the mapping difficulty",
            "make the parts with the same md_pairs and seed",
        )


def _site_result(gathered: Gathered, position: int, halves: tuple[int, int] | None) -> _SiteResult:
    samples, sketch = gathered.samples[position], gathered.sketches[position]
    site = gathered.sites[position]
    if samples is not None:
        for sample in samples:
            if not np.isfinite(sample).all():
                columns = np.flatnonzero(~np.isfinite(sample).all(axis=0))
                raise StatisticsError(
                    f"statistics of the pre-activations of layer {site.layer} ({site.path})",
                    f"activations that are not finite (NaN or infinity): {some([f'neuron {c}' for c in columns])}",
                    "check the weights, and run the model in float32 (load(..., dtype='float32'))",
                )
        cut = 0 if halves is None else halves[0] * site.passes
        return _SiteResult(
            _joined(Moments, [moments_of(sample) for sample in samples]),
            _joined(Distances, [exact(sample) for sample in samples]),
            # Which tokens reached an expert is not kept, so that its sample cannot be halved.
            _unknown(site.size)
            if halves is None or site.experts
            else (exact(samples[0][:cut]).wd, exact(samples[0][cut:]).wd),
        )
    if sketch is None:  # routed experts that no token reached
        nothing = np.empty((0, site.size), np.float32)
        return _SiteResult(moments_of(nothing), exact(nothing), _unknown(site.size))
    moments = moments_of_sketch(sketch)
    return _SiteResult(moments, from_sketch(sketch, moments), _halves(gathered, position), lambda: sketch)


def _halves(gathered: Gathered, position: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """WD of a site's neurons over the first and over the second half of the text."""
    whole = gathered.sketches[position]
    taken = gathered.halves[position] if gathered.halves else None
    if whole is None or taken is None:
        return _unknown(gathered.sites[position].size)
    first = taken()
    second = whole.without(first)
    return from_sketch(first, moments_of_sketch(first)).wd, from_sketch(second, moments_of_sketch(second)).wd


def _unknown(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.full(size, np.nan), np.full(size, np.nan)


def _joined(kind: type[T], parts: Sequence[T]) -> T:
    """The experts' results as one, in order of experts."""
    return kind(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(kind)))


def _chosen(kind: type[T], flags: NDArray[np.bool_], new: T, old: T) -> T:
    """The new result where flagged, the old one elsewhere."""
    return kind(*(np.where(flags, getattr(new, field.name), getattr(old, field.name)) for field in fields(kind)))


def _regrid(
    model: Model,
    windows: Windows,
    sites: Sequence[Site],
    results: list[_SiteResult],
    batch: int | None,
    progress: Progress | None,
) -> tuple[list[_SiteResult], int]:
    """Second pass for the sites of neurons whose error bound is too large; their first sketches wait on disk."""
    coarse = [result.distances.error > REGRID_ERROR for result in results]
    again = [position for position, flags in enumerate(coarse) if flags.any()]
    if not again:
        return results, 0
    grids = [
        Grid.around(
            np.nan_to_num(results[position].moments.mean), np.nan_to_num(results[position].moments.std), REGRID_REACH
        )
        for position in again
    ]
    shelf = Shelf()
    for position in again:
        results[position] = _laid(results[position], shelf, sites[position].path)
    second = gather(
        model, windows, batch=batch, sites=[sites[position] for position in again], grids=grids, progress=progress,
        what="scan again",
    )  # fmt: skip
    for place, (position, sketch) in enumerate(zip(again, second.sketches, strict=True)):
        assert sketch is not None
        moments = moments_of_sketch(sketch)
        found, old = from_sketch(sketch, moments), results[position]
        flags = coarse[position]
        one, two = (
            np.where(flags, new, before) for new, before in zip(_halves(second, place), old.halves, strict=True)
        )
        results[position] = _SiteResult(
            _chosen(Moments, flags, moments, old.moments),
            _chosen(Distances, flags, found, old.distances),
            (one, two),
            old.sketch,
            flags,
            sketch,
        )
    return results, int(sum(flags.sum() for flags in coarse))


def _laid(result: _SiteResult, shelf: Shelf, name: str) -> _SiteResult:
    """The same, its sketch on a shelf and no longer in memory."""
    assert result.sketch is not None
    return replace(result, sketch=result.sketch().lay(shelf, name))


def _histograms(gathered: Gathered, results: Sequence[_SiteResult]) -> Histograms:
    """Histograms of the neurons whose are kept, each from what its distance was made of."""
    parts: list[Histograms] = []
    first = 0
    chosen = kept([result.distances.wd for result in results])
    for position, (site, result, neurons) in enumerate(zip(gathered.sites, results, chosen, strict=True)):
        samples = gathered.samples[position]
        if samples is not None:
            width = site.width
            for expert, sample in enumerate(samples):
                mine = neurons[neurons // width == expert] % width
                moments = _part(result.moments, slice(expert * width, (expert + 1) * width))
                parts.append(of_sample(sample, moments, mine, first + expert * width))
        elif result.sketch is not None:
            again = np.zeros(site.size, bool) if result.again is None else result.again
            parts.append(of_sketch(result.sketch(), result.moments, neurons[~again[neurons]], first))
            if result.second is not None:
                parts.append(of_sketch(result.second, result.moments, neurons[again[neurons]], first))
        first += site.size
    return joined(parts)


def _part(moments: Moments, where: slice) -> Moments:
    """Moments of some of the neurons."""
    return Moments(*(getattr(moments, field.name)[where] for field in fields(Moments)))


def _rows(site: Site, result: _SiteResult, hard: Difficulty | None) -> pd.DataFrame:
    moments, distances = result.moments, result.distances
    flat = np.arange(site.size)
    return pd.DataFrame(
        {
            "layer": np.full(site.size, site.layer, np.int64),
            "branch": site.branch,
            "expert": flat // site.width if site.experts else np.full(site.size, -1, np.int64),
            "neuron": flat % site.width,
            "wd": distances.wd,
            "wd_error": distances.error,
            "md": np.full(site.size, np.nan) if hard is None else hard.md,
            "negative_share": distances.negative_share,
            "mean": moments.mean,
            "std": moments.std,
            "skewness": skewness(moments),
            "kurtosis": kurtosis(moments),
            "bimodality": bimodality(moments),
            "fraction_negative": moments.fraction_negative,
            "mean_negative": moments.mean_negative,
            "tokens": moments.tokens,
            "wd_first": result.halves[0],
            "wd_second": result.halves[1],
        }
    )


def _check_memory(model: Model, tokens: int) -> None:
    """Refuse exact statistics that physical memory cannot hold."""
    values = sum(site.width * site.passes * experts_per_token(model, site) for site in model.sites)
    needed = 4 * tokens * values
    held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 2 * needed > held:
        raise StatisticsError(
            f"exact statistics of {tokens:,} tokens",
            f"they need about {2 * needed / 1e9:,.1f} GB where this machine has {held / 1e9:,.1f} GB",
            "take fewer windows, or leave out exact=True: the sketch's WD is within 1e-3 of it",
        )

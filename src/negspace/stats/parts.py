"""A scan's pass in parts: several workers read a part of the text each, and what they bring home is merged.

Sketches are integers on grids that all parts share, so they merge to the bit, in any order. A part travels as a table:
one row per neuron with its sketch, one row a paired token with what was kept of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.errors import StatisticsError
from negspace.models.model import Model
from negspace.models.site import Site
from negspace.stats.collect import Gathered, Progress, default_batch, gather, pilot_windows
from negspace.stats.pair_rows import PairRows, PairSample, What, join_rows
from negspace.stats.sketch import BINS, SUMS, TALLIES, WORDS, Grid, Sketch, merge_all
from negspace.text.windows import Windows

_GRID = ("origin", "scale", "pivot", "unit")
_SKETCH: dict[str, tuple[int, ...]] = {
    "bins": (BINS,),
    "sums": (len(SUMS), len(WORDS)),
    "tallies": (len(TALLIES),),
}  # name -> shape a neuron; int64
_ROWS: tuple[What, ...] = ("input", "activation")
_FIRST = "first "
_TABLE = ("path", "what", "slot", "data")


@dataclass(frozen=True, eq=False)
class Part:
    """The result of a part of a pass. Parts on the same grids merge, in any order, to the result of the whole pass.

    A site that was never called is missing.
    """

    sketches: Mapping[str, Sketch]
    """Path of a site -> its sketch."""
    first: Mapping[str, Sketch]
    """The same of those windows that belong to the text's first half."""
    rows: PairRows | None
    """Data of the paired tokens; None if not requested."""
    windows: tuple[tuple[int, int], ...]
    """The windows that were read, ascending: the first and one past the last of each stretch."""
    middle: int | None
    """Windows of the text's first half; None where it cannot be halved."""

    def gathered(self, sites: Sequence[Site]) -> Gathered:
        """The same as a whole pass over these sites would have it."""
        sketches = tuple(self.sketches.get(site.path) for site in sites)
        halves = tuple(partial(self.first.__getitem__, one.path) if one.path in self.first else None for one in sites)
        # A site gives its data away when its difficulty is asked for.
        rows = None if self.rows is None else self.rows.copy()
        return Gathered(tuple(sites), sketches, (None,) * len(sites), rows, self.middle, halves)


def bounds(windows: int, window: int, parts: int) -> list[tuple[int, int]]:
    """First window of each part, and one past its last.

    Cut between the forward passes that a whole scan makes unless told otherwise, so that these stay the same; where
    there are more parts than passes, the last ones are empty.

    Args:
        windows: how many windows there are.
        window: tokens of each.
        parts: how many parts.
    """
    first, step = min(pilot_windows(window), windows), default_batch(window)
    starts = [0, *range(first, windows, step)]
    passes = np.array_split(np.arange(len(starts)), parts)
    cuts = [*starts, windows]
    return [(cuts[own[0]], cuts[own[-1] + 1]) if len(own) else (windows, windows) for own in passes]


def pilot(model: Model, windows: Windows) -> dict[str, Grid]:
    """Path of a site -> its grid, as a whole pass over the windows takes it from the first of them.

    Raises:
        StatisticsError: an activation is not finite, or a site was not called at all.
    """
    found = gather(model, windows, part=(0, min(pilot_windows(windows.window), len(windows))))
    grids = {}
    for site, sketch in zip(found.sites, found.sketches, strict=True):
        if sketch is None:
            raise StatisticsError(
                "a scan in parts",
                f"layer {site.layer} ({site.path}) is not reached by the first windows, which set the grids",
                "scan in one part (scan_parts: 1)",
            )
        grids[site.path] = sketch.grid
    return grids


def gather_part(
    model: Model,
    windows: Windows,
    part: tuple[int, int],
    grids: Mapping[str, Grid],
    *,
    batch: int | None = None,
    pairs: PairSample | None = None,
    progress: Progress | None = None,
) -> Part:
    """Run some of the windows and gather the statistics of all sites.

    Args:
        windows: all of them.
        part: the first, and one past the last: one of `bounds`.
        grids: of all sites, as `pilot` makes them.
        batch, pairs, progress: as for `gather`.

    Raises:
        StatisticsError: an activation is not finite.
    """
    found = gather(
        model,
        windows,
        batch=batch,
        grids=[grids[site.path] for site in model.sites],
        pairs=pairs,
        part=part,
        progress=progress,
    )
    made = {site.path: one for site, one in zip(found.sites, found.sketches, strict=True) if one is not None}
    first: Mapping[str, Sketch] = {}
    if found.middle is not None and part[1] <= found.middle:
        first = made
    elif found.middle is not None and part[0] < found.middle:
        first = {site.path: take() for site, take in zip(found.sites, found.halves, strict=True) if take is not None}
    return Part(made, first, found.rows, (part,), found.middle)


def merge_parts(parts: Sequence[Part]) -> Part:
    """All parts as one.

    Raises:
        StatisticsError: there is none, their grids differ, or together they hold too many tokens.
    """
    if not parts:
        raise StatisticsError("merge the parts of a scan", "none was given", "give at least one part")
    sketches, first = _merged([part.sketches for part in parts]), _merged([part.first for part in parts])
    rows = [part.rows for part in parts if part.rows is not None]
    windows = sorted(stretch for part in parts for stretch in part.windows)
    return Part(sketches, first, join_rows(rows) if rows else None, tuple(windows), parts[0].middle)


def _merged(parts: Sequence[Mapping[str, Sketch]]) -> dict[str, Sketch]:
    paths = dict.fromkeys(path for part in parts for path in part)
    return {path: merge_all([part[path] for part in parts if path in part]) for path in paths}


def digest_of(grids: Mapping[str, Grid]) -> str:
    """sha256 (hex) of all that grids hold."""
    made = hashlib.sha256()
    for path, grid in grids.items():
        made.update(path.encode() + b"\0")
        for name in _GRID:
            made.update(getattr(grid, name).tobytes())
    return made.hexdigest()


def grids_to_table(grids: Mapping[str, Grid]) -> pd.DataFrame:
    """Grids as one row per neuron: path, then the fields of its grid in their own types."""
    parts = [
        pd.DataFrame({"path": path, **{name: getattr(grid, name) for name in _GRID}}) for path, grid in grids.items()
    ]
    return pd.concat(parts, ignore_index=True)


def grids_from_table(table: pd.DataFrame) -> dict[str, Grid]:
    """Grids from the table that `grids_to_table` made."""
    return {
        str(path): Grid(*(own[name].to_numpy() for name in _GRID)) for path, own in table.groupby("path", sort=False)
    }


def part_to_table(part: Part) -> pd.DataFrame:
    """A part as rows of bytes (little-endian): path, what ("bins", "sums", "tallies": one row per neuron, int64;
    "distance", "difference": one row per pair, float64 and float32; "input", "activation": one row per token of an open
    pair, float32; "passes": one row, without data), slot (of a token; number of a neuron, a pair or passes else), data.
    A part that reads over the text's middle has "first bins", ... as well: the sketches of what lies before it."""
    blocks: list[tuple[str, str, NDArray[np.int64], NDArray[np.generic]]] = []
    across = part.middle is not None and part.windows[0][0] < part.middle < part.windows[-1][1]
    for prefix, sketches in (("", part.sketches), (_FIRST, part.first if across else {})):
        for path, sketch in sketches.items():
            for name in _SKETCH:
                values = getattr(sketch, name).astype("<i8").reshape(sketch.size, -1)
                blocks.append((path, prefix + name, np.arange(sketch.size), values))
    if part.rows is not None:
        rows = part.rows
        blocks += [(path, "distance", rows.pairs, values.astype("<f8")) for path, values in rows.distances.items()]
        blocks += [(path, "difference", rows.pairs, values.astype("<f4")) for path, values in rows.differences.items()]
        blocks += [(path, what, rows.slots, values.astype("<f4")) for (what, path), values in rows.values.items()]
        blocks += [(path, "passes", np.array([times]), np.empty((1, 0))) for path, times in rows.passes.items()]
    tables = [
        pd.DataFrame({"path": path, "what": what, "slot": slots, "data": [row.tobytes() for row in values]})
        for path, what, slots, values in blocks
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(_TABLE))


def part_from_table(
    table: pd.DataFrame, grids: Mapping[str, Grid], windows: tuple[int, int], middle: int | None, pairs: bool
) -> Part:
    """A part from the table that `part_to_table` made.

    Args:
        grids: those of the part.
        windows: the first window that it read, and one past the last.
        middle: windows of the text's first half.
        pairs: whether paired tokens were to be kept; a part may hold none of them.
    """
    held = {(str(path), str(what)): own for (path, what), own in table.groupby(["path", "what"], sort=False)}

    def values(path: str, what: str, dtype: str) -> NDArray[np.generic]:
        data = held[path, what]["data"]
        return np.frombuffer(b"".join(data), dtype).reshape(len(data), -1)

    sketches, first = {}, {}
    for prefix, into in (("", sketches), (_FIRST, first)):
        for path, grid in grids.items():
            if (path, f"{prefix}bins") in held:
                arrays = [
                    values(path, prefix + name, "<i8").astype(np.int64).reshape(grid.size, *shape)
                    for name, shape in _SKETCH.items()
                ]
                into[path] = Sketch(grid, *arrays)
    if middle is not None and windows[1] <= middle:
        first = sketches
    if not pairs:
        return Part(sketches, first, None, (windows,), middle)

    def numbers(*what: str) -> NDArray[np.int64]:
        own = next((rows for (_, kind), rows in held.items() if kind in what), None)
        return np.empty(0, np.int64) if own is None else own["slot"].to_numpy(np.int64)

    def of_sites(what: str, dtype: str) -> dict[str, Any]:
        return {path: values(path, what, dtype).astype(dtype[1:]) for path in grids if (path, what) in held}

    rows = PairRows(
        numbers("distance", "difference"),
        of_sites("distance", "<f8"),
        of_sites("difference", "<f4"),
        numbers(*_ROWS),
        {(what, path): rows for what in _ROWS for path, rows in of_sites(what, "<f4").items()},
        {path: int(held[path, "passes"]["slot"].iloc[0]) for path in grids if (path, "passes") in held},
    )
    return Part(sketches, first, rows, (windows,), middle)

"""Figures as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from negspace.errors import RecordError
from negspace.experiment.run import Run, check_runs
from negspace.figures.figure import Figure
from negspace.files import make_folder, write_whole
from negspace.given import check_count
from negspace.report import comparison
from negspace.report.mpl import FORMATS, draw
from negspace.report.sections import figures_of

_UNSAFE = re.compile(r"[^\w.@+-]+")


def write_figures(
    runs: Sequence[Run],
    folder: str | Path,
    formats: str | Sequence[str],
    *,
    only: str | Sequence[str] = (),
    dpi: int = 300,
) -> list[Path]:
    """Write the figures of some runs, one file per figure and format; of several runs each into a folder of its own.

    Args:
        runs: the runs.
        folder: where to; made if need be.
        formats: of "pdf", "png", "svg"; or one of them.
        only: beginnings of the names of the figures wanted; empty: all.
        dpi: of PNG.

    Returns:
        The files that were written.

    Raises:
        RecordError: no run, something else than runs, an unknown format, no such figure, or the files cannot be
            written.
    """
    runs = check_runs(runs, f"figures in {folder}")
    formats = [formats] if isinstance(formats, str) else list(formats)
    only = (only,) if isinstance(only, str) else tuple(only)
    check_count("dpi", dpi, RecordError, what="figures")
    for form in formats:
        if form not in FORMATS:
            near = get_close_matches(form, FORMATS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RecordError(
                f"figures as {form!r}", "no such format", f"{hint}give one or more of: {', '.join(FORMATS)}"
            )
    jobs: list[tuple[Path, Figure]] = []
    for run in runs:
        place = Path(folder) / _UNSAFE.sub("-", run.label) if len(runs) > 1 else Path(folder)
        jobs += [(place, figure) for made in figures_of(run).values() for figure in made]
    if len(runs) > 1:
        jobs += [(Path(folder), figure) for figure in comparison.figures(runs)]
    names = sorted({figure.name for _, figure in jobs})
    for start in only:
        if not any(name.startswith(start) for name in names):
            raise RecordError(f"figures named {start!r}", "none in these runs", f"there are: {', '.join(names)}")
    written = []
    for place, figure in jobs:
        if only and not figure.name.startswith(only):
            continue
        make_folder(place)
        for form in formats:
            written.append(write_whole(place / f"{_UNSAFE.sub('-', figure.name)}.{form}", draw(figure, form, dpi=dpi)))
    return written

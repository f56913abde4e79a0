"""Figures as files."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from negspace.errors import RecordError
from negspace.experiment.run import Run, check_runs
from negspace.experiment.words import file_names
from negspace.files import make_folder, write_whole
from negspace.given import check_count
from negspace.report import comparison
from negspace.report.mpl import FORMATS, draw
from negspace.report.sections import figures_of


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
    places = [Path(folder)]
    shown = [[figure for made in figures_of(run).values() for figure in made] for run in runs]
    if len(runs) > 1:
        places = [*(Path(folder) / name for name in file_names(run.label for run in runs)), Path(folder)]
        shown.append(comparison.figures(runs))
    jobs = [
        (place / name, figure)
        for place, figures in zip(places, shown, strict=True)
        for name, figure in zip(file_names(figure.name for figure in figures), figures, strict=True)
    ]
    names = sorted({figure.name for _, figure in jobs})
    for start in only:
        if not any(name.startswith(start) for name in names):
            raise RecordError(f"figures named {start!r}", "none in these runs", f"there are: {', '.join(names)}")
    written = []
    for path, figure in jobs:
        if only and not figure.name.startswith(only):
            continue
        make_folder(path.parent)
        for form in formats:
            written.append(write_whole(path.with_name(f"{path.name}.{form}"), draw(figure, form, dpi=dpi)))
    return written

"""The commands that make files to look at: the HTML report and figures for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from negspace.cli.guard import guarded


def write_page(folders: Sequence[Path], out: Path, *, quiet: bool = False) -> None:
    """Write the HTML report of some runs and say where it is, unless `quiet`."""
    from negspace.files import check_writable
    from negspace.report.page import write_report
    from negspace.study.reading import read_runs

    check_writable(out)
    made = write_report(read_runs(folders), out)
    if not quiet:
        typer.echo(f"{made} ({made.stat().st_size / 1e6:.1f} MB): open it in a browser; it needs no network")


@guarded
def figures(
    folders: Annotated[list[Path], typer.Argument(help="Run folders; for several, also a comparison.", metavar="RUN")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write to; created if needed.")] = Path(
        "figures"
    ),
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="One or more of pdf, png, svg, separated by commas.")
    ] = "pdf",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only figures whose names begin with this; may be repeated."),
    ] = None,
    dpi: Annotated[int, typer.Option(help="Resolution of PNG.", min=30, max=2400)] = 300,
) -> None:
    """Write a run's figures for a paper. They have column or page width, 8 point type, embedded fonts."""
    from negspace.report.export import write_figures
    from negspace.study.reading import read_runs

    forms = [one.strip() for one in form.split(",")]
    for path in write_figures(read_runs(folders), out, forms, only=only or (), dpi=dpi):
        typer.echo(path)

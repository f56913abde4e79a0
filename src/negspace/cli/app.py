"""The commands, one function each."""

from __future__ import annotations

import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from negspace.cli import running
from negspace.cli.calibrate import calibrate
from negspace.cli.claims import claims
from negspace.cli.compare import compare
from negspace.cli.demo import demo
from negspace.cli.doctor import doctor
from negspace.cli.guard import guarded, settings
from negspace.cli.options import AsJson, study_options
from negspace.cli.pictures import figures, write_page
from negspace.cli.scanning import LOADING, ModelName, load_model, print_origin, scan, settled
from negspace.cli.terminal import note, output

app = typer.Typer(
    name="negspace",
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find out what language models compute below zero.",
    epilog="First: negspace demo. Your own model: negspace run MODEL --text TEXT --pairs PAIRS.csv --dry-run",
)


def _version(wanted: bool) -> None:
    if wanted:
        from negspace import __version__

        typer.echo(f"negspace {__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find out what language models compute below zero."""
    settings.debug = debug
    if isinstance(sys.stdout, TextIOWrapper):
        # The name of a file may hold bytes that are no UTF-8, and not every terminal takes all characters.
        sys.stdout.reconfigure(errors="backslashreplace")


@guarded
@study_options(*LOADING)
def sites(model: ModelName, *, given: dict[str, Any], as_json: AsJson = False) -> None:
    """List where a model's MLPs apply their activation. For each site: layer, path, width, activation, experts."""
    from dataclasses import asdict

    from negspace.report.tables import rows

    loaded = load_model(settled(model, given))
    if as_json:
        typer.echo(json.dumps([asdict(site) for site in loaded.sites], indent=1))
        return
    body = [
        (site.layer, site.path, f"{site.width:,}", site.activation, site.experts or "", site.branch)
        for site in loaded.sites
    ]
    columns = [("layer", "right"), ("path", "left"), ("width", "right"), ("activation", "left")]
    columns += [("experts", "right"), ("branch", "left")]
    neurons = sum(site.size for site in loaded.sites)
    console = output()
    console.print(rows(f"{model}: {neurons:,} neurons at {len(loaded.sites)} sites", columns, body))
    print_origin(loaded.source)


@guarded
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `negspace run --out` wrote.", metavar="RUN")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HTML file to write instead of printing: figures, tables, neurons."),
    ] = None,
    detail: Annotated[
        bool, typer.Option("--detail", help="Also print every contrast and phenomenon, and all findings in sentences.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print a finished run's tables, or write an HTML report. Both are made from the records, without the model."""
    from negspace.errors import RecordError, StudyError

    if out is not None and (detail or as_json):
        given = "--detail" if detail else "--json"
        raise StudyError(f"report --out {out} with {given}", "a page and a print at once", "give one of the two")
    if out is not None:
        write_page(folders, out)
        return
    from negspace.report.tables import to_json
    from negspace.runs.store import Store
    from negspace.study.tables import Tables

    several = []
    for folder in folders:
        store = Store(folder)
        tables = Tables(store)
        try:
            with store.hold():  # a run may be replacing them
                tables.write(store)
        except (RecordError, StudyError) as error:
            note(f"the tables are printed but not written ({error.found})")
        if as_json and len(folders) > 1:
            several.append(to_json(tables))
        else:
            running.show(tables, detail, as_json)
    if several:
        typer.echo(f"[{','.join(several)}]")


# In the order in which a newcomer needs them; `--help` and the documentation list them so.
for _command in (demo, doctor, running.run, report, claims, compare, figures, scan, sites, calibrate):
    app.command()(_command)
app.command(name="study", hidden=True)(running.run)  # what it was called before the two were one

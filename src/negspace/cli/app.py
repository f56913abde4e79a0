"""The commands, one function each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from negspace.cli import running
from negspace.cli.calibrate import calibrate
from negspace.cli.claims import claims
from negspace.cli.compare import compare
from negspace.cli.demo import demo
from negspace.cli.doctor import doctor
from negspace.cli.guard import guarded, settings
from negspace.cli.options import study_options
from negspace.cli.pictures import figures, write_page
from negspace.cli.terminal import Bar, output

if TYPE_CHECKING:
    from negspace.experiment.config import Study
    from negspace.models.model import Model

app = typer.Typer(
    name="negspace",
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find out what language models compute below zero.",
)

ModelName = Annotated[
    str, typer.Argument(help="Folder, GGUF file, adapter of PEFT, or name on the Hugging Face hub.", metavar="MODEL")
]
LOADING = ("adapter", "revision", "dtype", "device", "device_map", "trust_remote_code")
"""Fields of a study that say how its model is loaded."""
SCANNING = ("window", "stride", "windows", "exact", "bos", "batch", "md_pairs", "seed")
"""Fields of a study that are arguments of a scan."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


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


@app.command()
@guarded
@study_options(*LOADING)
def sites(model: ModelName, *, given: dict[str, Any], as_json: AsJson = False) -> None:
    """List where a model's MLPs apply their activation: layer, path, width, activation, experts."""
    from dataclasses import asdict

    from negspace.report.tables import rows

    loaded = _load(_settled(model, given))
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
    _print_origin(loaded.source)


@app.command()
@guarded
@study_options("text", *SCANNING, *LOADING)
def scan(
    model: ModelName,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet file to write: one row a neuron.")] = Path(
        "scan.parquet"
    ),
    given: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Measure every neuron's pre-activations on a text: distance from the Gaussian, negative share, shape, MD."""
    from negspace.files import check_writable
    from negspace.neurons.scan import scan as measure
    from negspace.text.source import read_text

    check_writable(out)
    study = _settled(model, given)
    source = read_text(study.text, role="statistics")
    loaded = _load(study)
    with Bar() as bar:
        made = measure(loaded, source, progress=bar.steps, **{name: getattr(study, name) for name in SCANNING})
    made.save(out)
    _print_scan(made, out, as_json)


@app.command()
@guarded
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `negspace run --out` wrote.", metavar="RUN")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file to write instead: figures, tables, all neurons.")
    ] = None,
    detail: Annotated[bool, typer.Option("--detail", help="Also every phenomenon and construction.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a run's tables from its records again, and print them; or write one HTML file of one run or several."""
    if out is not None:
        write_page(folders, out)
        return
    from negspace.errors import RecordError
    from negspace.report.tables import to_json
    from negspace.runs.store import Store
    from negspace.study.tables import Tables

    several = []
    for folder in folders:
        store = Store(folder)
        tables = Tables(store)
        try:
            tables.write(store)
        except RecordError as error:
            typer.echo(f"note: the tables are printed but not written ({error.found})", err=True)
        if as_json and len(folders) > 1:
            several.append(to_json(tables))
        else:
            running.show(tables, detail, as_json)
    if several:
        typer.echo(f"[{','.join(several)}]")


app.command()(running.run)
app.command(name="study", hidden=True)(running.run)  # what it was called before the two were one
app.command()(claims)
app.command()(compare)
app.command()(figures)
app.command()(calibrate)
app.command()(demo)
app.command()(doctor)


def _print_scan(made: Any, out: Path, as_json: bool) -> None:
    """One row a layer, and whatever a reader must know."""
    from negspace.report.stability import said, stability
    from negspace.report.tables import plain, rows

    info = made.info
    layers = [_layer(place, part) for place, part in made.table.groupby(["layer", "branch"], sort=False)]
    if as_json:
        content = {"scan": info.model_dump(mode="json"), "layers": layers, "warnings": made.warnings, "out": str(out)}
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
        return
    console = output()
    body = [
        (
            row["layer"],
            row["branch"],
            f"{row['neurons']:,}",
            *("" if row[name] is None else f"{row[name]:.4f}" for name in ("median_wd", "largest_wd")),
            "" if row["neuron"] is None else (f"{row['expert']}, " if row["expert"] >= 0 else "") + str(row["neuron"]),
            "" if row["negative_share"] is None else f"{row['negative_share']:.2f}",
            f"{row['fraction_negative']:.2f}",
        )
        for row in layers
    ]
    columns = [("layer", "right"), ("branch", "left"), ("neurons", "right"), ("median WD", "right")]
    columns += [("largest WD", "right"), ("its neuron", "right"), ("its negative share", "right")]
    columns += [("tokens below zero", "right")]
    title = f"{info.model.name} on {info.text}: {info.tokens:,} tokens in {info.windows} windows of {info.window}"
    console.print(rows(title, columns, body))
    for line in said(stability(made)):
        console.print(plain(line), soft_wrap=True)
    for warning in made.warnings:
        console.print(plain(f"note: {warning}"), soft_wrap=True)
    _print_origin(info.model)
    console.print(plain(f"{len(made.table):,} neurons written to {out}"), soft_wrap=True)


def _print_origin(source: Any) -> None:
    """Say of a model from a GGUF file how its weights were quantised, and what was put right in it."""
    from negspace.report.tables import plain

    if source.gguf is not None:
        for line in (f"weights dequantised from {source.gguf}", *source.gguf.mended):
            output().print(plain(line), soft_wrap=True)


def _layer(place: tuple[int, str], part: Any) -> dict[str, Any]:
    """A site's neurons in figures; those of WD are None where no neuron varies."""
    ranked = part.dropna(subset="wd")
    row: dict[str, Any] = {"layer": int(place[0]), "branch": str(place[1]), "neurons": len(part)}
    row |= dict.fromkeys(("median_wd", "largest_wd", "expert", "neuron", "negative_share"))
    if len(ranked):
        best = ranked.loc[ranked["wd"].idxmax()]
        row |= {"median_wd": float(ranked["wd"].median()), "largest_wd": float(best["wd"])}
        row |= {name: int(best[name]) for name in ("expert", "neuron")}
        row["negative_share"] = float(best["negative_share"])
    return {**row, "fraction_negative": float(part["fraction_negative"].mean())}


def _settled(model: str, given: dict[str, Any]) -> Study:
    """The fields of a study that these options say, checked."""
    from negspace.experiment.config import configure

    return configure({"model": model, **given})


def _load(study: Study) -> Model:
    from negspace.experiment.workbench import Workbench

    return Workbench(study).model

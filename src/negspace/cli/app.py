"""The commands, one function each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from negspace.cli import running
from negspace.cli.calibrate import calibrate
from negspace.cli.demo import demo
from negspace.cli.guard import guarded, settings
from negspace.cli.pictures import figures, write_page
from negspace.cli.study import study as run_preset
from negspace.cli.terminal import Bar, output

app = typer.Typer(
    name="negspace",
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find out what language models compute below zero.",
)

ModelName = Annotated[str, typer.Argument(help="Folder, GGUF file, or name on the Hugging Face hub.", metavar="MODEL")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
Dtype = Annotated[str | None, typer.Option(help="float32 (default), float16, bfloat16 or float64.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; CUDA where there is one, else cpu.")]
DeviceMap = Annotated[str | None, typer.Option(help="How accelerate is to place the model, e.g. auto.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Let code from the model's repository run.")]
Window = Annotated[int | None, typer.Option(help="Tokens of a window; 2048, or what model and text allow.")]
Stride = Annotated[int | None, typer.Option(help="Tokens between the starts of two windows; half a window.")]
Count = Annotated[int | None, typer.Option(help="How many windows for the statistics; 131,072 tokens' worth.")]
Bos = Annotated[str | None, typer.Option(help="auto (default): as the tokenizer does; always: BOS before each window.")]
Batch = Annotated[int | None, typer.Option(help="Windows in one forward pass; changes no result.")]
Pairs = Annotated[int | None, typer.Option(help="Pairs of tokens for the mapping difficulty; 1024.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything drawn at random; 0.")]
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
def sites(
    model: ModelName,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """List where a model's MLPs apply their activation: layer, path, width, activation, experts."""
    from dataclasses import asdict

    from negspace.report.tables import rows

    loaded = _load(model, revision, dtype, device, device_map, trust_remote_code)
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
def scan(
    model: ModelName,
    text: Annotated[str, typer.Option(help="Text file, folder of them, or wikitext-2.")] = "wikitext-2",
    out: Annotated[Path, typer.Option(help="Parquet file to write: one row a neuron.")] = Path("scan.parquet"),
    window: Window = None,
    stride: Stride = None,
    windows: Count = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep all activations; for samples that fit in memory.")
    ] = False,
    bos: Bos = None,
    batch: Batch = None,
    md_pairs: Pairs = None,
    seed: Seed = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Measure every neuron's pre-activations on a text: distance from the Gaussian, negative share, shape, MD."""
    from negspace.files import check_writable
    from negspace.neurons.scan import scan as measure
    from negspace.text.source import read_text

    check_writable(out)
    source = read_text(text, role="statistics")
    loaded = _load(model, revision, dtype, device, device_map, trust_remote_code)
    options = {"bos": bos, "md_pairs": md_pairs, "seed": seed}
    with Bar() as bar:
        made = measure(
            loaded,
            source,
            window=window,
            stride=stride,
            windows=windows,
            batch=batch,
            exact=exact,
            progress=bar.steps,
            **{name: value for name, value in options.items() if value is not None},  # type: ignore[arg-type]
        )
    made.save(out)
    _print_scan(made, out, as_json)


@app.command()
@guarded
def run(
    study: Annotated[
        Path | None,
        typer.Argument(help="YAML file with the study's fields; options override it.", metavar="[STUDY.yaml]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; give the same one again to go on with a run.")] = None,
    model: Annotated[str | None, typer.Option(help="Folder, GGUF file, or name on the Hugging Face hub.")] = None,
    text: Annotated[str | None, typer.Option(help="Text for statistics and perplexity; wikitext-2.")] = None,
    statistics_text: Annotated[str | None, typer.Option(help="Another text for the statistics.")] = None,
    perplexity_text: Annotated[str | None, typer.Option(help="Another text for perplexity.")] = None,
    blimp: Annotated[list[str] | None, typer.Option(help="File or folder of BLiMP's format; may be repeated.")] = None,
    tse: Annotated[
        list[str] | None, typer.Option(help="File or folder of TSE: JSONL or pickles; may be repeated.")
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(help="Other minimal pairs: a file, a folder, or a name on the hub; may be repeated."),
    ] = None,
    pair_columns: Annotated[
        str | None, typer.Option(help="Their columns, where the names do not say: good=COLUMN,bad=COLUMN.")
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="Also tasks of lm-evaluation-harness: by name, or a folder of JSONL files; may be repeated."),
    ] = None,
    share: Annotated[
        list[float] | None, typer.Option(help="Share of each layer's neurons to ablate; 0.01; may be repeated.")
    ] = None,
    random: Annotated[int | None, typer.Option(help="Random sets for each share; 3.")] = None,
    matched: Annotated[
        bool | None, typer.Option("--matched/--no-matched", help="Search a perplexity-matched set.")
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="Relative mismatch that counts as matched; 0.01.")] = None,
    evaluations: Annotated[int | None, typer.Option(help="Most evaluations in a search; 8.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many pairs of each paradigm, spread over it.")] = None,
    protocol: Annotated[str | None, typer.Option(help="paper (default) or lm-eval.")] = None,
    by: Annotated[str | None, typer.Option(help="Statistic that ranks the neurons; wd.")] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Only neurons of this layer; may be repeated.")] = None,
    zero: Annotated[str | None, typer.Option(help="negative (default), positive or both.")] = None,
    mode: Annotated[
        str | None, typer.Option(help="Instead of --zero: relu_on_positives, sign_flip, mean, negative_mean.")
    ] = None,
    window: Window = None,
    stride: Stride = None,
    windows: Count = None,
    perplexity_window: Annotated[int | None, typer.Option(help="Tokens of a window of perplexity.")] = None,
    perplexity_windows: Annotated[int | None, typer.Option(help="How many such windows, from the start; all.")] = None,
    bos: Bos = None,
    batch: Batch = None,
    exact: Annotated[bool | None, typer.Option("--exact/--no-exact", help="Keep all activations in the scan.")] = None,
    md_pairs: Pairs = None,
    seed: Seed = None,
    alpha: Annotated[float | None, typer.Option(help="Level of the tests; 0.05.")] = None,
    draws: Annotated[int | None, typer.Option(help="Bootstrap resamples; 2000.")] = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    device_map: DeviceMap = None,
    trust_remote_code: Annotated[
        bool | None, typer.Option("--trust-remote-code/--no-trust-remote-code", help="Let the model's own code run.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Where to compute: local (default), or ray.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Address of a running Ray cluster, e.g. auto; else one of this machine.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the main study: baseline, top neurons, random and matched controls; on text and minimal pairs."""
    given = {name: value for name, value in locals().items() if name in STUDY_OPTIONS}
    given["shares"], given["layers"] = given.pop("share"), given.pop("layer")
    _run(
        study,
        {name: value for name, value in given.items() if value not in (None, [])},
        out,
        as_json,
        running.Where(engine, ray_address),
    )


STUDY_OPTIONS = frozenset(run.__annotations__) - {"study", "out", "engine", "ray_address", "as_json", "return"}
"""Options of `run` that are fields of a study; `share` and `layer` are given once for each value."""


@app.command()
@guarded
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `negspace run --out` wrote.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write instead: figures, tables, all neurons.")] = None,
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


app.command()(figures)
app.command()(calibrate)
app.command()(demo)


def _run(study_file: Path | None, given: dict[str, Any], out: Path | None, as_json: bool, where: running.Where) -> None:
    """Settle the configuration, run the study, print its tables."""
    from negspace.errors import StudyError
    from negspace.experiment.config import configure, read_study

    settled: dict[str, Any] = {}
    origin = "the options"
    if study_file is not None:
        settled, origin = read_study(study_file), f"{study_file} and the options"
        # An intervention given as an option replaces the file's, whichever of the two names it has there.
        if "mode" in given or "zero" in given:
            settled = {name: value for name, value in settled.items() if name not in ("mode", "zero")}
    from negspace.study.registry import sections

    study = configure({**settled, **given}, origin)
    sections(study)
    if out is None:
        raise StudyError("a run", "no folder for its records", "give one with --out")

    running.run(study, out, as_json, where)


def _print_scan(made: Any, out: Path, as_json: bool) -> None:
    """One row a layer, and whatever a reader must know."""
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


def _load(
    model: str, revision: str | None, dtype: str | None, device: str | None, device_map: str | None, trust: bool
) -> Any:
    from negspace.models.load import load

    return load(
        model,
        revision=revision,
        dtype=dtype or "float32",
        device=device,
        device_map=device_map,
        trust_remote_code=trust,
    )


app.command(name="study")(run_preset)

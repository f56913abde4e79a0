"""`negspace scan`: the statistics of every neuron on one text, or on several and what these agree on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from negspace.cli.guard import guarded
from negspace.cli.options import AsJson, study_options
from negspace.cli.terminal import Bar, output
from negspace.experiment.config import Study
from negspace.wording import counted

if TYPE_CHECKING:
    from negspace.experiment.agreement import Agreement
    from negspace.models.model import Model
    from negspace.neurons.scan import Scan

ModelName = Annotated[
    str, typer.Argument(help="Folder, GGUF file, adapter of PEFT, or name on the Hugging Face hub.", metavar="MODEL")
]
LOADING = ("adapter", "revision", "dtype", "device", "device_map", "trust_remote_code")
"""Fields of a study that say how its model is loaded."""
SCANNING = ("md_pairs", "exact", "batch", "seed")
"""Fields of a study that are arguments of a scan."""
CUTTING = ("window", "stride", "windows", "bos")
"""Fields that say how its text is cut."""


@guarded
@study_options(*CUTTING, *SCANNING, *LOADING)
def scan(
    model: ModelName,
    *,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help='File, folder (with splits, if its file names tell), name on the hub, or "wikitext-2". With several, '
            "also: how far they rank and choose the same neurons. May be repeated. [default: wikitext-2]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Parquet file to write: one row per neuron. With several texts a folder: one file per text, and the "
            "neurons that all of them choose. [default: scan.parquet; with several texts nothing is written]",
        ),
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER",
            help="Share p of each layer's neurons in the top sets that halves of a text, and texts, are compared by. "
            "May be repeated. [default: 0.01]",
        ),
    ] = None,
    given: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Measure every neuron's pre-activations on a text. Distance from the Gaussian, negative share, shape, MD."""
    from pydantic_core import to_json

    from negspace.experiment.agreement import agreement
    from negspace.files import check_folder, check_writable
    from negspace.text.content import printable

    several = text is not None and len(text) > 1
    if several:
        if out is not None:
            check_folder(out, "scan.parquet")
    else:
        out = out or Path("scan.parquet")
        check_writable(out)
    study = settled(model, {**given, "shares": share} if share else given)
    scans = _scans(study, text or [Study.model_fields["text"].default], out if several else None)
    if not several:
        assert out is not None
        scans[0].save(out)
    agreed = [agreement(scans, share) for share in study.shares] if several else []
    if out is not None:
        for one in agreed:
            one.common.save(out / f"common-{float(one.share) * 100:g}pct.json")
    if as_json:
        content = [_content(made, study) for made in scans]
        texts = {"scans": content, "agreement": [_agreed(one, scans) for one in agreed]}
        shown = {**(texts if several else content[0]), "out": None if out is None else printable(str(out))}
        typer.echo(to_json(shown, indent=1, inf_nan_mode="null").decode())
        return
    for made in scans:
        _print_scan(made, study)
    for place, one in enumerate(agreed):
        _print_agreement(one, scans, said=agreed[0].correlated if place else ())
    print_origin(scans[0].info.model)
    _print_saved(len(scans[0].table), out, len(scans))


def _scans(study: Study, texts: Sequence[str], folder: Path | None) -> list[Scan]:
    """A scan of each text, saved into the folder as soon as it is made; all texts are read and cut before the first."""
    from negspace.experiment.ranking import distinct
    from negspace.files import make_folder
    from negspace.neurons.scan import scan_windows
    from negspace.text.source import read_text
    from negspace.text.windows import make_windows

    sources = [read_text(text, role="statistics") for text in texts]
    asked = f"a scan of {len(texts)} texts"
    distinct([(source.name, source.hash) for source in sources], asked)
    loaded = load_model(study)
    cut_by = {name: getattr(study, name) for name in CUTTING}
    cuts = [make_windows(source, loaded.tokenizer, context=loaded.context, **cut_by) for source in sources]
    distinct([(cut.text_name, cut.hash) for cut in cuts], asked)
    scans = []
    for number, cut in enumerate(cuts, start=1):
        with Bar() as bar:
            scans.append(
                scan_windows(loaded, cut, progress=bar.steps, **{name: getattr(study, name) for name in SCANNING})
            )
        if folder is not None:
            make_folder(folder)
            slug = re.sub(r"[^A-Za-z0-9.]+", "-", cut.text_name)[:80].strip("-.")
            scans[-1].save(folder / f"scan-{number}-{slug}.parquet")
    return scans


def _content(made: Scan, study: Study) -> dict[str, Any]:
    """A scan for a program: one row a layer."""
    from negspace.report.stability import stability

    found = [stability(made, share) for share in study.shares]
    return {
        "scan": made.info.model_dump(mode="json"),
        "layers": _layers(made),
        "stability": [one for one in found if one is not None],
        "warnings": made.warnings,
    }


def _print_scan(made: Scan, study: Study) -> None:
    """One row a layer, and whatever a reader must know."""
    from negspace.report.stability import said, stability
    from negspace.report.tables import plain, rows

    info = made.info
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
        for row in _layers(made)
    ]
    columns = [("layer", "right"), ("branch", "left"), ("neurons", "right"), ("median WD", "right")]
    columns += [("largest WD", "right"), ("its neuron", "right"), ("its negative share", "right")]
    columns += [("tokens below zero", "right")]
    windows = f"{counted(info.windows, 'window')} of {info.window}"
    title = f"{info.model.name} on {info.text}: {info.tokens:,} tokens in {windows}"
    console.print(rows(title, columns, body))
    for line in (line for share in study.shares for line in said(stability(made, share))):
        console.print(plain(line), soft_wrap=True)
    for warning in made.warnings:
        console.print(plain(f"note: {warning}"), soft_wrap=True)


def _print_agreement(found: Agreement, scans: Sequence[Scan], said: Sequence[str]) -> None:
    """Sentences on each pair of texts, and the neurons that all texts choose, one row a layer."""
    from negspace.experiment.chosen import in_words, names_of, rows_of
    from negspace.experiment.words import percent
    from negspace.report.tables import plain, rows

    console, share = output(), float(found.share)
    console.print()
    for line in (line for line in found.sentences if line not in said):
        console.print(plain(line), soft_wrap=True)
    if not len(found.common):
        return
    chosen = rows_of(scans[0], found.common)
    body = [
        (layer, branch, f"{len(part):,}", in_words(names_of(part), 12))
        for (layer, branch), part in chosen.groupby(["layer", "branch"], sort=False)
    ]
    columns = [("layer", "right"), ("branch", "left"), ("in common", "right"), ("neurons", "left")]
    console.print(rows(f"In the top {percent(share)} by every text: {counted(len(chosen), 'neuron')}", columns, body))


def _agreed(found: Agreement, scans: Sequence[Scan]) -> dict[str, Any]:
    """The same for a program."""
    from negspace.experiment.chosen import names_of, rows_of

    pairs = [
        {"texts": pair, "correlation": found.correlations[pair], "overlap": overlap}
        for pair, overlap in found.overlaps.items()
    ]
    return {"share": found.share, "pairs": pairs, "common": names_of(rows_of(scans[0], found.common))}


def _print_saved(neurons: int, out: Path | None, texts: int) -> None:
    from negspace.report.tables import plain

    if texts > 1:
        where = "to keep the scans, give a folder with --out" if out is None else f"{texts} scans written to {out}"
    else:
        where = f"{counted(neurons, 'neuron')} written to {out}"
    output().print(plain(where), soft_wrap=True)


def print_origin(source: Any) -> None:
    """Say of a model from a GGUF file how its weights were quantised, and what was put right in it."""
    from negspace.report.tables import plain

    if source.gguf is not None:
        for line in (f"weights dequantised from {source.gguf}", *source.gguf.mended):
            output().print(plain(line), soft_wrap=True)


def _layers(made: Scan) -> list[dict[str, Any]]:
    """One row a layer and branch."""
    return [_layer(place, part) for place, part in made.table.groupby(["layer", "branch"], sort=False)]


def _layer(place: Any, part: Any) -> dict[str, Any]:
    """The neurons of a place, (layer, branch), in figures; those of WD are None where no neuron varies."""
    ranked = part.dropna(subset="wd")
    row: dict[str, Any] = {"layer": int(place[0]), "branch": str(place[1]), "neurons": len(part)}
    row |= dict.fromkeys(("median_wd", "largest_wd", "expert", "neuron", "negative_share"))
    if len(ranked):
        best = ranked.loc[ranked["wd"].idxmax()]
        row |= {"median_wd": float(ranked["wd"].median()), "largest_wd": float(best["wd"])}
        row |= {name: int(best[name]) for name in ("expert", "neuron")}
        row["negative_share"] = float(best["negative_share"])
    return {**row, "fraction_negative": float(part["fraction_negative"].mean())}


def settled(model: str, given: dict[str, Any]) -> Study:
    """The fields of a study that these options say, checked."""
    from negspace.experiment.config import configure

    return configure({"model": model, **given})


def load_model(study: Study) -> Model:
    """The model of these fields."""
    from negspace.experiment.workbench import Workbench

    return Workbench(study).model

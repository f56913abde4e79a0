"""`negspace study`: a preset, or any choice of analyses, on one model; the plan and its cost first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from negspace.cli import running
from negspace.cli.guard import guarded
from negspace.cli.terminal import duration, output


@guarded
def study(
    model: Annotated[str, typer.Argument(help="Folder, GGUF file, or name on the Hugging Face hub.", metavar="MODEL")],
    preset: Annotated[str, typer.Option(help="paper: every analysis; quick: the main study on few items.")] = "paper",
    analysis: Annotated[
        list[str] | None, typer.Option(help="Only this analysis instead of the preset's; may be repeated.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Text for statistics and perplexity; wikitext-2.")] = None,
    blimp: Annotated[list[str] | None, typer.Option(help="File or folder of BLiMP's format; may be repeated.")] = None,
    tse: Annotated[list[str] | None, typer.Option(help="File or folder of TSE; may be repeated.")] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(help="Other minimal pairs: a file, a folder, or a name on the hub; may be repeated."),
    ] = None,
    pair_columns: Annotated[
        str | None, typer.Option(help="Their columns, where the names do not say: good=COLUMN,bad=COLUMN.")
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option(help="Tasks of lm-evaluation-harness: by name, or a folder; may be repeated.")
    ] = None,
    share: Annotated[list[float] | None, typer.Option(help="Share of neurons to ablate; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many pairs of a paradigm and items of a task.")] = None,
    protocol: Annotated[str | None, typer.Option(help="paper (default) or lm-eval.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn at random; 0.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of the study or of an analysis: random=5, dose.points=6; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; give the same one again to go on with a run.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 (default), float16, bfloat16 or float64.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; CUDA where there is one.")] = None,
    device_map: Annotated[str | None, typer.Option(help="How accelerate is to place the model, e.g. auto.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let code from the model's repository run.")
    ] = False,
    engine: Annotated[str | None, typer.Option(help="Where to compute: local (default), or ray.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Address of a running Ray cluster, e.g. auto; else one of this machine.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Run all analyses of a preset on a model; says first what it will do and what that costs."""
    from negspace.errors import StudyError
    from negspace.study.presets import from_preset
    from negspace.study.run import Plan, plan_study

    others = ("preset", "analysis", "share", "setting", "out", "engine", "ray_address", "dry_run", "as_json")
    given = {name: value for name, value in locals().items() if name in study_options and name not in others}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value not in (None, [], False)}
    if share:
        fields["shares"] = share
    fields = _merge(fields, setting or [])
    if analysis:
        fields["analyses"] = {name: fields.get("analyses", {}).get(name, {}) for name in analysis}
    chosen, left_out = from_preset(preset, fields, only=bool(analysis))
    if out is None and not dry_run:
        raise StudyError("a study", "no folder for its records", "give one with --out, or --dry-run to see the plan")

    def announce(plan: Plan) -> None:
        for sentence in left_out:
            typer.echo(f"note: {sentence}", err=True)
        if as_json and dry_run:
            _print_json(plan)
        else:
            # Standard output is for the results where they are to be read by a program.
            _print(plan, as_json)

    if out is None or dry_run:
        announce(plan_study(chosen))
    else:
        running.run(chosen, out, as_json, running.Where(engine, ray_address), announce)


study_options = frozenset(study.__annotations__)


def _merge(fields: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Fields with those of `--set` put in: NAME=VALUE, or ANALYSIS.NAME=VALUE; values are YAML.

    Raises:
        StudyError: no such form.
    """
    import yaml

    from negspace.errors import StudyError

    made = dict(fields)
    for one in settings:
        name, equals, value = one.partition("=")
        section, dot, field = name.partition(".")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            read, equals = None, ""
        if not equals or not section or (dot and not field):
            raise StudyError(f"--set {one}", "no NAME=VALUE", "write random=5, or dose.points=6 for an analysis's own")
        if dot:
            sections = made.setdefault("analyses", {})
            made["analyses"] = {**sections, section: {**sections.get(section, {}), field: read}}
        else:
            made[section] = read
    return made


def _print(plan: Any, to_stderr: bool) -> None:
    """What each analysis will do, and what it costs."""
    from rich.console import Console

    from negspace.report.tables import plain, rows

    body = [
        (name, load.detail, f"{load.cells:,}", f"{load.tokens / 1e6:.2f}", duration(load.tokens / plan.rate))
        for name, load in plan.loads.items()
    ]
    columns = [("analysis", "left"), ("what", "left"), ("cells", "right"), ("M tokens", "right"), ("about", "right")]
    console = Console(stderr=True, highlight=False) if to_stderr else output()
    console.print(rows("Plan", columns, body))
    console.print(
        plain(
            f"{plan.cells:,} cells, about {duration(plan.seconds)} at {plan.rate:,.0f} tokens a second; "
            "less where analyses share cells, and what is recorded is not computed again"
        ),
        soft_wrap=True,
    )


def _print_json(plan: Any) -> None:
    """The same for a program."""
    import json

    loads = {
        name: {"what": load.detail, "cells": load.cells, "tokens": load.tokens, "seconds": load.tokens / plan.rate}
        for name, load in plan.loads.items()
    }
    whole = {"cells": plan.cells, "seconds": plan.seconds, "tokens_per_second": plan.rate}
    typer.echo(json.dumps({"plan": loads, **whole}, indent=1, ensure_ascii=False))

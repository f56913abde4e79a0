"""`negspace run`: what to do, by preset, study file and options; the plan and its cost; the run and its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from negspace.cli.guard import guarded, resumable
from negspace.cli.options import AsJson, set_fields, study_options
from negspace.cli.plan import plan_json, show_plan
from negspace.cli.terminal import Bar, note, output

if TYPE_CHECKING:
    from negspace.experiment.config import Study
    from negspace.runs.ray_cluster import RayCluster
    from negspace.study.run import Plan
    from negspace.study.tables import Tables


@guarded
@study_options()
def run(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL|STUDY.yaml",
            help="A model (folder, GGUF file, or name on the Hugging Face hub) to study by a preset; or a YAML file "
            "with the fields of a study. Options override both.",
        ),
    ] = None,
    *,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="paper: every analysis that data and installation allow, with 30 pairs per paradigm, 30 items per "
            "task and 8 windows of perplexity; paper-full: the same on all of them, with random sets everywhere; "
            "quick: the main study, with 5 pairs, 5 items and 8 windows. Other defaults below are those without a "
            "preset. [default: paper for a MODEL argument; none for STUDY.yaml; --model alone runs the main study]",
        ),
    ] = None,
    analysis: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this analysis, not the preset's or the file's: ablation, controls, parts_of_speech, dose, "
            "rankings, stability, layers, training, differentiation, atlas, or another package's. May be repeated.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A field of the study, or of an analysis: random=5, dose.points=6. May be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Run folder. Give the same one again to resume an interrupted run."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Lock a plan: write sizes, margins and seeds to FILE before anything is scored. If FILE exists, "
            "compare the run with it; the report says whether the run followed it.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, and stop.")] = False,
    engine: Annotated[
        str | None, typer.Option(metavar="[local|ray]", help="Where to compute. [default: local]")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Address of a running Ray cluster, e.g. auto. Default: start one on this machine."
        ),
    ] = None,
    as_json: AsJson = False,
    given: dict[str, Any],
) -> None:
    """Run a study of a model, and print its plan and cost first. It is described by a preset or a study file."""
    if context.info_name == "study":
        typer.echo("note: `negspace study` is now `negspace run`, with the same arguments", err=True)
    from negspace.errors import StudyError
    from negspace.garbage import no_collection

    with no_collection():  # most of what this takes is imports
        study, left_out = _study(target, given, preset, analysis or [], setting or [])
        from negspace.study.run import plan_study

    if out is None and not dry_run:
        raise StudyError("a run", "no folder for its records", "give one with --out, or --dry-run to see the plan")
    if dry_run and plan is not None:
        raise StudyError(f"--plan {plan} with --dry-run", "a plan is locked when a run begins", "give one of the two")
    where = Where(engine, ray_address)
    where.check()
    for sentence in left_out:
        note(sentence)
    if out is not None and not dry_run:
        execute(study, out, as_json, where, plan)
        return
    if engine == "ray":
        typer.echo("note: the times are of this machine alone; a run on Ray prints those of its workers", err=True)
    with no_collection():
        planned = plan_study(study, out=out)
    for sentence in planned.notes:
        note(sentence)
    if as_json:
        typer.echo(plan_json(planned))
    else:
        show_plan(planned, output())


def _study(
    target: str | None, given: dict[str, Any], preset: str | None, analyses: list[str], settings: list[str]
) -> tuple[Study, tuple[str, ...]]:
    """Return the study, and a sentence for each analysis of the preset that is left out.

    Raises:
        StudyError: what `configure` and `from_preset` raise, or a model that is given twice.
    """
    from negspace.errors import StudyError
    from negspace.experiment.config import Study, configure, override
    from negspace.study.presets import from_preset
    from negspace.study.registry import sections
    from negspace.study.study_file import read_study

    fields: dict[str, Any] = {}
    origin = "the options"
    if target is not None and _is_file(target):
        fields, origin = read_study(target), f"{target} and the options"
    elif target is not None:
        if "model" in given:
            raise StudyError(f"a study of {target}", f"another model, --model {given['model']}", "give one of the two")
        fields, preset = {"model": target}, preset or "paper"
    if not preset:
        fields = {"analyses": Study.model_fields["analyses"].get_default(call_default_factory=True), **fields}
    fields = override(fields, given)
    changed = set_fields(fields, settings)
    _check_apart(given, settings)
    fields = override(fields, changed)
    if analyses:
        dropped = [name for name in _analyses_of(settings) if name not in analyses]
        if dropped:
            raise StudyError(
                f"settings of {dropped[0]} (--set)",
                f"an analysis that is not run (--analysis {', '.join(analyses)})",
                f"add --analysis {dropped[0]}, or leave its settings out",
            )
        listed = configure({"model": "", "analyses": fields.get("analyses") or {}}, origin).analyses
        fields["analyses"] = {name: listed.get(name, {}) for name in analyses}
    if preset:
        return from_preset(preset, fields, only=bool(analyses))
    study = configure(fields, origin)
    sections(study)
    return study, ()


def _check_apart(given: Mapping[str, Any], settings: Sequence[str]) -> None:
    """Refuse what is given both by an option of its own and by `--set`: a field, or the intervention.

    Raises:
        StudyError: the two, as they were given.
    """
    from negspace.errors import StudyError

    options = {}
    for name, value in given.items():
        typed = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
        options[name] = f"--{name.replace('_', '-')} {typed}"
    for name, value in given.items():
        if isinstance(value, Mapping):  # a field that has fields of its own, which may be given one by one
            options |= {f"{name}.{part}": options[name] for part in value}
    for setting in settings:
        name = setting.partition("=")[0]
        # Either of the two names an intervention, and replaces the other.
        names = ("zero", "mode") if name in ("zero", "mode") else (name,)
        if clash := next((options[one] for one in names if one in options), None):
            raise StudyError(f"{clash} and --set {setting}", "two values for one", "give one of them")


def _analyses_of(settings: Sequence[str]) -> list[str]:
    """Return the analyses that `--set` changes."""
    from negspace.experiment.config import Study

    sections = [setting.partition("=")[0].partition(".")[0] for setting in settings if "." in setting.partition("=")[0]]
    return [section for section in sections if section not in Study.model_fields]


def _is_file(target: str) -> bool:
    """Return True if the argument names a study file rather than a model."""
    path = Path(target)
    return (path.suffix.lower() in (".yaml", ".yml") and not path.is_dir()) or (
        path.is_file() and path.suffix.lower() != ".gguf"
    )


@dataclass(frozen=True)
class Where:
    """The place of computation, as given by the options."""

    engine: str | None = None
    """"local" (also None) or "ray"."""
    address: str | None = None
    """Address of a Ray cluster; with the engine ray and none, one of this machine is started."""

    def check(self) -> None:
        """Make sure that the options fit together.

        Raises:
            StudyError: an unknown engine, or an address without one.
        """
        from negspace.errors import StudyError

        if self.engine not in (None, "local", "ray"):
            raise StudyError(f"--engine {self.engine}", "no such engine", "use: local, ray")
        if self.engine != "ray" and self.address:
            raise StudyError(f"--ray-address {self.address}", "the engine local", "add --engine ray")

    def open(self, study: Study) -> AbstractContextManager[RayCluster | None]:
        """The cluster, open for a study; None for this process.

        Raises:
            ClusterError: the cluster cannot be used.
        """
        if self.engine != "ray":
            return nullcontext()
        from negspace.runs.ray_cluster import RayCluster
        from negspace.study.run import workbench

        return RayCluster(partial(workbench, study), study.resources, self.address)


def compute(
    study: Study,
    out: Path,
    where: Where,
    announce: Callable[[Plan], None] | None = None,
    plan: Path | None = None,
) -> Tables:
    """Run a study into a folder and return its tables; after Ctrl-C, say how to resume."""
    from negspace.study.run import run_study

    with resumable(), where.open(study) as cluster, Bar() as bar:
        options = {"progress": bar.run, "note": bar.note, "announce": announce, "cluster": cluster, "plan": plan}
        return run_study(study, out, **options)


def execute(study: Study, out: Path, as_json: bool, where: Where, plan: Path | None = None) -> None:
    """Run a study into a folder and print its plan on stderr, then its tables on stdout."""
    show(compute(study, out, where, show_plan, plan), False, as_json)
    if not as_json:
        output().print(
            f"\ntables: {out}/tables\nevery contrast, and all findings in sentences: negspace report {out} --detail\n"
            f"figures, tables and neurons in one HTML file: negspace report {out} --out report.html",
            markup=False,
            soft_wrap=True,
        )


def show(tables: Any, detail: bool, as_json: bool) -> None:
    """Print a run's tables, as text or as JSON."""
    from negspace.report.tables import show as print_tables
    from negspace.report.tables import to_json

    if as_json:
        typer.echo(to_json(tables))
    else:
        print_tables(tables, output(), detail=detail)

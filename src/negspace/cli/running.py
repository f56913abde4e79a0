"""Running a study from the command line: progress, interruption, and what is printed at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from negspace.cli.guard import STOPPED, resume_command
from negspace.cli.terminal import Bar, output

if TYPE_CHECKING:
    from negspace.experiment.config import Study
    from negspace.runs.ray_cluster import RayCluster
    from negspace.study.run import Plan
    from negspace.study.tables import Tables


@dataclass(frozen=True)
class Where:
    """Where to compute, as the options say."""

    engine: str | None = None
    """"local" (also None) or "ray"."""
    address: str | None = None
    """Address of a Ray cluster; with the engine ray and none, one of this machine is started."""

    def open(self, study: Study) -> AbstractContextManager[RayCluster | None]:
        """The cluster, open for a study; None for this process.

        Raises:
            StudyError: an unknown engine, or an address without one.
            ClusterError: the cluster cannot be used.
        """
        from negspace.errors import StudyError

        if self.engine not in (None, "local", "ray"):
            raise StudyError(f"--engine {self.engine}", "no such engine", "use: local, ray")
        if self.engine != "ray":
            if self.address:
                raise StudyError(f"--ray-address {self.address}", "the engine local", "add --engine ray")
            return nullcontext()
        from negspace.runs.ray_cluster import RayCluster
        from negspace.study.run import workbench

        return RayCluster(partial(workbench, study), study.resources, self.address)


def compute(study: Study, out: Path, where: Where, announce: Callable[[Plan], None] | None = None) -> Tables:
    """Run a study into a folder and return its tables; after Ctrl-C, say how to resume."""
    from negspace.runs.engine import Interrupted
    from negspace.study.run import run_study

    try:
        with where.open(study) as cluster, Bar() as bar:
            return run_study(study, out, progress=bar.run, note=bar.note, announce=announce, cluster=cluster)
    except Interrupted as stop:
        typer.echo(f"{stop}\nto resume: {resume_command()}", err=True)
        raise typer.Exit(STOPPED) from None


def run(study: Study, out: Path, as_json: bool, where: Where, announce: Callable[[Plan], None] | None = None) -> None:
    """Run a study into a folder and print its tables."""
    show(compute(study, out, where, announce), False, as_json)
    if not as_json:
        output().print(
            f"\ntables: {out}/tables  in full: negspace report {out} --detail"
            f"  to look at: negspace report {out} --out report.html",
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

"""`negspace calibrate`: the whole study on models whose answer is known, and what it says of each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from negspace.cli.guard import STOPPED, guarded, resume_command
from negspace.cli.terminal import Bar, output

if TYPE_CHECKING:
    import pandas as pd

    from negspace.significance.simulation import Rate

WRONG = 1
"""Exit status where a verdict is not the right one, or a test rejects too often."""


@guarded
def calibrate(
    out: Annotated[Path, typer.Option(help="Folder for models, material and runs; what is there is used.")] = Path(
        "negspace-calibration"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the models' random weights and of the studies.")] = 0,
    simulations: Annotated[
        int, typer.Option(min=0, help="Also count false positives in so many simulated null studies a test; 500 do.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """The whole study on models whose answer is known: agreement below zero, above zero, nowhere in particular."""
    from negspace.runs.engine import Interrupted
    from negspace.study.calibration import run_calibration

    try:
        with Bar() as bar:
            made = run_calibration(out, seed=seed, progress=bar.run, note=bar.note)
            rates = _simulate(simulations, seed, bar) if simulations else []
    except Interrupted as stop:
        typer.echo(f"{stop}\nto resume: {resume_command()}", err=True)
        raise typer.Exit(STOPPED) from None
    wrong = int((~made["ok"]).sum())
    often = [one for one in rates if one.too_often]
    if as_json:
        cases = json.loads(made.to_json(orient="records"))
        print_rates = [
            {**vars(one), "rate": one.rate, "interval": one.interval, "too_often": one.too_often} for one in rates
        ]
        typer.echo(json.dumps({"cases": cases, "simulations": print_rates, "ok": not wrong and not often}, indent=1))
    else:
        _show(made, rates)
        says = f"all {len(made)} verdicts are right" if not wrong else f"{wrong} of {len(made)} verdicts are wrong"
        if rates:
            says += f"; {len(often) or 'none'} of {len(rates)} tests rejects more often than its level"
        output().print(f"{says}; runs: {out}", markup=False, soft_wrap=True)
    if wrong or often:
        raise typer.Exit(WRONG)


def _simulate(studies: int, seed: int, bar: Bar) -> list[Rate]:
    from negspace.significance.simulation import WORLDS, rates

    found = []
    for done, world in enumerate(WORLDS):
        bar.steps(done, len(WORLDS), "simulated null studies")
        found += rates(world, studies, seed=seed)
    return found


def _show(made: pd.DataFrame, rates: list[Rate]) -> None:
    from negspace.report.tables import rows

    console = output()
    headings = ["model", "zeroed", "first?", "perpl.", "grammar", "tasks", "contrast", "p", "verdict", "ok"]
    sides = ["left", "left", "left", *("right",) * 5, "left", "left"]
    title = "Calibration: points lost under the top 1% (under the perplexity-matched control)"
    console.print(rows(title, list(zip(headings, sides, strict=True)), [_cells(row) for _, row in made.iterrows()]))
    for text in _notes(made):
        console.print(text, markup=False, soft_wrap=True)
    if rates:
        body = [
            (
                one.test,
                one.world,
                f"{one.studies:,}",
                f"{one.nominal * 100:g}",
                f"{one.rate * 100:.1f}",
                "[{:.1f}, {:.1f}]".format(*(end * 100 for end in one.interval)),
                "too often" if one.too_often else "" if one.allowed else "takes items as independent",
            )
            for one in rates
        ]
        columns = [("test", "left"), ("world", "left"), ("studies", "right"), ("level, %", "right")]
        columns += [("rejected, %", "right"), ("interval", "right"), ("", "left")]
        console.print(rows("False positives in simulated studies without an effect", columns, body))


def _cells(row: Any) -> tuple[str, ...]:
    compared = math.isfinite(row["contrast"])
    interval = f"[{row['low'] * 100:.1f}, {row['high'] * 100:.1f}]"
    return (
        row["model"],
        {"negative": "a < 0", "positive": "a > 0"}[row["zero"]],
        "yes" if row["first"] else f"to {row['worst_rank']}",
        f"x {row['ratio']:.2f}",
        _lost(row["grammar_drop"], row["grammar_control_drop"]),
        _lost(row["tasks_drop"], row["tasks_control_drop"]),
        f"{row['contrast'] * 100:.1f} {interval}" if compared else "",
        ("<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}") if compared else "",
        row["verdict"] + ("*" if row["crossover"] else ""),
        "yes" if row["ok"] else "no",
    )


def _notes(made: pd.DataFrame) -> Iterator[str]:
    """What the table has no room for."""
    if made["crossover"].any():
        yield "* with a crossover: grammar by itself loses more under the top set, the tasks under the control"
    for _, row in made.iterrows():
        which = f"{row['model']} model, zeroing {row['zero']}s"
        if not math.isfinite(row["contrast"]):
            yield f"{which}: no control and so no contrast ({row['control']})"
        if row["verdict"] != row["expected"]:
            yield f"{which}: {row['expected']} would be right"
        if not row["first"]:
            yield f"{which}: the planted neurons go down to rank {row['worst_rank']} of their layer"


def _lost(top: float, control: float) -> str:
    return f"{top * 100:.1f}" + (f" ({control * 100:.1f})" if math.isfinite(control) else "")

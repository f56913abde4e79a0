"""`negspace calibrate`: the whole study on models whose answer is known, and what it says of each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from negspace.cli.guard import guarded, resumable
from negspace.cli.options import AsJson
from negspace.cli.terminal import Bar, output

if TYPE_CHECKING:
    import pandas as pd

    from negspace.study.simulation import Rate

WRONG = 1
"""Exit status where a verdict is not the right one, or a test rejects too often."""


@guarded
def calibrate(
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for models, material and runs; existing files are reused."),
    ] = Path("negspace-calibration"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the models' random weights and the studies.")] = 0,
    simulations: Annotated[
        int,
        typer.Option(min=0, help="Also simulate this many studies of each world: false sentences and power."),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the whole study on models with a known answer. They carry agreement below zero, above zero, or everywhere."""
    from negspace.report.tables import records
    from negspace.study.calibration import run_calibration
    from negspace.study.simulation import ANY, too_often

    with resumable(), Bar() as bar:
        made = run_calibration(out, seed=seed, progress=bar.run, note=bar.note)
        rates = _simulate(simulations, seed, bar) if simulations else []
    wrong = int((~made["ok"]).sum())
    often = too_often(rates)
    if as_json:
        cases = records(made)
        print_rates = [
            {**vars(rate), "rate": rate.rate, "interval": rate.interval, "too_often": rate in often} for rate in rates
        ]
        typer.echo(json.dumps({"cases": cases, "simulations": print_rates, "ok": not wrong and not often}, indent=1))
    else:
        _show(made, rates, often)
        says = (
            f"all {len(made)} cases are right"
            if not wrong
            else f"{wrong} of {len(made)} cases are wrong (see the table)"
        )
        if rates:
            worlds = sum(rate.claim == ANY for rate in rates)
            says += f"; worlds with more false sentences than the level allows: {len(often)} of {worlds}"
        output().print(f"{says}; runs: {out}", markup=False, soft_wrap=True)
    if wrong or often:
        raise typer.Exit(WRONG)


def _simulate(studies: int, seed: int, bar: Bar) -> list[Rate]:
    from negspace.study.simulation import CASES, calibrate

    found = []
    for done, case in enumerate(CASES):
        bar.steps(done, len(CASES), "simulated studies")
        found += calibrate(case, studies, seed=seed)
    return found


def _show(made: pd.DataFrame, rates: list[Rate], often: list[Rate]) -> None:
    from negspace.report.tables import rows
    from negspace.study.simulation import ANY

    console = output()
    headings = ["model", "zeroed", "first?", "perpl.", "grammar", "tasks", "interaction", "p", "verdict", "ok"]
    sides = ["left", "left", "left", *("right",) * 5, "left", "left"]
    title = "Calibration: points under the top 1%, against the perplexity-matched control"
    console.print(rows(title, list(zip(headings, sides, strict=True)), [_cells(row) for _, row in made.iterrows()]))
    for text in _notes(made):
        console.print(text, markup=False, soft_wrap=True)
    if rates:
        body = [
            (
                rate.case,
                rate.claim,
                {"false": "false sentence", "power": "right sentence"}[rate.kind],
                f"{rate.studies:,}",
                f"{rate.rate * 100:.1f}",
                "[{:.1f}, {:.1f}]".format(*(end * 100 for end in rate.interval)),
                "too often" if rate in often else "",
            )
            for rate in rates
            if rate.claim == ANY or rate.kind == "power"
        ]
        columns = [("world", "left"), ("claim", "left"), ("counted", "left"), ("studies", "right"), ("%", "right")]
        columns += [("interval", "right"), ("", "left")]
        console.print(rows("Simulated studies, judged by the rule that every sentence rests on", columns, body))


def _cells(row: Any) -> tuple[str, ...]:
    return (
        row["model"],
        {"negative": "a < 0", "positive": "a > 0"}[row["zero"]],
        "yes" if row["first"] else f"to {row['worst_rank']}",
        f"x {row['ratio']:.2f}",
        _points(row["grammar"], row["grammar_low"], row["grammar_high"]),
        _points(row["tasks"], row["tasks_low"], row["tasks_high"]),
        _points(row["interaction"], row["low"], row["high"]),
        "" if not math.isfinite(row["p"]) else "<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}",
        row["verdict"],
        "yes" if row["ok"] else "no",
    )


def _notes(made: pd.DataFrame) -> Iterator[str]:
    """What the table has no room for, in sentences."""
    for _, row in made.iterrows():
        which = f"{row['model']} model, zeroing {row['zero']}s"
        if not math.isfinite(row["interaction"]):
            yield f"{which}: not testable ({row['control']})"
        if not any(row["verdict"].startswith(right) for right in row["expected"].split(" or ")):
            yield f"{which}: {row['expected']} would be right"
        if not row["first"]:
            yield f"{which}: the planted neurons extend to rank {row['worst_rank']} of their layer"


def _points(value: float, low: float, high: float) -> str:
    return f"{value * 100:+.1f} [{low * 100:+.1f}, {high * 100:+.1f}]" if math.isfinite(value) else ""

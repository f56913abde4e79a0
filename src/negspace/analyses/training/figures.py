"""Figures of training: when the cohort appears, when its weights settle, and when its ablation begins to matter."""

from __future__ import annotations

import numpy as np
import pandas as pd

from negspace.experiment import paper
from negspace.experiment.run import Run
from negspace.figures.figure import Axis, Figure, Numbers, Panel, Reference, Series, numbers
from negspace.figures.scores import Measure, beside, measures_of, scaled, scores_of

_CONDITIONS = {
    "fixed cohort": "top",
    "moving cohort": "series 4",
    "random mean": "random mean",
    "random": "random",
}
_MANY = 12


def figures(run: Run) -> list[Figure]:
    """The cohort's WD, its stability, the drift of input weights, scores and ablation harm over training steps."""
    made = []
    wd = run.table("training_wd")
    if wd is not None:
        made.append(_cohort(run, wd[wd["layer"].isna()]))
    drift = run.table("training_drift")
    if drift is not None:
        made.append(_drift(run, drift[drift["layer"].isna()]))
    table = run.table("training")
    if table is not None:
        made += [_levels(run, table), _harm(run, table)]
    return made


def step_axis(steps: Numbers) -> Axis:
    """A logarithmic axis of training steps, on which step 0 stands left of the others."""
    steps = np.unique(steps[np.isfinite(steps)])
    positive = steps[steps > 0]
    if len(positive) < 3 or positive[-1] / positive[0] < 20:
        return Axis("training step")
    ticks = [(place_of(np.array([step]), positive[0])[0], f"{step:,.0f}") for step in steps]
    if len(ticks) > _MANY:  # one a power of ten, and the ends
        powers = [10.0**power for power in range(int(np.log10(positive[0])), int(np.log10(positive[-1])) + 1)]
        ticks = [*(ticks[:1] if steps[0] == 0 else []), *((power, f"{power:,.0f}") for power in powers)]
    return Axis("training step", log=True, ticks=tuple(ticks), slanted=len(ticks) > 6)


def place_of(steps: Numbers, first: float) -> Numbers:
    """Return the positions of steps on that axis: step 0 is at a third of the first other step."""
    return np.where(steps > 0, steps, first / 3)


def _x(steps: pd.Series) -> tuple[Axis, Numbers]:
    values = numbers(steps)
    axis = step_axis(values)
    return axis, place_of(values, float(values[values > 0].min())) if axis.log else values


def _line(name: str, role: str, rows: pd.DataFrame, columns: tuple[str, ...], scale: float = 1.0) -> Series:
    _, x = _x(rows["step"])
    values = [scaled(rows, column, scale) for column in columns]
    low, high = (values[1], values[2]) if len(values) > 1 else (None, None)
    labels = tuple(f"{name_}" for name_ in rows["checkpoint"])
    return Series(name, role, x, values[0], low, high, mark="line", labels=labels)


def _cohort(run: Run, table: pd.DataFrame) -> Figure:
    table = table.sort_values("step")
    axis, _ = _x(table["step"])
    wd = (
        _line("fixed cohort (mean)", "top", table, ("cohort_mean", "cohort_mean_low", "cohort_mean_high")),
        _line("99% quantile of the others", "series 4", table, ("rest_q99",)),
        _line("others (median)", "rest", table, ("rest_median",)),
    )
    stable = (
        _line("share in the own top set", "series 1", table, ("in_top", "in_top_low", "in_top_high")),
        _line("rank correlation with the last", "series 2", table, ("rho_last", "rho_last_low", "rho_last_high")),
        _line("share by chance", "rest", table, ("in_top_chance",)),
    )
    panels = (
        Panel(axis, Axis("WD from the Gaussian"), beside(wd, axis), references=paper.emergence(run)),
        Panel(axis, Axis("share, or ρ"), beside(stable, axis)),
    )
    caption = (
        f"The cohort is the top set of the last checkpoint; bars: {run.level} intervals. Right: how much of it is in "
        "each checkpoint's own top set, and how all neurons' ranks agree with the last."
    )
    return Figure("training_wd", "When the cohort appears", caption, panels, columns=2, wide=True)


def _drift(run: Run, table: pd.DataFrame) -> Figure:
    panels = []
    for against in dict.fromkeys(table["against"]):
        rows = table[table["against"] == against].sort_values("step")
        axis, _ = _x(rows["step"])
        series = (
            _line("fixed cohort (mean)", "top", rows, ("cohort_mean", "cohort_low", "cohort_high")),
            _line("others (mean)", "rest", rows, ("rest_mean", "rest_low", "rest_high")),
        )
        title = f"to the {against} checkpoint"
        panels.append(Panel(axis, Axis("1 - cos of input weights"), beside(series, axis), title))
    caption = f"How far the neurons' input weights still turn, with {run.level} intervals."
    return Figure("training_drift", "When the weights settle", caption, tuple(panels), columns=2, wide=True)


def _levels(run: Run, table: pd.DataFrame) -> Figure:
    plain = table[table["condition"] == "baseline"]
    panels = []
    for score in scores_of(plain):
        rows = plain[plain["score"] == score].sort_values("step")
        axis, _ = _x(rows["step"])
        line = _line("plain model", "baseline", rows, ("value", "low", "high"), Measure(score).unit)
        word = "perplexity" if score == "perplexity" else "% right"
        panels.append(Panel(axis, Axis(word, log=score == "perplexity"), (line,), Measure(score).title))
    caption = f"The plain checkpoints, with {run.level} intervals."
    return Figure(
        "training_scores", "What the checkpoints can do", caption, tuple(panels), min(3, len(panels)), wide=True
    )


def _harm(run: Run, table: pd.DataFrame) -> Figure:
    panels = []
    for measure in measures_of(table):
        here = measure.of(table)
        axis, _ = _x(here["step"])
        series = []
        for condition, role in _CONDITIONS.items():
            rows = here[here["condition"] == condition].sort_values("step")
            if condition == "random" and (here["condition"] == "random mean").any():
                continue
            if len(rows):
                series.append(_line(condition, role, rows, measure.columns(), measure.unit))
        references = (Reference(measure.zero, "y"),)
        panels.append(Panel(axis, Axis(measure.label()), beside(series, axis), measure.title, references))
    caption = (
        f"Change against the same checkpoint's plain model, with {run.level} intervals: under the ablation of the last "
        "checkpoint's top set, of each checkpoint's own, and of random neurons."
    )
    title = "When the ablation begins to matter"
    return Figure("training_harm", title, caption, tuple(panels), columns=min(3, len(panels)), wide=True)

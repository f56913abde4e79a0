"""When the cohort emerges in training, and what goes together over checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.significance import correct
from negspace.significance.permutation import permutation_p
from negspace.significance.ranks import spearman

FIRST = "there from the first checkpoint"
EMERGED = "emerged"
LATE = "not shown before the last checkpoint, where the cohort was chosen"
FLAT = "no rise"
UNTESTED = "not tested"
_UNTESTED = {"low": np.nan, "high": np.nan, "p": np.nan, "p_holm": np.nan, "finding": UNTESTED}
"""Of correlations of levels and of steps: each checkpoint goes on from the one before it. By a permutation test at 5%
more than half of all random walks of 12 steps correlate with their steps."""


@dataclass(frozen=True, eq=False)
class Trend:
    """Figures of a series of checkpoints, in order of their steps."""

    steps: Sequence[int]
    """Training steps."""
    inside: NDArray[np.bool_]
    """[checkpoints, cohort] which neurons of the cohort are in that checkpoint's own top set."""
    wd: NDArray[np.float64]
    """[checkpoints, cohort] their WD; NaN for one that does not vary."""
    training: pd.DataFrame
    """The table of scores."""
    trajectory: pd.DataFrame
    """The table of WD."""
    floors: Mapping[str, NDArray[np.bool_]]
    """Score -> [checkpoints] True where the plain checkpoint is not shown to be above chance."""


def emergence(inside: NDArray[np.bool_]) -> int | None:
    """Number of the first checkpoint from which on more than half of the cohort is in the checkpoint's own top set.

    In other words: from there on a typical neuron of the cohort is, at every checkpoint, one of the p% furthest from
    Gaussian. Only ranks within a checkpoint count, so that a rise of all neurons' WD is not taken for emergence; by
    chance the share would be p. The last checkpoint fulfils it by choice of the cohort and so shows nothing by itself:
    None where no earlier one does.

    Args:
        inside: [checkpoints, cohort], in order of steps, the last checkpoint last.
    """
    return _lasting(inside.mean(axis=1) > 0.5)


def half_rise(wd: NDArray[np.float64]) -> int | None:
    """Number of the first checkpoint from which on the cohort's mean WD has made half its way from first to last.

    None where the last value is not above the first.

    Args:
        wd: [checkpoints, cohort]; NaN is left out.
    """
    mean = np.nanmean(wd, axis=1)
    if mean[-1] <= mean[0]:
        return None
    above = mean >= (mean[0] + mean[-1]) / 2
    return _first_lasting(above)


def summarise(
    trend: Trend, scores: Sequence[str], *, alpha: float, level: float, draws: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of the table of what the series shows as a whole."""
    rows = [_emergence(trend, draws, level, seed), _half_rise(trend, draws, level, seed)]
    whole = trend.trajectory[trend.trajectory["layer"].isna()]
    wd = whole["cohort_median"].to_numpy(np.float64)
    correlations: list[tuple[str, str, str, NDArray[np.float64], NDArray[np.float64]]] = []
    for score in scores:
        plain = _figures(trend.training, "baseline", score, "value")
        correlations.append(("cohort WD and score", "cohort median WD", score, wd, plain))
        harm = {}
        for condition in _conditions(trend.training):
            change = _figures(trend.training, condition, score, "change")
            # Where nothing can be lost, no harm is no observation.
            change[trend.floors[score]] = np.nan
            harm[condition] = harm_of(score, change)
            steps = np.array(trend.steps, np.float64)
            correlations.append(("harm and step", f"{condition}: {score}", "step", harm[condition], steps))
        correlations.append(
            ("harm and cohort WD", f"fixed cohort: {score}", "cohort median WD", harm["fixed cohort"], wd)
        )
    made = []
    for measure, of, other, x, y in correlations:
        kinds = [("step", x, y)] if other == "step" else [("levels", x, y), ("changes", np.diff(x), np.diff(y))]
        for kind, first, second in kinds:
            row = {
                "measure": measure,
                "of": of,
                "with": other,
                "kind": kind,
                **_correlation(first, second, level, seed),
            }
            made.append(row if kind == "changes" else row | _UNTESTED)
    family = [row for row in made if row["kind"] == "changes"]
    for row, p in zip(family, correct([row["p"] for row in family]).p, strict=True):
        row["p_holm"] = float(p)
        direction = "positive" if row["estimate"] > 0 else "negative"
        row["finding"] = "cannot be judged" if np.isnan(p) else direction if p <= alpha else "undecided"
    return rows + made


def harm_of(score: str, change: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the harm of a change: the log ratio of perplexities, or the accuracy lost."""
    return np.log(change) if score == "perplexity" else -change


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64], level: float, seed: int) -> dict[str, Any]:
    kept = np.isfinite(x) & np.isfinite(y)
    rho = spearman(x[kept], y[kept], level=level)
    p = permutation_p(x[kept], y[kept], seed=seed)
    return {"estimate": rho.estimate, "low": rho.low, "high": rho.high, "p": p, "checkpoints": int(kept.sum())}


def _emergence(trend: Trend, draws: int, level: float, seed: int) -> dict[str, Any]:
    found = emergence(trend.inside)
    row = {
        "measure": "emergence",
        "of": "share of the cohort in the own top set",
        "with": "step",
        "kind": "step",
        "checkpoints": len(trend.steps),
        "finding": LATE if found is None else FIRST if found == 0 else EMERGED,
    }
    drawn = []
    for weights in _resampled(trend.inside.shape[1], draws, seed):
        share = weights @ trend.inside.T.astype(np.float64)
        drawn += [_lasting(one > 0.5) for one in share]
    return row | _steps(trend.steps, found, drawn, level)


def _half_rise(trend: Trend, draws: int, level: float, seed: int) -> dict[str, Any]:
    defined = trend.wd[:, np.isfinite(trend.wd).all(axis=0)]
    row: dict[str, Any] = {
        "measure": "half rise",
        "of": "cohort mean WD",
        "with": "step",
        "kind": "step",
        "checkpoints": len(trend.steps),
        "finding": FLAT,
    }
    if not defined.shape[1]:
        return row
    found = half_rise(defined)
    if found is None:
        return row
    drawn = []
    for weights in _resampled(defined.shape[1], draws, seed):
        mean = weights @ defined.T
        above = mean >= (mean[:, :1] + mean[:, -1:]) / 2
        drawn += [_first_lasting(one) for one in above]
    return row | {"finding": EMERGED} | _steps(trend.steps, found, drawn, level)


def _steps(
    steps: Sequence[int], found: int | None, drawn: Sequence[int | None], level: float
) -> dict[str, float | None]:
    """The step found and the quantiles of those of the resamples, where none counts as the last."""
    at = np.array([len(steps) - 1 if one is None else one for one in drawn])
    low, high = np.quantile(at, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return {
        "estimate": None if found is None else float(steps[found]),
        "low": float(steps[int(low)]),
        "high": float(steps[int(high)]),
    }


def _resampled(neurons: int, draws: int, seed: int) -> list[NDArray[np.float64]]:
    """Weights of the cohort's neurons in bootstrap resamples, [draws, neurons] in blocks of at most a million."""
    rng = np.random.default_rng(seed)
    block = max(1, 1_000_000 // neurons)
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    return [rng.multinomial(neurons, np.full(neurons, 1 / neurons), size=size) / neurons for size in sizes]


def _lasting(holds: NDArray[np.bool_]) -> int | None:
    """Like `_first_lasting`, but None if that is only the last place."""
    found = _first_lasting(holds[:-1]) if holds[-1] else None
    return found if found is not None and found < len(holds) - 1 else None


def _first_lasting(holds: NDArray[np.bool_]) -> int | None:
    """The first place from which on something holds; None where it does not hold at the last."""
    fails = np.flatnonzero(~holds)
    first = int(fails[-1]) + 1 if len(fails) else 0
    return first if first < len(holds) else None


def _conditions(training: pd.DataFrame) -> list[str]:
    """The two cohorts, and the random set or the mean of several."""
    there = set(training["condition"])
    random = "random mean" if "random mean" in there else "random"
    return [name for name in ("fixed cohort", "moving cohort", random) if name in there]


def _figures(training: pd.DataFrame, condition: str, score: str, column: str) -> NDArray[np.float64]:
    """One figure per checkpoint, in order of steps."""
    rows = training[(training["condition"] == condition) & (training["score"] == score)]
    return rows[column].to_numpy(np.float64, copy=True)

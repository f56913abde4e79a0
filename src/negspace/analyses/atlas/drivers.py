"""Modes of neurons, and what falls in them: tokens, parts of speech, dependency labels and phenomena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.runs.engine import Step
from negspace.stats.drivers import driven, driven_by_group
from negspace.stats.modes import Mixture, fit_modes
from negspace.text.suites import SUITES

_FOUND = ("lift", "low", "high", "excess", "p")


def fit_and_drive(
    modes: int,
    activations: pd.DataFrame,
    tokens: pd.DataFrame,
    critical: Mapping[str, pd.DataFrame],
    *,
    fewest: int = 8,
    permutations: int = 9999,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    progress: Step | None = None,
) -> tuple[dict[str, Mixture], pd.DataFrame]:
    """Modes of neurons, and which tokens, tags, labels and phenomena fall in them.

    Args:
        modes: most components of a mixture.
        activations: one row per token, one column per neuron; NaN where there is none (`chosen.spread`).
        tokens: what is known of these tokens (`Passages.tokens`).
        critical: suite -> what `critical_tokens` gave for its pairs.
        fewest, permutations, level, draws, seed: as for `driven`.
        progress: called as progress(done, total, what).

    Returns:
        Name of the neuron -> its mixture (without neurons that no token reached), and one row per neuron, mode, kind
        and value: name, mode (from 0), kind ("token", "upos", "dep", "phenomenon"), value, tokens (of the value), count
        (of these in the mode), base, lift, low, high, excess, p. For phenomena, shares are means over paradigms; a
        phenomenon of TSE is a construction.
    """
    windows = int(tokens["window"].max()) + 1
    labels = {
        "token": _labelled(tokens["name"].to_numpy(object), windows),
        "upos": _labelled(tokens["upos"].to_numpy(object), windows),
        "dep": _labelled(tokens["dep"].to_numpy(object), windows),
    }
    options = {"permutations": permutations, "level": level, "draws": draws, "seed": seed}
    fitted: dict[str, Mixture] = {}
    parts = []
    for number, name in enumerate(activations.columns, start=1):
        values = activations[name].to_numpy(np.float64)
        there = np.isfinite(values)
        if there.any():
            fitted[name] = fit_modes(values[there], most=modes)
            part = np.full(len(values), -1)
            part[there] = fitted[name].assign(values[there])
            if len(fitted[name]) > 1:
                table = part.reshape(windows, -1)
                made = [_of_text(kind, table, *given, fewest, options) for kind, given in labels.items()]
                made += [_of_pairs(name, fitted[name], items, suite, options) for suite, items in critical.items()]
                parts += [frame.assign(name=name) for frame in made if len(frame)]
        if progress is not None:
            progress(number, len(activations.columns), "drivers")
    columns = ["name", "mode", "kind", "value", "tokens", "count", "base", *_FOUND]
    drivers = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    return fitted, drivers


def _labelled(values: NDArray[Any], windows: int) -> tuple[NDArray[np.int64], list[str]]:
    """Numbers [windows, length] of values, -1 for the empty one, and the values."""
    names, numbers = np.unique(values.astype(str), return_inverse=True)
    empty = np.flatnonzero(names == "")
    numbers = np.where(np.isin(numbers, empty), -1, numbers)
    return numbers.reshape(windows, -1).astype(np.int64), names.tolist()


def _of_text(
    kind: str,
    modes: NDArray[np.int64],
    labels: NDArray[np.int64],
    names: Sequence[str],
    fewest: int,
    options: Mapping[str, Any],
) -> pd.DataFrame:
    made = driven(modes, labels, names, fewest=fewest, **options)
    values, size = made.lift.shape
    return pd.DataFrame(
        {
            "mode": np.tile(np.arange(size), values),
            "kind": kind,
            "value": np.repeat(np.array(made.values, object), size),
            "tokens": np.repeat(made.tokens, size),
            "count": made.count.ravel(),
            "base": np.tile(made.base, values),
            **{column: getattr(made, column).ravel() for column in _FOUND},
        }
    )


def _of_pairs(name: str, mixture: Mixture, items: pd.DataFrame, suite: str, options: Mapping[str, Any]) -> pd.DataFrame:
    group = SUITES[suite].column
    here = items[np.isfinite(items[name].to_numpy(np.float64))]
    part = mixture.assign(here[name].to_numpy(np.float64))
    size = len(mixture)
    inside = pd.DataFrame((part[:, None] == np.arange(size)).astype(np.float64), index=here.index)
    shares = inside.groupby([here["paradigm"], here[group].rename("group")]).mean()
    if shares.empty:
        return pd.DataFrame()
    groups = [str(group) for group in shares.index.get_level_values("group")]
    names, found = driven_by_group(shares.to_numpy(), groups, **options)
    counts = inside.groupby(here[group].astype(str)).sum().loc[list(names)].to_numpy(np.int64)
    return pd.DataFrame(
        {
            "mode": np.tile(np.arange(size), len(names)),
            "kind": "phenomenon",
            "value": np.repeat(np.array(names, object), size),
            "tokens": np.repeat(counts.sum(axis=1), size),
            "count": counts.ravel(),
            "base": np.tile(shares.to_numpy().mean(axis=0), len(names)),
            **{column: found[column].ravel() for column in _FOUND},
        }
    )

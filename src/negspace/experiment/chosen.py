"""Neurons that are looked at one by one: which ones, what to call them, and where to put what they did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from negspace.experiment.schema import Column
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan
from negspace.neurons.select import ranked
from negspace.neurons.shares import Share
from negspace.stats.readings import Reading

KEYS = ["layer", "branch", "expert", "neuron"]
"""Columns that say which neuron a row is about; `expert` is -1 outside routed experts."""
KEY_COLUMNS = (
    Column("name", str, 'the neuron: LAYER.INDEX, with its expert or branch between them unless that is "mlp"'),
    Column("layer", int, "its layer, from 0"),
    Column("branch", str, '"mlp"; in a mixture of experts "experts" or "shared"; "second" of two MLPs of a layer'),
    Column("expert", int, "its expert; -1 outside routed experts"),
    Column("neuron", int, "its index in the layer or expert"),
)
"""The columns of tables that say it, the name first."""


def neuron_name(layer: int, branch: str, expert: int, neuron: int) -> str:
    """Short name of a neuron, unique in its model: "3.17"; "3.2.17" in expert 2; "3.shared.17"; "3.second.17"."""
    inner = {"mlp": "", "experts": f"{expert}."}.get(branch, f"{branch}.")
    return f"{layer}.{inner}{neuron}"


def leading(
    scan: Scan,
    share: Share,
    by: str = "wd",
    layers: Iterable[int] | None = None,
    *,
    per_site: int | None = None,
    most: int | None = None,
) -> NeuronSet:
    """The first neurons of a top set: some of each site, or as many in all, the sites taking turns.

    Args:
        scan: the statistics.
        share: share p of each site's neurons that the top set has.
        by: the score that ranks them.
        layers: only these; None for all.
        per_site: at most so many of each site, the highest scores first.
        most: at most so many in all: the first of every site (the highest score first), then the second of every site.

    Raises:
        SelectionError: as for `Scan.top`.
    """  # fmt: skip
    whole = scan.top(share, by=by, layers=layers)
    scores = ranked(scan.table, whole.layout, by)
    turns: list[tuple[int, float, int]] = []
    for path, rows in whole.layout.rows.items():
        mine = rows.start + whole.at(path)
        mine = mine[np.argsort(-scores[mine], kind="stable")][:per_site]
        turns += [(turn, -float(scores[row]), row) for turn, row in enumerate(mine.tolist())]
    turns = sorted(turns, key=lambda one: one[:2])[:most]
    origin = whole.origin if len(turns) == len(whole) else f"{len(turns)} of {whole.origin}"
    return NeuronSet.from_rows(np.array([row for *_, row in turns], np.int64), whole.layout, origin)


def rows_of(scan: Scan, neurons: NeuronSet) -> pd.DataFrame:
    """The scan's rows of the neurons of a set, with their names, in the order of the scan."""
    rows = scan.table.iloc[neurons.rows].reset_index(drop=True)
    rows.insert(0, "name", names_of(rows))
    return rows


def names_of(rows: pd.DataFrame) -> list[str]:
    """Names of the neurons that rows are about."""
    return [
        neuron_name(int(layer), str(branch), int(expert), int(neuron))
        for layer, branch, expert, neuron in zip(*(rows[key] for key in KEYS), strict=True)
    ]


def spread(readings: Iterable[Reading], count: int) -> pd.DataFrame:
    """Readings as a table: one column per neuron, by its name, one row per token number below `count`.

    Returns:
        float32; NaN where a token was not read, or did not reach the neuron's expert.
    """
    columns: dict[str, np.ndarray] = {}
    for reading in readings:
        for at, neuron in enumerate(reading.neurons.tolist()):
            values = np.full(count, np.nan, np.float32)
            values[reading.positions] = reading.values[:, at]
            columns[neuron_name(reading.site.layer, reading.site.branch, reading.expert, neuron)] = values
    return pd.DataFrame(columns, index=pd.RangeIndex(count))


def in_words(names: Sequence[str], most: int = 5) -> str:
    """Some names in a sentence."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")

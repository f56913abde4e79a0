"""Example tokens: where in a text a neuron's pre-activation is lowest and highest, and the context of these tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.experiment.chosen import KEY_COLUMNS, neuron_name
from negspace.experiment.schema import Column, Table
from negspace.stats.readings import Reading

CONTEXT = 12
"""Tokens shown on either side of an example."""
MOST = 3
"""Examples of a neuron at each end."""
_SHARE, _FEWEST = 8, 4
"""One in so many of the scan's windows is read, but so many windows at least."""
_TOKENS = 16384
"""So many tokens are read at most, or one window where that is longer."""
ENDS = ("lowest", "highest")

NUMBERS = "as a JSON list, numbers to four digits after the point"
PLACED = (
    Column("place", int, "place of the token in it, from 0"),
    Column("token", str, "the token"),
    Column("activation", float, "the neuron's pre-activation at it"),
)
AROUND = (
    Column("context", str, "the token and those around it, as a JSON list of strings"),
    Column("activations", str, f"the neuron's pre-activations at these, {NUMBERS}; null where there is none"),
    Column("focus", int, "place of the token in these lists, from 0"),
)
"""Columns that every table of examples has, those of `in_context`."""

EXAMPLES = Table(
    "examples",
    (
        *KEY_COLUMNS,
        Column("end", str, '"lowest" or "highest": of these pre-activations the token has one'),
        Column(
            "rank",
            int,
            "from the most extreme on; at each end a window gives one token, and the first of a window, which has no "
            "text before it, is left out",
        ),
        Column("window", int, "number of the window among the scan's, from 0"),
        *PLACED,
        *AROUND,
    ),
)
"""The run's table of examples, of the neurons whose distributions its scan keeps."""


def windows_read(windows: int, window: int, stride: int) -> NDArray[np.int64]:
    """Numbers of the windows that are read, spread evenly over a scan's; none overlaps another.

    Args:
        windows: number of the scan's windows.
        window, stride: tokens of a window, and from the start of one to the start of the next.
    """
    apart = np.arange(0, windows, -(-window // stride))
    count = min(len(apart), max(_FEWEST, windows // _SHARE), max(1, _TOKENS // window))
    return apart[np.arange(count) * len(apart) // count]


def in_context(
    token: int, values: NDArray[np.floating], names: NDArray[Any], texts: NDArray[Any], window: int
) -> dict[str, Any]:
    """Return a token as an example, in the columns `PLACED` and `AROUND`.

    Args:
        token: its number, counted through all windows.
        values: [tokens] the neuron's pre-activations; NaN where there is none.
        names, texts: [tokens] what the tokens are called, and what each adds to the text.
        window: tokens of a window, which the context does not leave.
    """
    begin = token // window * window
    some = slice(max(begin, token - CONTEXT), min(begin + window, token + CONTEXT + 1))
    return {
        "place": token - begin,
        "token": names[token],
        "activation": values[token],
        "context": json.dumps(texts[some].tolist(), ensure_ascii=False),
        "activations": as_json(values[some]),
        "focus": token - some.start,
    }


def as_json(values: NDArray[np.floating]) -> str:
    """JSON of numbers, to four digits after the point; null where there is none."""
    return json.dumps([round(float(value), 4) if np.isfinite(value) else None for value in values])


def examples(
    readings: Iterable[Reading], names: Sequence[str], texts: Sequence[str], windows: NDArray[np.int64]
) -> pd.DataFrame:
    """The lowest and highest tokens of neurons, in the columns of `EXAMPLES`.

    Args:
        readings: the neurons at the tokens of the windows, which are counted through.
        names, texts: [tokens] what the tokens are called, and what each adds to the text.
        windows: numbers of the windows in the scan.
    """
    called, written = np.array(names, object), np.array(texts, object)
    size = len(called) // len(windows)
    rows = []
    for reading in readings:
        values = np.full((len(called), len(reading.neurons)), np.nan, np.float32)
        values[reading.positions] = reading.values
        ends = dict(zip(ENDS, _extremes(values.reshape(len(windows), size, -1)), strict=True))
        for at, neuron in enumerate(reading.neurons.tolist()):
            place = (reading.site.layer, reading.site.branch, reading.expert, neuron)
            key = dict(zip(("name", "layer", "branch", "expert", "neuron"), (neuron_name(*place), *place), strict=True))
            for end, tokens in ends.items():
                for rank, token in enumerate(_there(tokens[:, at], values[:, at]), start=1):
                    about = {"end": end, "rank": rank, "window": windows[token // size]}
                    rows.append({**key, **about, **in_context(token, values[:, at], called, written, size)})
    return EXAMPLES.of(rows)


def _extremes(values: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the lowest and of the highest tokens [at most MOST, neurons], each of another window.

    Args:
        values: [windows, tokens of a window, neurons]; NaN where there is none.
    """
    size, made = values.shape[1], []
    for sign in (1, -1):
        signed = np.where(np.isnan(values), np.inf, sign * values)
        places = signed.argmin(axis=1)
        least = np.take_along_axis(signed, places[:, None], axis=1)[:, 0]
        order = least.argsort(axis=0, kind="stable")[:MOST]
        made.append(order * size + np.take_along_axis(places, order, axis=0))
    return made[0], made[1]


def _there(tokens: NDArray[np.int64], values: NDArray[np.float32]) -> Iterator[int]:
    """Those of the tokens that reached the neuron: in a window that its expert never saw, the extreme is none."""
    return (token for token in tokens.tolist() if np.isfinite(values[token]))

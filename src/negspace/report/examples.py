"""Example tokens of every run as the page unpacks them: each window's text once, and one array of values per neuron."""

from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from negspace.experiment.examples import CONTEXT, ENDS
from negspace.report.packed import packed

WIDTH = 2 * CONTEXT + 1
"""Values of an example: as many on either side of its token."""


def packed_examples(table: pd.DataFrame) -> dict[str, Any]:
    """Return a run's table of examples as a JSON value.

    Returns:
        "ends": names of the two ends; "texts": window -> the text of every token that an example shows, None for the
        others; "of": name of a neuron -> "at": end, window and place of each example, and
        "values": the pre-activations around them, WIDTH each, NaN where there is none.
    """
    texts: dict[int, dict[int, str]] = {}
    found: dict[str, Any] = {}
    for name, rows in groupby(table.to_dict("records"), key=itemgetter("name")):
        at, values = [], []
        for row in rows:
            window, first = int(row["window"]), int(row["place"] - row["focus"])
            around = np.full(WIDTH, np.nan)
            begin = CONTEXT - int(row["focus"])
            own = np.array(json.loads(row["activations"]), np.float64)
            around[begin : begin + len(own)] = own
            texts.setdefault(window, {}).update(enumerate(json.loads(row["context"]), start=first))
            at.append([ENDS.index(row["end"]), window, int(row["place"])])
            values.append(around)
        found[name] = {"at": at, "values": packed(np.array(values), "f4")}
    written = {window: [texts[window].get(place) for place in range(max(texts[window]) + 1)] for window in texts}
    return {"ends": list(ENDS), "texts": {str(window): written[window] for window in sorted(written)}, "of": found}

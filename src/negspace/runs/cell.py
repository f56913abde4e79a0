"""A cell: one thing to compute, identified by everything that its result depends on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

FORMAT = 1
"""Version of the records and keys; a record of another version is computed again."""


def canonical(value: Any) -> str:
    """JSON of a value in one canonical form: keys sorted, no white space, ASCII, floats as Python's shortest repr.

    Only None, booleans, integers, finite floats, strings, lists, tuples and mappings with string keys have a form.

    Raises:
        TypeError: the value holds something else, a path or an array for example.
        ValueError: a float is not finite.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 (hex) of `canonical(value)`."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Cell:
    """A computation. Two cells with the same key have the same result, wherever and whenever computed."""

    kind: str
    """Kind of computation: "scan", "perplexity", "pairs", ..."""
    spec: Mapping[str, Any]
    """Everything that the result depends on, large things by their hash: weights, data, neurons, protocol, versions."""
    label: str = ""
    """Its label in progress and messages; not part of the key."""
    cost: float = 1.0
    """Cost, in tokens that the model reads, for estimates of the time left; not part of the key."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The values that `spec` names by their hash and a worker may not have; not part of the key."""
    place: str = ""
    """Needs of a worker besides the study's model, if any: another model's fingerprint, for example. Cells of one
    place are best computed one after the other by one worker; not part of the key."""
    work: str = ""
    """Cells of one kind of work take about as long for each token; "": those of one kind. Not part of the key."""

    planned: Mapping[str, Any] = field(default_factory=dict)
    """What the study was planned with, by the name under which a bench holds it: the model's identity, hashes of the
    data. Whoever computes the cell must hold the same; not part of the key. Empty for cells of other models."""

    @cached_property
    def key(self) -> str:
        """sha256 (hex) over record format, kind and spec."""
        return digest({"format": FORMAT, "kind": self.kind, "spec": self.spec})


@dataclass(frozen=True, eq=False)
class Record:
    """The result of a cell. It holds no time, host or path, so that computing it again gives the same bytes."""

    key: str
    """Key of the cell."""
    kind: str
    """Kind of the cell."""
    spec: Mapping[str, Any]
    """Spec of the cell."""
    results: Mapping[str, Any]
    """The figures of the cell as a whole: JSON values; NaN is stored as None."""
    items: pd.DataFrame
    """The items behind them, one a row: windows, pairs or neurons."""
    versions: Mapping[str, str]
    """Versions of the software that computed it."""
    status: str = "complete"
    """Always "complete": an unfinished cell has no record."""


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a cell's spec and results hold finite numbers only, got {value}")
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    if isinstance(value, Mapping):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"keys must be strings, got {bad[0]!r}")
        return {str(key): _plain(element) for key, element in value.items()}
    raise TypeError(f"no canonical JSON for a {type(value).__name__}: {value!r}")

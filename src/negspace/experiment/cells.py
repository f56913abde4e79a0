"""Kinds of cells that every study can have: their versions, and what their keys hold beside the model."""

from __future__ import annotations

from collections.abc import Mapping

VERSIONS: Mapping[str, int] = {
    "scan": 4,
    "scan_grids": 3,
    "scan_part": 5,
    "perplexity": 1,
    "pairs": 2,
    "tasks": 1,
    "examples": 1,
}
"""Kind of cell -> version of what it computes; raise it whenever the same spec comes to give another result."""
PREDICTIONS = 1
"""Version of what is recorded of predictions beside what is of pairs; in the keys of suites that hold any."""
EARLIER_SCAN = 3
"""Version of a scan without WD over the halves of its text. One that is recorded is used: all else is the same."""
CUT_BY = ("window", "stride", "windows", "bos")
"""Fields of a scan's spec that describe its windows."""
PASSING = ("scan_part", "scan_grids")
"""Kinds of cells that only serve a scan: once that is recorded, their records go."""
HEADLESS = (
    "scan",
    *PASSING,
    "examples",
    "text_scan",
    "checkpoint_scan",
    "activations",
    "critical",
    "differentiation",
)
"""Kinds of cells that leave out the output layer."""
SCORELESS = (*HEADLESS, "passages", "drivers", "checkpoint", "drift")
"""Kinds of cells that tell nothing of what an intervention does: who has seen them can still lock a plan."""

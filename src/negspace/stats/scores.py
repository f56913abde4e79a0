"""Names of the statistics by which neurons can be ranked; apart, so that options can be checked without torch."""

from __future__ import annotations

from typing import Literal, get_args

Statistic = Literal[
    "wd", "md", "negative_share", "mean", "std", "skewness", "kurtosis", "bimodality", "fraction_negative",
    "mean_negative",
]  # fmt: skip
SCORES: tuple[str, ...] = get_args(Statistic)
"""Columns of a scan's table by which neurons can be ranked."""

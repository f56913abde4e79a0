"""Intervals, paired tests and corrections: how sure a reported difference is.

Items (minimal pairs) are nested in paradigms and are resampled as such; windows of running text are the units of
perplexity. Every function takes an explicit seed and leaves global random state alone.
"""

from negspace.significance.correction import Corrected, correct
from negspace.significance.interaction import Family, Interaction, Outcomes, interaction, interactions, together
from negspace.significance.interval import Interval, accuracy_interval, grouped_interval, mean_interval, wilson
from negspace.significance.paired import (
    AccuracyChange,
    PerplexityChange,
    compare_accuracy,
    compare_perplexity,
    mcnemar,
    perplexity_interval,
    sign_flip,
)
from negspace.significance.reference import Reference, stand

__all__ = [
    "AccuracyChange",
    "Corrected",
    "Family",
    "Interaction",
    "Interval",
    "Outcomes",
    "PerplexityChange",
    "Reference",
    "accuracy_interval",
    "compare_accuracy",
    "compare_perplexity",
    "correct",
    "grouped_interval",
    "interaction",
    "interactions",
    "mcnemar",
    "mean_interval",
    "perplexity_interval",
    "sign_flip",
    "stand",
    "together",
    "wilson",
]

"""Control sets: random ones, low-scoring ones as many or of the same damage, and those of the same change."""

from negspace.controls.noop import NoopCheck, check_noop, flat_below_zero, rectifies
from negspace.controls.perplexity import EVALUATIONS, TOLERANCE, Match, Trial, find_share, match_perplexity
from negspace.controls.residual import ResidualChange, residual_change
from negspace.controls.residual_match import LayerMatch, ResidualMatch, find_counts, match_residual
from negspace.controls.sets import TOGETHER, Growth, bottom_like, growth, random_sets

__all__ = [
    "EVALUATIONS",
    "TOGETHER",
    "TOLERANCE",
    "Growth",
    "LayerMatch",
    "Match",
    "NoopCheck",
    "ResidualChange",
    "ResidualMatch",
    "Trial",
    "bottom_like",
    "check_noop",
    "find_counts",
    "find_share",
    "flat_below_zero",
    "growth",
    "match_perplexity",
    "match_residual",
    "random_sets",
    "rectifies",
    "residual_change",
]

"""The columns of the training analysis's tables."""

from __future__ import annotations

_WHERE = {"step": "training step of the checkpoint", "checkpoint": "its folder's name or its revision"}
_LAYER = {"layer": "decoder layer; empty: all layers together"}

COLUMNS: dict[str, dict[str, str]] = {
    "training": {
        **_WHERE,
        "condition": "baseline (the plain checkpoint), fixed cohort (the last one's top set), moving cohort (its "
        "own top set), random (as many neurons in each layer as the fixed cohort has), or random mean (over several)",
        "seed": "seed of a random set",
        "neurons": "how many neurons were ablated",
        "left_out": "neurons of the set that an intervention on means leaves alone: no token reached their experts",
        "score": "perplexity, blimp or tse",
        "value": "perplexity, or accuracy as the mean over paradigms",
        "low": "lower end of its interval",
        "high": "upper end of its interval",
        "change": "perplexity: divided by this checkpoint's baseline; accuracy: minus it; on the same items",
        "change_low": "lower end of its paired interval",
        "change_high": "upper end of its paired interval",
        "p": "p-value of no change: paired t-test over windows; sign flips over paradigms (of pairs, if too few)",
        "p_holm": "the same, Holm-corrected",
        "finding": "harm, gain or null result, by p_holm and the interval",
        "against_random": "the same against the (mean of the) random sets instead of the baseline, for the two cohorts",
        "against_random_low": "lower end of its paired interval",
        "against_random_high": "upper end of its paired interval",
        "against_random_p": "its p-value",
        "against_random_p_holm": "the same, Holm-corrected",
        "against_random_finding": "harm (more than random sets do), gain (less) or null result",
    },
    "training_wd": {
        **_WHERE,
        **_LAYER,
        "cohort": "neurons of the fixed cohort whose WD is defined: those that vary",
        "cohort_mean": "mean of their WD at this checkpoint",
        "cohort_mean_low": "lower end of its interval (bootstrap over neurons)",
        "cohort_mean_high": "upper end of its interval",
        "cohort_median": "median",
        "cohort_q25": "first quartile",
        "cohort_q75": "third quartile",
        "rest": "all other neurons whose WD is defined",
        "rest_mean": "mean of their WD",
        "rest_median": "median",
        "rest_q05": "5% quantile",
        "rest_q95": "95% quantile",
        "rest_q99": "99% quantile",
        "in_top": "share of the fixed cohort that is in this checkpoint's own top set",
        "in_top_low": "lower end of its interval (Wilson, neurons as units)",
        "in_top_high": "upper end of its interval",
        "in_top_chance": "what a top set drawn at random would give: its neurons over all",
        "jaccard": "neurons in both the fixed cohort and the own top set, over neurons in either",
        "rho_last": "rank correlation of all neurons' WD with their WD at the last checkpoint",
        "rho_last_low": "lower end of its interval",
        "rho_last_high": "upper end of its interval",
    },
    "training_drift": {
        **_WHERE,
        **_LAYER,
        "against": "next (the checkpoint after this one) or last",
        "against_step": "its training step",
        "cohort": "neurons of the fixed cohort whose input weights are defined",
        "cohort_mean": "mean of 1 - cos between their input weights at the two checkpoints",
        "cohort_low": "lower end of its interval (bootstrap over neurons)",
        "cohort_high": "upper end of its interval",
        "rest": "neurons of a random sample outside the cohort, from the same sites in the same proportion",
        "rest_mean": "mean of 1 - cos of theirs",
        "rest_low": "lower end of its interval",
        "rest_high": "upper end of its interval",
        "difference": "cohort minus rest",
        "difference_low": "lower end of its interval (Welch)",
        "difference_high": "upper end of its interval",
        "p": "Welch's p-value of no difference",
        "p_holm": "the same, Holm-corrected",
        "growth": "mean over the cohort of log(norm of the input weights there / norm here)",
        "rest_growth": "the same over the sample",
        "undefined": "neurons left out since their input weights are all zero at one of the two",
    },
    "training_summary": {
        "measure": "what is measured: see the table's rows",
        "of": "series of figures, one a checkpoint",
        "with": "the other series, or step",
        "kind": "levels (figures of checkpoints), changes (differences between consecutive ones), or step",
        "estimate": "training step, or Spearman's rank correlation over checkpoints",
        "low": "lower end of its interval: of a step, bootstrap over the cohort's neurons, where none before the last "
        "checkpoint counts as the last; of a correlation, Fisher's z",
        "high": "upper end of its interval",
        "p": "p-value of a correlation: permutation of checkpoints (exact up to 8), as if they were exchangeable",
        "p_holm": "the same, Holm-corrected",
        "checkpoints": "checkpoints, or changes between them",
        "finding": "in words",
    },
}
"""Table -> column -> meaning."""

FAMILIES = {
    "training": "checkpoints of one score and condition",
    "training_drift": "checkpoints against the same other one, all layers together; layers apart from them",
    "training_summary": "correlations of one kind",
}
"""Table -> over what Holm's correction is taken."""

WORDS = (
    "checkpoint",
    "condition",
    "score",
    "finding",
    "against_random_finding",
    "against",
    "measure",
    "of",
    "with",
    "kind",
)
"""Columns of text."""
WHOLE = ("step", "seed", "neurons", "left_out", "layer", "against_step", "checkpoints", "undefined")
"""Columns of whole numbers; those of neurons in `training_wd` and `training_drift` are COUNTS."""
COUNTS = ("cohort", "rest")
"""Further columns of whole numbers."""

"""The columns of the training analysis's tables."""

from __future__ import annotations

from negspace.experiment.changes import CHANGE, SCORE, Changes, value
from negspace.experiment.schema import Column, Table, schema

_WHERE = (
    Column("step", int, "training step of the checkpoint"),
    Column("checkpoint", str, "its folder's name or its revision"),
)
_LAYER = (Column("layer", int, "decoder layer; empty: all layers together"),)
AGAINST_RANDOM = Changes("against_random", "against_random_")
"""The columns of a contrast with the random sets of a checkpoint."""

TABLES = schema(
    Table(
        "training",
        (
            *_WHERE,
            Column(
                "condition",
                str,
                "baseline (the plain checkpoint), fixed cohort (the last one's top set), moving cohort (its own top "
                "set), random (as many neurons in each layer as the fixed cohort has), or random mean (over several)",
            ),
            Column("seed", int, "seed of a random set"),
            Column("neurons", int, "number of neurons ablated"),
            Column(
                "left_out",
                int,
                "neurons of the set that an intervention on means leaves alone: no token reached their experts",
            ),
            SCORE,
            *value(("low", "high")),
            *CHANGE.columns("perplexity: divided by this checkpoint's baseline; accuracy: minus it; on the same items"),
            *AGAINST_RANDOM.columns(
                "for the two cohorts, the same against the random sets instead of the baseline", sets=True
            ),
        ),
        family="checkpoints of one score and condition",
    ),
    Table(
        "training_wd",
        (
            *_WHERE,
            *_LAYER,
            Column("cohort", int, "neurons of the fixed cohort whose WD is defined: those that vary"),
            Column("cohort_mean", float, "mean of their WD at this checkpoint"),
            Column("cohort_mean_low", float, "lower end of its interval (bootstrap over neurons)"),
            Column("cohort_mean_high", float, "upper end of its interval"),
            Column("cohort_median", float, "median"),
            Column("cohort_q25", float, "first quartile"),
            Column("cohort_q75", float, "third quartile"),
            Column("rest", int, "all other neurons whose WD is defined"),
            Column("rest_mean", float, "mean of their WD"),
            Column("rest_median", float, "median"),
            Column("rest_q05", float, "5% quantile"),
            Column("rest_q95", float, "95% quantile"),
            Column("rest_q99", float, "99% quantile"),
            Column("in_top", float, "share of the fixed cohort that is in this checkpoint's own top set"),
            Column("in_top_low", float, "lower end of its interval (Wilson, neurons as units)"),
            Column("in_top_high", float, "upper end of its interval"),
            Column("in_top_chance", float, "what a top set drawn at random would give: its neurons over all"),
            Column("jaccard", float, "neurons in both the fixed cohort and the own top set, over neurons in either"),
            Column("rho_last", float, "rank correlation of all neurons' WD with their WD at the last checkpoint"),
            Column("rho_last_low", float, "lower end of its interval"),
            Column("rho_last_high", float, "upper end of its interval"),
        ),
    ),
    Table(
        "training_drift",
        (
            *_WHERE,
            *_LAYER,
            Column("against", str, "next (the checkpoint after this one) or last"),
            Column("against_step", int, "its training step"),
            Column("cohort", int, "neurons of the fixed cohort whose input weights are defined"),
            Column("cohort_mean", float, "mean of 1 - cos between their input weights at the two checkpoints"),
            Column("cohort_low", float, "lower end of its interval (bootstrap over neurons)"),
            Column("cohort_high", float, "upper end of its interval"),
            Column(
                "rest", int, "neurons of a random sample outside the cohort, from the same sites in the same proportion"
            ),
            Column("rest_mean", float, "mean of 1 - cos of theirs"),
            Column("rest_low", float, "lower end of its interval"),
            Column("rest_high", float, "upper end of its interval"),
            Column("difference", float, "cohort minus rest"),
            Column("difference_low", float, "lower end of its interval (Welch)"),
            Column("difference_high", float, "upper end of its interval"),
            Column("p", float, "Welch's p-value of no difference"),
            Column("p_holm", float, "the same, Holm-corrected"),
            Column("growth", float, "mean over the cohort of log(norm of the input weights there / norm here)"),
            Column("rest_growth", float, "the same over the sample"),
            Column("undefined", int, "neurons left out since their input weights are all zero at one of the two"),
        ),
        family="checkpoints against the same other one, all layers together; layers apart from them",
    ),
    Table(
        "training_summary",
        (
            Column("measure", str, "measured quantity: see the table's rows"),
            Column("of", str, "series of values, one per checkpoint"),
            Column("with", str, "the other series, or step"),
            Column(
                "kind", str, "levels (figures of checkpoints), changes (differences between consecutive ones), or step"
            ),
            Column("estimate", float, "training step, or Spearman's rank correlation over checkpoints"),
            Column(
                "low",
                float,
                "lower end of its interval: of a step, bootstrap over the cohort's neurons, where none before the last "
                "checkpoint counts as the last; of a correlation of changes, Fisher's z",
            ),
            Column("high", float, "upper end of its interval"),
            Column(
                "p",
                float,
                "p-value of a correlation of changes: permutation (exact up to 8), as if they were exchangeable; "
                "levels and steps are not tested, since checkpoints of one run are not independent",
            ),
            Column("p_holm", float, "the same, Holm-corrected"),
            Column(
                "checkpoints",
                int,
                "checkpoints, or changes between them; those whose accuracy is not shown to be above chance show no "
                "harm by it and are left out of its correlations",
            ),
            Column("finding", str, "in words"),
        ),
        family="correlations of changes",
    ),
)
"""The tables, by name."""

"""The columns of the tables that compare WD with other statistics."""

from __future__ import annotations

from negspace.experiment.changes import CHANGE, DIFFERENCE
from negspace.experiment.schema import Column, Table, schema

CORRELATED = (
    "wd", "md", "negative_share", "negative_excess", "skewness", "kurtosis", "bimodality", "std", "signed_skewness",
    "mean", "fraction_negative", "mean_negative",
)  # fmt: skip
"""Statistics whose ranks are correlated; "skewness" is its magnitude, by which neurons are chosen."""
PARTIAL = (
    ("wd", "md", ("skewness", "kurtosis")),
    ("skewness", "md", ("wd", "kurtosis")),
    ("kurtosis", "md", ("wd", "skewness")),
    ("wd", "negative_share", ("skewness", "kurtosis")),
    ("wd", "negative_excess", ("skewness", "kurtosis")),
)
"""Partial rank correlations: of the first with the second, the others held constant."""

_WHERE = (
    Column("share", float, "share p of each site's neurons"),
    Column("end", str, "top (highest values) or bottom (lowest)"),
    Column(
        "by",
        str,
        "the statistic that chose the neurons; skewness by its magnitude; wd_residual: what |skewness| and kurtosis "
        "leave of WD's ranks at a site; random mean: over the random sets, item by item",
    ),
    Column(
        "within", str, "a statistic that not all sites have, to whose sites the set is restricted; empty: all sites"
    ),
    Column("score", str, "perplexity, blimp, tse or pairs"),
    Column("neurons", int, "how many neurons are changed"),
)
_PLACE = (
    Column("layer", int, "layer; missing: all layers"),
    Column("branch", str, "mlp, experts (all of a layer's), shared or second; all with no layer"),
)
TABLES = schema(
    Table(
        "rankings",
        (
            *_WHERE,
            Column("sets", int, "sets in a random mean"),
            Column(
                "value",
                float,
                "perplexity, or accuracy as the mean over paradigms (ties not right, identical pairs left out)",
            ),
            Column("value_low", float, "lower end of its interval"),
            Column("value_high", float, "upper end of its interval"),
            Column("sd", float, "standard deviation over the sets of a random mean"),
            *CHANGE.columns(
                "perplexity divided by the plain model's; accuracy minus the plain model's; on the same items"
            ),
        ),
        family="statistics at one share, end, score and choice of sites",
    ),
    Table(
        "rankings_contrasts",
        (
            *_WHERE,
            Column(
                "against",
                str,
                "what the set is compared with: wd (WD's set at the same end, share and sites) or random (mean)",
            ),
            Column("common", int, "neurons that the set has in common with WD's"),
            Column("value", float, "the set's perplexity or accuracy"),
            Column("reference", float, "the other's"),
            *DIFFERENCE.columns(
                "perplexity: the set's divided by the other's; accuracy: the set's minus the other's", sets=True
            ),
        ),
        family="statistics at one share, end, score and choice of sites, against one reference",
    ),
    Table(
        "rankings_overlap",
        (
            *_WHERE[:2],
            *_PLACE,
            Column("first", str, "the statistic that chose one set"),
            Column("second", str, "the statistic that chose the other"),
            Column("first_neurons", int, "neurons of the one, at sites that have both statistics"),
            Column("second_neurons", int, "neurons of the other there"),
            Column("common", int, "neurons of both"),
            Column(
                "jaccard",
                float,
                "common neurons divided by those of either set; missing where no site has both statistics",
            ),
            Column("expected", float, "expectation of jaccard for independent random sets, as many at each site"),
            Column("expected_low", float, "lower end of the range that such sets keep with probability 1 - alpha"),
            Column("expected_high", float, "upper end of that range"),
            Column("p", float, "exact two-sided p-value of the number in common under such sets"),
            Column("p_holm", float, "the same, Holm-corrected (family: see the table)"),
        ),
        family="pairs of statistics at one share, end, layer and branch",
    ),
    Table(
        "rankings_correlation",
        (
            *_PLACE,
            Column(
                "first",
                str,
                "a statistic; skewness by its magnitude, signed_skewness with its sign; negative_excess: the negative "
                "share minus what a Gaussian of the same mean and deviation has below zero",
            ),
            Column("second", str, "another"),
            Column(
                "rho", float, "Spearman's rank correlation over the site's neurons; for all layers the mean over sites"
            ),
            Column(
                "low",
                float,
                "lower end of its interval (Fisher's z, neurons as units; for all layers bootstrap over sites)",
            ),
            Column("high", float, "upper end of its interval"),
            Column("neurons", int, "neurons that have both"),
            Column("sites", int, "sites in a mean"),
        ),
    ),
    Table(
        "rankings_partial",
        (
            *_PLACE,
            Column("first", str, "a statistic; skewness by its magnitude"),
            Column("second", str, "another"),
            Column("given", str, "statistics that are held constant"),
            Column("rho", float, "Spearman's rank correlation of the two; for all layers the mean over sites"),
            Column(
                "partial",
                float,
                "the same, of what a regression on the given statistics' ranks leaves of the two's ranks",
            ),
            Column("low", float, "lower end of the partial correlation's interval (as in rankings_correlation)"),
            Column("high", float, "upper end of its interval"),
            Column(
                "explained",
                float,
                "share of the variance of the first's ranks that the given statistics' ranks explain (R^2)",
            ),
            Column("neurons", int, "neurons that have all of them"),
            Column("sites", int, "sites in a mean"),
        ),
    ),
)

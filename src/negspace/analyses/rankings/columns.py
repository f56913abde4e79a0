"""The columns of the tables that compare WD with other statistics."""

from __future__ import annotations

from negspace.experiment.changes import CHANGE, DIFFERENCE, SCORE, value
from negspace.experiment.schema import Column, Table, schema
from negspace.significance.interval import FEWEST

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
        "statistic that selected the neurons; skewness by magnitude; wd_residual: residuals of WD's ranks, site by "
        "site, after a regression on those of |skewness| and kurtosis; random mean: over the random sets, item by item",
    ),
    Column("within", str, "statistic to whose sites the set is restricted, if not all sites have it; empty: all sites"),
    SCORE,
    Column("neurons", int, "number of neurons changed"),
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
            *value(),
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
                "reference: wd (WD's set at the same end, share and sites) or random (mean)",
            ),
            Column("common", int, "neurons that the set has in common with WD's"),
            Column("value", float, "the set's perplexity or accuracy"),
            Column("reference", float, "the reference's"),
            *DIFFERENCE.columns("perplexity: set divided by reference; accuracy: set minus reference", sets=True),
        ),
        family="statistics at one share, end, score and choice of sites, against one reference",
    ),
    Table(
        "rankings_overlap",
        (
            *_WHERE[:2],
            *_PLACE,
            Column("first", str, "statistic that selected the first set"),
            Column("second", str, "statistic that selected the second set"),
            Column("first_neurons", int, "neurons of the first set, at sites that have both statistics"),
            Column("second_neurons", int, "neurons of the second set at these sites"),
            Column("common", int, "neurons in both sets"),
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
                "first statistic; skewness by magnitude, signed_skewness with its sign; negative_excess: the negative "
                "share minus what a Gaussian of the same mean and deviation has below zero",
            ),
            Column("second", str, "second statistic"),
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
            Column("first", str, "first statistic; skewness by magnitude"),
            Column("second", str, "second statistic"),
            Column("given", str, "statistics held constant"),
            Column("rho", float, "Spearman's rank correlation of the two; for all layers the mean over sites"),
            Column(
                "partial",
                float,
                "the same, of what a regression on the given statistics' ranks leaves of the two's ranks",
            ),
            Column("low", float, "lower end of the partial correlation's interval (as in rankings_correlation)"),
            Column("high", float, "upper end of its interval"),
            Column(
                "p",
                float,
                f"p-value of the mean over sites (t-test, sites as units); missing for fewer than {FEWEST} sites",
            ),
            Column("p_holm", float, "the same, Holm-corrected over the rows of all layers"),
            Column(
                "explained",
                float,
                "share of the variance of the first's ranks that the given statistics' ranks explain (R^2)",
            ),
            Column("neurons", int, "neurons that have all of them"),
            Column("sites", int, "sites in a mean"),
        ),
        family="the rows of all layers",
    ),
)

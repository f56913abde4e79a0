"""The columns of the tables that compare WD with other statistics."""

from __future__ import annotations

CORRELATED = (
    "wd", "md", "negative_share", "skewness", "kurtosis", "bimodality", "std", "signed_skewness", "mean",
    "fraction_negative", "mean_negative",
)  # fmt: skip
"""Statistics whose ranks are correlated; "skewness" is its magnitude, by which neurons are chosen."""
PARTIAL = (
    ("wd", "md", ("skewness", "kurtosis")),
    ("skewness", "md", ("wd", "kurtosis")),
    ("kurtosis", "md", ("wd", "skewness")),
    ("wd", "negative_share", ("skewness", "kurtosis")),
)
"""Partial rank correlations: of the first with the second, the others held constant."""

_WHERE = {
    "share": "share p of each site's neurons",
    "end": "top (highest values) or bottom (lowest)",
    "by": "the statistic that chose the neurons; skewness by its magnitude; wd_residual: what |skewness| and kurtosis "
    "leave of WD's ranks at a site; random mean: over the random sets, item by item",
    "within": "a statistic that not all sites have, to whose sites the set is restricted; empty: all sites",
    "score": "perplexity, blimp or tse",
    "neurons": "how many neurons are changed",
}
_PLACE = {
    "layer": "layer; missing: all layers",
    "branch": "mlp, experts (all of a layer's) or shared; all with no layer",
}
_RANGE = {"low": "lower end of its interval", "high": "upper end of its interval"}
_P = {
    "p": "p-value: for perplexity the paired t-test over windows; for accuracy the sign-flip test over paradigms, over "
    "pairs where there are fewer than about 10",
    "p_holm": "the same, Holm-corrected (family: see the table)",
}
COLUMNS: dict[str, dict[str, str]] = {
    "rankings": {
        **_WHERE,
        "sets": "sets in a random mean",
        "value": "perplexity, or accuracy as the mean over paradigms (ties not right, identical pairs left out)",
        "value_low": "lower end of its interval",
        "value_high": "upper end of its interval",
        "sd": "standard deviation over the sets of a random mean",
        "change": "perplexity divided by the plain model's; accuracy minus the plain model's; on the same items",
        "change_low": "lower end of its paired interval",
        "change_high": "upper end of its paired interval",
        **_P,
        "finding": "harm or gain where the interval excludes no change and p_holm is below alpha; else null result",
    },
    "rankings_contrasts": {
        **_WHERE,
        "against": "what the set is compared with: wd (WD's set at the same end, share and sites) or random (mean)",
        "common": "neurons that the set has in common with WD's",
        "value": "the set's perplexity or accuracy",
        "reference": "the other's",
        "difference": "perplexity: the set's divided by the other's; accuracy: the set's minus the other's",
        **_RANGE,
        **_P,
        "sets": "random sets",
        "below": "random sets of a lower score than the set",
        "above": "random sets of a higher score than the set",
        "finding": "harm: the set harms more than the other, by interval and p_holm; gain: less; else null result",
    },
    "rankings_overlap": {
        "share": _WHERE["share"],
        "end": _WHERE["end"],
        **_PLACE,
        "first": "the statistic that chose one set",
        "second": "the statistic that chose the other",
        "first_neurons": "neurons of the one, at sites that have both statistics",
        "second_neurons": "neurons of the other there",
        "common": "neurons of both",
        "jaccard": "common neurons divided by those of either set; missing where no site has both statistics",
        "expected": "expectation of jaccard for independent random sets, as many at each site",
        "expected_low": "lower end of the range that such sets keep with probability 1 - alpha",
        "expected_high": "upper end of that range",
        "p": "exact two-sided p-value of the number in common under such sets",
        "p_holm": "the same, Holm-corrected (family: see the table)",
    },
    "rankings_correlation": {
        **_PLACE,
        "first": "a statistic; skewness by its magnitude, signed_skewness with its sign",
        "second": "another",
        "rho": "Spearman's rank correlation over the site's neurons; for all layers the mean over sites",
        "low": "lower end of its interval (Fisher's z, neurons as units; for all layers bootstrap over sites)",
        "high": "upper end of its interval",
        "neurons": "neurons that have both",
        "sites": "sites in a mean",
    },
    "rankings_partial": {
        **_PLACE,
        "first": "a statistic; skewness by its magnitude",
        "second": "another",
        "given": "statistics that are held constant",
        "rho": "Spearman's rank correlation of the two; for all layers the mean over sites",
        "partial": "the same, of what a regression on the given statistics' ranks leaves of the two's ranks",
        "low": "lower end of the partial correlation's interval (as in rankings_correlation)",
        "high": "upper end of its interval",
        "explained": "share of the variance of the first's ranks that the given statistics' ranks explain (R^2)",
        "neurons": "neurons that have all of them",
        "sites": "sites in a mean",
    },
}
FAMILIES = {
    "rankings": "statistics at one share, end, score and choice of sites",
    "rankings_contrasts": "statistics at one share, end, score and choice of sites, against one reference",
    "rankings_overlap": "pairs of statistics at one share, end, layer and branch",
}
WORDS = ("end", "by", "within", "score", "finding", "against", "branch", "first", "second", "given")
WHOLE = (
    "neurons", "sets", "common", "below", "above", "layer", "first_neurons", "second_neurons", "sites",
)  # fmt: skip

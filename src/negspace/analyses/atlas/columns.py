"""The columns of the atlas's tables: one line each, written beside the tables."""

from __future__ import annotations

from negspace.experiment.chosen import KEY_COLUMNS

_GROUP = {
    "suite": "blimp or tse",
    "group": "BLiMP's phenomenon, or TSE's construction",
    "paradigms": "paradigms in it",
    "pairs": "pairs in it",
}
_JSON = "as a JSON list, numbers to four digits after the point"

COLUMNS = {
    "atlas": {
        **KEY_COLUMNS,
        "rank": "1 for the neuron of highest score",
        "wd": "Wasserstein distance from the Gaussian, on the text for statistics",
        "wd_error": "its error bound",
        "md": "mapping difficulty",
        "negative_share": "share of the distance that lies below zero",
        "fraction_negative": "share of tokens below zero, on the text for statistics",
        "mean": "mean pre-activation there",
        "std": "its standard deviation there",
        "skewness": "skewness there",
        "kurtosis": "excess kurtosis there",
        "bimodality": "bimodality coefficient there",
        "tokens": "tokens of the passages that reached the neuron; all that follows is from them",
        "modes": "components of the mixture of Gaussians, by BIC (tokens taken as independent, so it errs upwards)",
        "peaks": "peaks of the mixture's density, ripples of less than 15% left out",
        "bic_gain": "BIC of one Gaussian minus that of the mixture",
        "mode_weights": f"weights of the components, in order of their means, {_JSON}",
        "mode_means": f"their means, {_JSON}",
        "mode_stds": f"their standard deviations, {_JSON}",
        "summary": "what is over-represented in each mode, the largest lifts of each kind (p_bh below alpha)",
        "hurts": "phenomenon or construction whose margin falls most when the neuron alone is ablated",
        "hurts_margin": "change of the margin there; see atlas_alone",
        "hurts_p_holm": "its p-value; see atlas_alone",
    },
    "atlas_modes": {
        **KEY_COLUMNS,
        "mode": "number of the component, from 1, in order of the means",
        "weight": "its weight",
        "mean": "its mean",
        "std": "its standard deviation",
        "tokens": "tokens that most probably belong to it: those that fall in the mode",
        "share": "their share of all",
        "low": "lowest pre-activation among them; modes may lie within each other",
        "high": "highest pre-activation among them",
        "fraction_negative": "share of them below zero",
    },
    "atlas_drivers": {
        **KEY_COLUMNS,
        "mode": "number of the mode, from 1",
        "kind": "token, upos (part of speech), dep (dependency label), or phenomenon (of minimal pairs: BLiMP's "
        "phenomenon or TSE's construction of the tokens in which the sentences differ)",
        "value": "which; a token with its space, as it stands in the text",
        "tokens": "its tokens; rarer values are left out",
        "count": "how many of them fall in the mode",
        "base": "share of all tokens that fall in the mode; for phenomena the mean over paradigms",
        "lift": "share of the value's tokens that do, divided by base; for phenomena of means over paradigms",
        "low": "lower end of its interval (bootstrap over passages; over paradigms for phenomena)",
        "high": "upper end of its interval",
        "p": "permutation p-value, two-sided: whole passages permuted, the mode's share in each passage taken off; for "
        "phenomena paradigms permuted. Missing where no test could be made",
        "p_bh": "the same, corrected by Benjamini and Hochberg over the values and modes of one neuron and kind",
    },
    "atlas_examples": {
        **KEY_COLUMNS,
        "mode": "number of the mode, from 1",
        "rank": "from the lowest pre-activation in the mode upwards",
        "window": "number of the passage",
        "place": "place of the token in it, from 0",
        "token": "the token",
        "activation": "the neuron's pre-activation at it",
        "upos": 'part of speech of its word, "" without one',
        "dep": 'dependency label of its word, "" without one',
        "context": "the token and those around it, as a JSON list of strings",
        "activations": f"the neuron's pre-activations at these, {_JSON}; null where there is none",
        "focus": "place of the token in these lists, from 0",
    },
    "atlas_contrasts": {
        **KEY_COLUMNS,
        **_GROUP,
        "difference": "mean over pairs of the pre-activation in the good minus in the bad sentence, at the first token "
        "in which they differ, in standard deviations of the neuron on the passages",
        "low": "lower end of its interval (bootstrap over paradigms); missing for a single paradigm",
        "high": "upper end of its interval",
        "apart": "mean of its magnitude",
        "parted": "share of pairs whose two tokens fall in different modes",
        "p": "sign-flip p-value of the difference, paradigms as units; missing where they are too few",
        "p_holm": "the same, Holm-corrected over the groups of one neuron and suite",
    },
    "atlas_alone": {
        **KEY_COLUMNS,
        **_GROUP,
        "accuracy": "mean over paradigms of the share of pairs that are right, the neuron alone ablated",
        "change": "accuracy minus the plain model's on the same pairs",
        "change_low": "lower end of its paired interval",
        "change_high": "upper end of its paired interval",
        "p": "exact McNemar p-value over pairs",
        "p_holm": "the same, Holm-corrected over the groups of one neuron and suite",
        "margin": "mean change of the margin, the good sentence's score minus the bad one's, in nats (TSE: per token)",
        "margin_low": "lower end of its interval (bootstrap over paradigms, over pairs where there is one paradigm)",
        "margin_high": "upper end of its interval",
        "margin_p": "sign-flip p-value of the change, pairs as units",
        "margin_p_holm": "the same, Holm-corrected over the groups of one neuron and suite",
    },
    "atlas_histograms": {
        **KEY_COLUMNS,
        "bin": "number of the bin, from 1; bins are equally wide, and zero is an edge of theirs",
        "low": "its left edge",
        "high": "its right edge",
        "count": "tokens in it; the outermost bins take what lies more than 6 standard deviations from the mean",
        "gaussian": "tokens that a Gaussian of the neuron's mean and standard deviation would have there",
        "mixture": "tokens that the mixture has there",
        "mode": "mode to which its middle most probably belongs",
    },
}
"""Table -> column -> meaning."""

WORDS = (
    "name", "branch", "mode_weights", "mode_means", "mode_stds", "summary", "hurts", "kind", "value", "token", "upos",
    "dep", "context", "activations", "suite", "group",
)  # fmt: skip
"""Columns of text."""
WHOLE = (
    "layer", "expert", "neuron", "rank", "tokens", "modes", "peaks", "mode", "count", "window", "place", "focus",
    "paradigms", "pairs", "bin",
)  # fmt: skip
"""Columns of whole numbers."""

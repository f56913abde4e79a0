"""The columns of the atlas's tables: one line each, written beside the tables."""

from __future__ import annotations

from negspace.experiment.changes import FINDING
from negspace.experiment.chosen import KEY_COLUMNS
from negspace.experiment.examples import AROUND, NUMBERS, PLACED
from negspace.experiment.schema import Column, Table, schema

_GROUP = (
    Column("suite", str, "blimp, tse or pairs"),
    Column("group", str, "BLiMP's phenomenon, or TSE's construction"),
    Column("paradigms", int, "paradigms in it"),
    Column("pairs", int, "pairs in it"),
)

TABLES = schema(
    Table(
        "atlas",
        (
            *KEY_COLUMNS,
            Column("rank", int, "1 for the neuron of highest score"),
            Column("wd", float, "Wasserstein distance from the Gaussian, on the text for statistics"),
            Column("wd_error", float, "its error bound"),
            Column("md", float, "mapping difficulty"),
            Column("negative_share", float, "share of the distance that lies below zero"),
            Column(
                "negative_excess",
                float,
                "the same minus what a Gaussian of this mean and deviation has by chance, its zero lying there",
            ),
            Column("fraction_negative", float, "share of tokens below zero, on the text for statistics"),
            Column("mean", float, "mean pre-activation there"),
            Column("std", float, "its standard deviation there"),
            Column("skewness", float, "skewness there"),
            Column("kurtosis", float, "excess kurtosis there"),
            Column("bimodality", float, "bimodality coefficient there"),
            Column(
                "tokens",
                int,
                "tokens of the passages that reached the neuron; the following columns are computed from them",
            ),
            Column(
                "modes",
                int,
                "components of the mixture of Gaussians, by BIC (tokens taken as independent, so it errs upwards)",
            ),
            Column("peaks", int, "peaks of the mixture's density, ripples of less than 15% left out"),
            Column("bic_gain", float, "BIC of one Gaussian minus that of the mixture"),
            Column("mode_weights", str, f"weights of the components, in order of their means, {NUMBERS}"),
            Column("mode_means", str, f"their means, {NUMBERS}"),
            Column("mode_stds", str, f"their standard deviations, {NUMBERS}"),
            Column(
                "summary",
                str,
                "values over-represented in each mode: the largest lifts of each kind (p_bh at most alpha, lift above "
                "1, excess above 0)",
            ),
            Column(
                "hurts",
                str,
                "phenomenon or construction with the lowest change of the margin when only this neuron is ablated: "
                "of those with harm, else of those judged, else of all; in the study's first suite (blimp, tse, "
                "pairs), since each has margins in units of its own",
            ),
            Column("hurts_margin", float, "change of the margin there; see atlas_alone"),
            Column("hurts_p_holm", float, "its p-value; see atlas_alone"),
            Column("hurts_finding", str, "its finding; see atlas_alone"),
        ),
    ),
    Table(
        "atlas_modes",
        (
            *KEY_COLUMNS,
            Column("mode", int, "number of the component, from 1, in order of the means"),
            Column("weight", float, "its weight"),
            Column("mean", float, "its mean"),
            Column("std", float, "its standard deviation"),
            Column("tokens", int, "tokens that fall in the mode: those that most probably belong to it"),
            Column("share", float, "their share of all"),
            Column("low", float, "lowest pre-activation among them; modes may lie within each other"),
            Column("high", float, "highest pre-activation among them"),
            Column("fraction_negative", float, "share of them below zero"),
        ),
    ),
    Table(
        "atlas_drivers",
        (
            *KEY_COLUMNS,
            Column("mode", int, "number of the mode, from 1"),
            Column(
                "kind",
                str,
                "token, upos (part of speech), dep (dependency label), or phenomenon (of minimal pairs: BLiMP's "
                "phenomenon or TSE's construction of the tokens in which the sentences differ)",
            ),
            Column("value", str, "value of that kind; a token with its space, as in the text"),
            Column("tokens", int, "its tokens; rarer values are left out"),
            Column("count", int, "number of them in the mode"),
            Column("base", float, "share of all tokens that fall in the mode; for phenomena the mean over paradigms"),
            Column(
                "lift",
                float,
                "share of the value's tokens that do, divided by base; for phenomena of means over paradigms",
            ),
            Column(
                "low",
                float,
                "lower end of its interval (bootstrap over passages; over paradigms for phenomena: 5 or more)",
            ),
            Column("high", float, "upper end of its interval"),
            Column(
                "excess",
                float,
                "what is tested: share of the value's tokens that fall in the mode, minus the mode's share in the same "
                "passages, minus the mean of this over permutations; for phenomena that share minus base. Its sign is "
                "the direction of the test; lift also holds differences between passages",
            ),
            Column(
                "p",
                float,
                "permutation p-value of excess, two-sided: whole passages permuted; for phenomena paradigms permuted. "
                "Missing where no test could be made",
            ),
            Column(
                "p_bh",
                float,
                "the same, corrected by Benjamini and Hochberg over the values and modes of one neuron and kind",
            ),
        ),
    ),
    Table(
        "atlas_examples",
        (
            *KEY_COLUMNS,
            Column("mode", int, "number of the mode, from 1"),
            Column("rank", int, "from the lowest pre-activation in the mode upwards"),
            Column("window", int, "number of the passage"),
            *PLACED,
            Column("upos", str, 'part of speech of its word, "" without one'),
            Column("dep", str, 'dependency label of its word, "" without one'),
            *AROUND,
        ),
    ),
    Table(
        "atlas_contrasts",
        (
            *KEY_COLUMNS,
            *_GROUP,
            Column(
                "difference",
                float,
                "mean over pairs of the pre-activation in the good minus in the bad sentence, at the first token "
                "in which they differ, in standard deviations of the neuron on the passages",
            ),
            Column("low", float, "lower end of its interval (bootstrap over paradigms); missing with fewer than 5"),
            Column("high", float, "upper end of its interval"),
            Column("apart", float, "mean of its magnitude"),
            Column("parted", float, "share of pairs whose two tokens fall in different modes"),
            Column(
                "p", float, "sign-flip p-value of the difference, paradigms as units; missing where they are too few"
            ),
            Column("p_holm", float, "the same, Holm-corrected over the groups of one neuron and suite"),
        ),
    ),
    Table(
        "atlas_alone",
        (
            *KEY_COLUMNS,
            *_GROUP,
            Column(
                "accuracy", float, "mean over paradigms of the share of pairs that are right, the neuron alone ablated"
            ),
            Column("change", float, "accuracy minus the plain model's on the same pairs"),
            Column("change_low", float, "lower end of its paired interval"),
            Column("change_high", float, "upper end of its paired interval"),
            Column(
                "p",
                float,
                "p-value of the change, by t over paradigms, over pairs where these are few; missing where the plain "
                "model is not shown to be above chance",
            ),
            Column("p_holm", float, "the same, Holm-corrected over the groups of one neuron and suite"),
            Column("finding", str, FINDING),
            Column("reason", str, "why it cannot be judged, and what to add"),
            Column(
                "margin",
                float,
                "mean change of the margin, the good sentence's score minus the bad one's, in nats (TSE: per token)",
            ),
            Column(
                "margin_low", float, "lower end of its interval, by t over paradigms, over pairs where these are few"
            ),
            Column("margin_high", float, "upper end of its interval"),
            Column("margin_p", float, "p-value of the change of the margin, over the same units"),
            Column("margin_p_holm", float, "the same, Holm-corrected over the groups of one neuron and suite"),
            Column("margin_finding", str, "finding on the margin, by margin_p_holm"),
            Column("margin_reason", str, "why it cannot be judged, and what to add"),
        ),
    ),
    Table(
        "atlas_histograms",
        (
            *KEY_COLUMNS,
            Column("bin", int, "number of the bin, from 1; bins are equally wide, and zero is an edge of theirs"),
            Column("low", float, "its left edge"),
            Column("high", float, "its right edge"),
            Column(
                "count",
                int,
                "tokens in it; the outermost bins take what lies more than 6 standard deviations from the mean",
            ),
            Column(
                "gaussian", float, "tokens that a Gaussian of the neuron's mean and standard deviation would have there"
            ),
            Column("mixture", float, "tokens that the mixture has there"),
            Column("mode", int, "mode to which its middle most probably belongs"),
        ),
    ),
)
"""The tables, by name."""

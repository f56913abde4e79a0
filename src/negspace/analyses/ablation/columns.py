"""The columns of the main study's tables: one line each, written beside the tables."""

from __future__ import annotations

from negspace.experiment.changes import CHANGE, DIFFERENCE, SCORE, Row
from negspace.experiment.condition import Condition
from negspace.experiment.schema import Column, Table, schema
from negspace.text.suites import SUITES

CONDITION = (
    Column("condition", str, "ablated set, in words"),
    Column(
        "role",
        str,
        "baseline, top, random (one set), random mean (over the sets of a share), matched, or nearest (the bottom set "
        "nearest in perplexity where none matches)",
    ),
    Column(
        "share",
        float,
        "share p of each layer's neurons; for matched sets, the top set's share",
    ),
    Column("seed", int, "seed of a random set"),
)
_GROUP = (
    Column("paradigms", int, "paradigms in the group"),
    Column("pairs", int, "pairs in the group"),
    Column("ties", int, "pairs with tied scores, counted as not right"),
    Column("identical", int, "pairs whose two sentences have the same tokens, left out"),
    Column("accuracy", float, "mean over paradigms of the share of pairs that are right"),
    Column("accuracy_low", float, "lower end of its interval"),
    Column("accuracy_high", float, "upper end of its interval"),
    *CHANGE.columns("accuracy minus the baseline's on the same pairs; applies to this group alone"),
)
_CONTRAST = (
    Column("share", float, "share p of the top set"),
    SCORE,
    Column("set", str, "set that is compared: top, matched, or random (the distribution of the random sets)"),
    Column("against", str, "reference: plain (the plain model), random or matched"),
)


def condition_columns(about: Condition) -> Row:
    """What a row is about, in the columns `CONDITION`."""
    return {"condition": about.name, "role": about.role, "share": about.share, "seed": about.seed}


def _suite(name: str) -> tuple[Column, ...]:
    columns = (
        Column(
            "accuracy",
            float,
            "mean over paradigms of the share of pairs that are right; identical pairs left out, ties not right",
        ),
        Column("accuracy_low", float, "lower end of its interval"),
        Column("accuracy_high", float, "upper end of its interval"),
        Column("accuracy_sd", float, "standard deviation of accuracy over the sets of a random mean"),
        Column("change", float, "accuracy minus the baseline's on the same pairs"),
        Column("change_low", float, "lower end of its interval"),
        Column("change_high", float, "upper end of its interval"),
        Column(
            "nats",
            float,
            f"the same in the pairs' margin, log p(good) - log p(bad), mean over paradigms, in {SUITES[name].unit}",
        ),
        Column("nats_low", float, "lower end of its interval"),
        Column("nats_high", float, "upper end of its interval"),
        Column("ties", int, "pairs with tied scores, counted as not right"),
    )
    return tuple(Column(f"{name}_{c.name}", c.type, f"{name}: {c.meaning}") for c in columns)


TABLES = schema(
    Table(
        "summary",
        (
            *CONDITION,
            Column("neurons", int, "number of neurons ablated"),
            Column(
                "perplexity",
                float,
                "exp of the mean negative log-likelihood of predicted tokens; geometric mean in a random mean",
            ),
            Column("perplexity_low", float, "lower end of its interval"),
            Column("perplexity_high", float, "upper end of its interval"),
            Column("perplexity_sd", float, "standard deviation of perplexity over the sets of a random mean"),
            Column("ratio", float, "perplexity divided by the baseline's"),
            Column("ratio_low", float, "lower end of its interval"),
            Column("ratio_high", float, "upper end of its interval"),
            *_suite("blimp"),
            *_suite("tse"),
            *_suite("pairs"),
        ),
    ),
    Table(
        "contrasts",
        (
            *_CONTRAST,
            Column("control", str, "reference, in words"),
            Column("value", float, "perplexity or accuracy of the set"),
            Column("reference", float, "perplexity or accuracy of the reference"),
            *DIFFERENCE.columns(
                "accuracy: set minus reference, on the same pairs; perplexity: set divided by reference", sets=True
            ),
            Column(
                "detectable",
                float,
                "smallest true change that a study of this size finds with probability 0.8, before correction "
                "and ranks; in accuracy, or relative for perplexity",
            ),
            *DIFFERENCE.equivalence,
        ),
        family="all contrasts of the study, on both scales, and its dissociations",
    ),
    Table(
        "scales",
        (
            *_CONTRAST[:3],
            Column(
                "scale",
                str,
                "points (mean over paradigms); pooled (equal weight per pair); above chance (paradigms on which the "
                "plain model is above chance, selected on one half of the pairs and scored on the other); nats (TSE: "
                "per token); sd (margins in standard deviations of the plain model's margins)",
            ),
            Column("plain", float, "the plain model's accuracy, for scales of accuracy"),
            Column("change", float, "change from the plain model"),
            Column("low", float, "lower end of its interval, not corrected"),
            Column("high", float, "upper end of its interval"),
            Column("groups", int, "paradigms included"),
            Column("of", int, "paradigms in total"),
            Column("units", str, "units of the interval"),
            Column("reason", str, "why it cannot be judged, and what to add"),
        ),
    ),
    Table(
        "blimp_by_phenomenon",
        (*CONDITION, Column("phenomenon", str, "BLiMP's linguistic term"), *_GROUP),
        family="phenomena of one condition",
    ),
    Table(
        "tse_by_construction",
        (*CONDITION, Column("construction", str, "TSE's construction"), *_GROUP),
        family="constructions of one condition",
    ),
    Table(
        "pairs_by_phenomenon",
        (
            *CONDITION,
            Column("phenomenon", str, "the phenomenon of the pairs, or the circuit of a suite of SyntaxGym"),
            *_GROUP,
        ),
        family="phenomena of one condition",
    ),
    Table(
        "matching",
        (
            Column("share", float, "share p of the top set to be matched"),
            Column("step", int, "number of the trial, from 1"),
            Column("m", float, "share of each layer's lowest-ranked neurons tried"),
            Column("perplexity", float, "perplexity under the intervention on them"),
            Column("reused", bool, "true if the value came from the search for another share"),
            Column("target", float, "perplexity under the intervention on the top set"),
            Column("residual", float, "perplexity / target - 1"),
            Column("chosen", bool, "true for the trial with which the search ended"),
            Column("matched", bool, "true if the search succeeded"),
            Column(
                "tolerance", float, "largest |residual| that counts as matched, if the rise is within a tenth as well"
            ),
            Column("reason", str, "why the search ended"),
        ),
    ),
)
"""The tables, by name."""

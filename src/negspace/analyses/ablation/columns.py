"""The columns of the main study's tables: one line each, written beside the tables."""

from __future__ import annotations

from negspace.experiment.schema import Column, Table, schema

FINDING = "harm or gain where the interval excludes no change and the corrected p is below alpha; else null result"
_CONDITION = (
    Column("condition", str, "what was ablated, in words"),
    Column("role", str, "baseline, top, random (one set), random mean (over the sets of a share), or matched"),
    Column(
        "share",
        float,
        "share p of each layer's neurons that the condition belongs to; for matched sets, that of the top set",
    ),
    Column("seed", int, "seed of a random set"),
)
_ACCURACY = (
    Column(
        "accuracy",
        float,
        "mean over paradigms of the share of pairs that are right; identical pairs left out, ties not right",
    ),
    Column("accuracy_low", float, "lower end of its interval"),
    Column("accuracy_high", float, "upper end of its interval"),
    Column("change", float, "accuracy minus the baseline's on the same pairs"),
    Column("change_low", float, "lower end of its paired interval"),
    Column("change_high", float, "upper end of its paired interval"),
    Column(
        "p",
        float,
        "p-value of the change: sign flips of paradigms, of pairs where there are fewer than about 10 paradigms",
    ),
    Column("p_holm", float, "the same, Holm-corrected (family: see the table)"),
    Column("finding", str, FINDING),
)
_GROUP = (
    Column("paradigms", int, "paradigms in the group"),
    Column("pairs", int, "pairs in the group"),
    Column("ties", int, "pairs of equal score, counted as not right"),
    Column("identical", int, "pairs whose sentences are the same tokens, left out"),
)


def _suite(name: str) -> tuple[Column, ...]:
    spread = Column("accuracy_sd", float, "standard deviation of accuracy, over the sets")
    ties = Column("ties", int, "pairs of equal score, counted as not right")
    return tuple(Column(f"{name}_{c.name}", c.type, f"{name}: {c.meaning}") for c in (*_ACCURACY, spread, ties))


TABLES = schema(
    Table(
        "summary",
        (
            *_CONDITION,
            Column("neurons", int, "how many neurons were ablated"),
            Column(
                "perplexity",
                float,
                "exp of the mean negative log-likelihood of predicted tokens; geometric mean in a random mean",
            ),
            Column("perplexity_low", float, "lower end of its interval (bootstrap over windows)"),
            Column("perplexity_high", float, "upper end of its interval"),
            Column("perplexity_sd", float, "standard deviation of perplexity over random sets"),
            Column("ratio", float, "perplexity divided by the baseline's"),
            Column("ratio_low", float, "lower end of its paired interval"),
            Column("ratio_high", float, "upper end of its paired interval"),
            Column("ratio_p", float, "p-value of the change against the baseline: paired t-test over windows"),
            Column("ratio_p_holm", float, "the same, Holm-corrected over the conditions of the table"),
            Column("ratio_finding", str, FINDING),
            *_suite("blimp"),
            *_suite("tse"),
            *_suite("pairs"),
        ),
        family="conditions of one suite",
    ),
    Table(
        "contrasts",
        (
            Column("share", float, "share p of the top set"),
            Column("score", str, "perplexity, blimp, tse or pairs"),
            Column("against", str, "the control: random (mean over the sets) or matched"),
            Column("control", str, "the control in words"),
            Column("top", float, "the top set's perplexity or accuracy"),
            Column("reference", float, "the control's"),
            Column("difference", float, "top minus control on the same pairs; for perplexity, top divided by control"),
            Column("low", float, "lower end of its paired interval"),
            Column("high", float, "upper end of its paired interval"),
            Column("p", float, "p-value of the difference, as in summary"),
            Column("p_holm", float, "the same, Holm-corrected over the table"),
            Column("finding", str, "harm: the top set harms more than the control; gain: less; else null result"),
            Column("sets", int, "random sets"),
            Column("sd", float, "standard deviation over them"),
            Column("z", float, "top minus mean over the random sets, in standard deviations"),
            Column("below", int, "random sets below the top set"),
            Column("above", int, "random sets above the top set"),
        ),
    ),
    Table(
        "blimp_by_phenomenon",
        (
            *_CONDITION,
            Column("phenomenon", str, "BLiMP's linguistic term"),
            *_GROUP,
            *_ACCURACY,
        ),
        family="phenomena of one condition",
    ),
    Table(
        "tse_by_construction",
        (
            *_CONDITION,
            Column("construction", str, "TSE's construction"),
            *_GROUP,
            *_ACCURACY,
        ),
        family="constructions of one condition",
    ),
    Table(
        "pairs_by_phenomenon",
        (
            *_CONDITION,
            Column("phenomenon", str, "the phenomenon of the pairs, or the circuit of a suite of SyntaxGym"),
            *_GROUP,
            *_ACCURACY,
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
            Column("reused", bool, "whether the value came from the search for another share"),
            Column("target", float, "perplexity under the intervention on the top set"),
            Column("residual", float, "perplexity / target - 1"),
            Column("chosen", bool, "whether the search ended with this trial"),
            Column("matched", bool, "whether the search succeeded"),
            Column("tolerance", float, "largest |residual| that counts as matched"),
            Column("reason", str, "why the search ended"),
        ),
    ),
)
"""The tables, by name."""

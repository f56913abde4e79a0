"""The columns of the dose analysis's tables, and the questions that contrasts of interventions ask."""

from __future__ import annotations

from negspace.experiment.changes import CHANGE, DIFFERENCE, GROUP, SCORE, value
from negspace.experiment.schema import Column, Table, schema
from negspace.significance.interval import FEWEST

PLAIN = "plain model"
ANSWERS = (
    "cannot be judged",
    "neither shown to harm",
    "sign more than magnitude",
    "magnitude more than sign",
    "both, no difference shown",
    "sign, not shown to harm more than magnitude",
    "magnitude, not shown to harm more than sign",
)
QUESTIONS = (
    ("zero_negative", PLAIN, "does the negative part matter?"),
    ("sign_flip", PLAIN, "does its sign matter, the magnitude kept?"),
    ("negative_mean", PLAIN, "does its magnitude matter, the sign kept?"),
    ("sign_flip", "negative_mean", "does losing the sign harm more than losing the magnitude?"),
    ("zero_negative", "negative_mean", "is no negative part worse than a constant one?"),
    ("sign_flip", "zero_negative", "is a wrong sign worse than no negative part?"),
    ("zero_negative", "zero_positive", "does the negative part matter more than the positive one?"),
    ("zero_negative", "relu_on_positives", "is it the negative part, not the shape of the positive one?"),
    ("zero_positive", PLAIN, "does the positive part matter?"),
    ("relu_on_positives", PLAIN, "does the shape of the positive part matter?"),
    ("mean", PLAIN, "does it matter that the neurons vary?"),
    ("mean", "negative_mean", "does the positive part's variation matter beyond the negative one's?"),
    ("zero_both", PLAIN, "do the neurons matter?"),
    ("zero_both", "zero_negative", "does the positive part matter once the negative one is gone?"),
)
"""Contrasts of interventions, the first against the second, and what each asks."""
SIGN_OR_MAGNITUDE = (("sign_flip", PLAIN), ("negative_mean", PLAIN), ("sign_flip", "negative_mean"))
"""Contrasts that give the answer: sign lost, magnitude lost, and the first against the second."""

_SET = (
    Column("share", float, "share p of each site's neurons"),
    Column("set", str, "top, bottom, random (one set), or random mean (over the random sets, item by item)"),
    Column("intervention", str, "intervention on the neurons"),
)
TABLES = schema(
    Table(
        "dose",
        (
            *_SET,
            Column("seed", int, "seed of a random set"),
            Column("sets", int, "sets in a random mean"),
            SCORE,
            Column("neurons", int, "number of neurons changed: ceil(p (D - 1)) at a site of D"),
            Column(
                "left_out",
                int,
                "neurons that a mean intervention leaves unchanged, because the scan has no mean for them",
            ),
            Column(
                "first_share",
                float,
                "smallest share that gives the same set; if below `share`, the row repeats that share's result",
            ),
            *value(),
            Column("sd", float, "standard deviation over the sets of a random mean"),
            *CHANGE.columns(
                "perplexity divided by the plain model's; accuracy minus the plain model's; on the same items"
            ),
        ),
        family="different shares of one set, intervention and score",
    ),
    Table(
        "dose_contrasts",
        (
            Column("share", float, "share p of each site's neurons"),
            Column("intervention", str, "intervention on the neurons"),
            SCORE,
            Column("against", str, "reference: random (the random sets) or bottom"),
            Column("neurons", int, "number of neurons in the top set"),
            Column(
                "first_share",
                float,
                "smallest share that gives the same top set; if below `share`, the row repeats that share's result",
            ),
            Column("top", float, "the top set's perplexity or accuracy"),
            Column("reference", float, "the reference's"),
            *DIFFERENCE.columns(
                "perplexity: top divided by reference; accuracy: top minus reference; on the same items", sets=True
            ),
        ),
        family="different shares of one intervention, score and control",
    ),
    Table(
        "dose_by_group",
        (
            Column(
                "share", float, "share p of each site's neurons; shares that repeat a smaller one's set are left out"
            ),
            Column("set", str, "top, bottom, or random mean (over the random sets, item by item)"),
            _SET[2],
            Column("score", str, "blimp, tse or pairs"),
            Column("group", str, "BLiMP's phenomenon or TSE's construction"),
            Column("neurons", int, "number of neurons changed"),
            Column("paradigms", int, "paradigms in the group"),
            Column("pairs", int, "pairs scored"),
            Column("baseline", float, "accuracy of the plain model: the mean over paradigms"),
            Column("accuracy", float, "accuracy under the intervention"),
            *GROUP.columns("accuracy minus baseline on the same pairs; holds for this group alone"),
        ),
        family="groups of one share, set, intervention and suite",
    ),
    Table(
        "dose_thresholds",
        (
            *_SET[1:],
            SCORE,
            Column("first_harm", float, "smallest share at which harm is shown; missing if none"),
            Column("neurons", int, "number of neurons at that share"),
            Column(
                "doubling",
                float,
                "share at which perplexity doubles, by linear interpolation of log perplexity between the shares on a "
                "log scale (below the first share, from no change at p = 0); inf: not reached",
            ),
            Column(
                "doubling_low",
                float,
                "lower end of its interval (bootstrap over windows; of the random mean, which stands for sets that "
                f"were not drawn, over sets and windows); missing with fewer than {FEWEST} windows or sets",
            ),
            Column("doubling_high", float, "upper end of its interval; inf: not reached"),
        ),
    ),
    Table(
        "sign_or_magnitude",
        (
            Column("share", float, "share p of each site's neurons"),
            Column("set", str, "top, or random mean as the reference"),
            SCORE,
            Column("question", str, "question that the contrast answers"),
            Column("first", str, "first intervention"),
            Column("second", str, "second intervention, or the plain model"),
            Column("first_value", float, "perplexity or accuracy under the first"),
            Column("second_value", float, "perplexity or accuracy under the second"),
            *DIFFERENCE.columns("perplexity: first divided by second; accuracy: first minus second; on the same items"),
        ),
        family="contrasts of one share, set and score",
    ),
    Table(
        "sign_or_magnitude_answer",
        (
            Column("share", float, "share p of each site's neurons"),
            Column("set", str, "top, or random mean as the reference"),
            SCORE,
            Column("negative_part", str, "finding for zero_negative against the plain model"),
            Column("sign", str, "finding for sign_flip against the plain model: act(a) -> -act(a) where negative"),
            Column(
                "magnitude",
                str,
                "finding for negative_mean against the plain model: a -> its negative mean where negative",
            ),
            Column("sign_against_magnitude", str, "finding for sign_flip against negative_mean"),
            Column(
                "answer",
                str,
                "one of: "
                + "; ".join(ANSWERS)
                + ". A flip moves the output by twice the value, a zero by once: compare with the reference set",
            ),
        ),
    ),
)

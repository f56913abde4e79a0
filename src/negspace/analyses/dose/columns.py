"""The columns of the dose analysis's tables, and the questions that contrasts of interventions ask."""

from __future__ import annotations

MEAN = "random mean"
PLAIN = "plain model"
ANSWERS = (
    "neither shown to harm",
    "sign more than magnitude",
    "magnitude more than sign",
    "both, without a difference",
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

_SET = {
    "share": "share p of each site's neurons",
    "set": "top, bottom, random (one set), or random mean (over the random sets, item by item)",
    "intervention": "what is done to the neurons",
}
_RANGE = {"low": "lower end of its interval", "high": "upper end of its interval"}
_P = {
    "p": "p-value: for perplexity the paired t-test over windows; for accuracy the sign-flip test over paradigms, over "
    "pairs where there are fewer than about 10",
    "p_holm": "the same, Holm-corrected (family: see the table)",
}
_FINDING = "harm or gain where the interval excludes no change and p_holm is below alpha; else null result"
COLUMNS: dict[str, dict[str, str]] = {
    "dose": {
        **_SET,
        "seed": "seed of a random set",
        "sets": "sets in a random mean",
        "score": "perplexity, blimp or tse",
        "neurons": "how many neurons are changed: ceil(p (D - 1)) of a site of D",
        "left_out": "neurons of the set that an intervention on means leaves as they are, having none in the scan",
        "first_share": "smallest share that gives this very set; below `share`, the row repeats that one's result",
        "value": "perplexity, or accuracy as the mean over paradigms (ties not right, identical pairs left out)",
        "value_low": "lower end of its interval",
        "value_high": "upper end of its interval",
        "sd": "standard deviation over the sets of a random mean",
        "change": "perplexity divided by the plain model's; accuracy minus the plain model's; on the same items",
        "change_low": "lower end of its paired interval",
        "change_high": "upper end of its paired interval",
        **_P,
        "finding": _FINDING,
    },
    "dose_contrasts": {
        "share": "share p of each site's neurons",
        "intervention": "what is done to the neurons",
        "score": "perplexity, blimp or tse",
        "against": "what the top set is compared with: random (mean over the sets) or bottom",
        "neurons": "neurons of the top set",
        "first_share": "smallest share that gives this very top set; below `share`, the row repeats that one's result",
        "top": "the top set's perplexity or accuracy",
        "reference": "the other's",
        "difference": "perplexity: top divided by the other; accuracy: top minus the other; on the same items",
        **_RANGE,
        **_P,
        "sets": "random sets",
        "below": "random sets of a lower score than the top set",
        "above": "random sets of a higher score than the top set",
        "finding": _FINDING,
    },
    "dose_by_group": {
        "share": "share p of each site's neurons; shares that repeat a smaller one's set are left out",
        "set": "top, bottom, or random mean (over the random sets, item by item)",
        "intervention": _SET["intervention"],
        "score": "blimp or tse",
        "group": "BLiMP's phenomenon or TSE's construction",
        "neurons": "how many neurons are changed",
        "paradigms": "paradigms in the group",
        "pairs": "pairs that are counted",
        "baseline": "accuracy of the plain model: the mean over paradigms",
        "accuracy": "accuracy under the intervention",
        "change": "accuracy minus baseline on the same pairs",
        **_RANGE,
        "p": "sign-flip p-value over pairs (McNemar's exact test but in a random mean)",
        "p_holm": _P["p_holm"],
        "finding": _FINDING,
    },
    "dose_thresholds": {
        "set": _SET["set"],
        "intervention": _SET["intervention"],
        "score": "perplexity, blimp or tse",
        "first_harm": "smallest share at which harm is shown; missing if at none",
        "neurons": "how many neurons that is",
        "doubling": "share at which perplexity is twice the plain model's: its logarithm is interpolated linearly "
        "between the shares on their log scale, below the first from no change at p = 0; inf: not reached",
        "doubling_low": "lower end of its interval (bootstrap over windows)",
        "doubling_high": "upper end of its interval; inf: not reached",
    },
    "sign_or_magnitude": {
        "share": "share p of each site's neurons",
        "set": "top, or random mean as the reference",
        "score": "perplexity, blimp or tse",
        "question": "what the contrast asks",
        "first": "an intervention",
        "second": "another, or the plain model",
        "first_value": "perplexity or accuracy under the first",
        "second_value": "perplexity or accuracy under the second",
        "difference": "perplexity: first divided by second; accuracy: first minus second; on the same items",
        **_RANGE,
        **_P,
        "finding": "harm: the first harms more than the second, by interval and p_holm; gain: less; else null result",
    },
    "sign_or_magnitude_answer": {
        "share": "share p of each site's neurons",
        "set": "top, or random mean as the reference",
        "score": "perplexity, blimp or tse",
        "negative_part": "finding for zero_negative against the plain model",
        "sign": "finding for sign_flip against the plain model: act(a) -> -act(a) where negative",
        "magnitude": "finding for negative_mean against the plain model: a -> its negative mean where negative",
        "sign_against_magnitude": "finding for sign_flip against negative_mean",
        "answer": "one of: "
        + "; ".join(ANSWERS)
        + ". A flip moves the output by twice the value, a zero by once: compare with the reference set",
    },
}
FAMILIES = {
    "dose": "different shares of one set, intervention and score",
    "dose_contrasts": "different shares of one intervention, score and control",
    "dose_by_group": "groups of one share, set, intervention and suite",
    "sign_or_magnitude": "contrasts of one share, set and score",
}
WORDS = (
    "set", "intervention", "score", "finding", "against", "group", "question", "first", "second", "answer",
    "negative_part", "sign", "magnitude", "sign_against_magnitude",
)  # fmt: skip
WHOLE = ("seed", "sets", "neurons", "left_out", "below", "above", "paradigms", "pairs")

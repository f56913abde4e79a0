"""The columns of the main study's tables: one line each, written beside the tables."""

from __future__ import annotations

_CONDITION = {
    "condition": "what was ablated, in words",
    "role": "baseline, top, random (one set), random mean (over the sets of a share), or matched",
    "share": "share p of each layer's neurons that the condition belongs to; for matched sets, that of the top set",
    "seed": "seed of a random set",
}
_ACCURACY = {
    "accuracy": "mean over paradigms of the share of pairs that are right; identical pairs left out, ties not right",
    "accuracy_low": "lower end of its interval",
    "accuracy_high": "upper end of its interval",
    "change": "accuracy minus the baseline's on the same pairs",
    "change_low": "lower end of its paired interval",
    "change_high": "upper end of its paired interval",
    "p": "exact McNemar p-value over pairs against the baseline",
    "p_holm": "the same, Holm-corrected (family: see the table)",
    "p_paradigms": "sign-flip p-value against the baseline with paradigms as units",
}
_GROUP = {
    "paradigms": "paradigms in the group",
    "pairs": "pairs in the group",
    "ties": "pairs of equal score, counted as not right",
    "identical": "pairs whose sentences are the same tokens, left out",
}


def _suite(name: str) -> dict[str, str]:
    return {
        f"{name}_{column}": f"{name}: {text}" + (", over the sets" if column.endswith("sd") else "")
        for column, text in {**_ACCURACY, "accuracy_sd": "standard deviation of accuracy"}.items()
    } | {f"{name}_ties": f"{name}: pairs of equal score, counted as not right"}


COLUMNS: dict[str, dict[str, str]] = {
    "summary": {
        **_CONDITION,
        "neurons": "how many neurons were ablated",
        "perplexity": "exp of the mean negative log-likelihood of predicted tokens; geometric mean in a random mean",
        "perplexity_low": "lower end of its interval (bootstrap over windows)",
        "perplexity_high": "upper end of its interval",
        "perplexity_sd": "standard deviation of perplexity over random sets",
        "ratio": "perplexity divided by the baseline's",
        "ratio_low": "lower end of its paired interval",
        "ratio_high": "upper end of its paired interval",
        "ratio_p": "sign-flip p-value of the change against the baseline, windows as units",
        "ratio_p_holm": "the same, Holm-corrected over the conditions of the table",
        **_suite("blimp"),
        **_suite("tse"),
    },
    "contrasts": {
        "share": "share p of the top set",
        "score": "perplexity, blimp or tse",
        "against": "the control: random (mean over the sets) or matched",
        "control": "the control in words",
        "top": "the top set's perplexity or accuracy",
        "reference": "the control's",
        "difference": "top minus control on the same pairs; for perplexity, top divided by control",
        "low": "lower end of its paired interval",
        "high": "upper end of its paired interval",
        "p": "sign-flip p-value, paradigms (or windows) as units",
        "p_holm": "the same, Holm-corrected over the table",
        "sets": "random sets",
        "sd": "standard deviation over them",
        "z": "top minus mean over the random sets, in standard deviations",
        "below": "random sets below the top set",
        "above": "random sets above the top set",
    },
    "blimp_by_phenomenon": {**_CONDITION, "phenomenon": "BLiMP's linguistic term", **_GROUP, **_ACCURACY},
    "tse_by_construction": {**_CONDITION, "construction": "TSE's construction", **_GROUP, **_ACCURACY},
    "matching": {
        "share": "share p of the top set to be matched",
        "step": "number of the trial, from 1",
        "m": "share of each layer's lowest-ranked neurons tried",
        "perplexity": "perplexity under the intervention on them",
        "reused": "whether the value came from the search for another share",
        "target": "perplexity under the intervention on the top set",
        "residual": "perplexity / target - 1",
        "chosen": "whether the search ended with this trial",
        "matched": "whether the search succeeded",
        "tolerance": "largest |residual| that counts as matched",
        "reason": "why the search ended",
    },
}
"""Table -> column -> meaning."""

FAMILIES = {
    "summary": "conditions of one suite",
    "blimp_by_phenomenon": "phenomena of one condition",
    "tse_by_construction": "constructions of one condition",
}
"""Table -> over what Holm's correction is taken."""

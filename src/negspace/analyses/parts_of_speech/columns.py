"""The columns of the tables of excess surprisal by tag."""

from __future__ import annotations

from negspace.experiment.schema import Column, Table, schema

SCAFFOLD = ("DET", "PUNCT", "AUX", "PART")
"""Parts of speech that hold a sentence together, on which the excess is claimed to fall (Kong et al. 2026)."""

_JUDGED = (Column("reason", str, "what cannot be judged, and what to add: with too few random sets, say"),)
EXCESS = Table(
    "parts_of_speech",
    (
        Column("kind", str, '"all": all predicted tokens; "upos": universal parts of speech; "dep": dependency labels'),
        Column("tag", str, 'the part of speech or label; under "all": "with a word", "without a word"'),
        Column("tokens", int, "predicted tokens of the model that belong to words with this tag"),
        Column("windows", int, "windows with such tokens; units of interval and test"),
        Column("baseline", float, "mean surprisal of these tokens without the ablation, in nats"),
        Column("ablated", float, "mean surprisal under the ablation, in nats"),
        Column("excess", float, "mean of ablated minus baseline over the tokens, in nats"),
        Column(
            "low",
            float,
            "lower end of its interval (bootstrap over windows; none with fewer than 5); interval and p hold for the "
            "sets that were ablated, not for other random sets",
        ),
        Column("high", float, "upper end of its interval"),
        Column(
            "p",
            float,
            "sign-flip p-value of the excess, windows as units, two-sided; missing where too few windows hold the tag",
        ),
        Column("p_holm", float, "the same, Holm-corrected over the tags of one kind"),
    ),
)
"""The table of one ablation."""

_CONTROL = (
    Column(
        "control",
        str,
        "control: the random sets' mean, or the perplexity-matched set",
    ),
    Column("role", str, "random or matched"),
)
TABLES = schema(
    Table(
        "parts_of_speech",
        (
            Column("condition", str, "ablated set; the random sets are one row, their mean per token"),
            Column(
                "role",
                str,
                "top, random, matched (the low-ranked set of equal perplexity), or nearest (where none is equal)",
            ),
            Column("sets", int, "number of sets averaged in the row"),
            *EXCESS.columns,
        ),
        family="the tags of one kind and condition",
    ),
    Table(
        "parts_of_speech_contrasts",
        (
            *_CONTROL,
            *EXCESS.columns[:4],
            Column("top", float, "excess under the ablation of the top set, in nats"),
            Column("reference", float, "excess under the control"),
            Column(
                "contrast",
                float,
                "top minus reference: positive where the top set makes such words harder than the control does; random "
                "sets are a sample, and the interval is a prediction interval for a further one",
            ),
            Column("low", float, "lower end of its interval (bootstrap over windows; none with fewer than 5)"),
            Column("high", float, "upper end of its interval"),
            Column(
                "p",
                float,
                "sign-flip p-value of the contrast, windows as units; missing where too few windows hold the tag; "
                "against random sets, by t and by ranks",
            ),
            Column("p_holm", float, "the same, corrected over the tags of one kind and control"),
            *_JUDGED,
        ),
        family="the tags of one kind and control",
    ),
    Table(
        "parts_of_speech_scaffold",
        (
            Column("compared", str, "condition against the plain model, or top set against a control"),
            Column("role", str, "top, random, matched, nearest; or top against random, top against matched"),
            Column("tokens", int, f"tokens of words whose part of speech is one of {', '.join(SCAFFOLD)}"),
            Column("others", int, "tokens of all other words"),
            Column("scaffold", float, "mean excess on the scaffolding tokens, in nats (or top set minus control)"),
            Column("rest", float, "mean excess on the other tokens"),
            Column("difference", float, "scaffold minus rest: positive as the paper claims"),
            Column(
                "low",
                float,
                "lower end of its interval (bootstrap over windows; none with fewer than 5); interval and p hold for "
                "the sets that were ablated; top against random: a prediction interval for a further random set",
            ),
            Column("high", float, "upper end of its interval"),
            Column(
                "p",
                float,
                "sign-flip p-value of the difference, windows as units; top against random: by t and by ranks",
            ),
            Column("p_holm", float, "the same, corrected over the rows of the table"),
            *_JUDGED,
        ),
        family="all rows of the table",
    ),
)
"""The tables of the analysis, by name."""

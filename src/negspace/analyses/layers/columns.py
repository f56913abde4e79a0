"""The columns of the layers analysis's tables."""

from __future__ import annotations

from negspace.experiment.changes import CHANGE, DIFFERENCE, GROUP, SCORE, Changes, value
from negspace.experiment.schema import Column, Table, schema

FIRST, BEFORE = "first group", "one group less"
"""What the top set in some layers is compared with beside random sets (`effects.MEAN`): itself in the first group, and
in one group less."""
EXCESS = Changes("excess", ends=("low", "high"))
"""What all groups together do beyond the sum of each alone."""

_WHERE = (
    Column("family", str, "alone (one group of layers) or cumulative (all groups up to it)"),
    Column("layers", str, "the layers whose neurons are changed, in ranges: 0-3, 7"),
    Column("first_layer", int, "the first of them, from 0"),
    Column("last_layer", int, "the last of them"),
    Column("share", float, "share p of each site's neurons"),
)
_SET = (Column("set", str, "top, random (one set), or random mean (over the random sets, item by item)"),)
TABLES = schema(
    Table(
        "layers",
        (
            *_WHERE,
            *_SET,
            Column("seed", int, "seed of a random set"),
            Column("sets", int, "sets in a random mean"),
            SCORE,
            Column("neurons", int, "number of neurons changed"),
            *value(),
            Column("sd", float, "standard deviation over the sets of a random mean"),
            *CHANGE.columns(
                "perplexity divided by the plain model's; accuracy minus the plain model's; on the same items"
            ),
        ),
        family="groups of layers of one family, set and score",
    ),
    Table(
        "layers_contrasts",
        (
            *_WHERE,
            SCORE,
            Column(
                "against",
                str,
                "what the top set in these layers is compared with: the random mean in the same layers; the top set "
                "in the first group alone; the top set in all groups but the last of these",
            ),
            Column("value", float, "perplexity or accuracy under the top set in these layers"),
            Column("reference", float, "the reference's"),
            *DIFFERENCE.columns(
                "perplexity: value divided by the other; accuracy: value minus the other; on the same items", sets=True
            ),
        ),
        family="groups of layers of one family, score and thing compared with",
    ),
    Table(
        "layers_by_group",
        (
            *_WHERE,
            *_SET,
            Column("score", str, "blimp, tse or pairs"),
            Column("group", str, "BLiMP's phenomenon or TSE's construction"),
            Column("neurons", int, "number of neurons changed"),
            Column("paradigms", int, "paradigms in the group"),
            Column("pairs", int, "pairs in the group (identical ones left out)"),
            Column("baseline", float, "the plain model's accuracy"),
            Column("accuracy", float, "accuracy under the ablation"),
            *GROUP.columns("accuracy minus the plain model's on the same pairs; holds for this group alone"),
        ),
        family="groups of layers and phenomena (constructions) of one family, set and score",
    ),
    Table(
        "layers_additivity",
        (
            SCORE,
            Column("scale", str, "log ratio (of perplexities), points (accuracy), or nats (margins; TSE: per token)"),
            Column("groups", int, "groups of layers"),
            Column("joint", float, "change with the top set in all groups, against the plain model"),
            Column("sum", float, "sum of the changes with the top set in each group alone"),
            *EXCESS.columns("joint minus sum; harm: together they do more than they add up to", margins=False),
        ),
        family="all rows of the table",
    ),
)
"""The tables, by name."""

"""The columns of the tables that compare what several texts say of the neurons."""

from __future__ import annotations

from negspace.experiment.changes import CHANGE, SCORE, Changes, value
from negspace.experiment.schema import Column, Table, schema

RANDOM_CHANGE = Changes("difference", prefix="random_", ends=("random_low", "random_high"))
"""A difference from random sets of equal size."""

_PAIR = (
    Column("first", str, "a text"),
    Column("second", str, "another text"),
    Column("layer", int, "layer; missing: all layers"),
    Column("branch", str, "mlp, experts (all of a layer's), shared or second; all with no layer"),
)
TABLES = schema(
    Table(
        "stability_correlation",
        (
            *_PAIR,
            Column(
                "rho",
                float,
                "Spearman's rank correlation of the statistic over the site's neurons; for all layers the median over "
                "sites",
            ),
            Column("low", float, "lower end of its interval (Fisher's z, neurons as units); none for all layers"),
            Column("high", float, "upper end of its interval"),
            Column(
                "reliability_first",
                float,
                "reliability of the first text's ranking, from both halves of the text (Spearman and Brown); missing "
                "where its scan has no halves",
            ),
            Column("reliability_second", float, "the same of the second text"),
            Column(
                "ceiling",
                float,
                "rank correlation of two rankings of these reliabilities where the text makes no difference: the root "
                "of their product",
            ),
            Column("neurons", int, "neurons that both texts rank"),
        ),
    ),
    Table(
        "stability_overlap",
        (
            Column("share", float, "share p of each site's neurons"),
            *_PAIR,
            Column("neurons", int, "neurons of the first text's top set"),
            Column("common", int, "those of them that are in the second's"),
            Column("overlap", float, "common divided by neurons"),
            Column("chance", float, "what overlap is on average where both sets are drawn at random, site by site"),
            Column("p", float, "exact two-sided p-value of the number in common under such sets"),
            Column("p_holm", float, "the same, Holm-corrected (family: see the table)"),
            Column(
                "halves_first",
                float,
                "overlap of the top sets from both halves of the first text, of half the tokens each; missing without "
                "halves",
            ),
            Column("halves_second", float, "the same of the second text"),
            Column("halves_between", float, "the same of halves of different texts, mean over the four pairs of them"),
            Column(
                "relative",
                float,
                "halves_between over the geometric mean of halves_first and halves_second: 1 where the text makes no "
                "difference; a description, without a test",
            ),
        ),
        family="pairs of texts at one share, layer and branch",
    ),
    Table(
        "stability",
        (
            Column("share", float, "share p of each site's neurons in the top sets"),
            Column(
                "set",
                str,
                "plain model; top (the top set by a text); common (in the top set by every text); own (in that of this "
                "text and of no other); random mean (over random sets as large as such a set, item by item)",
            ),
            Column("text", str, "the text that chose a top or own set; empty: all texts"),
            Column("like", str, "the set that random sets are as large as, at each site: common or own"),
            SCORE,
            Column("neurons", int, "how many neurons are changed; sets of fewer than two are not ablated"),
            *value(),
            Column("drawn", int, "sets in a random mean"),
            *CHANGE.columns(
                "perplexity divided by the plain model's; accuracy minus the plain model's; on the same items"
            ),
            *CHANGE.equivalence,
            *RANDOM_CHANGE.columns(
                "perplexity: the set's divided by the random sets'; accuracy: the set's minus theirs", sets=True
            ),
        ),
        family="changes: all rows of the table; differences from random sets: the rows of one set and text",
    ),
)

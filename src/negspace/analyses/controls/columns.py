"""The columns of the controls' tables."""

from __future__ import annotations

from negspace.experiment.changes import SCORE, Changes, value
from negspace.experiment.schema import Column, Table, schema

AGAINST_PLAIN = Changes("change", "change_")
"""A change against the plain model."""
CONTRAST = Changes("contrast")
"""The top set against a control."""

_CONTROL = (
    Column("control", str, "what was changed, in words; the random sets of equal number are one row, their mean"),
    Column(
        "role",
        str,
        "top, random (as many in each layer), other_side (the same neurons on the other side of zero), count (the"
        " lowest-ranked, as many in each layer), perplexity (the lowest-ranked of equal perplexity), perplexity_random"
        " (random sets of equal perplexity: one row, as those of equal number), residual or"
        " residual_random (the lowest-ranked, or random ones, of equal change of the residual stream)",
    ),
    Column("intervention", str, "what was done to the neurons"),
)
_CHANGE = "perplexity: ratio; accuracy: difference"
TABLES = schema(
    Table(
        "controls",
        (
            *_CONTROL,
            Column(
                "matched",
                bool,
                "whether the set is matched within its tolerance, one of equal perplexity within a tenth of the rise "
                "as well; missing for sets that were not searched",
            ),
            Column("neurons", int, "neurons changed in one set (mean over random ones)"),
            Column("of_sets", int, "sets of which the row is the mean"),
            SCORE,
            *value(("low", "high")),
            *AGAINST_PLAIN.columns(f"change against the plain model ({_CHANGE})"),
            *CONTRAST.columns(
                f"the top set against this control, {_CHANGE}; above 1 or below 0: the top set does more harm; missing "
                "for perplexity where the two were matched on it",
                sets=True,
            ),
        ),
        family="change_p_holm: all changes of the table; p_holm: all contrasts of the table",
    ),
    Table(
        "controls_layers",
        (
            *_CONTROL,
            Column("layer", int, "decoder layer"),
            Column("neurons", int, "neurons of the set in this layer (mean over random ones)"),
            Column("of", int, "neurons that the layer has"),
            Column("share", float, "neurons / of"),
            Column(
                "touched",
                float,
                "mean share of these neurons' values, on the scanned text, that the intervention can change",
            ),
            Column(
                "residual",
                float,
                "root mean square over tokens of |h' - h| / |h|: h the residual stream after the layer in the plain"
                " model, h' the same with this layer alone changed",
            ),
            Column("norm", float, "mean over tokens of |h'| / |h| - 1"),
            Column("to_top", float, "residual divided by the top set's in this layer"),
            Column(
                "matched",
                bool,
                "whether it equals the top set's within the tolerance; missing where it was not searched",
            ),
            Column("reason", str, "how the search ended"),
        ),
    ),
    Table(
        "controls_residual",
        (
            *_CONTROL,
            Column("neurons", int, "neurons changed in one set (mean over random ones)"),
            Column(
                "end",
                float,
                "root mean square over tokens of |h' - h| / |h| after the last layer, all chosen neurons being changed",
            ),
            Column("end_low", float, "lower end of its interval (bootstrap over windows)"),
            Column("end_high", float, "upper end of its interval"),
            Column("end_norm", float, "mean over tokens of |h'| / |h| - 1 there"),
            Column("end_to_top", float, "end divided by the top set's"),
            Column("windows", int, "windows on which it was measured"),
            Column(
                "matched",
                bool,
                "whether the set is matched within its tolerance, one of equal perplexity within a tenth of the rise "
                "as well; missing for sets that were not searched",
            ),
            Column("evaluations", int, "measurements that the search took, or all of its sets' searches"),
            Column("reason", str, "how the search ended"),
        ),
    ),
    Table(
        "noop",
        (
            Column("model", str, "the model; its activations are flat below zero, as ReLU is"),
            Column("own", bool, "whether it is the study's own model"),
            Column(
                "what", str, "what was compared bit by bit: log-probabilities of tokens, or the scores of minimal pairs"
            ),
            Column("neurons", int, "neurons whose negative pre-activations were set to zero"),
            Column("items", int, "numbers compared"),
            Column("differing", int, "those that differ in any bit"),
            Column("largest", float, "largest absolute difference, in nats"),
            Column("same", bool, "whether nothing differs"),
        ),
    ),
)
"""The tables, by name."""

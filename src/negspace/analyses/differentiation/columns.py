"""Columns of the tables of differentiation."""

from __future__ import annotations

from negspace.experiment.chosen import KEY_COLUMNS
from negspace.experiment.schema import Column, Table, schema

MEASURES = {
    "nn": "both pre-activations below zero",
    "pn": "one below zero, one not",
    "pp": "neither below zero",
    "upos_differs": "the tokens' words have different parts of speech (pairs in which both have one)",
    "dep_differs": "the tokens' words have different dependency labels (pairs in which both have one)",
}
"""Measures of pairs -> meaning."""
RANDOM, BOTTOM = "random", "bottom"
"""Sets that the top set is compared with, as the tables name them."""
_END = (
    Column("token", str, "the token"),
    Column("a", float, "the neuron's pre-activation there"),
    Column("before", str, "text before it in its window"),
    Column("after", str, "text after it"),
    Column("window", int, "number of its passage"),
    Column("place", int, "its place in the passage, from 0"),
    Column("frequency", int, "how often it occurs in the windows of the text"),
    Column("upos", str, 'part of speech of its word, "" without one'),
    Column("dep", str, 'dependency label of its word, "" without one'),
)

TABLES = schema(
    Table(
        "differentiation",
        (
            Column("set", str, "top, random (all sets of random neurons together) or bottom"),
            Column("measure", str, "; ".join(f"{name}: {meaning}" for name, meaning in MEASURES.items())),
            Column(
                "against",
                str,
                "matched pairs: the same neurons' control pairs; random, bottom: control neurons' selected pairs; "
                "random over matched, bottom over matched: (selected minus matched) of the set, minus the same of the "
                "controls; random sets are a sample of sets",
            ),
            Column("neurons", int, "neurons of the set with such pairs"),
            Column("pairs", int, "their pairs; against matched pairs, those with a control"),
            Column(
                "value",
                float,
                "share of the set's selected pairs (mean over neurons); over matched: selected minus matched",
            ),
            Column("value_low", float, "lower end of its interval (bootstrap over neurons and their pairs)"),
            Column("value_high", float, "upper end of its interval"),
            Column("reference", float, "the same for the reference"),
            Column("reference_low", float, "lower end of its interval"),
            Column("reference_high", float, "upper end of its interval"),
            Column("difference", float, "value minus reference"),
            Column(
                "low",
                float,
                "lower end of its interval (paired against matched pairs; against random sets a prediction interval "
                "for a further one; against bottom neurons, those of both drawn independently)",
            ),
            Column("high", float, "upper end of its interval"),
            Column(
                "p",
                float,
                "against matched pairs: sign flips with neurons as units, as if they were independent (sentences rest "
                "on p_layers); against random sets: t over the sets, and ranks among them; against bottom "
                "neurons: neurons of a layer permuted between the two",
            ),
            Column("p_holm", float, "the same, corrected"),
            Column("layers", int, "against matched pairs: layers of these neurons"),
            Column(
                "p_layers",
                float,
                "against matched pairs: sign flips with layers as units, since a layer's neurons choose among the "
                "same near pairs; missing for a single layer",
            ),
            Column(
                "p_layers_holm",
                float,
                "the same, Holm-corrected; sentences say more or fewer if it is at most alpha, the interval off zero",
            ),
            Column("sets", int, "random sets that it is compared with"),
            Column(
                "reason",
                str,
                "what cannot be judged, and what to add; against matched pairs: layers too few for p_layers_holm to "
                "reach alpha",
            ),
        ),
        family="the measures of one set against one thing",
    ),
    Table(
        "differentiation_neurons",
        (
            Column("set", str, "top, random or bottom"),
            Column("seed", int, "seed of a random set"),
            *KEY_COLUMNS,
            Column("tokens", int, "tokens that reached the neuron"),
            Column("points", int, "distinct inputs among them"),
            Column("near_pairs", int, "near pairs of these"),
            Column("mean", float, "mean pre-activation"),
            Column("std", float, "its standard deviation"),
            Column("fraction_negative", float, "share of the tokens below zero"),
            Column("near_nn", float, "share of all near pairs with both below zero"),
            Column("near_pn", float, "share with one below zero"),
            Column("near_pp", float, "share with neither below zero"),
            Column("selected", int, "number of pairs that the neuron drives furthest apart"),
            Column("matched", int, "selected pairs with a matched control"),
            Column("apart", float, "mean |a_i - a_j| of the selected pairs, in standard deviations"),
            Column("apart_matched", float, "the same of the controls"),
            Column(
                "distance",
                float,
                "mean distance of the selected pairs' inputs, 1 being that of random inputs (root mean square)",
            ),
            Column("distance_matched", float, "the same of the controls"),
            *(Column(name, float, f"share of the selected pairs: {meaning}") for name, meaning in MEASURES.items()),
            *(
                Column(f"{name}_matched", float, f"share of the controls: {meaning}")
                for name, meaning in MEASURES.items()
            ),
        ),
    ),
    Table(
        "differentiation_pairs",
        (
            *KEY_COLUMNS,
            Column("kind", str, "selected, or matched: the control of the selected pair of the same rank"),
            Column("rank", int, "1 for the pair that the neuron drives furthest apart"),
            Column("sign", str, "NN: both below zero, PN: one of the two, PP: neither"),
            Column("apart", float, "|a_i - a_j| in standard deviations of the neuron"),
            Column("distance", float, "distance of the inputs, divided by that of random inputs (root mean square)"),
            Column(
                "overlap",
                str,
                "same: one word but for case and space; part: half of the longer one in common from its start; none",
            ),
            *(Column(f"{c.name}_first", c.type, f"{c.meaning}: first of the pair") for c in _END),
            *(Column(f"{c.name}_second", c.type, f"{c.meaning}: second of the pair") for c in _END),
        ),
    ),
)
"""The tables, by name."""

"""Figures of differentiation: signs and tags of the pairs that the neurons drive furthest apart."""

from __future__ import annotations

from negspace.experiment.run import Run
from negspace.figures.figure import Figure
from negspace.figures.forest import Dots, forest
from negspace.figures.scores import estimates

_MEASURES = {
    "nn": "both negative (NN)",
    "pn": "one negative (PN)",
    "pp": "neither negative (PP)",
    "upos_differs": "different part of speech",
    "dep_differs": "different dependency label",
}
_SETS = {"top": "top", "random": "random mean", "bottom": "bottom"}


def figures(run: Run) -> list[Figure]:
    """Shares of sign classes in the selected pairs of each set and in their matched controls, and the differences."""
    table = run.table("differentiation")
    if table is None:
        return []
    matched = table[table["against"].str.contains("matched pairs")].assign(name=lambda t: t["measure"].map(_named))
    rows = [name for name in _MEASURES.values() if (matched["name"] == name).any()]
    shares, differences = [], []
    for key, role in _SETS.items():
        part = matched[matched["set"] == key]
        if part.empty:
            continue
        counts = {
            str(r["name"]): f"{int(r['pairs']):,} pairs of {int(r['neurons']):,} neurons" for _, r in part.iterrows()
        }
        values = estimates(part, "name", ("value", "value_low", "value_high"), 100)
        shares.append(Dots(f"{key}: selected pairs", role, values, counts))
        if key == "top":
            references = estimates(part, "name", ("reference", "reference_low", "reference_high"), 100)
            shares.append(Dots(f"{key}: matched pairs", "matched", references, counts))
        differences.append(
            Dots(f"{key}: selected pairs", role, estimates(part, "name", ("difference", "low", "high"), 100))
        )
    if not shares:
        return []
    panels = (
        forest(rows, shares, "% of the pairs", zero=None),
        forest(rows, differences, "selected minus matched pairs (points)"),
    )
    caption = (
        "Among pairs of near inputs, those that a neuron drives furthest apart, and controls matched in token "
        f"frequency, position and subword overlap. {run.level} intervals take neurons as independent, which those of a "
        "layer are not: they describe these neurons alone."
    )
    return [Figure("differentiation", "What is told apart", caption, panels, columns=2, wide=True)]


def _named(measure: str) -> str:
    return _MEASURES.get(measure, measure)

"""One condition of an experiment: what is done to which neurons, where they come from, and where its scores are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from negspace.intervention import Intervention
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan

BASELINE = "baseline"
"""Role of the plain model."""
RANDOM = "random"
"""Role of a single random set."""
MATCHED_RANDOM = "perplexity_random"
"""Role of a random set that is as large as it must be to have the top set's perplexity."""
NEAREST = "nearest"
"""Role of the bottom set nearest to the top set's perplexity where none is within the tolerance: no matched control."""
LEFT_OUT = "left_out"
"""Fact: how many neurons of the set an intervention on means leaves as they are, having no mean."""


class Condition(BaseModel):
    """A model under an intervention, or the plain model. Manifests hold it as it is, but for the neurons themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    """Its name: "top 1%"."""
    role: str = BASELINE
    """Its part in the analysis: "baseline", "top", "random", ..."""
    share: float | None = None
    """Share p of each site's neurons that it belongs to."""
    seed: int | None = None
    """Seed of a random set."""
    intervention: str | None = None
    """Intervention on the neurons, one of `INTERVENTIONS`; None for the plain model."""
    neurons: int = 0
    """Number of neurons changed."""
    key: str | None = None
    """Key of the set of neurons."""
    origin: str = ""
    """Origin of the set, in words."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """Further facts for its analysis (JSON values)."""
    cells: dict[str, str] = Field(default_factory=dict)
    """Score -> key of its record."""
    chosen: NeuronSet | None = Field(default=None, exclude=True, repr=False)
    """The neurons, while the analysis is planned and run; a manifest has their key."""

    def scored(self, cells: Mapping[str, str]) -> Condition:
        """The same with the keys of more records."""
        return self.model_copy(update={"cells": {**self.cells, **cells}})


def condition(
    name: str,
    role: str,
    neurons: NeuronSet,
    intervention: str,
    scan: Scan,
    *,
    share: float | None = None,
    seed: int | None = None,
    **facts: Any,
) -> Condition:
    """An intervention on a set. One on means leaves out the neurons that have none, and says how many these are.

    Args:
        scan: where the means come from.
        facts: whatever else the analysis must know of it.
    """
    kept = with_means(neurons, scan) if Intervention(intervention).needs_means else neurons
    left = {LEFT_OUT: len(neurons) - len(kept)} if len(kept) < len(neurons) else {}
    return Condition(
        name=name,
        role=role,
        share=share,
        seed=seed,
        intervention=intervention,
        neurons=len(kept),
        key=kept.key,
        origin=kept.origin,
        facts={**facts, **left},
        chosen=kept,
    )


def with_means(neurons: NeuronSet, scan: Scan) -> NeuronSet:
    """The neurons that have a mean: all but those of experts that no token of the statistics reached."""
    has = np.isfinite(scan.table["mean"].to_numpy(np.float64))[neurons.rows]
    if has.all():
        return neurons
    return NeuronSet.from_rows(neurons.rows[has], neurons.layout, f"{neurons.origin}, those with a mean")


def left_out(analysis: str, conditions: Iterable[Condition]) -> list[str]:
    """A note for each condition some of whose neurons stay as they are."""
    return [
        f"{analysis}: {condition.name}: neurons left as they are: {condition.facts[LEFT_OUT]:,} (no token of the "
        "statistics reached their experts, so they have no mean)"
        for condition in conditions
        if LEFT_OUT in condition.facts
    ]


def written(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """Conditions as a manifest has them."""
    return [condition.model_dump(mode="json") for condition in conditions]

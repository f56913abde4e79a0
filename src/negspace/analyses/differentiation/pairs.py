"""Pairs of near inputs that a neuron drives furthest apart, and for each a matched pair."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from negspace.experiment.chosen import neuron_name
from negspace.experiment.passages import Passages
from negspace.models.model import Model
from negspace.neurons.neuronset import NeuronSet
from negspace.stats.nearest import Matcher, furthest, near_pairs
from negspace.stats.readings import Progress, Reading, batches_of, readings

_STEM = 0.5
"""Two words of which the longer has at least this share in common from the start on are taken for related."""


@dataclass(frozen=True, eq=False)
class Differentiation:
    """Pairs of near inputs that neurons drive apart, with their controls."""

    neurons: pd.DataFrame
    """One row per neuron: name, layer, branch, expert, neuron, what is known of all near pairs and of those chosen."""
    pairs: pd.DataFrame
    """One row per pair of tokens and neuron; columns as in `PAIRS`."""
    notes: tuple[str, ...]
    """Notes for the reader; one sentence each."""


PAIRS = {
    "name": "name of the neuron",
    "kind": '"selected": driven furthest apart; "matched": its control, not selected and of other tokens',
    "rank": "1 for the pair driven furthest apart; a control has the rank of the pair that it is for",
    "first": "number of the token that comes first: window * length + place",
    "second": "number of the other token",
    "a_first": "pre-activation at the first token",
    "a_second": "pre-activation at the second",
    "distance": "distance of their inputs, divided by that of inputs drawn at random (root mean square)",
    "overlap": '"same" token or word but for case and space, "part": half of the longer one in common, or "none"',
}
"""Column of the pairs -> meaning."""


def differentiate(
    model: Model,
    neurons: NeuronSet,
    passages: Passages,
    *,
    pairs: int = 32,
    neighbours: int = 8,
    nearest: float = 0.5,
    progress: Progress | None = None,
) -> Differentiation:
    """Find the near inputs that each neuron drives furthest apart, and for each such pair a matched one.

    Near pairs are each token with its nearest others in the space of what enters the neuron's projection
    (`stats.nearest.near_pairs`). Of these the neuron's are the ones of largest |a_i - a_j|, each token used once. The
    control of a pair is a near pair that was not selected, of other tokens, in the same bins (powers of four) of both
    tokens' frequencies in the text and of both places in the window, with the same overlap of their characters, at
    about the same distance. In a mixture of experts the pairs of an expert's neurons are of tokens that reached it.

    Args:
        model: the model.
        neurons: which.
        passages: the tokens (`make_passages`).
        pairs: how many to select for each neuron.
        neighbours: how many of the nearest inputs of each token count as near.
        nearest: share of all such pairs that is kept, the nearest ones.
        progress: called as progress(done, total, what).

    Memory: 4 bytes per token and dimension of a layer's inputs, of as many layers as fit 1 GiB.

    Raises:
        SelectionError: neurons of another layout.
        StatisticsError: inputs or pre-activations that are not finite.
    """
    neurons.check(model)
    frame = passages.tokens
    forms = np.array([name.strip().casefold() for name in frame["name"]], object)
    frequency = _bin(frame["frequency"].to_numpy())
    place = _bin(frame["place"].to_numpy() + 1)
    about: list[dict[str, Any]] = []
    parts: list[pd.DataFrame] = []
    notes: list[str] = []
    blind = [site for site in model.sites if not site.experts and site.projection is None]
    for site in blind:
        if len(neurons.at(site.path)):
            notes.append(
                f"layer {site.layer} ({site.path}): no projection to read inputs from, so no pairs of its neurons"
            )
    wanted = {path: flat for path, flat in neurons.indices.items() if path not in {site.path for site in blind}}
    read = readings(
        model, batches_of(passages.windows), wanted, inputs=True, progress=progress, what="reading near inputs"
    )
    for reading in read:
        assert reading.inputs is not None
        near = near_pairs(reading.inputs, neighbours).nearest(nearest)
        first, second = reading.positions[near.first], reading.positions[near.second]
        overlap = _overlaps(forms, first, second)
        stratum = _strata(frequency, place, overlap, first, second)
        matcher = Matcher(near, stratum)
        for column in range(len(reading.neurons)):
            a = reading.values[:, column].astype(np.float64)
            selected = furthest(a, near, pairs)
            matched = matcher.match(selected)
            found = matched >= 0
            facts = _keys(reading, column)
            about.append({**facts, **_facts(a, near.first, near.second), "points": near.points,
                          "selected": len(selected), "matched": int(found.sum())})  # fmt: skip
            ranks = np.arange(1, len(selected) + 1)
            for kind, chosen, rank in (("selected", selected, ranks), ("matched", matched[found], ranks[found])):
                parts.append(
                    pd.DataFrame(
                        {
                            "name": facts["name"],
                            "kind": kind,
                            "rank": rank,
                            "first": first[chosen],
                            "second": second[chosen],
                            "a_first": a[near.first[chosen]],
                            "a_second": a[near.second[chosen]],
                            "distance": near.distance[chosen],
                            "overlap": np.array(_OVERLAPS)[overlap[chosen]],
                        }
                    )
                )
    # A frame without rows to begin with, so that the columns are there whatever was found.
    none = pd.DataFrame({name: pd.Series(dtype=object) for name in PAIRS})
    joined = pd.concat(parts, ignore_index=True) if parts else none
    return Differentiation(pd.DataFrame(about), joined[list(PAIRS)], tuple(notes))


_OVERLAPS = ("none", "part", "same")


def _keys(reading: Reading, column: int) -> dict[str, Any]:
    site, neuron = reading.site, int(reading.neurons[column])
    keys = {"layer": site.layer, "branch": site.branch, "expert": reading.expert, "neuron": neuron}
    return {"name": neuron_name(site.layer, site.branch, reading.expert, neuron), **keys}


def _facts(a: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]) -> dict[str, Any]:
    """A neuron's values over the tokens, and the signs of all its near pairs."""
    below = (a[first] < 0).astype(int) + (a[second] < 0)
    shares = [float(np.mean(below == signs)) if len(below) else float("nan") for signs in (2, 1, 0)]
    return {
        "tokens": len(a),
        "mean": float(a.mean()) if len(a) else float("nan"),
        "std": float(a.std()) if len(a) else float("nan"),
        "fraction_negative": float(np.mean(a < 0)) if len(a) else float("nan"),
        "near_pairs": len(first),
        **dict(zip(("near_nn", "near_pn", "near_pp"), shares, strict=True)),
    }


def _bin(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Powers of four: 1 to 3 is bin 0, 4 to 15 bin 1, and so on; 0 counts as 1."""
    return (np.frexp(np.maximum(counts, 1))[1] - 1).astype(np.int64) // 2


def _overlaps(forms: NDArray[Any], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index in `_OVERLAPS` for each pair of tokens."""
    known: dict[tuple[str, str], int] = {}
    found = np.empty(len(first), np.int64)
    for at, pair in enumerate(zip(forms[first].tolist(), forms[second].tolist(), strict=True)):
        if pair not in known:
            one, two = pair
            common = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one, two, strict=False)))
            known[pair] = 2 if one == two else int(common >= _STEM * max(len(one), len(two)))
        found[at] = known[pair]
    return found


def _strata(
    frequency: NDArray[np.int64],
    place: NDArray[np.int64],
    overlap: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.int64]:
    """One number for each combination of bins: both frequencies, both places (in either order), overlap."""
    made = overlap.copy()
    for bins in (frequency, place):
        low, high = np.minimum(bins[first], bins[second]), np.maximum(bins[first], bins[second])
        size = int(bins.max(initial=0)) + 1
        made = (made * size + low) * size + high
    return made

"""Control sets by count: random neurons, and low-scoring ones, as many in each site as another set has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negspace.errors import SelectionError
from negspace.neurons.neuronset import NeuronSet, check_neurons
from negspace.neurons.scan import Scan, check_scan
from negspace.neurons.select import ranked

TOGETHER = -1
"""Stands for all layers where they grow together, as -1 does for a change at the end of the stack."""


def random_sets(scan: Scan, p: float | None, seeds: Sequence[int], like: NeuronSet | None = None) -> list[NeuronSet]:
    """Random sets, one a seed: a share p of each layer, or (p=None) as many neurons in each layer as another set has.

    Raises:
        SelectionError: no seeds, a seed twice, p out of range, or both or neither of p and like.
    """
    if not isinstance(seeds, Iterable):
        raise SelectionError(f"random sets with seeds={seeds!r}", "no list of seeds", f"give a list: [{seeds!r}]")
    seeds = list(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise SelectionError(f"random sets with the seeds {seeds}", "no seed, or one twice", "give distinct seeds")
    check_scan(scan, "random sets")
    return [scan.random(p, seed=seed, like=like) for seed in seeds]


def bottom_like(scan: Scan, like: NeuronSet, by: str = "wd") -> NeuronSet:
    """The lowest-scoring neurons, as many at every site as another set has there, and none of that set.

    Args:
        by: the score of the scan that says which neurons are low; ties go to the lower index, neurons without a score
            and those of experts that hardly a token reached are never chosen.

    Raises:
        SelectionError: another layout, an unknown score, or too few neurons with a score.
    """
    indices = {}
    for path, order in orders(scan, by, exclude=like).items():
        wanted = len(like.at(path))
        if wanted > len(order):
            raise SelectionError(
                f"{wanted:,} low-scoring neurons of {path}",
                f"only {len(order):,} with a score that are not in ({like.origin})",
                "take a smaller set",
            )
        indices[path] = order[:wanted]
    return NeuronSet(indices, scan.info.layout, f"bottom by {by}, as many as in ({like.origin})")


def orders(
    scan: Scan, by: str | None = "wd", *, exclude: NeuronSet | None = None, seed: int = 0
) -> dict[str, NDArray[np.int64]]:
    """For every site, its neurons in the order in which a growing control takes them.

    Args:
        by: a score of the scan, the lowest first, without neurons that have none and those of experts that hardly a
            token reached; None: in random order.
        exclude: neurons that are left out.
        seed: of the random order.

    Raises:
        SelectionError: `exclude` is of another layout, or the score is unknown.
    """
    layout = check_scan(scan, "a control set").info.layout
    if exclude is not None and check_neurons(exclude, "a control set").layout != layout:
        raise SelectionError(
            f"a control for '{exclude.origin}'",
            f"that set is of {exclude.layout}; this scan is of {layout}",
            "take both from one model",
        )
    made: dict[str, NDArray[np.int64]] = {}
    if by is not None:
        scan.bottom(0, by=by)  # refuses a score that there is not
    column = None if by is None else ranked(scan.table, layout, by)
    for position, (path, rows) in enumerate(layout.rows.items()):
        if column is None:
            order = np.random.default_rng([int(seed), position]).permutation(layout.sizes[path])
        else:
            scores = column[rows]
            order = np.argsort(scores, kind="stable")  # NaN comes last
            order = order[: int(np.count_nonzero(~np.isnan(scores)))]
        if exclude is not None:
            order = order[~np.isin(order, exclude.at(path))]
        made[path] = order.astype(np.int64)
    return made


@dataclass(frozen=True, eq=False)
class Growth:
    """Nested sets: in each group of sites the first k neurons of a fixed order, k free for every group.

    Within a group every site has the same share of its neurons taken, up to one neuron.
    """

    group: Mapping[int, tuple[NDArray[np.int64], NDArray[np.int64]]]
    """Group (a layer, or `TOGETHER`) -> place of the site in the layout and flat index, of each neuron in order."""
    scan: Scan
    """Whose neurons they are."""
    what: str
    """Name of the sets: "bottom by wd"."""

    @property
    def sizes(self) -> dict[int, int]:
        """Neurons that each group can give."""
        return {group: len(places) for group, (places, _) in self.group.items()}

    def take(self, counts: Mapping[int, int]) -> NeuronSet:
        """The set with so many neurons of each group."""
        layout = self.scan.info.layout
        chosen: dict[str, list[NDArray[np.int64]]] = {}
        for group, count in counts.items():
            places, indices = self.group[group]
            for place in np.unique(places[:count]):
                here = indices[:count][places[:count] == place]
                chosen.setdefault(layout.sites[place].path, []).append(here)
        size = ", ".join(f"{count}" for count in counts.values())
        by_layer = "" if TOGETHER in counts else " by layer"
        return NeuronSet(
            {path: np.concatenate(parts) for path, parts in chosen.items()}, layout, f"{self.what}: {size}{by_layer}"
        )


def growth(
    scan: Scan,
    by: str | None = "wd",
    *,
    exclude: NeuronSet | None = None,
    seed: int = 0,
    layers: Iterable[int] | None = None,
    together: bool = False,
) -> Growth:
    """Nested control sets that grow layer by layer, each at its own pace, or all at the same.

    Args:
        by, exclude, seed: as for `orders`.
        layers: only these; None for all.
        together: one group of all layers instead of one a layer.

    Raises:
        SelectionError: as `orders`; or no such layer.
    """
    layout = check_scan(scan, "a control set").info.layout
    wanted = layout.within(layers)
    order = orders(scan, by, exclude=exclude, seed=seed)
    parts: dict[int, list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]]] = {}
    for place, site in enumerate(layout):
        if site not in wanted:
            continue
        here = order[site.path]
        # A neuron's turn is its rank as a share of its site, so that sites of unlike width grow alike.
        turn = (np.arange(len(here)) + 0.5) / max(1, len(here))
        parts.setdefault(TOGETHER if together else site.layer, []).append((turn, np.full(len(here), place), here))
    groups = {}
    for group, members in parts.items():
        turns, places, indices = (np.concatenate(column) for column in zip(*members, strict=True))
        sorting = np.argsort(turns, kind="stable")
        groups[group] = (places[sorting], indices[sorting])
    return Growth(groups, scan, "random" if by is None else f"bottom by {by}")

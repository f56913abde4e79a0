"""The nesting of items, and the level that an interval rests on.

A minimal pair belongs to a paradigm and a paradigm to a phenomenon, an item to a task, a window of text to a document.
Pairs of one paradigm share their template, paradigms of one phenomenon the grammar behind them, so that neither are
independent. Intervals rest on the highest level that has enough units: what is found then holds for other units of that
level, not for these alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from negspace.wording import counted

ENOUGH: Mapping[str, int] = {
    "phenomena": 5,
    "families": 5,
    "paradigms": 5,
    "constructions": 5,
    "tasks": 3,
    "documents": 8,
    "windows": 8,
    "pairs": 8,
    "items": 8,
}
"""Level -> how many units carry an interval. Chosen by judgement: with fewer, the t interval is too wide to decide
anything, or covers too little where units differ in size or in how they vary. The calibration runs with these."""
_SINGULAR = {
    "phenomena": "phenomenon",
    "families": "family",
}


@dataclass(frozen=True)
class Shortfall:
    """Why nothing can be judged, and what would mend it."""

    found: str
    """What was found."""
    add: str
    """What to add."""

    def __str__(self) -> str:
        return f"{self.found}; {self.add}"


@dataclass(frozen=True, eq=False)
class Level:
    """The units that an interval rests on."""

    name: str
    """Their name in the plural: phenomena, paradigms, pairs, tasks, windows, ..."""
    count: int
    """Their number."""
    unit: NDArray[np.intp] | None
    """[groups] the unit that each group belongs to; None where the items of each group are the units."""
    scope: str
    """Scope of the result, if limited to these units of a level above: "these 3 families"; else empty."""


@dataclass(frozen=True, eq=False)
class Nesting:
    """Items in groups, groups in clusters. Made by `Nesting.pairs`, `constructions`, `tasks` or `windows`.

    A mean over items is the mean over groups of the groups' means, so that large groups weigh no more than small ones,
    unless `weights` says otherwise.
    """

    names: tuple[str | None, str, str | None]
    """Plural names of clusters (None: there are none), groups and items (None: a group is a single item)."""
    group: NDArray[np.intp]
    """[items] number of each item's group."""
    labels: tuple[str, ...]
    """[groups] names of the groups, sorted."""
    cluster: NDArray[np.intp]
    """[groups] number of each group's cluster; zeros without clusters."""
    cluster_labels: tuple[str, ...]
    """[clusters] names of the clusters, sorted; empty without clusters."""
    weights: NDArray[np.float64]
    """[groups] weight of each group's mean, summing to 1."""

    @classmethod
    def pairs(cls, paradigm: ArrayLike, phenomenon: ArrayLike) -> Nesting:
        """Minimal pairs in paradigms in phenomena (BLiMP).

        Args:
            paradigm: [pairs] paradigm of each pair that is counted (leave identical pairs out of everything).
            phenomenon: [pairs] its phenomenon.

        Raises:
            ValueError: lengths differ, there are no pairs, or a paradigm lies in two phenomena.
        """
        return _nest(("phenomena", "paradigms", "pairs"), paradigm, phenomenon)

    @classmethod
    def constructions(cls, construction: ArrayLike, family: ArrayLike) -> Nesting:
        """Minimal pairs in constructions in families (TSE). Args and errors as for `pairs`."""
        return _nest(("families", "constructions", "pairs"), construction, family)

    @classmethod
    def tasks(cls, task: ArrayLike) -> Nesting:
        """Items in tasks.

        Args:
            task: [items] task of each item.

        Raises:
            ValueError: there are no items.
        """
        return _nest((None, "tasks", "items"), task, None)

    @classmethod
    def windows(cls, count: int, document: ArrayLike | None = None) -> Nesting:
        """Windows of running text, all of equally many tokens, in documents where these are known.

        Args:
            count: how many windows.
            document: [windows] the document of each.

        Raises:
            ValueError: there are no windows, or not one document a window.
        """
        names = ("documents", "windows", None) if document is not None else (None, "windows", None)
        return _nest(names, np.arange(count), document)

    @classmethod
    def tokens(cls, window: ArrayLike) -> Nesting:
        """Tokens in windows of running text, each token weighing the same.

        Args:
            window: [tokens] the window of each.

        Raises:
            ValueError: there are no tokens.
        """
        return _nest((None, "windows", "tokens"), window, None).pooled()

    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        """[groups] items in each."""
        return np.bincount(self.group, minlength=len(self.labels))

    def pooled(self) -> Nesting:
        """The same items, each weighing the same whatever its group (how Marvin and Linzen's authors average)."""
        return Nesting(
            self.names,
            self.group,
            self.labels,
            self.cluster,
            self.cluster_labels,
            self.sizes / self.sizes.sum(),
        )

    def only(self, groups: NDArray[np.bool_]) -> tuple[Nesting, NDArray[np.bool_]]:
        """The nesting of some groups, and which items [items] are theirs; weights keep their proportions.

        Args:
            groups: [groups] True for those to keep, at least one.
        """
        items = groups[self.group]
        renumbered = np.cumsum(groups) - 1
        clusters, cluster = np.unique(self.cluster[groups], return_inverse=True)
        labels = tuple(label for label, keep in zip(self.labels, groups, strict=True) if keep)
        kept = self.weights[groups]
        return (
            Nesting(
                self.names,
                renumbered[self.group[items]],
                labels,
                cluster,
                tuple(self.cluster_labels[k] for k in clusters) if self.cluster_labels else (),
                kept / kept.sum(),
            ),
            items,
        )

    def level(self, *, within: bool = False) -> Level | Shortfall:
        """The highest level with enough units (`ENOUGH`).

        With too few clusters, but two at least, the groups are the units and the result holds for these clusters (TSE
        has three families of constructions). A single phenomenon says nothing of grammar, and two tasks nothing of
        abilities: a `Shortfall`.

        Args:
            within: judge these very clusters and groups, however few: a row of a table by phenomenon, say, or a single
                task. The highest level with enough units below them is taken, and `scope` names what it holds for.
        """
        clusters, groups, items = self.names
        n_clusters, n_groups = len(self.cluster_labels), len(self.labels)
        if clusters and n_clusters >= ENOUGH[clusters]:
            return Level(clusters, n_clusters, self.cluster, "")
        few = number_of(n_clusters, clusters) if clusters else ""
        if clusters and n_clusters < 2 and clusters != "documents" and not within:
            return Shortfall(
                f"{few} with {number_of(n_groups, groups)} cannot stand for more than itself",
                f"add {groups} of {ENOUGH[clusters] - n_clusters} more {clusters}",
            )
        if n_groups >= ENOUGH[groups]:
            return Level(groups, n_groups, np.arange(n_groups), _these(n_clusters, clusters) if clusters else "")
        if within and items and self.sizes.min() > 1 and self.group.size >= ENOUGH[items]:
            return Level(items, int(self.group.size), None, _these(n_groups, groups))
        need = f"add {groups}: {ENOUGH[groups]} are needed"
        if clusters:
            need = f"add {groups}: {ENOUGH[groups]} are needed, better of {ENOUGH[clusters]} {clusters}"
        if within and items:
            need = f"add {items}: {ENOUGH[items]} are needed, and 2 in each of the {groups}"
        return Shortfall(f"only {number_of(n_groups, groups)}", need)


def _nest(names: tuple[str | None, str, str | None], group: ArrayLike, cluster: ArrayLike | None) -> Nesting:
    groups = np.asarray(group)
    if groups.ndim != 1 or groups.size == 0:
        raise ValueError(f"need at least one item, got groups of shape {groups.shape}")
    labels, first, number = np.unique(groups, return_index=True, return_inverse=True)
    weights = np.full(labels.size, 1 / labels.size)
    named = tuple(str(label) for label in labels)
    if cluster is None:
        return Nesting(names, number, named, np.zeros(labels.size, np.intp), (), weights)
    clusters = np.asarray(cluster)
    if clusters.shape != groups.shape:
        raise ValueError(f"need one of the {names[0]} an item, got {clusters.shape} for {groups.shape}")
    kinds, each = np.unique(clusters, return_inverse=True)
    of = each[first]
    if (each != of[number]).any():
        twice = named[int(number[np.argmax(each != of[number])])]
        raise ValueError(f"{twice} lies in more than one of the {names[0]}")
    return Nesting(names, number, named, of, tuple(str(kind) for kind in kinds), weights)


def number_of(n: int, plural: str) -> str:
    """A number of units: "1 phenomenon", "12 phenomena"."""
    return counted(n, _SINGULAR.get(plural, plural[:-1]), plural)


def _these(n: int, plural: str) -> str:
    return f"these {n} {plural}" if n != 1 else f"this {_SINGULAR.get(plural, plural[:-1])}"

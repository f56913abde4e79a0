"""A set of neurons: a value that knows the layout of the model it was chosen from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from negspace.errors import SelectionError
from negspace.files import write_whole
from negspace.given import checked, named
from negspace.models.model import Model, check_model
from negspace.models.site import Site
from negspace.neurons.layout import Layout, in_ranges
from negspace.neurons.sharing import Shareable

FORMAT = "negspace-neurons/1"

_NONE = np.empty(0, np.int64)
_NONE.flags.writeable = False


@dataclass(frozen=True, eq=False)
class NeuronSet(Shareable):
    """A set of neurons of one model layout. Equal sets have equal neurons and layouts, whatever their origin."""

    FILE: ClassVar[str] = "neurons.json"

    indices: Mapping[str, NDArray[np.int64]]
    """Path of a site -> its neurons, sorted, as flat indices (expert * width + index); sites without any are absent."""
    layout: Layout
    """Sites of the model."""
    origin: str = "given"
    """How the set was chosen, in words."""

    def __post_init__(self) -> None:
        sizes = self.layout.sizes
        kept: dict[str, NDArray[np.int64]] = {}
        unknown = [path for path in self.indices if path not in sizes]
        if unknown:
            raise SelectionError(
                f"neurons of {unknown[0]}", f"no such site in {self.layout}", "take the path of a site"
            )
        for path, size in sizes.items():  # in the order of the layout
            chosen = _numbers(self.indices.get(path, ()), f"neurons of {path}", "neuron")
            if len(chosen) and (chosen[0] < 0 or chosen[-1] >= size):
                wrong = int(chosen[0] if chosen[0] < 0 else chosen[-1])
                raise SelectionError(
                    f"neuron {wrong} of {path}", f"a site of {size:,} neurons", f"give indices from 0 to {size - 1}"
                )
            if len(chosen):
                chosen.flags.writeable = False
                kept[path] = chosen
        object.__setattr__(self, "indices", MappingProxyType(kept))

    @classmethod
    def from_indices(cls, model: Model, neurons: Mapping[int, Iterable[Any]], origin: str = "given") -> NeuronSet:
        """Set of given neurons.

        Args:
            model: the model they belong to.
            neurons: layer -> neurons: an index each; for a mixture of experts (expert, index), and ("shared", index)
                for the MLP that every token passes; of a layer with two, ("second", index) for the second.
            origin: how they were chosen, in words.

        Raises:
            ModelError: not a model.
            SelectionError: no such layer, expert or neuron, or no mapping of layers.
        """
        layout = Layout.of(check_model(model, "neurons").sites)
        if not isinstance(neurons, Mapping):
            todo = "give them by layer: {0: [1, 2]}"
            raise SelectionError(f"neurons of {model.source.name}", f"{named(neurons)} without layers", todo)
        by_layer: dict[int, list[Site]] = {}
        for site in model.sites:
            by_layer.setdefault(site.layer, []).append(site)
        indices: dict[str, list[int]] = {}
        for layer, chosen in neurons.items():
            if layer not in by_layer:
                raise SelectionError(f"neurons of layer {layer!r}", str(layout), "give layers of this model")
            if not isinstance(chosen, Iterable):
                raise SelectionError(
                    f"neurons of layer {layer}", f"{chosen!r}, no list of neurons", f"give them in a list: [{chosen!r}]"
                )
            for neuron in chosen:
                site, flat = _resolve(by_layer[layer], layer, neuron)
                indices.setdefault(site.path, []).append(flat)
        return cls({path: np.array(flat, np.int64) for path, flat in indices.items()}, layout, origin)

    @classmethod
    def from_rows(cls, rows: NDArray[np.integer[Any]], layout: Layout, origin: str = "given") -> NeuronSet:
        """Set of the neurons in some rows of a scan's table.

        Raises:
            SelectionError: there is no such row, or the rows are no whole numbers (a mask, say).
        """
        wanted = _numbers(rows, "rows of a scan", "row")
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= layout.neurons):
            wrong = int(wanted[0] if wanted[0] < 0 else wanted[-1])
            found = f"a scan of {layout.neurons:,} neurons"
            raise SelectionError(f"row {wrong} of a scan", found, f"give rows from 0 to {layout.neurons - 1}")
        indices = {}
        for path, own in layout.rows.items():
            first, last = np.searchsorted(wanted, (own.start, own.stop))
            indices[path] = wanted[first:last] - own.start
        return cls(indices, layout, origin)

    def __reduce__(self) -> tuple[Any, ...]:
        # The read-only view of the indices cannot be pickled, and a set must travel to the workers of a cluster.
        return NeuronSet, (dict(self.indices), self.layout, self.origin)

    def __len__(self) -> int:
        return sum(map(len, self.indices.values()))

    def at(self, path: str) -> NDArray[np.int64]:
        """The neurons at a site, sorted, as flat indices; none where the set has none there."""
        return self.indices.get(path, _NONE)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the neurons in the table of a scan, in order."""
        parts = [own.start + self.at(path) for path, own in self.layout.rows.items()]
        return np.concatenate(parts) if parts else _NONE

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[neurons of the model] whether each row of a scan's table is in the set."""
        inside = np.zeros(self.layout.neurons, bool)
        inside[self.rows] = True
        return inside

    def count(self) -> dict[int, int]:
        """Number of neurons by layer, for the layers that have any."""
        counts: dict[int, int] = {}
        for site in self.layout:
            if site.path in self.indices:
                counts[site.layer] = counts.get(site.layer, 0) + len(self.indices[site.path])
        return counts

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that have neurons in the set, in order."""
        return tuple(sorted(self.count()))

    def restrict(self, layers: Iterable[int]) -> NeuronSet:
        """The part in some layers.

        Raises:
            SelectionError: no such layer.
        """
        wanted = self.layout.check(layers)
        kept = {site.path: self.at(site.path) for site in self.layout.within(wanted)}
        return NeuronSet(kept, self.layout, f"{self.origin}, layers {in_ranges(wanted)}")

    def __or__(self, other: NeuronSet) -> NeuronSet:
        return self._combine(other, np.union1d, "|")

    def __and__(self, other: NeuronSet) -> NeuronSet:
        return self._combine(other, np.intersect1d, "&")

    def __sub__(self, other: NeuronSet) -> NeuronSet:
        return self._combine(other, np.setdiff1d, "-")

    def _combine(self, other: NeuronSet, operation: Any, sign: str) -> NeuronSet:
        if not isinstance(other, NeuronSet):
            return NotImplemented
        if self.layout != other.layout:
            raise SelectionError(
                f"combine two sets of neurons ({self.origin} {sign} {other.origin})",
                f"one is of {self.layout}, the other of {other.layout}",
                "combine sets of one model",
            )
        combined = {path: operation(self.at(path), other.at(path)) for path in self.layout.sizes}
        return NeuronSet(combined, self.layout, f"({self.origin}) {sign} ({other.origin})")

    @cached_property
    def key(self) -> str:
        """sha256 (hex) of layout and neurons; the origin does not enter."""
        content = {
            "layout": self.layout.to_rows(),
            "neurons": {path: chosen.tolist() for path, chosen in self.indices.items()},
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NeuronSet) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"NeuronSet({len(self):,} neurons in {len(self.layers)} layers: {self.origin})"

    def check(self, model: Model) -> None:
        """Refuse a model with other sites.

        Raises:
            ModelError: not a model.
            SelectionError: the model's layout is not the set's.
        """
        layout = Layout.of(check_model(model, f"the neurons '{self.origin}'").sites)
        if layout != self.layout:
            raise SelectionError(
                f"the set '{self.origin}' on {model.source.name}",
                f"the set is of {self.layout}; this model has {layout}",
                "scan this model and choose from that scan",
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the set as JSON, whole or not at all.

        Raises:
            RecordError: the file cannot be written.
        """
        content = {
            "format": FORMAT,
            "origin": self.origin,
            "layout": self.layout.to_rows(),
            "neurons": {site: chosen.tolist() for site, chosen in self.indices.items()},
            "key": self.key,
        }
        return write_whole(Path(path), (json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NeuronSet:
        """Read a set that `save` wrote.

        Raises:
            SelectionError: there is no such file, or it is not a whole set.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise SelectionError(
                f"the set of neurons in {path}", f"{error.strerror or error}", "give a file that NeuronSet.save wrote"
            ) from error
        except ValueError as error:
            raise _not_a_set(path, f"not JSON ({error})") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else None
            raise _not_a_set(path, f"format {found!r} where {FORMAT!r} was expected")
        try:
            layout = Layout.from_rows(content["layout"])
            indices = {str(p): _whole(chosen) for p, chosen in content["neurons"].items()}
            made = cls(indices, layout, str(content["origin"]))
            key = content["key"]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _not_a_set(path, f"content that is malformed ({type(error).__name__}: {error})") from error
        if key != made.key:
            raise _not_a_set(path, "content that does not match its own key: it was changed or cut off")
        return made

    def _card(self) -> tuple[str, dict[str, str]]:
        return f"A set of {len(self):,} MLP neurons.", {
            "chosen as": self.origin,
            "of": str(self.layout),
            "layers": in_ranges(self.layers),
            "key": self.key,
        }


def check_neurons(given: Any, what: str) -> NeuronSet:
    """What was given, if it is a set of neurons.

    Args:
        what: what it is needed for.

    Raises:
        SelectionError: it is something else.
    """
    return checked(given, NeuronSet, SelectionError, what, "pass a set of neurons, such as scan.top(0.01)")


def _resolve(sites: Sequence[Site], layer: int, neuron: Any) -> tuple[Site, int]:
    """Site and flat index of a neuron as a user names it."""
    asked = f"neuron {neuron!r} of layer {layer}"
    branches = {site.branch: site for site in sites}
    pair = isinstance(neuron, tuple | list) and len(neuron) == 2
    expert, index = neuron if pair else (None, neuron)
    if isinstance(index, bool | np.bool_) or not isinstance(index, int | np.integer):
        todo = 'give an integer, (expert, index), ("shared", index) or ("second", index)'
        raise SelectionError(asked, "not an index", todo)
    if expert is None:
        if "mlp" not in branches:
            raise SelectionError(asked, "a layer of experts", 'give (expert, index) or ("shared", index)')
        site, base = branches["mlp"], 0
    elif isinstance(expert, str):
        if expert not in ("shared", "second") or expert not in branches:
            raise SelectionError(asked, f"no such branch; this layer has {', '.join(branches)}", "name one it has")
        site, base = branches[expert], 0
    else:
        if "experts" not in branches:
            raise SelectionError(asked, "a layer without experts", "give a plain index")
        site = branches["experts"]
        if not isinstance(expert, int | np.integer) or not 0 <= expert < site.experts:
            raise SelectionError(asked, f"experts 0 to {site.experts - 1}", "give one of them")
        base = int(expert) * site.width
    if not 0 <= index < site.width:
        raise SelectionError(asked, f"neurons 0 to {site.width - 1}", "give an index of this layer")
    return site, base + int(index)


def _numbers(given: Any, asked: str, what: str) -> NDArray[np.int64]:
    """Whole numbers, sorted and once each. A mask is refused: cast to integers, it would name neurons 0 and 1."""
    array = np.asarray(given)
    if array.size and array.dtype.kind not in "iu":
        raise SelectionError(asked, f"an array of {array.dtype}", f"give {what} numbers: np.flatnonzero(mask)")
    return np.unique(array.astype(np.int64, copy=False))


def _whole(values: Any) -> NDArray[np.int64]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError("neurons must be lists of integers")
    return np.array(values, dtype=np.int64)


def _not_a_set(path: str | os.PathLike[str], found: str) -> SelectionError:
    return SelectionError(f"the set of neurons in {path}", found, "give a file that NeuronSet.save wrote")

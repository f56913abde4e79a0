"""The layout of a model: its sites in order, and the rows of each one's neurons in the table of a scan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from negspace.errors import SelectionError
from negspace.models.site import Site

Row = tuple[str, int, int, int]
"""A site as files have it: path, layer, experts, width."""


@dataclass(frozen=True, slots=True)
class LayoutSite:
    """The properties of a site that a set of neurons needs."""

    path: str
    """Dotted path of the site in the model."""
    layer: int
    """Decoder layer, counted from 0."""
    experts: int
    """Number of routed experts; 0 for a dense MLP."""
    width: int
    """Neurons; in a mixture of experts, neurons per expert."""

    @property
    def size(self) -> int:
        """Neurons of the site over all experts; the flat index of a neuron is `expert * width + index`."""
        return max(1, self.experts) * self.width


@dataclass(frozen=True)
class Layout:
    """The sites of a model in order. In JSON a list of rows (path, layer, experts, width).

    Raises:
        ValueError: two sites of one path, or a number below zero.
    """

    sites: tuple[LayoutSite, ...]
    """The sites, as a forward pass meets them; the rows of a scan follow them."""

    def __post_init__(self) -> None:
        if len({site.path for site in self.sites}) < len(self.sites):
            raise ValueError("a layout has each site once")
        if any(min(site.layer, site.experts, site.width) < 0 for site in self.sites):
            raise ValueError("layer, experts and width of a site are 0 or more")

    @classmethod
    def of(cls, sites: Iterable[Site]) -> Layout:
        """Layout of a model's sites."""
        return cls(tuple(LayoutSite(site.path, site.layer, site.experts, site.width) for site in sites))

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]]) -> Layout:
        """Layout from the rows that `to_rows` gives, or from those of a file.

        Raises:
            TypeError, ValueError: they are no such rows.
        """
        return cls(tuple(LayoutSite(str(p), int(layer), int(e), int(w)) for p, layer, e, w in rows))

    def to_rows(self) -> list[Row]:
        """Path, layer, experts and width of each site; what enters files and keys."""
        return [astuple(site) for site in self.sites]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        rows = core_schema.no_info_after_validator_function(cls.from_rows, handler.generate_schema(list[Row]))
        return core_schema.json_or_python_schema(
            json_schema=rows,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), rows]),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_rows),
        )

    def __iter__(self) -> Iterator[LayoutSite]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Path -> neurons of the site, over all experts."""
        return {site.path: site.size for site in self.sites}

    @cached_property
    def rows(self) -> dict[str, slice]:
        """Path -> rows of the site's neurons in the table of a scan; a neuron's flat index counts from their start."""
        found, begin = {}, 0
        for site in self.sites:
            found[site.path] = slice(begin, begin + site.size)
            begin += site.size
        return found

    @property
    def neurons(self) -> int:
        """Neurons of the model."""
        return sum(self.sizes.values())

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that have a site, in order."""
        return tuple(sorted({site.layer for site in self.sites}))

    def within(self, layers: Iterable[int] | None) -> tuple[LayoutSite, ...]:
        """The sites of some layers; of all for None.

        Raises:
            SelectionError: no such layer, or a number was given instead of several.
        """
        wanted = None if layers is None else self.check(layers)
        return tuple(site for site in self.sites if wanted is None or site.layer in wanted)

    def check(self, layers: Iterable[int]) -> frozenset[int]:
        """The layers as a set.

        Raises:
            SelectionError: no such layer, a layer that is no number, or a number was given instead of several.
        """
        if not isinstance(layers, Iterable):
            raise SelectionError(f"layers={layers!r}", "no list of layers", f"give them in a list: layers=[{layers!r}]")
        asked = list(layers)
        for layer in asked:
            if isinstance(layer, bool) or not isinstance(layer, Integral):
                found = f"{layer!r}, not the number of a layer"
                raise SelectionError(f"layers={asked}", found, "give numbers: layers=[0, 1]")
        wanted = frozenset(asked)
        unknown = sorted(wanted - set(self.layers))
        if unknown:
            raise SelectionError(
                f"layers {in_ranges(wanted)}", f"no layer {unknown[0]} in {self}", "give layers of this model"
            )
        return wanted

    def __str__(self) -> str:
        """The layout in words, for messages."""
        if not self.sites:
            return "a model without sites"
        kinds = sorted({(site.experts, site.width) for site in self.sites})
        words = [f"{e} experts of {width:,} neurons" if e else f"{width:,} neurons" for e, width in kinds]
        several = f"{' and '.join(words[:3])}{', ...' if len(words) > 3 else ''}"
        return f"{len(self.layers)} layers ({several}; first site {self.sites[0].path})"


def in_ranges(layers: Iterable[int]) -> str:
    """Layers in words: 0-3, 7."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "none"

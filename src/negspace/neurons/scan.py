"""The scan: statistics of every neuron of a model on a text, and the sets that can be chosen from them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from negspace.errors import NegspaceError, RecordError, SelectionError, StatisticsError
from negspace.files import write_whole
from negspace.given import check_count, checked
from negspace.memory import give_back
from negspace.models.behaviour import behaviour
from negspace.models.model import Model, ModelSource, check_model
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet, check_neurons
from negspace.neurons.shares import Share
from negspace.neurons.sharing import Shareable
from negspace.stats.collect import Progress
from negspace.stats.histogram import Histogram, Histograms
from negspace.stats.measure import measure
from negspace.stats.parts import Part
from negspace.text.source import Source, Text, read_text
from negspace.text.windows import Bos, Windows, check_windows, make_windows

FORMAT = "negspace-scan/1"


class ScanInfo(BaseModel):
    """The inputs and settings of a scan."""

    model_config = ConfigDict(frozen=True)

    model: ModelSource
    """Origin of the model."""
    fingerprint: str
    """Fingerprint of the model."""
    behaviour: tuple[float, ...] = ()
    """Its logits on fixed tokens, which tell a model that was changed in a way that no fingerprint knows of; empty in a
    scan that an earlier version wrote."""
    layout: Layout
    """Its sites in order; the table's rows follow them."""
    text: str
    """Name of the text."""
    text_hash: str
    """sha256 of the text."""
    windows_hash: str
    """sha256 of the windows' token ids."""
    window: int
    """Tokens of a window."""
    stride: int
    """Tokens from the start of one window to the start of the next."""
    windows: int
    """Number of windows."""
    tokens: int
    """Tokens that were counted."""
    special: int
    """Tokens that were run but left out: BOS, EOS, padding, the tokenizer's other special tokens."""
    bos: str
    """Policy of BOS: "auto" or "always"."""
    md_pairs: int
    """Token pairs of the mapping difficulty."""
    seed: int
    """Seed of the draw of these pairs."""
    method: Literal["sketch", "exact"]
    """Method for WD: from sketches, or in closed form from all activations."""
    regridded: int
    """Neurons that were sketched on a second pass, since the first windows misjudged their range."""
    halves: tuple[int, int] | None = None
    """Counted tokens of the text's first and second half; None where it was not halved: a single window, or an
    earlier development version's scan."""
    versions: dict[str, str]
    """Versions of the software that computed it."""


@dataclass(frozen=True, eq=False)
class Scan(Shareable):
    """Statistics of every neuron, and choices from them."""

    FILE: ClassVar[str] = "scan.parquet"

    table: pd.DataFrame
    """One row per neuron: layer, branch, expert (-1 if dense), neuron, wd, wd_error, md, negative_share, mean, std,
    skewness, kurtosis (excess), bimodality, fraction_negative, mean_negative, tokens, and WD over the text's first and
    second half: wd_first, wd_second (NaN where it was not halved)."""
    info: ScanInfo
    """Inputs and settings."""
    warnings: tuple[str, ...] = ()
    """Notes for the reader, such as neurons that never vary; one sentence each."""
    histograms: Histograms | None = None
    """Distributions of the top 1% of each layer by WD and of equally many neurons at the median, at most 4,096 in all;
    of all neurons in a model with up to 5,000. None in a scan from an earlier version."""

    def histogram(self, layer: int, neuron: int, expert: int = -1, branch: str | None = None) -> Histogram:
        """Distribution of a neuron's pre-activation, where the scan keeps it: see `histograms`.

        Args:
            layer, neuron: as in the table.
            expert: of a mixture of experts; -1 outside routed experts.
            branch: "mlp", "experts", "shared" or "second", where a layer has several neurons of these numbers.

        Raises:
            StatisticsError: the model has no such neuron, or the scan does not keep its distribution.
        """
        t = self.table
        here = (t["layer"] == layer) & (t["expert"] == expert) & (t["neuron"] == neuron)
        rows = np.flatnonzero(here if branch is None else here & (t["branch"] == branch))
        asked = f"the distribution of layer {layer} neuron {neuron}{f' of expert {expert}' if expert >= 0 else ''}"
        if len(rows) != 1:
            found = "no such neuron" if not len(rows) else f"{len(rows)} of these numbers"
            raise StatisticsError(asked, found, "give layer, neuron, expert and branch as in the scan's table")
        found = None if self.histograms is None else self.histograms.of(int(rows[0]))
        if found is None:
            count = 0 if self.histograms is None else len(self.histograms)
            raise StatisticsError(
                asked,
                f"a scan that keeps those of {count:,} of {len(t):,} neurons, and not this one's",
                "take one of scan.table.iloc[scan.histograms.rows], or scan again if there are none",
            )
        return found

    def top(self, p: Share, by: str = "wd", layers: Iterable[int] | None = None) -> NeuronSet:
        """The ceil(p * (D - 1)) neurons of highest score in each site of D neurons (SCIENCE: "Wasserstein neurons").

        Args:
            p: share of each site's neurons, from 0 to 1.
            by: the score: wd, md, negative_share, mean, std, skewness (by its magnitude), kurtosis, bimodality,
                fraction_negative or mean_negative.
            layers: only these, from 0; None: all.

        Neurons without a score (NaN), and those of experts that hardly a token reached, are never chosen.

        Raises:
            SelectionError: p out of range, an unknown score or layer, or a site without a single score.
        """
        return select.top(self.table, self.info.layout, p, by, layers)

    def bottom(self, p: Share, by: str = "wd", layers: Iterable[int] | None = None) -> NeuronSet:
        """The ceil(p * (D - 1)) neurons of lowest score in each site of D; otherwise as `top`."""
        return select.bottom(self.table, self.info.layout, p, by, layers)

    def random(
        self,
        p: Share | None = None,
        seed: int = 0,
        like: NeuronSet | None = None,
        layers: Iterable[int] | None = None,
        exclude: NeuronSet | None = None,
    ) -> NeuronSet:
        """Neurons at random, each equally likely: a share p of each site, or as many as `like` has there.

        Args:
            p: share of each site's neurons; give this or `like`.
            seed: of the draw, not negative. A site's draw depends on seed and site only, not on `layers`.
            like: a set whose number of neurons at every site to match.
            layers: only these, from 0; None: all.
            exclude: neurons that must not be drawn.

        Raises:
            SelectionError: neither or both of p and like, p out of range, another layout, or too few neurons left.
        """
        for given in (like, exclude):
            if given is not None:
                check_neurons(given, "a random set")
        return select.random(self.info.layout, p, seed, like, layers, exclude)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the scan as one Parquet file (info and warnings in its metadata), whole or not at all.

        Raises:
            RecordError: the file cannot be written.
        """
        made = pa.Table.from_pandas(self.table, preserve_index=False)
        histograms = None if self.histograms is None else self.histograms.to_json()
        head = _Head(format=FORMAT, info=self.info, warnings=self.warnings, histograms=histograms).model_dump_json()
        buffer = io.BytesIO()
        # Arrow's own copy of the schema would hold the histograms a second time.
        with pq.ParquetWriter(buffer, made.schema, store_schema=False) as writer:
            writer.write_table(made)
            writer.add_key_value_metadata({**(made.schema.metadata or {}), b"negspace": head.encode()})
        return write_whole(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scan:
        """Read a scan that `save` wrote.

        Raises:
            RecordError: there is no such file, or it is not a whole scan.
        """
        asked, todo = f"the scan in {path}", "give a file that Scan.save or `negspace scan --out` wrote"
        try:
            content = pq.read_table(io.BytesIO(Path(path).read_bytes()))
        except OSError as error:  # pyarrow's own complaints are OSErrors too, or ArrowInvalid
            raise RecordError(asked, str(error.strerror or error), todo) from error
        except pa.ArrowException as error:
            raise RecordError(asked, f"not a Parquet file ({error})", todo) from error
        head = (content.schema.metadata or {}).get(b"negspace")
        if head is None:
            raise RecordError(asked, "a Parquet file without a scan's metadata", todo)
        try:
            read = _Head.model_validate_json(head)
        except ValidationError as error:
            raise RecordError(
                asked, f"metadata of another format ({error.error_count()} fields differ)", todo
            ) from error
        neurons = read.info.layout.neurons
        if content.num_rows != neurons:
            raise RecordError(asked, f"{content.num_rows:,} rows where the model has {neurons:,} neurons", todo)
        try:
            histograms = None if read.histograms is None else Histograms.from_json(read.histograms)
        except ValueError as error:
            raise RecordError(asked, str(error), todo) from error
        return cls(content.to_pandas(), read.info, read.warnings, histograms)

    def _card(self) -> tuple[str, dict[str, str]]:
        info = self.info
        return f"Statistics of the pre-activations of {len(self.table):,} MLP neurons.", {
            "model": info.model.name,
            "commit": info.model.commit or "-",
            "fingerprint": info.fingerprint,
            "dtype": info.model.dtype,
            "text": info.text,
            "tokens": f"{info.tokens:,} in {info.windows:,} windows of {info.window:,}",
            "method": info.method,
            **info.versions,
        }

    def _base_model(self) -> str | None:
        return self.info.model.name if self.info.model.commit and not self.info.model.adapters else None


def check_scan(given: Any, what: str, error: type[NegspaceError] = SelectionError) -> Scan:
    """What was given, if it is a scan.

    Args:
        what: what it is needed for.

    Raises:
        NegspaceError: it is something else; as `error`.
    """
    return checked(given, Scan, error, f"{what} with a scan", "pass scan=, the result of negspace.scan")


class _Head(BaseModel):
    """A scan's file but for its table."""

    format: Literal["negspace-scan/1"]
    info: ScanInfo
    warnings: tuple[str, ...]
    histograms: dict[str, Any] | None = None


def scan(
    model: Model,
    text: Source | Text = "wikitext-2",
    *,
    window: int | None = None,
    stride: int | None = None,
    windows: int | None = None,
    bos: Bos = "auto",
    batch: int | None = None,
    md_pairs: int = 1024,
    exact: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Scan:
    """Statistics of every neuron's pre-activations on a text, in one streaming pass over all layers.

    Memory is bounded by 4.3 KB a neuron for the sketches, however many tokens. The sketches of the text's first half,
    and up to 8 bytes per neuron and pair for the mapping difficulty, wait in a temporary file. Special tokens (BOS,
    EOS, padding and others) are run but not counted. WD is Kong et al.'s (2026): the Wasserstein distance of the
    standardised pre-activation from the Gaussian, here in closed form up to the error in `wd_error`.

    Args:
        model: the model.
        text: path of a text file or folder, "wikitext-2", or an iterable of documents (joined by one space).
        window: tokens of a window; None: 2,048, or less for a short context or text.
        stride: tokens from one window's start to the next; None: half a window.
        windows: how many, from the start; None: as many as make 131,072 tokens.
        bos: "auto" (as the tokenizer encodes the whole text) or "always" (BOS before each window).
        batch: windows of a forward pass; None: as many as make 4,096 tokens. Moves results by float rounding only.
        md_pairs: random token pairs for the mapping difficulty; 0 leaves it out.
        exact: keep all activations and use closed forms throughout; for samples that fit in memory.
        seed: of the draw of pairs.
        progress: called as progress(windows done, windows, what).

    Raises:
        ModelError: not a model.
        TextError: text missing, empty, or shorter than one window.
        StatisticsError: an activation is not finite, or a number out of range.
    """
    check_model(model, "a scan")
    for name, value, least in (("batch", batch, 1), ("md_pairs", md_pairs, 0), ("seed", seed, 0)):
        check_count(name, value, StatisticsError, least, "a scan")
    source = text if isinstance(text, Text) else read_text(text, role="statistics")
    cut = make_windows(
        source, model.tokenizer, window=window, stride=stride, windows=windows, bos=bos, context=model.context
    )
    return scan_windows(model, cut, batch=batch, md_pairs=md_pairs, exact=exact, seed=seed, progress=progress)


def scan_windows(
    model: Model,
    cut: Windows,
    *,
    batch: int | None = None,
    md_pairs: int = 1024,
    exact: bool = False,
    seed: int = 0,
    merged: Part | None = None,
    progress: Progress | None = None,
) -> Scan:
    """A scan of windows that are cut already; otherwise as `scan`.

    Args:
        merged: what the pass over these windows brought home, where several workers have made it in parts
            (`negspace.stats.parts`) with the same md_pairs and seed; None: the pass is made here.
    """
    check_windows(cut, model.context, "a scan")
    # Before hours of work, and of the model as it is now: with an intervention that is open, with its.
    who = model.identify()
    give_back()  # what the tokenizer took for the text
    found = measure(
        model, cut, batch=batch, md_pairs=md_pairs, exactly=exact, seed=seed, merged=merged, progress=progress
    )
    give_back()
    special = int(cut.special.sum())
    info = ScanInfo(
        model=model.source,
        fingerprint=who.fingerprint,
        behaviour=behaviour(model.module),
        layout=Layout.of(model.sites),
        text=cut.text_name,
        text_hash=cut.text_hash,
        windows_hash=cut.hash,
        window=cut.window,
        stride=cut.stride,
        windows=len(cut),
        tokens=cut.tokens.size - special,
        special=special,
        bos=cut.bos,
        md_pairs=md_pairs,
        seed=seed,
        method="exact" if exact else "sketch",
        regridded=found.regridded,
        halves=found.halves,
        versions=_versions(),
    )
    return Scan(found.table, info, (*found.warnings, *_starved(found.table, info.layout)), found.histograms)


def _starved(table: pd.DataFrame, layout: Layout) -> list[str]:
    few = table[select.starved(table, layout) & (table["tokens"] > 0).to_numpy()]
    experts = len(few[["layer", "branch", "expert"]].drop_duplicates())
    if not experts:
        return []
    return [
        f"{experts:,} expert{'s were' if experts > 1 else ' was'} reached by fewer than {select.ENOUGH:,} tokens, and "
        "by less than a quarter of what the experts of the layer have on average: neurons there are not ranked"
    ]


def _versions() -> dict[str, str]:
    found: dict[str, Any] = {}
    for name in ("negspace", "torch", "transformers", "numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "unknown"
    return found

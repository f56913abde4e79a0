"""The workbench: a model and its data, loaded once, on which cells are computed one by one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from negspace.errors import PairsError
from negspace.intervention import intervene, intervention
from negspace.models.load import load
from negspace.models.model import Model, ModelSource
from negspace.neurons.neuronset import Layout, NeuronSet, layout_of
from negspace.neurons.scan import Scan, ScanInfo, scan
from negspace.runs.cell import Cell, Record
from negspace.runs.engine import Step
from negspace.score.pairs import minimal_pairs
from negspace.score.perplexity import perplexity
from negspace.studies.config import AblationStudy
from negspace.text.pairs import PairSet, read_pairs
from negspace.text.source import Text, read_text
from negspace.text.windows import STATISTICS_TOKENS, Windows, make_windows

# Version of what a cell of each kind computes; raise it whenever the same spec comes to give another result.
VERSIONS = {"scan": 1, "perplexity": 1, "pairs": 1}
_PAIR_TOKENS = 12  # rough tokens a pair costs once prefixes are shared; for estimates of time only
_INTERNAL = ("model", "text", "versions")


@dataclass(frozen=True)
class Facts:
    """What a driver must know of model and data to plan cells, without holding either."""

    source: ModelSource
    """Where the model came from."""
    identity: Mapping[str, Any]
    """What every result depends on: weights, tokenizer, dtype, kind of device, software."""
    layout: Layout
    """The model's sites."""
    statistics: tuple[str, str]
    """Name and hash of the text for statistics."""
    perplexity: tuple[str, str]
    """Name of the text for perplexity, and hash of the windows' tokens."""
    predicted: int
    """Tokens that perplexity predicts."""
    pairs: Mapping[str, tuple[str, str, int]]
    """Kind of pairs -> their name, hash and number."""
    notes: tuple[str, ...]
    """What was decided for the user."""


class Workbench:
    """Loads what a study names and computes its cells: scans, perplexities and minimal pairs."""

    def __init__(self, study: AblationStudy, model: Model | None = None) -> None:
        self.study = study
        if model is not None:
            self.model = model

    @cached_property
    def model(self) -> Model:
        """The model, loaded when first needed."""
        s = self.study
        return load(
            s.model,
            revision=s.revision,
            dtype=s.dtype,
            device=s.device,
            device_map=s.device_map,
            trust_remote_code=s.trust_remote_code,
        )

    @cached_property
    def statistics(self) -> Text:
        """Text for the statistics."""
        return read_text(self.study.statistics_text or self.study.text, role="statistics")

    @cached_property
    def windows(self) -> Windows:
        """Windows for perplexity."""
        s = self.study
        text = read_text(s.perplexity_text or s.text, role="perplexity")
        return make_windows(
            text,
            self.model.tokenizer,
            window=s.perplexity_window or s.window,
            windows=s.perplexity_windows,
            bos=s.bos,
            context=self.model.context,
        )

    @cached_property
    def pairs(self) -> dict[str, PairSet]:
        """Minimal pairs by kind, in the order blimp, tse."""
        s = self.study
        given = {"blimp": s.blimp, "tse": s.tse}
        made = {name: read_pairs(list(paths), limit=s.limit) for name, paths in given.items() if paths}
        for name, pairs in made.items():
            if pairs.kind != name:
                raise PairsError(
                    f"the {name} pairs {pairs.name}",
                    f"pairs of {pairs.kind}'s format, which are scored in another way",
                    f"give them as {pairs.kind}: (--{pairs.kind} on the command line)",
                )
        return made

    def describe(self) -> Facts:
        """What a driver must know; reads all data, so that bad input shows before any work.

        Raises:
            ModelError, SiteError, TextError, PairsError: something cannot be read or used.
        """
        pairs = {name: (made.name, made.hash, len(made)) for name, made in self.pairs.items()}
        statistics = self.statistics
        model, windows = self.model, self.windows
        return Facts(
            source=model.source,
            identity={
                "fingerprint": model.fingerprint,
                "tokenizer": tokenizer_hash(model.tokenizer),
                "dtype": model.source.dtype,
                "device": model.device.type,
                "torch": model.source.torch,
                "transformers": model.source.transformers,
            },
            layout=layout_of(model.sites),
            statistics=(statistics.name, statistics.hash),
            perplexity=(windows.text_name, windows.hash),
            predicted=int(windows.tokens.size - len(windows)),
            pairs=pairs,
            notes=tuple(f"perplexity: {note}" for note in windows.notes),
        )

    def compute(self, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
        """Results and items of a cell."""
        if cell.kind == "scan":
            return self._scan(cell, step)
        with self._intervened(cell):
            return self._perplexity(step) if cell.kind == "perplexity" else self._pairs(cell, step)

    def _scan(self, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
        spec = cell.spec
        made = scan(
            self.model,
            self.statistics,
            window=spec["window"],
            stride=spec["stride"],
            windows=spec["windows"],
            bos=spec["bos"],
            batch=self.study.batch,
            md_pairs=spec["md_pairs"],
            exact=spec["exact"],
            seed=spec["seed"],
            progress=step,
        )
        # Names of files and folders stay out of the record: it depends on contents only.
        info = made.info.model_dump(mode="json")
        return {"info": {k: v for k, v in info.items() if k not in _INTERNAL}, "warnings": made.warnings}, made.table

    def _perplexity(self, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
        made = perplexity(self.model, self.windows, batch=self.study.batch, progress=step)
        results = {
            "value": made.value,
            "tokens": made.tokens,
            "window": made.window,
            "windows": made.windows,
            "available": made.available,
            "bos": made.bos,
        }
        return results, pd.DataFrame({"window": np.arange(made.windows), "nll": made.nll})

    def _pairs(self, cell: Cell, step: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
        made = minimal_pairs(self.model, self.pairs[cell.spec["kind"]], protocol=cell.spec["protocol"], progress=step)
        results = {
            "accuracy": made.accuracy,
            "pairs": len(made.items),
            "ties": made.ties,
            "identical": made.identical,
            "protocol": made.protocol,
            "score": made.score,
        }
        return results, made.items

    def _intervened(self, cell: Cell) -> AbstractContextManager[None]:
        neurons = cell.inputs.get("neurons")
        if neurons is None:
            return nullcontext()
        return intervene(self.model, neurons, self.study.zero, self.study.mode, cell.inputs.get("scan"))


class Planner:
    """Makes the cells of a study from the facts: every key names all that its result depends on."""

    def __init__(self, study: AblationStudy, facts: Facts) -> None:
        self.study = study
        self.facts = facts
        tokens = (study.window or 2048) * study.windows if study.windows else STATISTICS_TOKENS
        # The statistics cost a little more than the forward pass that they ride on.
        self._costs = {"scan": 1.5 * tokens, "perplexity": float(facts.predicted)}

    def scan(self) -> Cell:
        """The scan."""
        s = self.study
        options = {
            "text": self.facts.statistics[1],
            "window": s.window,
            "stride": s.stride,
            "windows": s.windows,
            "bos": s.bos,
            "md_pairs": s.md_pairs,
            "exact": s.exact,
            "seed": s.seed,
        }
        return self._cell("scan", options, "scan", self._costs["scan"])

    def perplexity(self, name: str, neurons: NeuronSet | None, made: Scan, key: str) -> Cell:
        """Perplexity under the ablation of a set, or of the plain model."""
        options = {"windows": self.facts.perplexity[1], **self.change(neurons, key)}
        return self._cell("perplexity", options, f"{name}: perplexity", self.cost("perplexity"), neurons, made)

    def pairs(self, kind: str, name: str, neurons: NeuronSet | None, made: Scan, key: str) -> Cell:
        """Minimal pairs of a kind under the ablation of a set, or of the plain model."""
        options = {
            "kind": kind,
            "pairs": self.facts.pairs[kind][1],
            "protocol": self.study.protocol,
            **self.change(neurons, key),
        }
        return self._cell("pairs", options, f"{name}: {kind}", self.cost(kind), neurons, made)

    def cost(self, what: str) -> float:
        """Rough cost in tokens of "perplexity" or of a kind of pairs."""
        return self._costs[what] if what in self._costs else float(_PAIR_TOKENS * self.facts.pairs[what][2])

    def change(self, neurons: NeuronSet | None, scan_key: str) -> dict[str, Any]:
        """What a spec says of the ablation of a set, or of the plain model."""
        if neurons is None:
            return {"neurons": None, "intervention": None}
        chosen = intervention(self.study.zero, self.study.mode)
        change: dict[str, Any] = {"neurons": neurons.key, "intervention": chosen.name}
        return {**change, "scan": scan_key} if chosen.needs_means else change

    def _cell(
        self,
        kind: str,
        options: Mapping[str, Any],
        label: str,
        cost: float,
        neurons: NeuronSet | None = None,
        made: Scan | None = None,
    ) -> Cell:
        spec = {"version": VERSIONS[kind], "model": self.facts.identity, **options}
        inputs = {} if neurons is None else {"neurons": neurons, "scan": made}
        return Cell(kind, spec, label, cost, inputs)


def scan_of(record: Record, facts: Facts) -> Scan:
    """The scan in a record, with the names that records leave out."""
    info = ScanInfo(
        model=facts.source, text=facts.statistics[0], versions=dict(record.versions), **record.results["info"]
    )
    return Scan(record.items, info, tuple(record.results["warnings"]))


def tokenizer_hash(tokenizer: Any) -> str:
    """sha256 (hex) of what decides how text becomes tokens: vocabulary, merges, normalisation, special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        # What the last call happened to pad or truncate is state, not identity.
        content.pop("padding", None)
        content.pop("truncation", None)
    else:
        content = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    text = json.dumps([content, special], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()

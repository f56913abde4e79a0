"""What the paper's full grid would cost on GPUs: a projection from the planner's token counts and measured unit costs.

Nothing here was measured on a GPU. What is assumed is in `Assumptions`, with a reason for each; what was measured (on a
CPU, with the bundled model) is in `Measured`; what is to be done comes from the planner of `negspace run --preset
paper --dry-run`, asked about models that nobody has to load for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_scaling import PAIR_TOKENS, SCAN

from negspace.experiment.config import Study
from negspace.experiment.examples import windows_read
from negspace.experiment.lab import Lab
from negspace.experiment.plan import Load
from negspace.experiment.workbench import Facts, TaskFacts
from negspace.models.model import ModelSource
from negspace.neurons.layout import Layout
from negspace.runs.store import Store
from negspace.study.presets import from_preset
from negspace.study.registry import analysis, sections
from negspace.text.windows import STATISTICS_TOKENS, WINDOW

GPUS = (1, 8, 64)
"""Numbers of GPUs that are projected."""
CHECKPOINTS = 154
"""Checkpoints of each Pythia on the hub."""


@dataclass(frozen=True)
class Shape:
    """A model, as far as its cost depends on it; as its published configuration says."""

    name: str
    """Name on the hub."""
    family: str
    """Which of the five families."""
    layers: int
    """Transformer layers."""
    hidden: int
    """Width of the residual stream."""
    width: int
    """Neurons of a layer."""
    vocabulary: int
    """Rows of the embedding."""
    key_value: int
    """Width of keys, and of values; less than `hidden` where heads share them."""
    gated: bool = False
    """Whether the MLP has a third matrix."""
    tied: bool = False
    """Whether input and output share the embedding."""
    checkpoints: int = 0
    """Checkpoints of its training that are studied."""

    @property
    def multiplied(self) -> int:
        """Weights that each token is multiplied with: all matrices but the input embedding, biases left out."""
        attention = 2 * self.hidden * (self.hidden + self.key_value)
        mlp = (3 if self.gated else 2) * self.hidden * self.width
        return self.layers * (attention + mlp) + self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Weights in all."""
        return self.multiplied + (0 if self.tied else self.vocabulary * self.hidden)

    def flops(self, attended: float) -> float:
        """Floating-point operations of the forward pass of one token that attends to so many: two for each weight that
        it is multiplied with, and four for each layer, attended token and width."""
        return 2.0 * self.multiplied + 4.0 * self.layers * attended * self.hidden


def _pythia(size: str, layers: int, hidden: int, vocabulary: int = 50304) -> Shape:
    name = f"EleutherAI/pythia-{size}"
    return Shape(name, "Pythia", layers, hidden, 4 * hidden, vocabulary, hidden, checkpoints=CHECKPOINTS)


GRID = (
    _pythia("14m", 6, 128),
    _pythia("31m", 6, 256),
    _pythia("70m", 6, 512),
    _pythia("160m", 12, 768),
    _pythia("410m", 24, 1024),
    _pythia("1b", 16, 2048),
    _pythia("1.4b", 24, 2048),
    _pythia("2.8b", 32, 2560),
    _pythia("6.9b", 32, 4096, 50432),
    _pythia("12b", 36, 5120, 50688),
    Shape("meta-llama/Llama-3.1-8B", "Llama", 32, 4096, 14336, 128256, 1024, gated=True),
    Shape("mistralai/Mistral-7B-v0.3", "Mistral", 32, 4096, 14336, 32768, 1024, gated=True),
    Shape("Qwen/Qwen3-8B", "Qwen", 36, 4096, 12288, 151936, 1024, gated=True),
    Shape("facebook/opt-6.7b", "OPT", 32, 4096, 16384, 50272, 4096, tied=True),
)
"""Five families; of Pythia ten sizes with all their checkpoints."""


@dataclass(frozen=True)
class Assumed:
    """A number that nobody measured here."""

    value: float
    """The number."""
    unit: str
    """Its unit."""
    why: str
    """Where it comes from."""


@dataclass(frozen=True)
class Assumptions:
    """All that the projection takes for granted."""

    peak_bfloat16: Assumed = Assumed(312e12, "FLOP/s", "A100, bfloat16, dense, as its data sheet says")
    peak_float32: Assumed = Assumed(19.5e12, "FLOP/s", "A100, float32 without TF32, as its data sheet says")
    utilisation: Assumed = Assumed(0.35, "of the peak", "a guess; forward passes of long batches reach 0.3 to 0.5")
    fastest: Assumed = Assumed(
        300_000, "tokens/s", "a guess at where small models are bound by launching kernels, not by arithmetic"
    )
    attended: Assumed = Assumed(1024, "tokens", "half of a window of 2,048; sentences attend to far fewer")
    reading: Assumed = Assumed(1e9, "bytes/s", "a guess at one reader of a file system that all share")
    stored: Assumed = Assumed(2, "bytes a weight", "float16 or bfloat16 files, as the hub has them")
    loads: Assumed = Assumed(2, "loads a checkpoint", "once for its cells, once to compare its weights with the next's")
    start: Assumed = Assumed(60, "s", "a guess at a worker's imports and CUDA context; once for each model and GPU")
    predicted: Assumed = Assumed(250_000, "tokens", "validation split of WikiText-2; varies with the tokenizer")
    blimp: Assumed = Assumed(67_000, "pairs", "67 paradigms of 1,000")
    tse: Assumed = Assumed(158_084, "pairs", "every construction, as published")
    tasks: Assumed = Assumed(
        5_700_000, "tokens", "eight benchmarks without solved examples; a guess from their number of items and choices"
    )


@dataclass(frozen=True)
class Measured:
    """Unit costs, from one machine without a GPU."""

    units: Mapping[str, float]
    """Kind of cell -> cost of a token that the planner counts, as a multiple of one of a plain forward pass."""
    efficiency: float
    """What two workers do of twice the work of one, at most 1."""
    load: float
    """Seconds that loading takes beyond reading the file."""

    @property
    def serial(self) -> float:
        """Share of the work that a second worker did not shorten, by Amdahl's law: t2 / t1 = s + (1 - s) / 2; all of it
        where two took longer than one, which need not share the work."""
        return min(1.0, max(0.0, 1 / self.efficiency - 1))


@dataclass(frozen=True)
class Unit:
    """What one GPU does without a break: a cell of a study, or all cells of a checkpoint."""

    model: str
    """Name of the model."""
    seconds: float
    """How long it takes."""
    count: int = 1
    """How many such units there are."""


@dataclass(frozen=True)
class Work:
    """All that is to be done with one model."""

    shape: Shape
    """The model."""
    cells: int
    """Cells of its study, checkpoints included."""
    tokens: float
    """Tokens that the planner counts for them."""
    units: tuple[Unit, ...]
    """The units of work, loading of checkpoints included."""
    opening: float
    """Seconds until a GPU has the model at all."""

    @property
    def seconds(self) -> float:
        """Seconds on one GPU."""
        return self.opening + sum(unit.seconds * unit.count for unit in self.units)


class _Priced(Lab):
    """A planner that counts a token of each kind of cell as so many of a plain forward pass."""

    units: Mapping[str, float]

    def cost(self, what: str) -> float:
        return super().cost(what) * self.units[_kind(what)]


def _kind(what: str) -> str:
    return {"blimp": "minimal pairs", "tse": "minimal pairs", "examples": "perplexity"}.get(what, what)


def plan(shape: Shape, assumed: Assumptions, units: Mapping[str, float]) -> dict[str, tuple[int, float]]:
    """Analysis -> cells and tokens of `--preset paper-full` on a model, beyond those of the analyses before it.

    The scan is under "scan", the example tokens of its neurons under "examples".

    Args:
        units: multiples of the tokens, by kind of cell; all 1 for the planner's own count.
    """
    given: dict[str, Any] = {
        "model": shape.name,
        "text": "wikitext-2",
        "blimp": "blimp",
        "tse": "tse",
        "tasks": "tasks",
    }
    if shape.checkpoints:
        given["analyses"] = {"training": {"revisions": ["step*"]}}
    study, _ = from_preset("paper-full", given)
    lab = _Priced(study, _facts(shape, assumed), Store(Path()), None)  # type: ignore[arg-type]
    lab.units = units
    loads = {name: Load({(name, ""): lab.cost(name)}) for name in ("scan", "examples")}
    for name, settings in sections(study).items():
        read = _read(study, name, settings, shape, assumed, units)
        loads[name] = analysis(name)(settings, lab, read).load().beyond(loads.values())
    return {name: (load.cells, load.tokens) for name, load in loads.items()}


def _facts(shape: Shape, assumed: Assumptions) -> Facts:
    source = ModelSource.model_construct(name=shape.name)
    pairs = {name: (name, "", int(getattr(assumed, name).value)) for name in ("blimp", "tse")}
    return Facts(
        source=source,
        identity={},
        behaviour=(),
        layout=Layout.from_rows((f"layers.{number}", number, 0, shape.width) for number in range(shape.layers)),
        rectifies=shape.family == "OPT",
        statistics=("", ""),
        specials=False,
        perplexity=("", ""),
        read=("", WINDOW),
        tokens={
            "scan": SCAN * STATISTICS_TOKENS,
            "examples": float(WINDOW * len(windows_read(STATISTICS_TOKENS // WINDOW, WINDOW, WINDOW // 2))),
            "perplexity": assumed.predicted.value,
            **{name: PAIR_TOKENS * number for name, (_, _, number) in pairs.items()},
            "tasks": assumed.tasks.value,
        },
        pairs=pairs,
        tasks=TaskFacts("", "", 0, ""),
        notes=(),
        paired={name: number for name, (_, _, number) in pairs.items()},
    )


def _read(
    study: Study, name: str, settings: Any, shape: Shape, assumed: Assumptions, units: Mapping[str, float]
) -> dict[str, Any]:
    """What an analysis would read of its own data, as far as its price depends on it."""
    if name == "training":
        return {"checkpoints": [None] * shape.checkpoints}
    if name == "parts_of_speech":
        return {"cost": assumed.predicted.value * units["perplexity"], "words": 0, "tagger": ""}
    if name in ("atlas", "differentiation"):
        return {"tokens": settings.tokens * units["perplexity"], "hash": ""}
    if name == "controls":
        # The bundled ReLU model: beside those of the grid it costs nothing.
        return {"noop": {"weight": 0.0, "window": 0}, "rectifies": False}
    return {}


def work(shape: Shape, assumed: Assumptions, measured: Measured, peak: float) -> Work:
    """What a model's study consists of, in seconds of a GPU of so many FLOP/s at its peak."""
    token = max(shape.flops(assumed.attended.value) / (peak * assumed.utilisation.value), 1 / assumed.fastest.value)
    load = shape.parameters * assumed.stored.value / assumed.reading.value + measured.load
    counted, priced = (plan(shape, assumed, units) for units in (dict.fromkeys(measured.units, 1.0), measured.units))
    units = []
    for name, (cells, tokens) in priced.items():
        if name == "training":
            # Everything of a checkpoint is done by the GPU that has it open.
            each = tokens / shape.checkpoints * token + assumed.loads.value * load
            units.append(Unit(shape.name, each, shape.checkpoints))
        else:
            units.append(Unit(shape.name, tokens / cells * token, cells))
    return Work(
        shape,
        sum(cells for cells, _ in counted.values()),
        sum(tokens for _, tokens in counted.values()),
        tuple(units),
        assumed.start.value + load,
    )


def longest_first(units: Iterable[Unit], gpus: int) -> float:
    """Seconds until the last of so many GPUs is done, where each takes the longest unit that is left (LPT)."""
    ends = [0.0] * gpus
    for unit in sorted(units, key=lambda unit: -unit.seconds):
        for _ in range(unit.count):
            heapq.heapreplace(ends, ends[0] + unit.seconds)
    return max(ends)


def hours(works: Sequence[Work], gpus: int, measured: Measured) -> dict[str, float]:
    """Hours of the whole grid on so many GPUs.

    Returns:
        "work": of one GPU, were there no more; "low": units of all models handed out longest first, with the loss of
        the second worker here taken for the loss of any number; "high": one model's study after the other, each on all
        GPUs, with the share that the second worker here did not shorten never shortened.
    """
    # Every GPU opens every model: it has a part in each study.
    units = [unit for work in works for unit in (*work.units, Unit(work.shape.name, work.opening, gpus))]
    whole = sum(work.seconds for work in works)
    if gpus == 1:
        return {"work": whole / 3600, "low": whole / 3600, "high": whole / 3600}
    serial = measured.serial
    after = sum(work.opening + (work.seconds - work.opening) * (serial + (1 - serial) / gpus) for work in works)
    # Where sharing costs more than it saves, one GPU does it all.
    low = min(whole, longest_first(units, gpus) / measured.efficiency)
    return {"work": whole / 3600, "low": low / 3600, "high": after / 3600}


def project(measured: Measured, assumed: Assumptions | None = None, grid: Sequence[Shape] = GRID) -> dict[str, Any]:
    """The projection as JSON: assumptions, what is to be done with each model, and hours by dtype and GPUs."""
    assumed = assumed or Assumptions()
    peaks = {"bfloat16": assumed.peak_bfloat16.value, "float32": assumed.peak_float32.value}
    works = {dtype: [work(shape, assumed, measured, peak) for shape in grid] for dtype, peak in peaks.items()}
    return {
        "assumptions": asdict(assumed),
        "models": [
            {
                "name": first.shape.name,
                "family": first.shape.family,
                "parameters": first.shape.parameters,
                "checkpoints": first.shape.checkpoints,
                "cells": first.cells,
                "tokens": round(first.tokens),
                "hours": {dtype: _short(found[at].seconds / 3600) for dtype, found in works.items()},
            }
            for at, first in enumerate(works["bfloat16"])
        ],
        "hours": {
            dtype: {
                str(gpus): {name: _short(value) for name, value in hours(found, gpus, measured).items()}
                for gpus in GPUS
            }
            for dtype, found in works.items()
        },
    }


def _short(value: float) -> float:
    """To four digits, so that equal projections are equal JSON everywhere."""
    return float(f"{value:.4g}")

"""The scan against the plain forward over the same tokens and against the paper's method; its memory as tokens grow.

The paper's method keeps every pre-activation of every layer and then calls scipy's two-sample distance once a neuron,
against a random Gaussian sample of the same size.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from benchmarks.memory import peak
from benchmarks.place import HERE, Place
from benchmarks.row import Relation, Row, failed, row
from benchmarks.shapes import about, random_model, random_windows, shape_of
from benchmarks.timing import in_turn, seconds_of
from negspace.models.model import Model
from negspace.stats.collect import base_forward, gather
from negspace.stats.measure import Measured
from negspace.stats.measure import measure as measure_neurons
from negspace.text.windows import Windows

SCIPY = 48
"""Neurons on which scipy is timed; its time for all of them is in proportion."""
KEPT = 4e9
"""Bytes of pre-activations that the paper's method may keep here; on a GPU's host four times as many."""

_SCAN = "scan of all layers, WD + moments + shape"


def measure(place: Place = HERE) -> list[Row]:
    """Rows of time, then of memory. Each part that fails leaves its row, and the others as they are."""
    limit: tuple[Relation, float] = ("<=", 1.10 if place.on_gpu else 1.20)
    parts: list[tuple[Callable[[Place], list[Row]], str, tuple[Relation, float] | None]] = [
        (against_forward, f"{_SCAN} / plain forward", limit),
        (against_published, f"{_SCAN}, time: the paper's method / ours", (">", 1)),
        (memory, f"{_SCAN}: peak memory", None),
        (sketch_size, "bytes of a sketch per neuron", ("<=", 4500)),
    ]
    rows: list[Row] = []
    for part, name, target in parts:
        try:
            rows += part(place)
        except Exception as error:  # whatever it is, the other parts are still worth having
            rows.append(failed(name, error, target, readme=True))
    return rows


def against_forward(place: Place) -> list[Row]:
    """The whole scan (the pass, WD with its bound, moments, shape, the table) against the plain forward.

    The plain forward computes the logits, as anyone's would; the scan has no use for them and leaves the output layer
    out. A last row has the forward leave it out as well: what the statistics alone cost.
    """
    model, cut, batch = random_model(place), random_windows(place), shape_of(place).batch
    warm(model, place)
    names = {"without MD": 0, "with MD over 1,024 pairs": 1024}
    times = in_turn(
        {
            "plain": lambda: forward(model, cut, batch),
            "base": lambda: forward(model, cut, batch, logits=False),
            **{
                name: lambda pairs=pairs: measure_neurons(model, cut, batch=batch, md_pairs=pairs)
                for name, pairs in names.items()
            },
        },
        place.rounds(5),
        warm=0,
        device=place.device,
    )
    limit: tuple[Relation, float] = ("<=", 1.10 if place.on_gpu else 1.20)
    size = f"over {cut.tokens.size:,} tokens, {neurons_of(model):,} neurons"
    spent = {name: f"{times.median(name):.2f} s" for name in times.seconds}
    rows = [
        row(
            f"{_SCAN}, {name} / plain forward",
            times.ratio(name, "plain"),
            limit,
            f"{times.range(name, 'plain')} {size}; plain {spent['plain']}, the scan {spent[name]}; "
            f"the plain one computes logits, the scan leaves the output layer out; {about(place)}",
            readme=True,
        )
        for name, pairs in names.items()
    ]
    (full,) = (name for name, pairs in names.items() if pairs)
    return [
        *rows,
        row(
            f"{_SCAN}, {full} / forward without the output layer",
            times.ratio(full, "base"),
            detail=f"{times.range(full, 'base')} {size}; the forward {spent['base']}, the scan {spent[full]}; "
            f"{about(place)}",
        ),
    ]


def against_published(place: Place) -> list[Row]:
    """The paper's method on the same tokens; the two distances must agree as closely as its random sample allows."""
    model, batch = random_model(place), shape_of(place).batch
    cut = random_windows(place, affordable(place, shape_of(place).windows // 4))
    warm(model, place)
    chosen = np.unique(np.linspace(0, neurons_of(model) - 1, SCIPY).astype(np.int64))
    keeping, scipy, ours = [], [], []
    for turn in range(place.rounds(3)):
        found: list[Measured] = []

        def scan(found: list[Measured] = found) -> None:
            found.append(measure_neurons(model, cut, batch=batch, md_pairs=0))

        ours.append(seconds_of(scan, place.device))
        kept: dict[str, NDArray[np.float32]] = {}

        def keep(kept: dict[str, NDArray[np.float32]] = kept) -> None:
            kept.update(keep_all(model, cut, batch))

        keeping.append(seconds_of(keep, place.device))
        wd: list[float] = []

        def recipe(kept: dict[str, NDArray[np.float32]] = kept, wd: list[float] = wd) -> None:
            wd.extend(published(kept, chosen))

        scipy.append(seconds_of(recipe) / len(chosen))
        if turn == 0:
            off, noise = compare(found[0], chosen, wd, cut.tokens.size)
    total = [kept + each * neurons_of(model) for kept, each in zip(keeping, scipy, strict=True)]
    ratios = [theirs / mine for theirs, mine in zip(total, ours, strict=True)]
    return [
        row(
            f"{_SCAN}, time: the paper's method / ours",
            statistics.median(ratios),
            (">", 1),
            f"{min(ratios):.3g} to {max(ratios):.3g} in {len(ratios)} interleaved rounds over {cut.tokens.size:,} "
            f"tokens; keeping all pre-activations {statistics.median(keeping):.2f} s, scipy "
            f"{1e3 * statistics.median(scipy):.2f} ms a neuron (timed on {len(chosen)}, taken for all "
            f"{neurons_of(model):,}), ours {statistics.median(ours):.2f} s; the two WD differ by {off:.4f} at most "
            f"(a random sample of this size allows {noise:.4f}); {about(place)}",
            readme=True,
        )
    ]


def memory(place: Place) -> list[Row]:
    """Peak memory above the loaded model and the tokens: of the scan, the paper's method and the plain forward."""
    few = 1 if place.tiny else 2
    first, tenfold = (few * times * shape_of(place).batch for times in (1, 10))
    same = affordable(place, tenfold)
    scans = {count: peak("benchmarks.bench_scan:prepare_scan", place, count) for count in {first, tenfold, same}}
    theirs = peak("benchmarks.bench_scan:prepare_published", place, same)
    plain = peak("benchmarks.bench_scan:prepare_forward", place, same)
    window = shape_of(place).window
    return [
        row(
            "scan's peak memory with ten times the tokens / with a tenth of them",
            scans[tenfold].bytes / max(1, scans[first].bytes),
            ("<=", 1.05),
            f"above the loaded model and the tokens: {scans[first]} at {first * window:,} tokens, {scans[tenfold]} at "
            f"{tenfold * window:,}; {about(place)}",
            readme=True,
        ),
        row(
            f"{_SCAN}, peak memory: the paper's method / ours",
            theirs.bytes / max(1, scans[same].bytes),
            (">", 1),
            f"above the loaded model, {same * window:,} tokens: {theirs}, ours {scans[same]}, plain forward {plain}; "
            f"{about(place)}",
            readme=True,
        ),
        row(
            f"{_SCAN}, peak memory: ours / plain forward",
            scans[same].bytes / max(1, plain.bytes),
            detail=f"above the loaded model, {same * window:,} tokens: {scans[same]}, plain forward {plain}; the plain "
            f"one holds logits, ours leaves the output layer out; {about(place)}",
        ),
    ]


def sketch_size(place: Place) -> list[Row]:
    """Bytes of all sketches and grids a neuron, at two numbers of tokens."""
    model, batch = random_model(place), shape_of(place).batch
    sizes = {}
    for count in (2 * batch, 4 * batch):
        cut = random_windows(place, count)
        made = [sketch for sketch in gather(model, cut, batch=batch).sketches if sketch is not None]
        sizes[cut.tokens.size] = sum(sketch.nbytes for sketch in made) / sum(sketch.size for sketch in made)
    return [
        row(
            "bytes of a sketch per neuron",
            max(sizes.values()),
            ("<=", 4500),
            ", ".join(f"{size:.0f} at {tokens:,} tokens" for tokens, size in sizes.items()),
            readme=True,
        )
    ]


def forward(model: Model, windows: Windows, batch: int, *, logits: bool = True) -> None:
    """The plain forward pass over all windows; without logits the one that a scan makes, with nothing attached."""
    run = (lambda ids: model.module(input_ids=ids, use_cache=False).logits) if logits else base_forward(model)
    with torch.no_grad():
        for begin in range(0, len(windows), batch):
            ids: Any = torch.from_numpy(windows.tokens[begin : begin + batch]).to(model.device)
            run(ids)


def keep_all(model: Model, windows: Windows, batch: int) -> dict[str, NDArray[np.float32]]:
    """Every pre-activation of every layer on the host: path -> float32 [tokens, neurons]."""
    kept = {site.path: np.empty((windows.tokens.size, site.width), np.float32) for site in model.sites}
    at = 0

    def keep(path: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            flat = inputs[0].reshape(-1, inputs[0].shape[-1])
            kept[path][at : at + len(flat)] = flat.float().cpu().numpy()

        return hook

    base = model.module.base_model  # the output layer is of no use to it either
    handles = [model.module.get_submodule(path).register_forward_pre_hook(keep(path)) for path in kept]
    try:
        with torch.no_grad():
            for begin in range(0, len(windows), batch):
                ids: Any = torch.from_numpy(windows.tokens[begin : begin + batch]).to(model.device)
                base(input_ids=ids, use_cache=False)
                at += ids.numel()
    finally:
        for handle in handles:
            handle.remove()
    return kept


def published(kept: dict[str, NDArray[np.float32]], chosen: Sequence[int] | NDArray[np.int64]) -> list[float]:
    """The published recipe for some neurons, counted through all layers: standardise, draw, one call of scipy."""
    rng = np.random.default_rng(0)
    paths, widths = list(kept), [values.shape[1] for values in kept.values()]
    ends = np.cumsum(widths)
    found = []
    for neuron in chosen:
        layer = int(np.searchsorted(ends, neuron, side="right"))
        column = kept[paths[layer]][:, int(neuron) - int(ends[layer] - widths[layer])]
        standard = (column - column.mean()) / column.std()
        found.append(float(wasserstein_distance(standard, rng.standard_normal(len(standard)))))
    return found


def compare(found: Measured, chosen: NDArray[np.int64], wd: Sequence[float], tokens: int) -> tuple[float, float]:
    """Largest difference of our WD from the recipe's, and what a random sample of this size allows.

    A sample of n is about 1.3 / sqrt(n) from the Gaussian that it is drawn from, and no distance to the one can differ
    by more from that to the other; three times as much is allowed, and the sketch's own error of 1e-3.
    """
    off = float(np.abs(found.table["wd"].to_numpy()[chosen] - np.asarray(wd)).max())
    allowed = 4 / tokens**0.5 + 1e-3
    assert off <= allowed, f"the recipe's WD and ours differ by {off:.4f}, more than {allowed:.4f}"
    return off, allowed


def affordable(place: Place, windows: int) -> int:
    """So many windows, or as many as the paper's method can keep; whole batches, at least one."""
    shape = shape_of(place)
    config = shape.config()
    budget = KEPT * (4 if place.on_gpu else 1)
    most = budget / (4 * config.num_hidden_layers * config.intermediate_size * shape.window)
    return max(1, int(min(windows, most)) // shape.batch) * shape.batch


def neurons_of(model: Model) -> int:
    """Neurons of all layers."""
    return sum(site.size for site in model.sites)


def warm(model: Model, place: Place) -> None:
    """Compile what is compiled, and fill the caches."""
    batch = shape_of(place).batch
    cut = random_windows(place, 2 * batch)
    measure_neurons(model, cut, batch=batch)
    forward(model, cut, batch)


def prepare_scan(place: Place, count: int) -> Callable[[], object]:
    """The scan of so many windows, ready to run."""
    model, cut, batch = random_model(place), random_windows(place, count), shape_of(place).batch
    warm(model, place)
    return lambda: measure_neurons(model, cut, batch=batch)


def prepare_published(place: Place, count: int) -> Callable[[], object]:
    """The paper's method on so many windows, ready to run; a neuron a layer stands for all, one by one as they go."""
    model, cut, batch = random_model(place), random_windows(place, count), shape_of(place).batch
    warm(model, place)
    firsts = np.cumsum([0, *(site.width for site in model.sites)])[:-1]
    return lambda: published(keep_all(model, cut, batch), firsts)


def prepare_forward(place: Place, count: int) -> Callable[[], object]:
    """The plain forward over so many windows, ready to run."""
    model, cut, batch = random_model(place), random_windows(place, count), shape_of(place).batch
    warm(model, place)
    return lambda: forward(model, cut, batch)

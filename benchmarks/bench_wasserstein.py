"""WD at 131,072 tokens against scipy's two-sample distance once a neuron, and MD against a loop over neurons."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from negspace.stats.accumulate import Accumulator
from negspace.stats.collect import threads_for
from negspace.stats.difficulty import difficulty
from negspace.stats.sketch import Grid
from negspace.stats.wasserstein import exact, from_sketch

TOKENS = 131_072
CHUNK = 4096


def measure(repeats: int = 5, neurons: int = 256) -> list[dict[str, object]]:
    """Medians over repeats of the ratio of the times per neuron, measured in turn, and the largest error.

    The sketch's time is that of the whole way from the activations to the distance: binning all tokens, moments, and
    the integral with its bound. It uses the threads that torch may use; scipy's distance can use but one.
    """
    activations = sample(TOKENS, neurons)
    streamed(activations[:, :32])  # compiles
    speeds = []
    for repeat in range(repeats):
        ours = _seconds(lambda: streamed(activations)) / neurons
        some = activations[:, 2 * repeat : 2 * repeat + 2]
        theirs = _seconds(lambda some=some: two_sample(some)) / 2
        speeds.append(theirs / ours)
    error = float(np.abs(streamed(activations) - exact(activations).wd).max())
    speed = statistics.median(speeds)
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((2, 1024, 2048), dtype=np.float32)
    outputs = rng.standard_normal((2, 1024, 8192), dtype=np.float32)
    difficulty(inputs, outputs)
    loops = []
    for _ in range(repeats):
        loop = _seconds(lambda: one_by_one(inputs, outputs[..., :16])) / 16
        loops.append(loop / (_seconds(lambda: difficulty(inputs, outputs)) / 8192))
    return [
        _row("WD at 131,072 tokens: scipy once a neuron / sketch", speed, ">= 200", speed >= 200, f"{neurons} neurons"),
        _row("WD from the sketch: largest error", error, "<= 0.001", error <= 1e-3, f"{neurons} neurons of six shapes"),
        _row(
            "MD of a layer, per neuron: a loop in which each computes its own distances / all at once",
            statistics.median(loops),
            ">= 50",
            statistics.median(loops) >= 50,
            "the shape of Pythia-1.4B (8,192 neurons, inputs of 2,048), 1,024 pairs; the loop over 16 neurons",
        ),
    ]


def sample(tokens: int, neurons: int) -> NDArray[np.float32]:
    """Activations of six shapes in turn: Gaussian, skewed, heavy-tailed, bimodal, uniform, bent at a point."""
    rng = np.random.default_rng(0)
    columns = []
    for neuron in range(neurons):
        g = rng.standard_normal(tokens, dtype=np.float32)
        columns.append(
            (
                lambda g: 2 * g + 1,
                lambda g: np.exp(0.7 * g),
                lambda g: g * np.abs(g),
                lambda g: np.where(rng.random(tokens) < 0.3, 0.4 * g - 2, g + 1),
                lambda g: rng.random(tokens, dtype=np.float32) - 0.3,
                lambda g: np.maximum(g, -0.2 + 0.1 * g) - 0.5,
            )[neuron % 6](g).astype(np.float32)
        )
    return np.stack(columns, axis=1)


def streamed(activations: NDArray[np.float32]) -> NDArray[np.float64]:
    """WD from a sketch that saw the activations chunk by chunk."""
    pilot = activations[:2048].astype(np.float64)
    accumulator = Accumulator(Grid.around(pilot.mean(axis=0), pilot.std(axis=0)))
    threads = torch.get_num_threads()
    with threads_for(threads) as pool:
        for begin in range(0, len(activations), CHUNK):
            accumulator.update(torch.from_numpy(activations[begin : begin + CHUNK]), pool=pool, threads=threads)
    return from_sketch(accumulator.sketch()).wd


def two_sample(activations: NDArray[np.float32]) -> list[float]:
    """The published recipe: against a random Gaussian sample of the same size, neuron by neuron."""
    rng = np.random.default_rng(0)
    found = []
    for column in activations.T:
        standard = (column - column.mean()) / column.std()
        found.append(wasserstein_distance(standard, rng.standard_normal(len(standard))))
    return found


def one_by_one(inputs: NDArray[np.float64], outputs: NDArray[np.float64]) -> list[float]:
    """MD as the definition reads, neuron by neuron."""
    found = []
    for neuron in range(outputs.shape[2]):
        dx = np.linalg.norm(inputs[0] - inputs[1], axis=1)
        dy = np.abs(outputs[0, :, neuron] - outputs[1, :, neuron])
        found.append(float(np.mean((dy / np.median(dy)) / (dx / dx.max()))))
    return found


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _row(name: str, value: float, target: str, met: bool, detail: str) -> dict[str, object]:
    return {"name": name, "value": float(f"{value:.3g}"), "target": target, "met": bool(met), "detail": detail}

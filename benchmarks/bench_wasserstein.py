"""WD at 131,072 tokens against scipy's two-sample distance once a neuron, and MD against a loop over neurons."""

from __future__ import annotations

import statistics

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from benchmarks.row import Row, row
from benchmarks.timing import seconds_of
from negspace.stats.accumulate import Accumulator
from negspace.stats.collect import threads_for
from negspace.stats.difficulty import difficulty
from negspace.stats.sketch import Grid
from negspace.stats.wasserstein import exact, from_sketch

TOKENS = 131_072
CHUNK = 4096


def measure(rounds: int = 5, neurons: int = 256) -> list[Row]:
    """Medians over rounds of the ratio of the times per neuron, measured in turn, and the largest error.

    The sketch's time is that of the whole way from the activations to the distance: binning all tokens, moments, and
    the integral with its bound. It uses the threads that torch may use; scipy's distance can use but one.
    """
    return [*distance(rounds, neurons), difficulties(rounds)]


def distance(rounds: int, neurons: int) -> list[Row]:
    """WD: the sketch against scipy, in time and in value."""
    activations = sample(TOKENS, neurons)
    streamed(activations[:, :32])  # compiles
    speeds, ours = [], []
    for number in range(rounds):
        ours.append(seconds_of(lambda: streamed(activations)) / neurons)
        some = activations[:, 2 * number : 2 * number + 2]
        speeds.append(seconds_of(lambda some=some: two_sample(some)) / 2 / ours[-1])
    error = float(np.abs(streamed(activations) - exact(activations).wd).max())
    return [
        row(
            "WD at 131,072 tokens: scipy once a neuron / sketch",
            statistics.median(speeds),
            (">=", 200),
            f"{min(speeds):.0f} to {max(speeds):.0f} in {rounds} interleaved rounds; {neurons} neurons, ours "
            f"{1e3 * statistics.median(ours):.2f} ms each on {torch.get_num_threads()} threads",
            readme=True,
        ),
        row("WD from the sketch: largest error", error, ("<=", 1e-3), f"{neurons} neurons of six shapes", readme=True),
    ]


def difficulties(rounds: int) -> Row:
    """MD of all neurons of a layer: at once against one by one."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((2, 1024, 2048), dtype=np.float32)
    outputs = rng.standard_normal((2, 1024, 8192), dtype=np.float32)
    together = difficulty(inputs, outputs).md
    alone = one_by_one(inputs, outputs[..., :16])
    assert np.allclose(together[:16], alone, rtol=1e-3), "both follow one definition"
    ratios = []
    for _ in range(rounds):
        each = seconds_of(lambda: one_by_one(inputs, outputs[..., :16])) / 16
        ratios.append(each / (seconds_of(lambda: difficulty(inputs, outputs)) / 8192))
    return row(
        "MD of a layer, per neuron: the published recipe, each with distances of its own / all at once",
        statistics.median(ratios),
        (">=", 50),
        f"{min(ratios):.0f} to {max(ratios):.0f} in {rounds} interleaved rounds; the shape of Pythia-1.4B (8,192 "
        "neurons, inputs of 2,048), 1,024 pairs; the recipe on 16 neurons",
        readme=True,
    )


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

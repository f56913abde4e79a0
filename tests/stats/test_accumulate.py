"""The compiled update, the torch one and numpy's histogram agree; activations that are not finite are named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from negspace.errors import StatisticsError
from negspace.stats.accumulate import Accumulator, counting_device
from negspace.stats.sketch import SUMS, Grid, Sketch
from negspace.stats.torch_kernel import TorchState


def data(tokens: int = 3000, neurons: int = 37, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, (tokens, neurons)) * rng.uniform(0.1, 10, neurons) + rng.normal(0, 3, neurons)
    return torch.from_numpy(values.astype(np.float32))


def grid_of(a: torch.Tensor, reach: float = 3.0, repeat: int = 1) -> Grid:
    pilot = a[:200].double().numpy()
    return Grid.around(np.tile(pilot.mean(axis=0), repeat), np.tile(pilot.std(axis=0), repeat), reach)


def by_torch(grid: Grid, experts: int = 1) -> Accumulator:
    accumulator = Accumulator(grid, experts)
    accumulator._state = TorchState(grid, torch.device("cpu"))
    return accumulator


def assert_equal(first: Sketch, second: Sketch) -> None:
    np.testing.assert_array_equal(first.bins, second.bins)
    np.testing.assert_array_equal(first.tallies, second.tallies)
    for name in SUMS:
        size = np.maximum(first.sum("power4"), 1.0)  # odd powers cancel
        np.testing.assert_allclose(first.sum(name) / size, second.sum(name) / size, rtol=1e-12, atol=1e-12)


def test_counts_are_those_of_numpys_histogram_and_tails_are_whole():
    a = data(neurons=5)
    grid = grid_of(a)
    accumulator = Accumulator(grid)
    accumulator.update(a)
    made = accumulator.sketch()
    for neuron, edges in enumerate(grid.edges()):
        column = a[:, neuron].double().numpy()
        expected = np.histogram(column, edges)[0]
        assert np.abs(made.counts()[neuron] - expected).sum() <= 4  # float32 may put a value on an edge next door
        below, above = column[column < edges[0]], column[column >= edges[-1]]
        assert made.tally("below")[neuron] == len(below)
        assert made.tally("above")[neuron] == len(above)
        shift, unit = grid.pivot[neuron], grid.unit[neuron]
        assert made.sum("below")[neuron] == pytest.approx(((below - shift) / unit).sum(), rel=1e-12)
        assert made.sum("above")[neuron] == pytest.approx(((above - shift) / unit).sum(), rel=1e-12)
        assert made.tally("negative")[neuron] == (column < 0).sum()
    assert (made.tally("below") + made.tally("above")).sum() > 0
    assert (made.counts().sum(axis=1) + made.tally("below") + made.tally("above") == len(a)).all()


def test_bins_know_the_mean_of_their_tokens():
    a = data(neurons=3)
    grid = grid_of(a, reach=8.0)
    accumulator = Accumulator(grid)
    accumulator.update(a)
    made = accumulator.sketch()
    inside = (a.double().numpy() - grid.edges()[:, 0]) / grid.step
    for neuron in range(3):
        places = inside[:, neuron]
        for at in np.argsort(-made.counts()[neuron])[:20]:
            mean = (places[(places >= at) & (places < at + 1)] - at).mean()
            assert made.centres()[neuron, at] == pytest.approx(mean, abs=1 / 400)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_compiled_and_torch_updates_agree(dtype):
    a = data().to(dtype)
    rows = np.flatnonzero(np.random.default_rng(2).random(len(a)) < 0.7)
    grid = grid_of(a)
    compiled, reference = Accumulator(grid), by_torch(grid)
    for part in (a[:1000], a[1000:]):
        chosen = rows[rows < len(part)]
        compiled.update(part, chosen)
        reference.update(part, chosen)
    assert_equal(compiled.sketch(), reference.sketch())


@pytest.mark.parametrize("neurons", [1, 7, 8, 16, 63, 64, 65, 130])
@pytest.mark.parametrize("tokens", [1, 8, 511, 513, 1030])
def test_whatever_the_shape_every_value_is_counted_once(tokens, neurons):
    a = data(tokens, neurons)
    grid = Grid.around(np.zeros(neurons), np.full(neurons, 2.0))
    order = np.random.default_rng(1).permutation(tokens)[: max(1, tokens - 2)]
    compiled, reference = Accumulator(grid), by_torch(grid)
    for accumulator in (compiled, reference):
        accumulator.update(a, order)
    assert_equal(compiled.sketch(), reference.sketch())


def test_experts_own_their_rows():
    a, experts = data(), np.random.default_rng(1).integers(0, 4, 3000)
    grid = grid_of(a, repeat=4)
    compiled, reference = Accumulator(grid, 4), by_torch(grid, 4)
    for accumulator in (compiled, reference):
        accumulator.update(a, np.arange(0, 3000, 2), experts)
    assert_equal(compiled.sketch(), reference.sketch())
    for expert in range(4):
        alone = Accumulator(grid.take(np.arange(37) + 37 * expert))
        alone.update(a, np.flatnonzero((experts == expert) & (np.arange(3000) % 2 == 0)))
        assert_equal(compiled.sketch().take(np.arange(37) + 37 * expert), alone.sketch())


def test_threads_change_nothing():
    a = data(tokens=8000, neurons=50)
    one, three = Accumulator(grid_of(a)), Accumulator(grid_of(a))
    one.update(a)
    with ThreadPoolExecutor(2) as pool:
        three.update(a, pool=pool, threads=3)
    assert one.sketch().same(three.sketch())


def test_a_strided_view_is_read_rightly():
    wide = data(neurons=64)
    grid = grid_of(wide[:, :32])
    view, copy = Accumulator(grid), Accumulator(grid)
    view.update(wide[:, :32].view(10, 300, 32))
    copy.update(wide[:, :32].contiguous())
    assert view.sketch().same(copy.sketch())


def test_a_sketch_is_a_value():
    a = data()
    accumulator = Accumulator(grid_of(a))
    accumulator.update(a)
    before = accumulator.sketch()
    accumulator.update(a)
    assert before.tally("tokens")[0] == 3000
    assert accumulator.sketch().same(before.merge(before))


@pytest.mark.parametrize("make", [Accumulator, by_torch])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_activations_that_are_not_finite_are_named(make, value):
    a = data()
    accumulator = make(grid_of(a))
    accumulator.name = "layer 3 (model.layers.3.mlp.act_fn)"
    a[17, 5] = a[18, 9] = value
    with pytest.raises(StatisticsError) as caught:
        accumulator.update(a)
    assert "layer 3" in caught.value.asked
    assert "not finite" in caught.value.found
    assert "neuron 5, neuron 9" in caught.value.found
    assert "float32" in caught.value.todo


def test_a_row_left_out_may_hold_anything():
    a = data()
    a[0] = float("nan")
    accumulator = Accumulator(grid_of(a[1:]))
    accumulator.update(a, np.arange(1, len(a)))
    assert accumulator.sketch().tally("tokens")[0] == len(a) - 1


def test_an_expert_is_named_with_its_neuron():
    a = data(tokens=300)
    accumulator = Accumulator(grid_of(a, repeat=2), 2)
    a[7, 3] = float("nan")
    with pytest.raises(StatisticsError, match="expert 1 neuron 3"):
        accumulator.update(a, None, np.arange(300) % 2)


def test_values_too_large_to_sum_are_named():
    a = data()
    accumulator = Accumulator(grid_of(a))
    a[3, 2] = 1e30
    with pytest.raises(StatisticsError, match="too far from those of the first windows to be summed: neuron 2"):
        accumulator.update(a)


def test_the_limit_of_tokens_is_each_experts(monkeypatch):
    monkeypatch.setattr("negspace.stats.sketch.MOST_TOKENS", 1000)
    a = data(tokens=3600)
    accumulator = Accumulator(grid_of(a, repeat=4), 4)
    accumulator.update(a, None, np.arange(3600) % 4)
    assert (accumulator.sketch().tally("tokens") == 900).all()
    with pytest.raises(StatisticsError, match="sketch 1,000 tokens of one neuron"):
        accumulator.update(a[:100], None, np.full(100, 2))
    alone = Accumulator(grid_of(a))
    with pytest.raises(StatisticsError, match="sketch 3,600 tokens of one neuron"):
        alone.update(a)


@pytest.mark.parametrize(("device", "counts_on"), [("cpu", "cpu"), ("cuda:1", "cuda:1"), ("mps", "cpu")])
def test_what_a_device_without_float64_gives_is_counted_on_the_cpu(device, counts_on):
    assert counting_device(torch.device(device)) == torch.device(counts_on)


def test_the_accumulator_of_a_device_without_float64_is_the_compiled_one():
    a = data()
    here, there = Accumulator(grid_of(a)), Accumulator(grid_of(a), device="mps")
    for accumulator in (here, there):
        accumulator.update(a)
    assert there.sketch().same(here.sketch())

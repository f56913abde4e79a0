"""The Triton kernel does what the compiled code and the torch operations do.

Without a GPU it runs in Triton's interpreter, which has to be asked for before Triton is imported: a process of its
own, started with TRITON_INTERPRET, is handed the activations and hands back sketches.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from negspace.errors import StatisticsError
from negspace.stats import accumulate
from negspace.stats.accumulate import Accumulator
from negspace.stats.sketch import SUMS, Grid, Sketch
from negspace.stats.torch_kernel import TorchState

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is made for Linux only")
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


class Call(NamedTuple):
    """Arguments of an update."""

    a: NDArray[np.floating]
    rows: NDArray[np.int64] | None = None
    experts: NDArray[np.int64] | None = None


def data(tokens: int = 300, neurons: int = 21, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.standard_t(3, (tokens, neurons)) * rng.uniform(0.1, 10, neurons) + rng.normal(0, 3, neurons)


def grid_of(a: NDArray[np.floating], repeat: int = 1) -> Grid:
    return Grid.around(np.tile(a.mean(axis=0), repeat), np.tile(a.std(axis=0), repeat), 3.0)


def by_triton(grid: Grid, calls: list[Call], experts: int, dtype: torch.dtype, device: str = "cpu") -> Sketch:
    from negspace.stats.triton_kernel import TritonState

    accumulator = Accumulator(grid, experts, name="layer 3 (model.layers.3.mlp.act_fn)")
    accumulator._state = TritonState(grid, torch.device(device))
    return filled(accumulator, calls, dtype)


def by_torch(grid: Grid, calls: list[Call], experts: int, dtype: torch.dtype) -> Sketch:
    accumulator = Accumulator(grid, experts)
    accumulator._state = TorchState(grid, torch.device("cpu"))
    return filled(accumulator, calls, dtype)


def by_numba(grid: Grid, calls: list[Call], experts: int, dtype: torch.dtype) -> Sketch:
    return filled(Accumulator(grid, experts), calls, dtype)


def filled(accumulator: Accumulator, calls: list[Call], dtype: torch.dtype) -> Sketch:
    for call in calls:
        accumulator.update(torch.from_numpy(call.a).to(dtype), call.rows, call.experts)
    return accumulator.sketch()


def assert_equal(made: Sketch, expected: Sketch) -> None:
    np.testing.assert_array_equal(made.bins, expected.bins)
    np.testing.assert_array_equal(made.tallies, expected.tallies)
    for name in SUMS:
        size = np.maximum(expected.sum("power4"), 1.0)  # odd powers cancel
        np.testing.assert_allclose(made.sum(name) / size, expected.sum(name) / size, rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Callable[..., Any]]:
    """Call a function of this module in the process that interprets Triton."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            pool.submit(os.getpid).result()  # the process starts now, and takes this moment's environment with it
        yield lambda function, *args: pool.submit(function, *args).result()


@pytest.fixture(scope="module")
def check(interpreted: Callable[..., Any]) -> Callable[..., Sketch]:
    """The kernel's sketch of some calls, after comparing it with the others'."""

    def compare(grid: Grid, calls: list[Call], experts: int = 1, dtype: torch.dtype = torch.float32) -> Sketch:
        made = interpreted(by_triton, grid, calls, experts, dtype)
        assert_equal(made, by_torch(grid, calls, experts, dtype))
        assert_equal(made, by_numba(grid, calls, experts, dtype))
        return made

    return compare


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_agrees_with_the_other_updates(check: Callable[..., Sketch], dtype: torch.dtype):
    a = data()
    rows = np.flatnonzero(np.random.default_rng(2).random(len(a)) < 0.7)
    made = check(grid_of(a), [Call(a), Call(a[:200], rows[rows < 200]), Call(a[:7])], dtype=dtype)
    assert (made.tally("below") > 0).any()
    assert (made.tally("above") > 0).any()


@pytest.mark.parametrize("neurons", [1, 16, 33])
def test_any_width_will_do(check: Callable[..., Sketch], neurons: int):
    a = data(40, neurons)
    check(grid_of(a), [Call(a)])


def test_rows_may_take_several_programs(check: Callable[..., Sketch]):
    a = data(2100, 3)
    assert check(grid_of(a), [Call(a), Call(a, np.arange(9, 2100))]).tally("tokens")[0] == 2100 + 2091


def test_experts_own_their_rows(check: Callable[..., Sketch]):
    a = data()
    experts = np.random.default_rng(1).choice([0, 1, 3], len(a))  # the third is never called
    grid = grid_of(a, repeat=4)
    made = check(grid, [Call(a, np.arange(0, 300, 2), experts), Call(a, None, experts)], experts=4)
    counts = np.bincount(experts, minlength=4) + np.bincount(experts[::2], minlength=4)
    np.testing.assert_array_equal(made.tally("tokens").reshape(4, 21), np.tile(counts[:, None], 21))
    assert not made.bins[42:63].any()


def test_values_on_the_edges_of_bins(check: Callable[..., Sketch]):
    grid = Grid.around(np.array([0.0, 0.3, -2e-3, 1e4]), np.array([1.0, 0.7, 1e-3, 30.0]))
    edges = grid.edges().T.astype(np.float32)
    tiny = np.float32(1e-45)
    odd = np.array([0.0, -0.0, tiny, -tiny, 1e-38, -1e-38, 3e4, -3e4], np.float32)[:, None].repeat(4, axis=1)
    a = np.concatenate([edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf)), odd])
    made = check(grid, [Call(a)])
    x = (a - grid.origin) * grid.scale  # the definition, in float32
    assert x.dtype == np.float32
    for neuron in range(4):
        place = np.floor(x[:, neuron]).astype(np.int64)
        inside = (place >= 0) & (place < 512 * 256)
        expected = np.bincount(place[inside] >> 8, (1 << 36) + (place[inside] & 255), 512)  # exact: below 2**53
        np.testing.assert_array_equal(made.bins[neuron], expected.astype(np.int64))
        assert made.tally("below")[neuron] == (place < 0).sum()
        assert made.tally("above")[neuron] == (place >= 512 * 256).sum()
        assert made.tally("negative")[neuron] == (a[:, neuron] < 0).sum()


def test_large_and_small_sums_keep_all_their_digits(interpreted: Callable[..., Any]):
    powers = 2.0 ** np.arange(-12, 34)
    grid = Grid.around(np.zeros(len(powers)), np.ones(len(powers)))
    a = np.stack([powers, -3 * powers])
    made = interpreted(by_triton, grid, [Call(a), Call(a)], 1, torch.float64)
    np.testing.assert_array_equal(made.sum("power1"), -4 * powers)
    np.testing.assert_array_equal(made.sum("negative"), -6 * powers)
    np.testing.assert_array_equal(made.sum("power3"), 2 * np.trunc(-26 * powers**3 * 2.0**40) / 2.0**40)
    assert (made.sums[:, :, 1:] >= 0).all()
    assert (made.sums[:, :, 1:] < 1 << 60).all()


def test_words_are_those_of_the_digits():
    from negspace.stats.triton_kernel import words_of

    digits = np.random.default_rng(0).integers(-(1 << 62), 1 << 62, (50, 6))
    digits[:, 0] >>= 34
    for words, own in zip(words_of(digits), digits, strict=True):
        value = sum(int(digit) << 30 * (5 - place) for place, digit in enumerate(own))
        assert value == (int(words[0]) << 120) + (int(words[1]) << 60) + int(words[2])
        assert 0 <= words[1] < 1 << 60
        assert 0 <= words[2] < 1 << 60


def test_merging_is_sketching_both(interpreted: Callable[..., Any]):
    a = data()
    grid = grid_of(a)
    one, two, both = (
        interpreted(by_triton, grid, calls, 1, torch.float32)
        for calls in ([Call(a[:100])], [Call(a[100:])], [Call(a[100:]), Call(a[:100])])
    )
    assert one.merge(two).same(both)
    assert_equal(one.merge(by_numba(grid, [Call(a[100:])], 1, torch.float32)), both)


def test_no_rows_add_nothing(interpreted: Callable[..., Any]):
    a = data(5)
    none = np.empty(0, np.int64)
    made = interpreted(by_triton, grid_of(a), [Call(a, none), Call(a[:0])], 1, torch.float32)
    assert made.same(Sketch.empty(grid_of(a)))


def of_views(grid: Grid, wide: NDArray[np.float32]) -> list[Sketch]:
    from negspace.stats.triton_kernel import TritonState

    made = []
    tensor = torch.from_numpy(wide)
    for view in (tensor[:, :10], tensor[:, 10:], tensor[:, ::2], tensor[::2, :10], tensor.T.contiguous().T[:, :10]):
        for a in (view, view.contiguous()):
            state = TritonState(grid, torch.device("cpu"))
            state.update(a, np.arange(1, len(a)), np.array([0, len(a) - 1]))
            made.append(state.sketch())
    return made


def test_a_view_of_any_strides_is_read_rightly(interpreted: Callable[..., Any]):
    wide = data(20, 20).astype(np.float32)
    made = interpreted(of_views, grid_of(wide[:, :10]), wide)
    for view, copy in zip(made[::2], made[1::2], strict=True):
        assert view.same(copy)
    assert not made[0].same(made[2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_activations_that_are_not_finite_are_named(interpreted: Callable[..., Any], value: float):
    a = data(50)
    a[17, 5] = a[18, 19] = value
    a[3, 2] = 1e30
    with pytest.raises(StatisticsError) as caught:
        interpreted(by_triton, grid_of(data(50)), [Call(a)], 1, torch.float32)
    assert "layer 3" in caught.value.asked
    assert "not finite" in caught.value.found
    assert caught.value.found.endswith(": neuron 5, neuron 19")
    left = np.setdiff1d(np.arange(50), [3, 17, 18])
    assert interpreted(by_triton, grid_of(data(50)), [Call(a, left)], 1, torch.float32).tally("tokens")[5] == 47


def test_values_too_large_to_sum_are_named(interpreted: Callable[..., Any]):
    a = data(50)
    a[3, 2] = 1e30
    a[4, 20] = -1e12
    with pytest.raises(StatisticsError, match=r"too far .* to be summed: expert 1 neuron 2, expert 1 neuron 20\n"):
        interpreted(by_triton, grid_of(data(50), repeat=2), [Call(a, None, np.ones(50, np.int64))], 2, torch.float32)


def test_an_error_may_wait_but_is_not_lost(interpreted: Callable[..., Any]):
    a, wrong = data(10), data(10)
    wrong[0, 7] = np.nan
    for calls in ([a, a, wrong], [a, a, wrong, a]):  # the third update is not asked about; the fourth and the end are
        with pytest.raises(StatisticsError, match="infinity\\): neuron 7"):
            interpreted(by_triton, grid_of(a), [Call(part) for part in calls], 1, torch.float32)


def proofs() -> list[tuple[bool, str]]:
    """What the proof says of the kernel, of one that cannot be built and of two that are wrong; and its warnings."""
    from negspace.stats import triton_kernel

    class Broken:
        def __getitem__(self, grid: object) -> Any:
            raise RuntimeError("Failed to find C compiler")

    class Idle:
        def __getitem__(self, grid: object) -> Any:
            return lambda *args, **options: None

    class Short:
        def __getitem__(self, grid: tuple[int]) -> Any:
            return kernel[(grid[0] - 1,)]

    said = []
    kernel = triton_kernel.accumulate
    for version in (kernel, Broken(), Idle(), Short()):
        triton_kernel.accumulate = version
        triton_kernel.proven.cache_clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            good = triton_kernel.proven(torch.device("cpu"))
        said.append((good, " ".join(str(warning.message) for warning in caught)))
    triton_kernel.accumulate = kernel
    return said


def test_a_kernel_that_cannot_be_built_or_errs_is_not_used(interpreted: Callable[..., Any]):
    good, broken, idle, short = interpreted(proofs)
    assert good == (True, "")
    assert not broken[0]
    assert "Failed to find C compiler" in broken[1]
    assert "scanning with torch" in broken[1]
    for wrong in (idle, short):
        assert not wrong[0]
        assert "not those of torch" in wrong[1]


def test_the_device_says_which_update_runs(monkeypatch: pytest.MonkeyPatch):
    from negspace.stats import triton_kernel

    monkeypatch.setattr(accumulate, "TorchState", lambda *_: "torch")
    monkeypatch.setattr(triton_kernel, "TritonState", lambda *_: "triton")
    cuda, grid = torch.device("cuda"), grid_of(data())
    for good, expected in ((True, "triton"), (False, "torch")):
        monkeypatch.setattr(triton_kernel, "proven", lambda _, good=good: good)
        assert accumulate.state_on(cuda, grid) == expected
    monkeypatch.setattr(triton_kernel, "proven", lambda _: True)
    assert accumulate.state_on(torch.device("mps"), grid) == "torch"
    monkeypatch.setattr(accumulate.importlib.util, "find_spec", lambda _: None)
    assert accumulate.state_on(cuda, grid) == "torch"


@pytest.mark.parametrize(("selected", "kind"), [(True, "bf16"), (False, "fp32")])
def test_it_compiles_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, selected: bool, kind: str):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from negspace.stats import triton_kernel as ours

    names = ours.accumulate.arg_names
    kinds = dict.fromkeys(names, "i32") | {"activations": f"*{kind}", "marks": "*i32"}
    kinds |= dict.fromkeys(("index", "bins", "digits", "tallies"), "*i64")
    kinds |= dict.fromkeys(("origin", "scale"), "*fp32") | dict.fromkeys(("pivot", "per_unit"), "*fp64")
    fixed = {"SELECTED": selected, "COLUMNS": ours.COLUMNS, "ROWS": ours.ROWS, "SPAN": ours.SPAN, "column_stride": 1}
    kinds |= dict.fromkeys(fixed, "constexpr")
    source = ASTSource(ours.accumulate, kinds, {(names.index(name),): value for name, value in fixed.items()})
    options = {"num_warps": ours.WARPS, "maxnreg": ours.REGISTERS}
    made = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options)
    assert len(made.asm["cubin"]) > 1000
    assert ".ftz" not in made.asm["ptx"]  # it would put denormal numbers into other bins than the CPU's


# On a GPU.


@pytest.fixture
def gpu() -> str:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return "cuda"


@pytest.mark.gpu
def test_on_a_gpu_it_is_what_runs(gpu: str):
    assert type(Accumulator(grid_of(data()), device=gpu)._state).__name__ == "TritonState"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("neurons", [21, 64, 1000])
def test_on_a_gpu_it_agrees(gpu: str, dtype: torch.dtype, neurons: int):
    a = data(3000, neurons)
    rows = np.flatnonzero(np.random.default_rng(2).random(len(a)) < 0.7)
    experts = np.random.default_rng(1).integers(0, 3, len(a))
    for calls, count in ([Call(a), Call(a, rows)], 1), ([Call(a, rows, experts), Call(a, None, experts)], 3):
        grid = grid_of(a, repeat=count)
        made = by_triton(grid, calls, count, dtype, gpu)
        assert_equal(made, by_numba(grid, calls, count, dtype))
        assert all(by_triton(grid, calls, count, dtype, gpu).same(made) for _ in range(5))


@pytest.mark.gpu
def test_on_a_gpu_errors_name_their_neurons(gpu: str):
    a = data(2000)
    a[1500, 5] = np.nan
    with pytest.raises(StatisticsError, match="neuron 5"):
        by_triton(grid_of(data(2000)), [Call(data(2000)), Call(data(2000)), Call(a)], 1, torch.float32, gpu)

"""Out of memory: the batch is halved until it fits, the result is the same, and nothing else is caught."""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from negspace import memory
from negspace.memory import Frugal, fitted, give_back, is_out_of_memory, shortage

_REAL = """
import json, resource, sys
import torch
import negspace as ns
from negspace.memory import Frugal
from negspace.text.source import read_text
from negspace.text.windows import make_windows

torch.set_num_threads(1)
model = ns.load(sys.argv[1])
text = read_text([open(sys.argv[2]).read() * 60], role="perplexity")
# Made before memory is short: a tokenizer that runs out of it ends the process.
windows = make_windows(text, model.tokenizer, window=64, context=model.context)
plain = ns.perplexity(model, windows, batch=8)
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
room = pages + 48 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
notes = []
frugal = Frugal(notes.append)
made = frugal(lambda: ns.perplexity(model, windows, batch=100_000), "perplexity")
print(json.dumps({"notes": notes, "same": bool(abs(made.nll - plain.nll).max() < 1e-5), "windows": made.windows}))
"""


_LOAD = """
import resource, sys
import torch
import negspace as ns
from negspace.errors import ModelError

torch.set_num_threads(1)
ns.load(sys.argv[1], device="cpu")  # threads and libraries are there before memory is short
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
room = pages + 32 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    ns.load(sys.argv[2], device="cpu")
except ModelError as error:
    print(error)
"""
_TOO_LARGE = 1 << 47
"""Bytes: all that a process of 64 bits can address."""


def test_the_batch_is_halved_until_it_fits() -> None:
    notes: list[str] = []
    tried: list[int] = []

    def work() -> str:
        tried.append(fitted(64))
        if tried[-1] > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    frugal = Frugal(notes.append)
    assert frugal(work, "a cell") == "done"
    assert tried == [64, 32, 16, 8]
    assert notes[-1] == "out of memory in a cell: batches are 8 times smaller from now on"
    assert frugal(lambda: fitted(64), "the next") == 8
    assert fitted(64) == 64


@pytest.mark.parametrize(("sizes", "tries"), [((3,), 2), ((5, 1), 3), ((1,), 1), ((), 1)])
def test_a_batch_of_one_that_does_not_fit_is_an_error(sizes: tuple[int, ...], tries: int) -> None:
    """At once: with no batch left to halve, another try would end alike."""
    notes: list[str] = []
    tried: list[tuple[int, ...]] = []

    def work() -> None:
        tried.append(tuple(fitted(size) for size in sizes))
        raise MemoryError

    with pytest.raises(MemoryError):
        Frugal(notes.append)(work, "a cell")
    assert len(tried) == tries
    assert len(notes) == tries - 1
    assert set(tried[-1]) <= {1}


def test_other_errors_are_not_caught() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        Frugal()(lambda: (_ for _ in ()).throw(RuntimeError("shape mismatch")), "a cell")
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    for words in (
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "Triton Error [CUDA]: out of memory",
        "MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB)",
    ):
        assert is_out_of_memory(RuntimeError(words))


@pytest.mark.parametrize(
    "take",
    [
        lambda: mmap.mmap(-1, _TOO_LARGE),
        lambda: memory.apart((_TOO_LARGE // 8,), np.float64),
        lambda: np.empty(_TOO_LARGE, np.uint8),
        lambda: torch.empty(_TOO_LARGE, dtype=torch.uint8),
    ],
    ids=["mmap", "apart", "numpy", "torch"],
)
def test_every_way_to_say_it_is_known(take: Callable[[], object]) -> None:
    with pytest.raises((OSError, MemoryError, RuntimeError)) as caught:
        take()
    assert is_out_of_memory(caught.value)
    found, todo = shortage(caught.value)
    assert found.startswith("not enough memory (")
    assert "smaller dtype" in todo
    assert "smaller batch" in todo


def test_arrays_of_their_own_are_made_smaller_too() -> None:
    """The system refuses them by an OSError."""

    def work() -> int:
        return len(memory.apart((_TOO_LARGE // 8 if fitted(2) == 2 else 1000,), np.float64))

    notes: list[str] = []
    assert Frugal(notes.append)(work, "a cell") == 1000
    assert len(notes) == 1


def test_other_refusals_of_the_system_are_not_caught() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Path("/no/such/file").read_text()
    assert not is_out_of_memory(caught.value)


def test_what_transformers_reports_instead_of_raising_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts that are stacked while they are loaded: whatever fails there is logged, and another error raised."""
    from transformers import core_model_loading

    from negspace.errors import ModelError
    from negspace.models.load import load

    zoo.build("mixtral").save_pretrained(tmp_path)
    zoo.tokenizer().save_pretrained(tmp_path)

    def fails(*_: object, **__: object) -> None:
        torch.empty(_TOO_LARGE, dtype=torch.uint8)

    monkeypatch.setattr(core_model_loading.MergeModulelist, "convert", fails)
    with pytest.raises(ModelError, match=r"(?s)found: not enough memory .*allocate memory.*smaller dtype"):
        load(tmp_path, device="cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space of a process, as Linux does")
def test_a_model_that_does_not_fit(tmp_path: Path) -> None:
    """The cause is memory, although its files are in a folder that could be damaged."""
    for name, words in (("small", 96), ("large", 500_000)):
        zoo.build("llama", vocab_size=words).save_pretrained(tmp_path / name)
        zoo.tokenizer().save_pretrained(tmp_path / name)
    command = [sys.executable, "-W", "ignore", "-c", _LOAD, str(tmp_path / "small"), str(tmp_path / "large")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    assert f"asked: the weights of {tmp_path / 'large'}" in shown
    assert "found: not enough memory" in shown
    assert "smaller dtype" in shown


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space of a process, as Linux does")
def test_a_real_shortage(tiny_model_path: Path, tiny_text_path: Path) -> None:
    """A process whose address space ends a little above what it has: the whole text at once cannot fit."""
    command = [sys.executable, "-W", "ignore", "-c", _REAL, str(tiny_model_path), str(tiny_text_path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(shown.stdout.splitlines()[-1])
    assert found["notes"]
    assert found["same"]
    assert found["windows"] > 100


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_free_memory_goes_back_to_the_system() -> None:
    def resident() -> int:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    blocks = [bytearray(b"1" * 2**16) for _ in range(3000)]  # below the size at which glibc takes pages for a block
    kept = blocks[::100]
    full = resident()
    del blocks
    give_back()
    assert full - resident() > 100
    del kept


def test_arrays_that_stay_are_zeros_of_their_own() -> None:
    for shape in ((3,), (5, 700), (0, 4)):
        made = memory.apart(shape, np.int64)
        assert made.shape == shape
        assert made.dtype == np.int64
        assert not made.any()
        made += 1
        assert made.sum() == made.size
    values = np.arange(3000.0)
    copy = memory.moved(values)
    values[:] = 0
    assert copy.tolist() == list(range(3000))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is told by Linux's kernel")
def test_what_stays_does_not_hold_the_heap_around_it() -> None:
    """Tensors of 12 MB come and go, and between them small objects stay: the process does not grow by the tensors."""
    grown = subprocess.run([sys.executable, "-c", _BETWEEN], check=True, capture_output=True, text=True).stdout
    assert float(grown) < 40


_BETWEEN = """
import torch
from negspace.memory import returned_at_once
torch.set_num_threads(1)
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
for size in (1 << 20, 1 << 22, 1 << 22): torch.ones(size)  # glibc learns that such blocks come and go
before, stay = resident(), []
with returned_at_once():
    for layer in range(30):
        blocks = [torch.ones(3_000_000) for part in range(3)]
        stay += [bytearray(3000) for _ in range(20)]
        del blocks
print(resident() - before)
"""

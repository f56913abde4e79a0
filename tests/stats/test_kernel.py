"""The compiled loops load on first use only, and work where no cache can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from negspace import errors, memory, shelf
from negspace.stats import kernel, sketch, transpose


def test_importing_the_scan_compiles_nothing():
    late = {"negspace.stats.kernel", "negspace.stats.triton_kernel"}
    code = f"import sys, negspace.neurons.scan; sys.exit(bool({late} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_place_for_the_cache_it_compiles_all_the_same(monkeypatch: pytest.MonkeyPatch):
    real, asked = numba.njit, []

    def njit(*args: object, **options: object):
        if args:  # numba's own use of it while compiling
            return real(*args, **options)
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(kernel.numba, "njit", njit)
    assert kernel._compiled(lambda x: x + 1)(1) == 2
    assert [options.get("cache", False) for options in asked[:2]] == [True, False]


COUNT = """
import hashlib
import numpy as np
from negspace.stats.kernel import accumulate
a = np.arange(16 * 16, dtype=np.float32).reshape(16, 16)
bins, sums, tallies = np.zeros((16, 512), np.int64), np.zeros((16, 7, 3), np.int64), np.zeros((16, 4), np.int64)
accumulate(
    a, np.arange(16), np.array([0, 16]), 0, 1, np.zeros(16, np.float32), np.full(16, 256, np.float32),
    np.zeros(16), np.ones(16), bins, sums, tallies, np.zeros(16, np.int32),
)
made = hashlib.sha256(bins.tobytes() + sums.tobytes() + tallies.tobytes()).hexdigest()
print(made, sum(accumulate.stats.cache_hits.values()))
"""
"""What the kernel makes of 16 neurons, and whether its code came from the cache."""


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("transpose.py", "for distance in (1, 2, 4):", "for distance in (1, 2):"),
        ("sketch.py", "SHIFT = 36", "SHIFT = 35"),
    ],
)
def test_a_change_of_any_file_behind_the_machine_code_is_seen(tmp_path: Path, file: str, before: str, after: str):
    """On a copy of the kernel and what it is made of, in fresh processes with a cache of their own."""
    folder = tmp_path / "negspace" / "stats"
    folder.mkdir(parents=True)
    for module in (kernel, transpose, sketch):
        shutil.copy(module.__file__, folder)
    for module in (errors, memory, shelf):
        shutil.copy(module.__file__, folder.parent)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def count() -> list[str]:
        ran = [sys.executable, "-c", COUNT]
        return subprocess.run(ran, env=environment, check=True, capture_output=True, text=True).stdout.split()

    *first, compiled = count()
    *again, cached = count()
    assert (compiled, cached) == ("0", "1")
    assert again == first
    text = (folder / file).read_text()
    assert text.count(before) == 1
    (folder / file).write_text(text.replace(before, after))
    *other, hits = count()
    assert hits == "0"
    assert other != first

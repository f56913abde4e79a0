"""The compiled loops load on first use only, and work where no cache can be written."""

from __future__ import annotations

import subprocess
import sys

import numba
import pytest

from negspace.stats import kernel


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

"""What a scan says of its own stability: figures of the halves, and a warning where the text is short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from negspace.neurons.scan import Scan
from negspace.report.stability import said, stability
from negspace.significance import reliability
from negspace.study.tables import Tables


@pytest.fixture
def scan(tiny_run: tuple[Path, Tables]) -> Scan:
    return Scan.load(tiny_run[0] / "scan.parquet")


def test_figures_are_those_of_the_halves(scan: Scan) -> None:
    found = stability(scan)
    assert found is not None
    each = []
    for layer in (0, 1):
        part = scan.table[scan.table["layer"] == layer]
        each.append(reliability(part["wd_first"], part["wd_second"], scan.info.tokens).reliability)
    assert found.reliability == pytest.approx(np.median(each))
    assert 0 <= found.overlap <= 1
    assert f"{found.reliability:.2f}" in said(found)[0]


def test_halves_that_agree_and_halves_that_do_not(scan: Scan) -> None:
    alike = replace(scan, table=scan.table.assign(wd_second=scan.table["wd_first"]))
    same = stability(alike)
    assert same is not None
    assert (same.reliability, same.overlap) == (pytest.approx(1), 1)
    assert len(said(same)) == 1
    apart = stability(replace(scan, table=scan.table.assign(wd_second=-scan.table["wd_first"])))
    assert apart is not None
    assert (apart.reliability, apart.overlap) == (0, 0)
    assert said(apart)[1].startswith("note: with ")


def test_a_scan_without_halves_says_nothing(scan: Scan) -> None:
    assert stability(replace(scan, table=scan.table.drop(columns=["wd_first", "wd_second"]))) is None
    assert said(None) == []

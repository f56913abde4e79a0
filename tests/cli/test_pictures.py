"""Real runs of every analysis on a tiny model, reported and drawn by the commands."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from negspace.cli import app
from negspace.report.sections import figures_of
from negspace.study.reading import read_run
from negspace.study.registry import OWN

pytestmark = pytest.mark.slow

_PASSAGES = {"tokens": 512, "share": 0.05}
_SETTINGS: dict[str, dict[str, Any]] = {
    "dose": {"shares": [0.1, 0.5], "random": 1, "interventions": ["zero_negative", "sign_flip", "negative_mean"]},
    "layers": {"groups": 2, "random": 1},
    "differentiation": {**_PASSAGES, "per_layer": 1, "pairs": 4, "random": 1},
    "atlas": {**_PASSAGES, "neurons": 2, "permutations": 99, "ablate_alone": 1},
}


@pytest.fixture(scope="module")
def full_run(
    tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of a study with every analysis but the one that needs a series of checkpoints."""
    folder = tmp_path_factory.mktemp("full")
    other = folder / "other.txt"
    other.write_text(" ".join(reversed(tiny_text_path.read_text().split())))
    study = {
        "model": str(tiny_model_path),
        "text": str(tiny_text_path),
        "blimp": [str(tiny_pairs_path / "blimp")],
        "tse": [str(tiny_pairs_path / "tse")],
        "window": 64,
        "windows": 12,
        "md_pairs": 64,
        "shares": [0.1],
        "random": 2,
        "draws": 100,
        "limit": 2,
        "analyses": {
            name: {"texts": [str(other)]} if name == "stability" else _SETTINGS.get(name, {})
            for name in OWN
            if name != "training"
        },
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # spaCy's own dependencies
        made = CliRunner().invoke(app, ["run", str(folder / "study.yaml"), "--out", str(folder / "run")])
    assert made.exit_code == 0, made.output
    return folder / "run"


def test_every_analysis_has_figures(full_run: Path) -> None:
    found = figures_of(read_run(full_run))
    assert {name for name, made in found.items() if not made} == set()
    assert set(found) == {"scan", *OWN} - {"training"}
    names = [figure.name for made in found.values() for figure in made]
    assert len(set(names)) == len(names)
    assert {"dose", "layers_10pct", "atlas_distributions", "differentiation", "controls_layers"} <= set(names)


def test_report_writes_one_file_with_every_analysis(full_run: Path, tmp_path: Path, call: Any) -> None:
    out = tmp_path / "report.html"
    called = call("report", full_run, "--out", out)
    assert called.status == 0, called.err
    assert str(out) in called.out.replace("\n", "")
    html = out.read_text(encoding="utf-8")
    tabs = re.findall(r'role="tab" type="button" id="tab-(\w+)"', html)
    assert tabs == ["overview", "scan", *(name for name in OWN if name != "training"), "run", "neurons"]
    block = re.search(r'id="neurons-0">(.*?)</script>', html, re.DOTALL)
    assert block is not None
    neurons = json.loads(block[1])
    assert neurons["count"] == 128
    page = next(page for page in neurons["details"].values() if "histogram" in page)
    assert len(page["histogram"]["edges"]) == len(page["histogram"]["density"]) + 1
    assert page["contexts"][0]["tokens"]
    assert any("pairs" in page for page in neurons["details"].values())


def test_figures_writes_every_figure_in_every_format(full_run: Path, tmp_path: Path, call: Any) -> None:
    called = call(
        "figures", full_run, "--out", tmp_path / "figures", "--format", "pdf,svg", "--only", "wd", "--only", "d"
    )
    assert called.status == 0, called.err
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert {"wd_by_layer.pdf", "wd_by_layer.svg", "dose.pdf", "differentiation.svg"} <= set(files)
    assert len(files) % 2 == 0


def test_what_cannot_be_drawn_or_written_is_said(full_run: Path, tmp_path: Path, call: Any) -> None:
    called = call("figures", full_run, "--out", tmp_path, "--format", "jpg")
    assert called.status == 2
    assert "give one or more of: pdf, png, svg" in called.err
    called = call("report", full_run, "--out", tmp_path / "none" / "report.html")
    assert called.status == 2
    assert "to write" in called.err
    called = call("report", tmp_path, "--out", tmp_path / "report.html")
    assert called.status == 2
    assert not (tmp_path / "report.html").exists()


def test_several_runs_as_json_are_a_list(full_run: Path, call: Any) -> None:
    one = json.loads(call("report", full_run, "--json").out)
    several = json.loads(call("report", full_run, full_run, "--json").out)
    assert several == [one, one]

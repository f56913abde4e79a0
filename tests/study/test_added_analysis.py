"""An analysis of another package: that of docs/adding_an_analysis.md, registered by an entry point alone."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import negspace as ns
from negspace.errors import StudyError
from negspace.experiment.config import configure
from negspace.report.sections import sections as report_sections
from negspace.study.presets import from_preset
from negspace.study.reading import read_run
from negspace.study.registry import OWN, analysis, handlers, names, sections
from negspace.study.run import plan_study, run_study

PAGE = (Path(__file__).parents[2] / "docs" / "adding_an_analysis.md").read_text(encoding="utf-8")
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """install(package, source, points): as pip would, in a folder of its own on the search path."""
    site = tmp_path / "site"

    def put(package: str, source: str, points: dict[str, str]) -> None:
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{package}.py").write_text(source, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[negspace.analyses]", *lines, ""]))
        monkeypatch.syspath_prepend(str(site))

    yield put
    import sys

    for path in site.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def depth(install: Install) -> None:
    """The example of the page, as its two blocks have it."""
    (source,), (project,) = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("python", "toml"))
    install("negspace_depth", source, tomllib.loads(project)["project"]["entry-points"]["negspace.analyses"])


@pytest.mark.usefixtures("depth")
def test_the_example_is_found_run_and_shown(tiny_fields: dict[str, Any], tmp_path: Path) -> None:
    assert names() == (*OWN, "depth")
    study = configure({**tiny_fields, "analyses": {"depth": {"share": 0.3}}})
    assert plan_study(study).loads["depth"].cells == 3
    tables = run_study(study, tmp_path / "run")
    table = tables["depth"]
    model = ns.load(study.model)
    top = ns.scan(model, tiny_fields["text"], window=64, windows=12, md_pairs=64).top(0.3)
    plain = ns.perplexity(model, tiny_fields["text"], window=64).value
    for row in table.itertuples():
        with ns.intervene(model, top.restrict([row.layer]), zero="negative"):
            ratio = ns.perplexity(model, tiny_fields["text"], window=64).value / plain
        assert row.ratio == pytest.approx(ratio, rel=1e-9)
    assert table["layer"].tolist() == [0, 1]
    assert np.isfinite(table["p_holm"]).all()
    assert "- `ratio`: perplexity divided by the plain model's" in (tmp_path / "run/tables/COLUMNS.md").read_text()
    (section,) = (one for one in report_sections([read_run(tmp_path / "run")]) if one.key == "depth")
    assert [figure.name for figure in section.figures] == ["depth"]
    assert list(section.findings[0][1]) == tables.sentences("depth")
    assert tables.sentences("depth")[0].startswith(f"Layer {table['ratio'].idxmax()} has the largest ratio")


@pytest.mark.usefixtures("depth")
def test_its_settings_are_checked_and_presets_do_not_take_it_unasked(tiny_fields: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="did you mean 'share'"):
        sections(configure({**tiny_fields, "analyses": {"depth": {"shares": 1}}}))
    assert "depth" not in from_preset("paper", tiny_fields)[0].analyses
    chosen, _ = from_preset("paper", {**tiny_fields, "analyses": {"depth": {"share": 0.1}}}, only=True)
    assert chosen.analyses == {"depth": {"share": 0.1}}


def test_what_is_registered_wrongly_is_named(install: Install) -> None:
    install("broken", "import nothing_of_that_name\n", {"broken": "broken:Broken"})
    install("other", "class Other: ...\n", {"other": "other:Other"})
    with pytest.raises(StudyError, match=r"the analysis 'broken' of broken\nfound: ModuleNotFoundError"):
        analysis("broken")
    with pytest.raises(StudyError, match="not a subclass of Analysis with the name 'other'"):
        analysis("other")
    assert analysis("ablation").name == "ablation"


def test_two_packages_of_one_name_are_named(install: Install) -> None:
    install("mine", "", {"dose": "mine:Dose"})
    with pytest.raises(StudyError, match=r"two packages that register it: .*mine"):
        names()


@pytest.mark.usefixtures("depth")
def test_tables_of_one_name_are_refused(install: Install, tiny_fields: dict[str, Any]) -> None:
    source = "import negspace_depth\n\n\nclass Twin(negspace_depth.Depth):\n    name = 'twin'\n"
    install("twin", source, {"twin": "twin:Twin"})
    with pytest.raises(StudyError, match="a table 'depth' in both"):
        sections(configure({**tiny_fields, "analyses": ["depth", "twin"]}))


@pytest.mark.usefixtures("depth")
def test_a_table_of_the_name_of_one_that_every_run_has_is_refused(
    install: Install, tiny_fields: dict[str, Any]
) -> None:
    source = (
        "import negspace_depth\n\n\nclass Mine(negspace_depth.Depth):\n    name = 'mine'\n"
        "    schema = {'examples': negspace_depth.TABLE}\n"
    )
    install("mine", source, {"mine": "mine:Mine"})
    with pytest.raises(StudyError, match="a table 'examples', as every run has one of its own"):
        sections(configure({**tiny_fields, "analyses": ["mine"]}))


@pytest.mark.usefixtures("depth")
def test_two_ways_to_compute_one_kind_of_cell_are_refused(install: Install) -> None:
    source = (
        "import negspace_depth\n\n\nclass Other(negspace_depth.Depth):\n    name = 'other_residual'\n"
        "    handlers = {'residual': print}\n"
    )
    install("other_residual", source, {"other_residual": "other_residual:Other"})
    assert handlers({"controls": {}})["residual"] is analysis("controls").handlers["residual"]
    with pytest.raises(StudyError, match="cells of the kind 'residual', which another computes"):
        handlers({"controls": {}, "other_residual": {}})

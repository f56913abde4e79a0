"""The documentation says what the code says: commands, study files, names, generated pages, recorded figures."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

import negspace as ns
import zoo
from negspace.cli import app, running
from negspace.experiment.config import Study, configure
from negspace.study import run as running_studies
from negspace.study.registry import OWN, analysis, sections
from negspace.study.run import Plan

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in [*PAGES, ROOT / "README.md"]}
COMMANDS: dict[str, Any] = {
    name: command
    for name, command in get_command(app).commands.items()  # type: ignore[attr-defined]
    if not command.hidden
}
SHELL = {"$DATA": "--text wikitext2/ --blimp blimp/ --tse tse/", "$TASKS": "--tasks arc_easy --tasks piqa"}


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")


def fences(language: str) -> Iterator[tuple[str, str]]:
    """Every fenced block of a language, with the page that it is on."""
    for page, text in TEXTS.items():
        for found in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield page, found[1]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `negspace ...` of a shell block, as words."""
    for page, block in fences("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|\s)(negspace .*)", line.partition(" #")[0])
            if found:
                words = found[1]
                for name, value in SHELL.items():
                    words = words.replace(name, value)
                yield page, shlex.split(words)[1:]


def named(value: Any) -> str:
    """A command in the name of its test."""
    return " ".join(value) if isinstance(value, list) else str(value)


@pytest.mark.parametrize(("page", "words"), list(commands()), ids=named)
def test_commands_are_taken(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Parsed by the command line itself; studies are configured as for a run, but neither loaded nor run."""
    seen: list[Study] = []
    monkeypatch.setattr(running, "execute", lambda study, *_: seen.append(study))
    monkeypatch.setattr(running_studies, "plan_study", lambda study, **_: seen.append(study) or Plan({}, 0, 1.0, {}))
    monkeypatch.chdir(tmp_path)
    name = words[0]
    assert name in COMMANDS, page
    if name == "run":
        Path("study.yaml").write_text("model: MODEL\nanalyses: [ablation]\n")
        made = CliRunner().invoke(app, words)
        assert made.exit_code == 0, f"{page}: {made.output}"
        assert sections(seen[0])
    else:
        COMMANDS[name].make_context(name, [*words[1:]])


@pytest.mark.parametrize(("page", "block"), list(fences("yaml")))
def test_study_files_are_taken(page: str, block: str) -> None:
    study = configure(yaml.safe_load(block))
    assert sections(study), page


@pytest.mark.parametrize("page", TEXTS)
def test_names_of_the_examples_exist(page: str) -> None:
    for name in set(re.findall(r"\bns\.(\w+)", TEXTS[page])):
        assert hasattr(ns, name), name


def test_blocks_are_those_of_the_records() -> None:
    import readme

    for page, text in TEXTS.items():
        assert readme.fill(text) == text, f"{page} is stale: run python tools/readme.py"


@pytest.mark.parametrize("name", ["study", "figures"])
def test_records_are_of_the_bundled_model(name: str) -> None:
    record = json.loads((DOCS / "records" / f"{name}.json").read_text())
    series = ns.reference.series_path() / ns.reference.checkpoints()[-1]
    bundled = {"study": ns.load(ns.reference.model_path()).fingerprint, "training": ns.load(series).fingerprint}
    bundled["stability"] = bundled["study"]
    tool = {"study": "tools/records.py FOLDER", "figures": "tools/figures.py"}[name]
    recorded = record["fingerprints"] if name == "study" else {"study": record["fingerprint"]}
    assert recorded.items() <= bundled.items(), f"another is bundled: run python {tool}, then python tools/readme.py"


def test_figures_are_those_that_the_tools_draw() -> None:
    import figures
    import records
    import scaling

    wanted = {f"{name}.svg" for name in figures.DRAWN} | {
        f"study/{name}.svg" for names in records.SHOWN.values() for name in names
    }
    wanted.add(scaling.FIGURE.name)
    there = {path.relative_to(DOCS / "figures").as_posix() for path in (DOCS / "figures").rglob("*.svg")}
    assert there == wanted
    shown = {Path(found).name for text in TEXTS.values() for found in re.findall(r"\(\S*figures/(\S+\.svg)\)", text)}
    assert shown == {Path(name).name for name in wanted}


def test_architectures_are_those_of_the_zoo() -> None:
    import architectures

    text = TEXTS["docs/architectures.md"]
    listed = re.findall(r"^\| `([^`]+)` \|", text.partition("## Census")[0], re.MULTILINE)
    assert listed == [*zoo.DENSE, *zoo.LOOPED, *zoo.MIXTURES, *zoo.REFUSED], "run python tools/architectures.py"
    for name in ("llama", "opt", "phi3", "qwen2_moe"):
        assert f"| {' | '.join(architectures.row(name))} |" in text
    assert f"| {' | '.join(architectures.refused('mamba'))} |" in text


def test_every_analysis_shows_an_example() -> None:
    for name in OWN:
        page = TEXTS[f"docs/analyses/{name}.md"]
        assert f"<!-- study:{name} -->" in page, name
        assert "](../figures/study/" in page, name


def test_every_analysis_has_a_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for name in OWN:
        assert (DOCS / "analyses" / f"{name}.md").is_file(), name
        assert f"analyses/{name}.md" in navigation, name
        assert f"({name}.md)" in TEXTS["docs/analyses/index.md"], name
        page = TEXTS[f"docs/analyses/{name}.md"]
        assert "../reference/tables.md#" in page, name


def test_the_page_of_commands_has_all_of_them() -> None:
    import pages

    page = pages.commands()
    for name, command in COMMANDS.items():
        assert f"## negspace {name}\n" in page
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    assert option in page, (name, option)
    for status in ("`0`", "`1`", "`2`", "`130`"):
        assert f"| {status} |" in page


def test_the_page_of_study_files_has_every_field() -> None:
    import pages

    page = pages.study_file()
    for kind in (Study, *(analysis(name).section for name in OWN)):
        for field in kind.model_fields:
            found = re.search(rf"^\| `{field}` \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
            assert found, (kind.__name__, field)
            assert len(found[1]) > 10


def test_the_page_of_tables_has_every_column() -> None:
    import pages

    page = pages.tables()
    for name in OWN:
        for table, columns in ((key, made.meanings) for key, made in analysis(name).schema.items()):
            section = page.split(f"### {table}\n")[1].split("\n## ")[0].split("\n### ")[0]
            assert [*re.findall(r"^- `(\w+)`: \S", section, re.MULTILINE)] == list(columns)


def test_formulas_become_mathml() -> None:
    import docs_site

    made = docs_site.formulas(r'a <span class="arithmatex">\(a &lt; 0\)</span> b <div class="arithmatex">\[x^2\]</div>')
    assert made.count("<math") == 2
    assert "arithmatex" not in made
    assert re.search(r"<mo>&#x0003C;</mo><mn>0</mn>", made)
    assert 'display="block"' in made


def test_a_notebook_becomes_a_page(tmp_path: Path) -> None:
    import nbformat

    import docs_site

    cells = [nbformat.v4.new_markdown_cell("# Title\n\ntext"), nbformat.v4.new_code_cell("1 + 1", execution_count=1)]
    cells[1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "small.ipynb")
    made = docs_site.notebook(tmp_path / "small.ipynb")
    page = str(made["small.md"])
    assert page.startswith("# Title\n")
    assert "```python\n1 + 1\n```" in page
    assert "    2" in page
    assert '<a href="small.ipynb" download>' in page


def test_nothing_is_fetched_to_read_the_site() -> None:
    configuration = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in configuration
    assert "http" not in configuration
    assert "http" not in (DOCS / "assets" / "site.css").read_text()


def test_search_works_from_a_folder() -> None:
    """Without a server a browser starts no worker and reads no JSON: a script holds the index, another stands in."""
    configuration = yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)
    assert {"search", "offline"} <= {name for name in configuration["plugins"] if isinstance(name, str)}
    scripts = configuration["extra"]["polyfills"]
    assert any("iframe-worker" in script for script in scripts)  # else the plugin names one on the network
    assert all((DOCS / script).is_file() for script in scripts)


def test_the_site_knows_every_page() -> None:
    import pages

    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)) | {"analyses/index.md"}
    notebooks = {f"notebooks/{path.stem}.md" for path in DOCS.glob("notebooks/*.ipynb")}
    assert listed == {path.relative_to(DOCS).as_posix() for path in PAGES} | set(pages.PAGES) | notebooks

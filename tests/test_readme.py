"""The README says what the records say, and what it tells a reader to type exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from typer.main import get_command

import negspace as ns

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_figures_are_those_of_the_records() -> None:
    spec = importlib.util.spec_from_file_location("readme_tool", ROOT / "tools" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.fill(README) == README, "run python tools/readme.py"


def test_names_of_the_examples_exist() -> None:
    for name in set(re.findall(r"\bns\.(\w+)", README)):
        assert hasattr(ns, name), name


def test_commands_and_options_of_the_examples_exist() -> None:
    from negspace.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = README.replace("\\\n", " ")
    lines = re.findall(r"^    negspace (.+?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        name, *words = line.split()
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake (\w+)", re.sub(r"make and", "", README))):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target

"""What the project tells a user to install exists, under the name that it gives."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOLD = re.compile(r"(?:negspace|(?<![\w.])\.)\[([a-z][\w, -]*)\]")
"""negspace[gguf], or .[gguf] in a checkout."""


def _texts() -> list[Path]:
    folders = [ROOT / "src", ROOT / "docs", ROOT / "tools", ROOT / ".ci"]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".ipynb", "")]
    return [path for path in [*found, *ROOT.glob("*.md"), ROOT / "Makefile"] if path.is_file()]


def test_extras_that_are_named_exist() -> None:
    told = {
        (extra.strip(), str(path.relative_to(ROOT)))
        for path in _texts()
        for extras in TOLD.findall(path.read_text(encoding="utf-8", errors="ignore"))
        for extra in extras.split(",")
    }
    assert {extra for extra, _ in told} >= {"gguf", "tasks"}
    assert not {one for one in told if one[0] not in PROJECT["optional-dependencies"]}


def test_every_extra_is_named_where_users_look() -> None:
    texts = [path for path in _texts() if path.suffix in (".py", ".md", "")]
    said = " ".join(path.read_text(encoding="utf-8", errors="ignore") for path in texts)
    told = {extra.strip() for extras in TOLD.findall(said) for extra in extras.split(",")}
    assert told >= set(PROJECT["optional-dependencies"])

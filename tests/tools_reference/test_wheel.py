"""What makes the reference material is no part of the package, and the package does not need it."""

from __future__ import annotations

import ast
from pathlib import Path

import negspace

PACKAGE = Path(negspace.__file__).parent


def test_the_package_imports_nothing_from_tools() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not any(name.split(".")[0] == "tools" for name in names), path

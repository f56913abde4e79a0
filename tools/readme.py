"""Fill the marked blocks of README.md from the records in the repository: `python tools/readme.py [--check]`.

A block stands between `<!-- name -->` and `<!-- /name -->`. The demo's figures come from docs/records/demo.json, which
`negspace report RUN --json` wrote; the benchmarks' from benchmarks/results.json, which `make bench` wrote.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def benchmarks() -> str:
    """The benchmark table, with the machine it was measured on."""
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    rows = [
        [row["name"], str(row["value"]), row["target"], "yes" if row["met"] else "no"] for row in results["targets"]
    ]
    machine = results["machine"]
    where = f"Measured on {machine['cores']} cores of {machine['cpu']}, torch {machine['torch']}."
    return _table(["work", "measured", "target", "met"], rows) + "\n\n" + where


BLOCKS: dict[str, Callable[[], str]] = {"benchmarks": benchmarks}


def fill(text: str) -> str:
    """`text` with every block made anew."""
    for name, make in BLOCKS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no block {name}")
        content = make()
        text = pattern.sub(lambda found, content=content: f"{found[1]}{content}\n{found[2]}", text)
    return text


def main(arguments: list[str]) -> int:
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = fill(before)
    if "--check" in arguments:
        if before != after:
            print("README.md is stale: run python tools/readme.py", file=sys.stderr)
        return int(before != after)
    readme.write_text(after, encoding="utf-8")
    return 0


def records(name: str) -> Any:
    """A record of docs/records."""
    return json.loads((ROOT / "docs" / "records" / f"{name}.json").read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Fill the marked blocks of README.md from the records in the repository: `python tools/readme.py [--check] [RUN]`.

A block stands between `<!-- name -->` and `<!-- /name -->`. The demo's figures come from docs/records/demo.json, made
from the run folder RUN of `negspace demo --out RUN` when one is given; the benchmarks' from benchmarks/results.json,
which `make bench` writes.
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


def _change(row: dict[str, Any], column: str, form: str, scale: int = 1) -> str:
    """A change against the baseline, with its interval where it has one (the mean of random sets has none)."""
    if row["role"] == "baseline":
        return ""
    value, low, high = (row[name] for name in (column, f"{column}_low", f"{column}_high"))
    shown = form.format(scale * value)
    return shown if low is None else f"{shown} [{form.format(scale * low)}, {form.format(scale * high)}]"


def benchmarks() -> str:
    """The benchmark table, with the machine it was measured on."""
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    rows = [
        [row["name"], str(row["value"]), row["target"], "yes" if row["met"] else "no"] for row in results["targets"]
    ]
    machine = results["machine"]
    where = f"Measured on {machine['cores']} cores of {machine['cpu']}, torch {machine['torch']}."
    return _table(["work", "measured", "target", "met"], rows) + "\n\n" + where


def demo() -> str:
    """The demo's summary and what it concludes."""
    record = json.loads((ROOT / "docs" / "records" / "demo.json").read_text())
    rows = []
    for row in record["tables"]["summary"]:
        if row["role"] == "random":  # the three sets stand in the row of their mean
            continue
        rows.append(
            [
                row["condition"],
                f"{row['neurons']:,}",
                f"{row['perplexity']:.3f}",
                _change(row, "ratio", "{:.4f}"),
                f"{row['blimp_accuracy']:.2%}",
                _change(row, "blimp_change", "{:+.2f}", 100),
            ]
        )
    head = ["ablated", "neurons", "perplexity", "x baseline [95%]", "pairs right", "points [95%]"]
    return "\n".join([_table(head, rows), "", *(f"- {sentence}" for sentence in record["verdict"])])


BLOCKS: dict[str, Callable[[], str]] = {"demo": demo, "benchmarks": benchmarks}


def fill(text: str) -> str:
    """`text` with every block made anew."""
    for name, make in BLOCKS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no block {name}")
        content = make()
        text = pattern.sub(lambda found, content=content: f"{found[1]}{content}\n{found[2]}", text)
    return text


def record_demo(run: Path) -> None:
    """Keep the summary and the verdict of a run of the demo; the rest names folders of one machine."""
    from negspace.report.tables import to_json
    from negspace.runs.store import Store
    from negspace.studies.tables import Tables

    made = json.loads(to_json(Tables(Store(run))))
    kept = {"tables": {"summary": made["tables"]["summary"]}, "verdict": made["verdict"]}
    (ROOT / "docs" / "records" / "demo.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    for run in arguments:
        if not run.startswith("-"):
            record_demo(Path(run))
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = fill(before)
    if "--check" in arguments:
        if before != after:
            print("README.md is stale: run python tools/readme.py", file=sys.stderr)
        return int(before != after)
    readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

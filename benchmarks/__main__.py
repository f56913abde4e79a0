"""Run the benchmarks and write benchmarks/results.json: `python -m benchmarks [name ...]`.

Every figure is a ratio of two times measured in turn in one run, so that a machine's speed and its drift cancel.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

MODULES = ("bench_scan", "bench_wasserstein", "bench_intervene", "bench_pairs", "bench_layers")
RESULTS = Path(__file__).with_name("results.json")


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def main(names: list[str]) -> int:
    unknown = set(names) - set(MODULES)
    if unknown:
        print(f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}", file=sys.stderr)
        return 2
    console = Console()
    targets: list[dict[str, object]] = []
    for name in names or MODULES:
        console.print(f"[dim]{name} ...[/dim]")
        targets.extend(importlib.import_module(f"benchmarks.{name}").measure())
    if not names:
        RESULTS.write_text(json.dumps({"machine": machine(), "targets": targets}, indent=2) + "\n")
    table = Table("work", "measured", "target", "met", "detail")
    for row in targets:
        table.add_row(
            *(str(row[key]) for key in ("name", "value", "target")), "yes" if row["met"] else "no", str(row["detail"])
        )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

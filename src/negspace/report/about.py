"""The settings and inputs of a run, as names and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from negspace.experiment.run import Run
from negspace.experiment.words import percent, within
from negspace.models.gguf.source import GGUFSource
from negspace.study.locked import followed
from negspace.text.suites import TITLES

Rows = list[tuple[str, str]]
_SUITES = {**TITLES, "tasks": "tasks"}


def asked(run: Run) -> Rows:
    """The facts that a reader needs beside the verdict."""
    m, study, data = run.manifest, run.study, run.manifest["data"]
    model = m["model"]
    rows = [
        ("model", shown(study["model"])),
        ("adapter", ", ".join(f"{one['name']} ({one['kind']})" for one in model.get("adapters", ()))),
        ("revision", " at ".join(filter(None, (model.get("revision"), model.get("commit"))))),
        ("weights", m["identity"].get("fingerprint", "")[:16]),
        ("dequantised from", str(GGUFSource.model_validate(model["gguf"])) if model.get("gguf") else ""),
        ("neurons", f"{m['neurons']:,}" if m.get("neurons") else ""),
        ("ranked by", " ".join(filter(None, (str(study.get("by", "")), within(study.get("layers")))))),
        ("intervention", str(study["mode"] or f"zero_{study['zero']}")),
        ("shares", ", ".join(map(percent, study.get("shares", ())))),
        ("statistics on", data["statistics"][0] + _tokens(run)),
        ("perplexity on", data["perplexity"][0]),
    ]
    for kind, name in _SUITES.items():
        if kind in data:
            rows.append((name, f"{data[kind][0]}, {data[kind][2]:,} {'items' if kind == 'tasks' else 'pairs'}"))
    rows += [
        ("protocol", str(study.get("protocol", "")) if any(kind in data for kind in TITLES) else ""),
        (
            "intervals",
            f"{run.level}; t over the highest level with enough units (phenomena, paradigms or pairs; windows); where "
            f"a column says bootstrap, {study['draws']:,} resamples; p-values corrected over each family of tests",
        ),
        ("seed", str(study["seed"])),
        ("plan", followed(m["plan"]) if m.get("plan") else ""),
        ("software", _software(run)),
        ("machine", _machine(run)),
        ("computed", _time(run)),
    ]
    return [(name, value) for name, value in rows if value]


def shown(model: object) -> str:
    """A model's name; of a path on this machine its last part."""
    name = str(model)
    return PurePath(name).name if PurePath(name).is_absolute() else name


def about(run: Run) -> list[tuple[str, Rows]]:
    """Everything that identifies the run: model, data, configuration, software, time and machine."""
    m = run.manifest
    history = run.history
    software = dict(run.scan.info.versions) if run.scan else {}
    software |= {name: str(m["model"][name]) for name in ("torch", "transformers") if m["model"].get(name)}
    groups = [
        ("Model", _flat({**m["model"], **m["identity"]})),
        ("Data", [(name, _one(value)) for name, value in m["data"].items()]),
        ("Configuration", _flat(run.study)),
        ("Software", _flat(software)),
        (
            "Time and machine",
            [
                ("first started", _when(history.started)),
                ("finished", _when(history.ended)),
                ("computing", _time(run)),
                ("cells computed", f"{history.cells:,}" if history.cells else ""),
                ("starts", str(history.starts) if history.starts else ""),
                *_flat(history.surroundings),
            ],
        ),
        ("Notes", [(str(number), note) for number, note in enumerate(m.get("notes", ()), start=1)]),
    ]
    return [(title, kept) for title, rows in groups if (kept := [(name, value) for name, value in rows if value])]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Rows:
    """Nested values in lines, `outer.inner` for names; what is not set is left out."""
    rows: Rows = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.") or [(f"{prefix}{name}", "as it is by default")]
        elif value is not None and value != [] and value != ():
            rows.append((f"{prefix}{name}", _one(value)))
    return rows


def _one(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_one(element) for element in value)
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def _tokens(run: Run) -> str:
    if run.scan is None:
        return ""
    info = run.scan.info
    return f" ({info.tokens:,} tokens, windows of {info.window:,})"


def _time(run: Run) -> str:
    seconds = run.history.seconds
    if not seconds:
        return ""
    day = f"{_when(run.history.ended)[:10]}, " if run.history.ended else ""
    if seconds < 100:
        return f"{day}{seconds:.0f} s"
    return f"{day}{seconds / 60:.0f} min" if seconds < 6000 else f"{day}{seconds / 3600:.1f} h"


def _software(run: Run) -> str:
    """Versions of what decides a result, with the commit of a source checkout."""
    here, model = run.history.surroundings, run.manifest["model"]
    own = run.scan.info.versions.get("negspace", "") if run.scan else ""
    git = f" (git {here['git']})" if here.get("git") else ""
    named = [("negspace", own + git), *((name, str(model.get(name) or "")) for name in ("torch", "transformers"))]
    return ", ".join(f"{name} {version}" for name, version in named if version)


def _machine(run: Run) -> str:
    """Processor and accelerators of the last start."""
    here = run.history.surroundings
    cores = f"{here['cores']} cores" if here.get("cores") else ""
    found = [*here.get("gpus", ()), here.get("processor") or here.get("machine"), cores]
    return ", ".join(str(one) for one in found if one)


def _when(time: str) -> str:
    return datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M:%S %z").strip() if time else ""

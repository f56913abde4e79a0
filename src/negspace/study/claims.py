"""Answers of several runs to the paper's claims: from run folders, and from the JSON that `negspace claims` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from negspace.errors import RecordError
from negspace.experiment.claim import Claim
from negspace.experiment.run import Run
from negspace.study.reading import read_runs
from negspace.text.suites import TITLES


@dataclass(frozen=True)
class Answers:
    """What one run says of the paper's claims."""

    run: str
    """The run's label, as a table shows it."""
    fingerprint: str
    """Fingerprint of the model's weights."""
    claims: tuple[Claim, ...]
    """Its answers."""
    data: Mapping[str, str] = field(default_factory=dict)
    """What its scores and sets rest on, by name: "BLiMP" -> "670 pairs (sha256 0a1b2c3d4e5f), protocol paper". Empty in
    a file of an earlier version."""


_ADAPTER = TypeAdapter(list[Answers])
_SHORT = 12
"""Hexadecimal digits of a hash that are shown."""


def read_answers(sources: Sequence[str | Path], labels: Sequence[str] = ()) -> list[Answers]:
    """Read the answers of runs, in the order given, each run under a label of its own.

    Args:
        sources: run folders, and JSON files that `negspace claims --json` wrote.
        labels: one for each run folder, in their order; none for the names of their models.

    Raises:
        RecordError: no finished run in a folder, the same folder twice, a file of another kind, or another number of
            labels than of run folders.
    """
    folders = [source for source in sources if not Path(source).is_file()]
    if labels and len(labels) != len(folders):
        raise RecordError(
            f"the labels {', '.join(labels)}",
            f"{len(labels)} for {len(folders)} run folders (files bring their own)",
            "give one for each run folder, in their order, or none",
        )
    runs, named = iter(read_runs(folders)), iter(labels)
    answers: list[Answers] = []
    for source in sources:
        if source in folders:
            run = next(runs)
            answers.append(answers_of(run, next(named, None)))
        else:
            answers += _read(Path(source))
    labels = [each.run for each in answers]
    return [
        replace(each, run=f"{place}: {each.run}") if labels.count(each.run) > 1 else each
        for place, each in enumerate(answers, start=1)
    ]


def answers_of(run: Run, label: str | None = None) -> Answers:
    """Return what a run says, under another label than its own if one is given."""
    return Answers(label or run.label, run.manifest["identity"]["fingerprint"], tuple(run.claims), _data(run))


def unlike(answers: Sequence[Answers]) -> list[str]:
    """Return a sentence for each kind of data that is not the same in all runs that have it."""
    sentences = []
    for name in dict.fromkeys(name for each in answers for name in each.data):
        runs: dict[str, list[str]] = {}
        for each in answers:
            if name in each.data:
                runs.setdefault(each.data[name], []).append(each.run)
        if len(runs) > 1:
            told = "; ".join(f"{', '.join(labels)}: {what}" for what, labels in runs.items())
            sentences.append(f"{name}: not the same in all runs, whose answers on it rest on different items ({told}).")
    return sentences


def _data(run: Run) -> dict[str, str]:
    """What a run's scores and sets rest on; see `Answers.data`."""
    data, study = run.manifest["data"], run.study
    told = {"text for statistics": f"sha256 {data['statistics'][1][:_SHORT]}"}
    if len(data["perplexity"]) > 2:
        told["text for perplexity"] = f"sha256 {data['perplexity'][2][:_SHORT]}"
    for kind, title in {**TITLES, "tasks": "tasks"}.items():
        if kind in data:
            _, found, count = data[kind]
            how = f"{study.get('fewshot', 0)} examples" if kind == "tasks" else f"protocol {study.get('protocol')}"
            items = "items" if kind == "tasks" else "pairs"
            told[title] = f"{count:,} {items} (sha256 {found[:_SHORT]}), {how}"
    return told


def to_json(answers: Sequence[Answers]) -> str:
    """JSON in ASCII that `read_answers` reads back; numbers that there are none of are null."""
    return json.dumps([_with(asdict(each), _is_nan, None) for each in answers], indent=1)


def _read(path: Path) -> list[Answers]:
    asked = f"the claims in {path}"
    todo = "give a run folder, or a file that `negspace claims RUN --json` wrote"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _ADAPTER.validate_python([_with(each, _is_none, math.nan) for each in content])
    except OSError as error:
        raise RecordError(asked, error.strerror or str(error), todo) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(asked, f"{where}: {first['msg']}" if where else first["msg"], todo) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordError(asked, "a file of another kind", todo) from error


def _with(answers: dict[str, Any], wanted: Any, instead: Any) -> dict[str, Any]:
    """Answers as JSON has them, the numbers that are `wanted` replaced: JSON has no NaN."""
    numbers = ("estimate", "low", "high")
    claims = [
        {name: instead if name in numbers and wanted(value) else value for name, value in claim.items()}
        for claim in answers["claims"]
    ]
    return {**answers, "claims": claims}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _is_none(value: Any) -> bool:
    return value is None

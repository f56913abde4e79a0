"""Answers of several runs to the paper's claims: from run folders, and from the JSON that `negspace claims` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from negspace.errors import RecordError
from negspace.experiment.claim import Claim
from negspace.study.reading import read_runs


@dataclass(frozen=True)
class Answers:
    """What one run says of the paper's claims."""

    run: str
    """The run's label, as a table shows it."""
    fingerprint: str
    """Fingerprint of the model's weights."""
    claims: tuple[Claim, ...]
    """Its answers."""


_ADAPTER = TypeAdapter(list[Answers])


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
            answers.append(Answers(next(named, run.label), run.manifest["identity"]["fingerprint"], tuple(run.claims)))
        else:
            answers += _read(Path(source))
    labels = [each.run for each in answers]
    return [
        replace(each, run=f"{place}: {each.run}") if labels.count(each.run) > 1 else each
        for place, each in enumerate(answers, start=1)
    ]


def to_json(answers: Sequence[Answers]) -> str:
    """JSON that `read_answers` reads back; numbers that there are none of are null."""
    return json.dumps([_with(asdict(each), _is_nan, None) for each in answers], indent=1, ensure_ascii=False)


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

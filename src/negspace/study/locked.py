"""A plan that is locked before anything is scored: what will be tested, how large, with which margins and seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from negspace.errors import StudyError
from negspace.experiment.cells import SCORELESS
from negspace.experiment.config import Study
from negspace.experiment.facts import Facts
from negspace.files import check_writable, write_whole
from negspace.runs.cell import digest
from negspace.runs.store import Store

PLAN_FILE = "plan.json"
_PARTS = ("study", "data", "model")
"""Parts of a plan."""
_FREE = ("resources", "batch", "device", "budget")
"""Fields of a study that change no result, and so are no departure."""


def lock(store: Store, file: str | Path | None, study: Study, facts: Facts) -> dict[str, Any] | None:
    """Lock a plan, or compare a study with the one that was locked.

    A file that is not there is written; one that is there is the plan. The run folder keeps a copy, with the number of
    scores that it held when the plan came: more than none, and the plan was not made before scoring.

    Args:
        store: the run folder, held by this process.
        file: of the plan; None: that of the run folder, if it has any.
        study, facts: what is about to be done, and on what.

    Returns:
        For the manifest: sha256 of the plan, how many scores there were before, and the departures in words. None
        without a plan.

    Raises:
        StudyError: the file is no plan, cannot be written, or another plan is locked in the folder.
    """
    own = store.folder / PLAN_FILE
    held = _read(own, ("plan", "scored_before")) if own.exists() else None
    now = _plan(study, facts)
    if file is not None:
        path = Path(file)
        if path.exists():
            given = _read(path)["plan"]
        elif held is not None:
            given = held["plan"]
            write_whole(path, _bytes({"plan": given}))
        else:
            given = now
            write_whole(path, _bytes({"plan": given}))
        if held is not None and digest(held["plan"]) != digest(given):
            raise StudyError(
                f"to run by the plan {path}",
                f"another plan locked in {store.folder}",
                "give the plan that was locked there, or a new folder with --out",
            )
        if held is None:
            scored = sum(kind not in SCORELESS for kind in store.kinds().values())
            held = {"plan": given, "scored_before": scored}
            store.write_file(PLAN_FILE, _bytes(held))
    if held is None:
        return None
    return {
        "sha256": digest(held["plan"]),
        "scored_before": held["scored_before"],
        "departures": departures(held["plan"], now),
    }


def check(file: str | Path, folder: Path) -> None:
    """Make sure that a file is a plan, or can be written as one.

    Args:
        file: of the plan.
        folder: of the run.

    Raises:
        StudyError: it is no plan, or the run folder's own copy.
        RecordError: it cannot be written.
    """
    path = Path(file)
    if path.absolute() == (folder / PLAN_FILE).absolute():
        raise StudyError(
            f"to lock a plan in {file}",
            "the name under which the run folder keeps its own copy",
            "give a file outside of the folder; without --plan, a run is compared with the plan that is locked there",
        )
    if path.exists():
        _read(path)
    else:
        check_writable(path)


def departures(plan: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the departures from a plan, one sentence each; empty if it was followed."""
    told = []
    for part in _PARTS:
        before, after = plan.get(part, {}), now[part]
        told += [
            f"{part}: {name} is {_shown(after.get(name))}, planned was {_shown(before.get(name))}"
            for name in sorted(set(before) | set(after))
            if before.get(name) != after.get(name)
        ]
    return told


def followed(plan: Mapping[str, Any]) -> str:
    """A manifest's plan in a sentence."""
    when = "before anything was scored"
    if plan["scored_before"]:
        when = f"after {plan['scored_before']:,} scores had been made"
    how = (
        "the run followed it"
        if not plan["departures"]
        else f"the run departed from it: {'; '.join(plan['departures'])}"
    )
    return f"locked {when}; {how}"


def _plan(study: Study, facts: Facts) -> dict[str, Any]:
    data = {"statistics": facts.statistics[1], "perplexity": facts.perplexity[1]}
    data |= {kind: f"{pairs[1]}, {pairs[2]} pairs" for kind, pairs in facts.pairs.items()}
    if facts.tasks:
        data["tasks"] = f"{facts.tasks.hash}, {facts.tasks.items} items"
    fields = {name: value for name, value in study.model_dump(mode="json").items() if name not in _FREE}
    # Where things lie is no part of a plan; what they are is told by their hashes.
    paths = ("model", "text", "statistics_text", "perplexity_text", "blimp", "tse", "pairs", "tasks")
    fields = {name: value for name, value in fields.items() if name not in paths}
    return {"study": fields, "data": data, "model": {"fingerprint": facts.identity["fingerprint"]}}


def _read(path: Path, names: Sequence[str] = ("plan",)) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(
            f"the plan {path}", f"not JSON ({error})", "give a file that --plan wrote, or a new name"
        ) from error
    plan = content.get("plan") if isinstance(content, dict) else None
    whole = isinstance(plan, dict) and all(isinstance(plan.get(part, {}), dict) for part in _PARTS)
    if not whole or not set(names) <= set(content):
        raise StudyError(f"the plan {path}", "JSON that is not a plan", "give a file that --plan wrote, or a new name")
    return content


def _bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Local files of benchmark items: JSON Lines with the fields that the Hugging Face data sets have."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from negspace.errors import TasksError
from negspace.score.taskdefinitions import Row, read_definition
from negspace.text.content import PACKED_SUFFIXES, Request, read_content

_EVALUATED = ("validation", "test", "")
"""Endings of a file's name, in order of preference: NAME.validation.jsonl, NAME.test.jsonl, NAME.jsonl."""


def _boolq(row: Row) -> Row:
    """The harness reads SuperGLUE's number; the original data set holds a truth value."""
    return row if "label" in row else {**row, "label": int(row["answer"])}


def _lambada(row: Row) -> Row:
    """The harness takes the last word off the text itself."""
    return row if "text" in row else {**row, "text": f"{row['context']} {row['continuation']}"}


@dataclass(frozen=True)
class _Known:
    """The known properties of a task's files."""

    names: tuple[str, ...] = ()
    """Names of files derived from the data set, besides the task's own name."""
    fields: tuple[str, ...] = ()
    """Fields that every row must have once adapted."""
    adapt: Callable[[Row], Row] = dict
    """Fields of another publication of the same data -> fields that the harness reads."""


_ARC = ("question", "choices", "answerKey")
_TASKS: Mapping[str, _Known] = {
    "arc_challenge": _Known(("ai2_arc_ARC-Challenge",), _ARC),
    "arc_easy": _Known(("ai2_arc_ARC-Easy",), _ARC),
    "boolq": _Known((), ("passage", "question", "label"), _boolq),
    "copa": _Known(("super_glue_copa",), ("premise", "choice1", "choice2", "question", "label")),
    "hellaswag": _Known(("hellaswag_subset",), ("activity_label", "ctx_a", "ctx_b", "endings", "label")),
    "lambada_openai": _Known((), ("text",), _lambada),
    "openbookqa": _Known(("openbookqa_main",), ("question_stem", "choices", "answerKey")),
    "piqa": _Known(("piqa_plain_text",), ("goal", "sol1", "sol2", "label")),
    "sciq": _Known((), ("question", "support", "distractor1", "distractor2", "distractor3", "correct_answer")),
    "social_iqa": _Known(("social_i_qa",), ("context", "question", "answerA", "answerB", "answerC", "label")),
    "winogrande": _Known(("winogrande_winogrande_xl",), ("sentence", "option1", "option2", "answer")),
}
_ADAPTABLE = (KeyError, TypeError, ValueError)


def find_file(task: str, folder: Path, split: str | None = None) -> Path | None:
    """The file of a task in a folder, None if there is none.

    A file is named after the task ("piqa") or after its data set ("piqa_plain_text"), followed by ".validation.jsonl",
    ".test.jsonl" or ".jsonl"; it may be compressed (.gz, .bz2, .xz, .zst after that).

    Args:
        split: only a file of this split, "train" for example.
    """
    for name in (task, *_TASKS.get(task, _Known()).names):
        for ending in _EVALUATED if split is None else (split,):
            file = ".".join(part for part in (name, ending, "jsonl") if part)
            for packed in ("", *PACKED_SUFFIXES):
                if (folder / f"{file}{packed}").is_file():
                    return folder / f"{file}{packed}"
    return None


def known_tasks(folder: Path) -> list[str]:
    """Tasks of which a folder has files: those whose names are known here, then those that it defines itself."""
    own = sorted(path.stem for path in folder.glob("*.yaml") if path.stem not in _TASKS)
    return [task for task in (*_TASKS, *own) if find_file(task, folder) is not None]


def read_rows(task: str, folder: str | os.PathLike[str], split: str | None = None) -> list[Row]:
    """The items of a task in a folder of local files, with the fields that the harness reads.

    Raises:
        TasksError: no such folder or file, a line that is no JSON object, a field that is missing, or no items.
    """
    place = Path(folder)
    if not place.is_dir():
        raise TasksError(f"tasks from {place}", "no such folder", "give a folder of JSONL files, or leave it out")
    path = find_file(task, place, split)
    if path is None:
        names = (task, *_TASKS.get(task, _Known()).names)
        wanted = " or ".join(f"{name}.{split or 'validation'}.jsonl" for name in names)
        there = ", ".join(known_tasks(place)) or "none that is known by name"
        raise TasksError(
            f"the task {task} from {place}", f"no file {wanted}", f"add it, or name other tasks (there: {there})"
        )
    lines = read_content(path, Request(f"the task {task} from {path}", TasksError)).split("\n")
    definition = read_definition(task, place)
    fields = _TASKS.get(task, _Known()).fields if definition is None else definition.fields
    rows = [_row(task, path, fields, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if definition is not None:
        _check_choices(task, path, definition.choices, rows)
    if not rows:
        raise TasksError(f"the task {task} from {path}", "no items in it", "give a file with one JSON object per line")
    return rows


def _check_choices(task: str, path: Path, field: str, rows: list[Row]) -> None:
    """The harness takes whatever can be gone through for choices, a text letter by letter."""
    for number, row in enumerate(rows, start=1):
        choices = row[field]
        if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(one, str) for one in choices):
            raise TasksError(
                f"the task {task} from {path}",
                f"{field} of item {number} is {json.dumps(choices)[:80]}",
                "give a list of two or more texts, numbers in quotes",
            )


def _row(task: str, path: Path, fields: tuple[str, ...], number: int, line: str) -> Row:
    asked = f"the task {task} from {path}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise TasksError(asked, f"line {number} is not JSON ({error})", "write one JSON object per line") from error
    if not isinstance(row, dict):
        raise TasksError(asked, f"line {number} is a {type(row).__name__}", "write one JSON object per line")
    try:
        adapted = _TASKS.get(task, _Known()).adapt(row)
    except _ADAPTABLE:
        adapted = row
    if missing := [name for name in fields if name not in adapted]:
        raise TasksError(
            asked,
            f"line {number} has no {', '.join(missing)}; it has {', '.join(row) or 'no fields'}",
            f"give the fields of the data set that the harness reads: {', '.join(fields)}",
        )
    return adapted

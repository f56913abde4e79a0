"""Tasks that a folder of data defines itself: the harness's YAML, as far as it is data and no program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from negspace.errors import TasksError
from negspace.files import NOT_YAML

Row = dict[str, Any]

_FIELDS = ("doc_to_text", "doc_to_choice", "doc_to_target")
"""Entries of a definition about an item; each names a field of its rows."""
_DATA = ("dataset_path", "dataset_kwargs", "training_split", "validation_split", "test_split", "fewshot_split", "tag")
"""Entries of a definition about its data, which are read from the file beside it instead."""
_KEYS = ("task", "output_type", *_FIELDS, "target_delimiter", "metric_list", "metadata")
_METRIC = {"metric", "aggregation", "higher_is_better"}
_METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
"""Metrics of the harness's own that are means over the items of multiple choice. A name that it does not know goes to
`evaluate`, which fetches the file or the repository of that name and runs it."""


@dataclass(frozen=True)
class Definition:
    """A task as the harness is told of it, without its data."""

    config: Row
    """The harness's configuration."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that every row must have: prompt, choices, and the place of the right choice."""
        return tuple(self.config[key] for key in _FIELDS)

    @property
    def choices(self) -> str:
        """The field of its rows that holds the choices."""
        return self.config["doc_to_choice"]


def read_definition(task: str, folder: str | os.PathLike[str]) -> Definition | None:
    """The definition of a task in NAME.yaml of a folder; None if there is none.

    Such a task is multiple choice, and its definition names fields of its rows. The harness knows more: templates,
    functions and metrics from elsewhere, which would run as code. These are refused, since a folder of data is no
    program.

    Raises:
        TasksError: the YAML cannot be read, defines another task, or holds what is refused.
    """
    path = Path(folder) / f"{task}.yaml"
    if not path.is_file():
        return None
    asked = f"the task {task} from {path}"
    try:
        made = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, *NOT_YAML) as error:
        text = " ".join(str(error).split())
        raise TasksError(asked, f"not YAML of plain data ({text})", "write plain values, without !function") from error
    if not isinstance(made, dict) or made.get("task") != task:
        raise TasksError(asked, "another task or none in it", f"say task: {task}, or name the file after the task")
    config = {key: value for key, value in made.items() if key not in _DATA}
    if unknown := sorted(str(key) for key in config if key not in _KEYS):
        found = f"{', '.join(unknown)}, which is not taken from a folder of data"
        raise TasksError(asked, found, f"say only {', '.join(_KEYS)}")
    if config.get("output_type") != "multiple_choice":
        found = f"output_type: {config.get('output_type')!r}"
        raise TasksError(asked, found, "define tasks of output_type multiple_choice in a folder")
    for key in _FIELDS:
        if not str(config.get(key) or "").isidentifier():
            todo = "name a field of the rows; a template is not filled in, since it would run as code"
            raise TasksError(asked, f"{key}: {config.get(key)!r}", todo)
    metrics = config.get("metric_list", [])
    if not isinstance(metrics, list) or not all(
        isinstance(metric, dict) and set(metric) <= _METRIC for metric in metrics
    ):
        raise TasksError(asked, f"metric_list: {metrics!r}", f"give each metric by {', '.join(sorted(_METRIC))}")
    for metric in metrics:
        if metric.get("metric") not in _METRICS or metric.get("aggregation", "mean") != "mean":
            todo = f"name one of {', '.join(_METRICS)}, with the aggregation mean; any other would run as code"
            raise TasksError(asked, f"metric_list: {metric!r}", todo)
    return Definition(config)

"""Tasks on disk: for each ability its items as JSON Lines, and the YAML by which lm-evaluation-harness takes them."""

from __future__ import annotations

import json
from pathlib import Path

from negspace.errors import TasksError
from negspace.files import make_folder, write_whole
from tools.reference.abilities.items import ABILITIES, Ability, generate

VERSION = 1.0
"""Of the tasks; raised whenever the bundled items change."""


def lines(ability: Ability, seed: int = 0, count: int = 300) -> str:
    """The JSONL text of one ability: prompt, choices, gold (place of the right choice), kind, group."""
    return "".join(json.dumps(item._asdict(), separators=(",", ":")) + "\n" for item in generate(ability, seed, count))


def definition(ability: Ability) -> str:
    """The YAML text of one ability, of data alone.

    Every field of an item is named, none is a template. The data file is looked for in the working directory, as the
    harness has it; negspace finds it beside the YAML.
    """
    return f"""\
# {ability.about[0].upper()}{ability.about[1:]}.
task: {ability.name}
tag: negspace
dataset_path: json
dataset_kwargs:
  data_files:
    validation: {ability.name}.validation.jsonl
output_type: multiple_choice
validation_split: validation
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: {VERSION}
"""


def write(folder: Path, seed: int = 0, per_task: int = 300) -> list[Path]:
    """Write every task to `folder/<name>.yaml` and `folder/<name>.validation.jsonl`; same arguments, same bytes.

    Args:
        folder: made when absent.
        seed: of the lexical choices.
        per_task: items a task, or a few more: balanced groups stay whole.

    Returns the JSONL files.

    Raises:
        TasksError: fewer than one item, or more than a task holds.
        RecordError: the folder cannot be written to.
    """
    if per_task < 1:
        raise TasksError(f"{per_task} items a task", "none to write", "ask for 1 or more")
    try:
        texts = {name: lines(ability, seed, per_task) for name, ability in ABILITIES.items()}
    except ValueError as error:
        raise TasksError(f"{per_task} items a task", str(error), "ask for fewer items") from error
    make_folder(folder)
    for name, ability in ABILITIES.items():
        write_whole(folder / f"{name}.yaml", definition(ability).encode())
    return [write_whole(folder / f"{name}.validation.jsonl", text.encode()) for name, text in texts.items()]

"""A finished training run as package data: the model or its checkpoints, recipe, curve, scores and card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from negspace.errors import RecordError
from negspace.files import make_folder, write_whole
from tools.reference import card

_TOLD = ("recipe.json", "curve.jsonl")
_LEFT_OUT = "generation_config.json"
"""It repeats what config.json says of the special tokens."""


def bundle(
    run: Path,
    out: Path,
    scores: Path | None = None,
    name: str | None = None,
    beside: Mapping[str, Path] | None = None,
) -> Path:
    """Put a run into a folder of the package's data, card included.

    A run with checkpoints gives a series: a folder a checkpoint, each a model that loads by itself. Any other gives
    the finished model in the folder itself.

    Args:
        run: folder that `train` filled.
        out: folder to fill; made when absent, and then what is there already is replaced file by file.
        scores, name, beside: for the card, see `card.render`; the scores are copied too.

    Raises:
        RecordError: as `card.render`, a checkpoint that the recipe promises is not there, or `out` cannot be written.
    """
    text = card.render(run, scores, name or out.name, beside)
    steps = card.read_recipe(run).snapshot_steps()
    folders = {run / f"step{step}": out / f"step{step}" for step in steps} or {run / "model": out}
    if absent := [folder.name for folder in folders if not (folder / "config.json").is_file()]:
        raise RecordError(
            f"the checkpoints of {run}", f"not there: {', '.join(absent)}", "name the folder of a finished training run"
        )
    for source, target in folders.items():
        make_folder(target)
        for path in sorted(path for path in source.iterdir() if path.name != _LEFT_OUT):
            _copy(path, target / path.name)
    for told in _TOLD:
        _copy(run / told, out / told)
    if scores is not None:
        _copy(scores, out / "scores.json")
    write_whole(out / "README.md", text.encode())
    return out


def _copy(source: Path, target: Path) -> None:
    """Copy a file; a tokenizer without its indentation, which is most of it."""
    if source.name == "tokenizer.json":
        content = json.loads(source.read_text(encoding="utf-8"))
        write_whole(target, json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())
        return
    try:
        shutil.copyfile(source, target)
    except shutil.SameFileError:
        pass
    except OSError as error:
        raise RecordError(f"{source.name} in {target.parent}", f"{error.strerror}", "give another folder") from error

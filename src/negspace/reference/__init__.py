"""The bundled reference material: models, minimal pairs, tasks, held-out text and tagger."""

from __future__ import annotations

from pathlib import Path

from negspace.errors import ModelError, PairsError, TaggerError, TasksError, TextError

_DATA = Path(__file__).parent / "data"
_MAKERS = " in a checkout of negspace: python -m tools.reference"


def model_path(name: str = "gelu") -> Path:
    """Folder of a bundled model, as `negspace.load` and transformers take it.

    Raises:
        ModelError: this installation bundles no model of that name.
    """
    models = _DATA / "models"
    folder = models / name
    if not name or folder.parent != models or not (folder / "config.json").is_file():
        bundled = sorted(path.parent.name for path in models.glob("*/config.json"))
        raise ModelError(
            f"the bundled model {name!r}",
            f"bundled here: {', '.join(bundled) or 'none'}",
            f"take one of these, or train one{_MAKERS} train --help",
        )
    return folder


def series_path() -> Path:
    """Folder of the bundled training series: one folder a checkpoint, named after its step, each a model as it is.

    `negspace.load(series_path(), revision="step512")` takes one as it takes a revision of a model on the hub.

    Raises:
        ModelError: this installation bundles no series.
    """
    folder = _DATA / "series"
    if not _steps(folder):
        raise ModelError(
            "the bundled training series",
            f"no checkpoint in {folder}",
            f"reinstall negspace, or train one{_MAKERS} train --name series --help",
        )
    return folder


def checkpoints() -> tuple[str, ...]:
    """Revisions of the bundled training series, from the first step to the last: "step0", ...

    Raises:
        ModelError: this installation bundles no series.
    """
    return tuple(f"step{step}" for step in _steps(series_path()))


def _steps(folder: Path) -> list[int]:
    names = (path.parent.name.removeprefix("step") for path in folder.glob("step*/config.json"))
    return sorted(int(name) for name in names if name.isdecimal())


def pairs_path() -> Path:
    """Folder of the bundled minimal pairs: one JSONL file per paradigm, in the field layout of BLiMP.

    Raises:
        PairsError: this installation lacks them.
    """
    folder = _DATA / "pairs"
    if not any(folder.glob("*.jsonl")):
        raise PairsError("the bundled minimal pairs", f"no JSONL file in {folder}", "reinstall negspace")
    return folder


def tasks_path() -> Path:
    """Folder of the bundled tasks outside grammar: a JSONL file and a lm-evaluation-harness YAML for each.

    Raises:
        TasksError: this installation lacks them.
    """
    folder = _DATA / "tasks"
    if not any(folder.glob("*.jsonl")):
        raise TasksError("the bundled tasks", f"no JSONL file in {folder}", "reinstall negspace")
    return folder


def text_path() -> Path:
    """File of the bundled held-out text: original prose, a paragraph a line, a blank line between stories.

    Raises:
        TextError: this installation lacks it.
    """
    path = _DATA / "held_out.txt"
    if not path.is_file():
        raise TextError("the bundled held-out text", f"no file {path}", "reinstall negspace")
    return path


def tagger_path() -> Path:
    """Folder of the bundled spaCy pipeline for English: universal parts of speech and dependencies.

    Raises:
        TaggerError: this installation lacks it.
    """
    folder = _DATA / "tagger"
    if not (folder / "config.cfg").is_file():
        raise TaggerError(
            "the bundled tagger",
            f"no pipeline in {folder}",
            f"name a spaCy pipeline, give gold tags in a .conllu file, or train one{_MAKERS} tagger --help",
        )
    return folder

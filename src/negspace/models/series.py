"""A series of checkpoints of one training run: where each lies, its step, and what its files hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from pydantic import BaseModel, ConfigDict

from negspace.errors import ModelError
from negspace.models.gguf import names as gguf_names
from negspace.models.hub import cache_alone_where_unreachable
from negspace.models.locate import fetch

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "*.safetensors")
"""Names of weight files; the first of these that a checkpoint has any of are the ones that are loaded."""
SMALL = ("*.json", "*.txt", "*.model", "*.py", "*.jinja")
"""Names of the other files that a model or a tokenizer may be made from."""
_NO_PART = ("trainer_state.json", "generation_config.json", "*.safetensors.index.json", "README*", "LICENSE*")
_WORDS = "steps?|iter(?:ation)?s?|checkpoints?|ckpt|updates?|epochs?"
_COUNT = r"(\d+)([kM]?)(?![0-9A-Za-z.])"
_STEP = re.compile(rf"(?i:{_WORDS})[-_=]?{_COUNT}")
_NUMBER = re.compile(rf"(?<![0-9.]){_COUNT}")
_QUANTISED = re.compile(r"(?i)([-._](I?Q\d\w*|TQ\d\w*|MXFP4\w*|B?F16|F32))?\.gguf$")
_TIMES = {"": 1, "k": 1000, "M": 1_000_000}


class Place(BaseModel):
    """A checkpoint's name in a training run, and its location for `load`."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Its name: that of its folder, or its revision on the hub."""
    step: int
    """Training step, as its name says or as given."""
    model: str
    """Folder or GGUF file, or name on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; None for a folder or file."""

    @property
    def path(self) -> str:
        """Its folder, or its revision."""
        return self.model if self.revision is None else self.revision

    @property
    def repository(self) -> str:
        """Its repository on the hub, where it is there."""
        return _repository(self.model)


class Contents(BaseModel):
    """Hashes of a checkpoint's files: equal contents load as the same model."""

    model_config = ConfigDict(frozen=True)

    weights: dict[str, str]
    """Weight file -> its sha256 (of a small file that the hub keeps in git: git's hash)."""
    rest: str
    """sha256 over configuration and tokenizer files; on the hub the commit, which holds these and all others; empty for
    a GGUF file, which holds them itself."""
    commit: str | None = None
    """Commit on the hub; None for a folder."""

    @property
    def identity(self) -> dict[str, Any]:
        """The same for equal contents, whatever the weight files are called (JSON)."""
        return {"weights": sorted(self.weights.values()), "rest": self.rest}


@dataclass(frozen=True)
class Duplicate:
    """A checkpoint that holds another's weights."""

    place: Place
    """The checkpoint."""
    of: Place
    """The one whose weights it holds."""
    shared: tuple[str, ...]
    """Its weight files that both have; all of them, unless `partly`."""
    partly: bool
    """True if other weight files of it differ."""

    def __str__(self) -> str:
        what = f"weight file{'s' * (len(self.shared) != 1)} {', '.join(self.shared)}" if self.partly else "weights"
        return f"{self.place.name} holds the very {what} of {self.of.name}"


def step_of(name: str) -> int | None:
    """The training step that a name tells: "step3000", "checkpoint-500", "stage1-step150-tokens1B", "step10k".

    Of a path the last part with such a word counts; without one, the number in its last part, if there is only one.
    """
    parts = [_QUANTISED.sub("", part) for part in Path(name).parts]
    for part in reversed(parts):
        if found := _STEP.findall(part):
            return _number(*found[-1])
    found = _NUMBER.findall(parts[-1]) if parts else []
    return _number(*found[0]) if len(found) == 1 else None


def _number(count: str, times: str) -> int:
    return int(count) * _TIMES[times]


def find(
    given: Sequence[str], model: str, steps: Sequence[int] | None = None
) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """The checkpoints that names, folders and patterns stand for, in the order of their steps.

    Args:
        given: each a checkpoint's folder or GGUF file; a folder of such; a pattern of them ("runs/a/step*"); a revision
            of the model on the hub; or a pattern of its branches and tags ("step*").
        model: what revisions are revisions of.
        steps: training steps, in the order of `given`, where the names do not tell them; then no patterns, and no
            folders of folders.

    Returns:
        The checkpoints, and sentences on what was left out.

    Raises:
        ModelError: nothing is found for one, its name tells no step, two have one step, or fewer than two are left.
    """
    if steps is not None and len(steps) != len(given):
        raise ModelError(
            f"{len(given)} checkpoints with {len(steps)} steps", "lists of two lengths", "give one step per checkpoint"
        )
    found: dict[tuple[str, str | None], Place] = {}
    notes: list[str] = []
    for number, source in enumerate(given):
        several, places = _expand(source, model)
        for folder, revision in places:
            path = revision if revision is not None else folder
            told = steps[number] if steps is not None and not several else step_of(path)
            if told is None:
                if several:
                    notes.append(f"{path} is left out of the series: its name contains no training step")
                    continue
                raise ModelError(
                    f"the training step of {path}",
                    "no step in its name (as in step1000 or checkpoint-1000)",
                    "give the steps, in the order of the checkpoints (steps: [0, 1000, ...])",
                )
            key = (str(Path(folder).resolve()) if revision is None else folder, revision)
            found.setdefault(key, Place(name=_name(path, told), step=told, model=folder, revision=revision))
    places = tuple(sorted(found.values(), key=lambda place: place.step))
    for earlier, other in pairwise(places):
        if earlier.step == other.step:
            raise ModelError(
                f"the checkpoints {earlier.path} and {other.path}",
                f"the same training step, {earlier.step}",
                "name the checkpoints of one run, each once, or give their steps (steps: [0, 1000, ...])",
            )
    if len(places) < 2:
        raise ModelError(
            f"a series of checkpoints from {', '.join(given) or 'nothing'}",
            f"{len(places)} checkpoint{'s' * (len(places) != 1)}",
            "give two or more",
        )
    return places, tuple(notes)


def contents(places: Iterable[Place]) -> list[Contents]:
    """Return the hashes of each checkpoint's files.

    A folder's files are read once, several at a time. Of the hub only the list of files is asked for, which has the
    hashes, so that nothing is downloaded; where the network does not answer, the files of an earlier download count.

    Raises:
        ModelError: no such model or revision, a checkpoint without weights, or a file that cannot be read.
    """
    places = tuple(places)
    on_hub = [place.repository for place in places if place.revision is not None]
    # Opened once, around all threads: it sets a flag of the whole process, which each would put back to what another
    # has set.
    with cache_alone_where_unreachable(on_hub), ThreadPoolExecutor(max_workers=4) as threads:
        return list(threads.map(_contents, places))


def screen(places: Sequence[Place], held: Sequence[Contents]) -> list[Duplicate]:
    """Checkpoints that hold the weights of another, whole or in single files, as a wrongly uploaded branch does.

    The last checkpoint counts as itself, and of the others the earlier one. A file that all checkpoints share is a
    frozen part of the model and no duplicate, unless all the rest is shared as well.
    """
    frozen = set.intersection(*(set(file.weights.values()) for file in held)) if len(held) > 2 else set()
    order = [len(places) - 1, *range(len(places) - 1)]
    sound: list[int] = []
    found: list[Duplicate] = []
    for number in order:
        own = held[number].weights
        for other in sound:
            theirs = set(held[other].weights.values())
            whole = set(own.values()) == theirs
            shared = sorted(name for name, value in own.items() if value in theirs and (whole or value not in frozen))
            if shared:
                found.append(Duplicate(places[number], places[other], tuple(shared), not whole))
                break
        else:
            sound.append(number)
    return sorted(found, key=lambda checkpoint: checkpoint.place.step)


def _expand(given: str, model: str) -> tuple[bool, list[tuple[str, str | None]]]:
    """Return (model, revision) of each checkpoint that an entry stands for, and True if it stands for several."""
    path = Path(given).expanduser()
    asked = f"checkpoints {given!r}"
    local_base = _is_here(model)
    if any(sign in given for sign in "*?["):
        inside = [name for name in sorted(glob(str(path))) if _is_checkpoint(Path(name))]
        if inside:
            return True, [(name, None) for name in inside]
        if local_base or given.startswith((".", "/", "~")):
            raise ModelError(asked, "no folder with a config.json, and no GGUF file", "check the pattern")
        repository = _repository(model)
        with cache_alone_where_unreachable([repository]):
            refs = fetch(lambda: HfApi().list_repo_refs(repository), repository, None, "list of revisions")
        names = sorted({ref.name for ref in [*refs.branches, *refs.tags] if fnmatchcase(ref.name, given)})
        if not names:
            raise ModelError(f"{asked} of {model}", "no such branch or tag", "look up its branches and tags on the hub")
        return True, [(model, name) for name in names]
    if _is_checkpoint(path):
        return False, [(str(path), None)]
    if path.is_dir():
        inside = [str(folder) for folder in sorted(path.iterdir()) if _is_checkpoint(folder)]
        if not inside:
            raise ModelError(asked, "a folder without checkpoints", "name a folder of folders with config.json in each")
        return True, [(name, None) for name in inside]
    if local_base or path.exists() or given.startswith((".", "/", "~")):
        kind = "folder" if Path(model).expanduser().is_dir() else "file"
        found = "no such folder" + (f"; {model} is a {kind}, which has no revisions" if local_base else "")
        raise ModelError(asked, found, "name folders of checkpoints, or a model on the hub and its revisions")
    return False, [(model, given)]


def _is_here(model: str) -> bool:
    """Return True if a model, or the folder before the name of a GGUF file in it, is on this machine."""
    return any(name and Path(name).expanduser().exists() for name in (model, model.rpartition(":")[0]))


def _repository(model: str) -> str:
    """The repository on the hub that a model is in, without the name of a GGUF file after it."""
    file = gguf_names.find(model)
    return file.repository if isinstance(file, gguf_names.HubFile) else model


def _is_checkpoint(path: Path) -> bool:
    """Return True if a path is a single model: a folder with a config.json or one GGUF file, or a GGUF file."""
    if path.is_dir():
        return (path / "config.json").is_file() or len(list(path.glob("*.gguf"))) == 1
    return path.suffix.lower() == ".gguf" and path.is_file()


def _name(path: str, step: int) -> str:
    """The end of a path from the part that tells the step on, or its last part."""
    parts = Path(path).parts
    at = next((n for n in range(len(parts) - 1, 0, -1) if step_of(parts[n]) == step), len(parts) - 1)
    return "/".join(parts[at:])


def _contents(place: Place) -> Contents:
    file = gguf_names.find(place.model)
    if isinstance(file, Path):
        return Contents(weights={file.name: _hash(file)}, rest="")
    if place.revision is None:
        return _of_folder(place, Path(place.model).expanduser(), None)
    answer = fetch(lambda: _ask(place), place.model, place.revision, "list of files")
    if isinstance(answer, Path):
        if file is not None:
            return Contents(weights={file.file: _hash(answer / file.file)}, rest=answer.name, commit=answer.name)
        return _of_folder(place, answer, answer.name)
    files = {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in answer.siblings or ()}
    if file is not None:
        names = [name for name in files if name == file.file]
        _check_weights(place, names, file.file)
    else:
        names = _pick(sorted(files), str)
        _check_weights(place, names)
    return Contents(weights={name: str(files[name]) for name in names}, rest=str(answer.sha), commit=str(answer.sha))


def _ask(place: Place) -> Any:
    """The hub's list of files; the folder of an earlier download where the network does not answer."""
    try:
        return HfApi().model_info(place.repository, revision=place.revision, files_metadata=True)
    except HfHubHTTPError:
        raise  # the hub did answer: no such revision, no access
    except Exception:
        return Path(snapshot_download(place.repository, revision=place.revision, local_files_only=True))


def _of_folder(place: Place, folder: Path, commit: str | None) -> Contents:
    try:
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        weights = _pick(files, lambda path: path.name)
        _check_weights(place, weights)
        kept = {path.name: _hash(path) for path in weights}
        rest = hashlib.sha256()
        for path in files:
            if _like(path.name, SMALL) and not _like(path.name, _NO_PART):
                rest.update(f"{path.name}|{_hash(path)}\n".encode())
    except OSError as error:
        raise ModelError(
            f"the files of the checkpoint {place.path}", error.strerror or str(error), "check the folder"
        ) from error
    return Contents(weights=kept, rest=commit or rest.hexdigest(), commit=commit)


def _check_weights(
    place: Place, weights: Sequence[Any], wanted: str = "*.safetensors and no pytorch_model*.bin"
) -> None:
    if not weights:
        raise ModelError(
            f"the weights of the checkpoint {place.path}",
            f"no {wanted}",
            "name checkpoints that save_pretrained wrote, or GGUF files",
        )


def _pick(files: Sequence[Any], name: Callable[[Any], str]) -> list[Any]:
    """Return the files with weights: those of the first kind in WEIGHTS that is present."""
    for pattern in WEIGHTS:
        if chosen := [file for file in files if fnmatchcase(name(file), pattern)]:
            return chosen
    return []


def _like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _hash(path: Path) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

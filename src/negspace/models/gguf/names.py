"""Names that refer to a GGUF file: a path, a folder that contains one, a file of a hub repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from negspace.errors import ModelError

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True)
class HubFile:
    """A GGUF file of a repository on the hub."""

    repository: str
    """Name of the repository."""
    file: str
    """Path of the file in it."""


def find(name: str, gguf_file: str | None = None) -> Path | HubFile | None:
    """The GGUF file that a name stands for; None where it stands for a model of another kind.

    Args:
        name: a GGUF file; a folder that holds one and no config.json; a folder or a repository on the hub with the name
            of a file in it, as "name:file.gguf".
        gguf_file: the file's name in the folder or repository.

    Raises:
        ModelError: no such file, several in the folder, two answers to which, or a part of a file that was split.
    """
    folder, file = name, gguf_file
    path = Path(name).expanduser()
    if file is None and not path.exists() and (colon := re.fullmatch(r"(.+):(.+\.gguf)", name, re.IGNORECASE)):
        folder, file = colon.groups()
        path = Path(folder).expanduser()
    if file is not None:
        if path.is_dir():
            if not (path / file).is_file():
                raise ModelError(f"{file} in {folder}", _held(_inside(path)), "name a file that is there")
            return _whole(path / file)
        if path.is_file():
            raise ModelError(f"gguf_file={file!r} of {folder}", "a file, not a folder", "give one of the two")
        if folder.startswith((".", "/", "~")) or folder.count("/") != 1:
            raise ModelError(f"{file} in {folder}", "no such folder", "give a folder, or a repository on the hub")
        return HubFile(folder, file)
    if path.is_file():
        return _whole(path) if path.suffix.lower() == ".gguf" else None
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        raise ModelError(
            f"the model in {name}",
            "no such file",
            "check the path; a file on the hub is named owner/repository:file.gguf",
        )
    if not path.is_dir() or (path / "config.json").is_file() or not (held := _inside(path)):
        return None
    if len(held) > 1 and not all(_PART.fullmatch(one.name) for one in held):
        raise ModelError(f"the model in {name}", _held(held), f"name one, as {held[0]}")
    return _whole(held[0])


def in_repository(repository: str, revision: str | None, error: ModelError) -> ModelError:
    """The error for a repository without a config.json: one that lists its GGUF files, if it has any, else `error`."""
    try:
        files = HfApi().list_repo_files(repository, revision=revision)
    except Exception:
        return error
    held = [file for file in files if file.lower().endswith(".gguf")]
    if not held:
        return error
    shown = ", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else "")
    return ModelError(
        f"the model {repository}", f"a repository of GGUF files: {shown}", f"name one, as {repository}:{held[0]}"
    )


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".gguf" and path.is_file())


def _held(files: list[Path]) -> str:
    if not files:
        return "no GGUF file there"
    return f"a folder of {len(files)} GGUF file{'s' * (len(files) > 1)}: {', '.join(path.name for path in files)}"


def _whole(path: Path) -> Path:
    """The path, unless it is a part of a file that was split, which transformers cannot read."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return path
    count = int(part["count"])
    names = [f"{part['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    lacking = [name for name in names if not (path.parent / name).is_file()]
    if count > 1 and lacking:
        raise ModelError(
            f"the model in {path}",
            f"a part of a file that was split in {count}, without {', '.join(lacking)}",
            "get the missing parts, then join them: llama-gguf-split --merge "
            f"{names[0]} {part['stem']}.gguf (a program of llama.cpp)",
        )
    if count > 1:
        raise ModelError(
            f"the model in {path}",
            f"a part of a file that was split in {count}, which transformers cannot read in parts",
            f"join them: llama-gguf-split --merge {names[0]} {part['stem']}.gguf (a program of llama.cpp), "
            "and name the file that it writes",
        )
    return path

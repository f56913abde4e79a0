"""Internal: where a model's files are, in a folder or at a commit on the hub; and why they cannot be had."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from negspace.errors import ModelError
from negspace.memory import is_out_of_memory, shortage
from negspace.models.gguf import names as gguf_names
from negspace.models.gguf.convert import require_package


def folder_of(name: str, revision: str | None) -> str:
    """The folder that a name stands for, or the name itself when it is one of the hub's."""
    if not name.strip():
        todo = "give a folder, or a name on the hub such as EleutherAI/pythia-70m"
        raise ModelError(asked="a model without a name", found=repr(name), todo=todo)
    path = Path(name).expanduser()
    if path.is_dir():
        held = [] if (path / "config.json").is_file() else _revisions(path)
        if revision is not None:
            if revision in held:
                return str(path / revision)
            raise ModelError(
                asked=f"revision {revision!r} of {name}",
                found=f"a folder of these revisions: {', '.join(held)}"
                if held
                else "a local folder, which has no revisions",
                todo="name one of them" if held else "leave the revision out, or name the model on the hub",
            )
        if held:
            raise ModelError(
                asked=f"the model in {name}",
                found=f"a folder of several checkpoints: {', '.join(held)}",
                todo=f"name one as the revision, {held[-1]!r} for example, or its own folder",
            )
        if not (path / "config.json").is_file():
            raise ModelError(
                asked=f"the model in {name}",
                found="a folder without config.json",
                todo="name the folder that save_pretrained wrote (config, weights and tokenizer)",
            )
        return str(path)
    if path.is_file():
        raise ModelError(asked=f"the model {name}", found="a file", todo="name the folder that holds it")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            asked=f"the model in {name!r}",
            found="no such folder",
            todo="check the path, or give a name on the hub such as EleutherAI/pythia-70m",
        )
    return name


def _revisions(folder: Path) -> list[str]:
    """Subfolders that hold a model, in order of the numbers in their names: step0, step4, ..., step8192."""
    names = [path.parent.name for path in folder.glob("*/config.json")]
    return sorted(names, key=lambda name: [(len(part), part) for part in re.split(r"(\d+)", name)])


def commit_of(name: str, where: str, revision: str | None) -> str | None:
    """The commit that a revision of a model on the hub stands for; None for a folder."""
    if Path(where).is_dir():
        return None
    try:
        file = fetch(lambda: cached_file(where, "config.json", revision=revision), name, revision, "configuration")
    except ModelError as error:
        raise gguf_names.in_repository(where, revision, error) from error
    return commit_in(file)


def commit_in(file: str) -> str | None:
    """The commit that a file of the hub's client is of, which keeps it in snapshots/<commit>/; None for another."""
    found = re.search(r"snapshots/([0-9a-f]{40})/", Path(file).as_posix())
    return found.group(1) if found else None


def gguf_file_of(file: Path | gguf_names.HubFile, name: str, revision: str | None) -> tuple[Path, str | None]:
    """A GGUF file on this machine, and the commit that it is of, when it had to be got from the hub."""
    require_package()
    if isinstance(file, gguf_names.HubFile):
        get = lambda: cached_file(file.repository, file.file, revision=revision)  # noqa: E731
        held = fetch(get, name, revision, f"file {file.file}")
        return Path(held), commit_in(held)
    if revision is not None:
        raise ModelError(
            asked=f"revision {revision!r} of {name}",
            found="a file on this machine, which has no revisions",
            todo="leave the revision out, or name the file in its repository on the hub",
        )
    return file, None


def fetch(get: Any, name: str, revision: str | None, what: str) -> Any:
    """Get a part of a model from disk or hub; whatever transformers or the hub say about it becomes a ModelError."""
    asked = f"the {what} of {name}" + (f" at revision {revision}" if revision else "")
    try:
        return get()
    except Exception as error:
        causes = [cause for cause in (error, error.__cause__) if cause is not None]
        # First, since it may happen to any part of any model, wherever its files lie.
        if (short := next(filter(is_out_of_memory, causes), None)) is not None:
            raise ModelError(asked, *shortage(short)) from short
        kinds = {cls.__name__ for cause in causes for cls in type(cause).__mro__}
        text = " ".join(str(error).split())
        local = Path(name).expanduser().is_dir()
        if "trust_remote_code" in text:
            todo = "read that code, and pass trust_remote_code=True (--trust-remote-code) if you trust it"
        elif kinds & {"GatedRepoError"}:
            todo = "ask for access on the model's page and log in (hf auth login)"
        elif kinds & {"RevisionNotFoundError"}:
            todo = "look up its branches and tags on the hub"
        elif "attn_implementation" in text:
            todo = "take attn_implementation='sdpa' or 'eager', or none for the default"
        elif kinds & {"ImportError"}:
            todo = "install what the message names"
        elif what == "tokenizer" and local:
            todo = "put the tokenizer's files into the folder (tokenizer.save_pretrained(folder))"
        elif local:
            todo = "check the folder: config.json, *.safetensors and the tokenizer must be whole and belong together"
        else:
            here = Path(name).expanduser().absolute()
            todo = f"check the name and the network; a folder of this name would be {here}"
        raise ModelError(asked=asked, found=f"{type(error).__name__}: {text}", todo=todo) from error

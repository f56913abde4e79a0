"""Internal: scans and sets of neurons as folders with a card, on disk and on the Hugging Face hub."""

from __future__ import annotations

import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

from negspace.errors import RecordError
from negspace.files import make_folder, write_whole

_PAPER = "2509.24198"
_BREAKING = re.compile(r"[\s\x00-\x1f\x7f-\x9f`|]+")


class Shareable(ABC):
    """A result that is written as one file, and shared as a folder of that file and a card (README.md)."""

    FILE: ClassVar[str]
    """Name of the file in the folder."""

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file."""

    @classmethod
    @abstractmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read the file."""

    @abstractmethod
    def _card(self) -> tuple[str, dict[str, str]]:
        """Return the card's content: one sentence, and the facts below it by name."""

    def _base_model(self) -> str | None:
        """Name on the hub of the model it was computed from, where that is known."""
        return None

    def save_pretrained(self, folder: str | os.PathLike[str], *, base_model: str | None = None) -> Path:
        """Write a folder in the form of the Hugging Face hub: the file that `save` writes, and a card (README.md).

        Args:
            folder: made if it is not there; other files in it stay.
            base_model: name of the model on the hub, for the card; None: as recorded, or none.

        Raises:
            RecordError: the folder or a file cannot be written.
        """
        folder = Path(folder)
        make_folder(folder)
        self.save(folder / self.FILE)
        write_whole(folder / "README.md", self._write_card(base_model or self._base_model()).encode())
        return folder

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        subfolder: str = "",
        token: str | bool | None = None,
    ) -> Self:
        """Read what `save_pretrained` or `push_to_hub` wrote.

        Args:
            name: a folder, or "owner/name" on the hub.
            revision: branch, tag or commit on the hub.
            subfolder: folder inside it.
            token: of the hub; None: the one you are logged in with, if any.

        Raises:
            RecordError: neither such a folder nor such a repository, or no such file in it.
            NegspaceError: the file is damaged; as `load`.
        """
        if Path(name).is_dir():
            if revision is not None:
                todo = "leave the revision out, or name a repository on the hub"
                raise RecordError(f"revision {revision!r} of {name}", "a local folder", todo)
            return cls.load(Path(name) / subfolder / cls.FILE)
        from huggingface_hub import hf_hub_download

        from negspace.models.hub import cache_alone_where_unreachable

        asked = f"{cls.FILE} of {name}{f' at {revision}' if revision else ''}"
        todo = "check the name; without a network, give the folder that save_pretrained wrote"
        with _explained(asked, todo), cache_alone_where_unreachable([str(name)]):
            file = hf_hub_download(str(name), cls.FILE, subfolder=subfolder or None, revision=revision, token=token)
        return cls.load(file)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        base_model: str | None = None,
        subfolder: str = "",
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Upload the folder that `save_pretrained` writes to a model repository, which is made if it is not there.

        Args:
            repo_id: "owner/name".
            base_model: name of the model on the hub, for the card; None: as recorded, or none.
            subfolder: folder inside the repository, for one that holds several results.
            private: of a new repository; None: the owner's default.
            revision: branch to commit to; None: main.
            commit_message: None: one that names the file.
            token: of the hub; None: the one you are logged in with.

        Returns:
            Address of the commit.

        Raises:
            RecordError: the hub refuses, or cannot be reached.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token, library_name="negspace")
        todo = "log in with `hf auth login`, check the name and the connection; or write a folder with save_pretrained"
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, base_model=base_model)
            with _explained(f"to upload {self.FILE} to {repo_id}", todo):
                api.create_repo(repo_id, private=private, exist_ok=True)
                done = api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    path_in_repo=subfolder or None,
                    revision=revision,
                    commit_message=commit_message or f"Upload {self.FILE}",
                )
        return str(done.commit_url)

    def _write_card(self, base_model: str | None) -> str:
        from huggingface_hub import ModelCardData

        head = ModelCardData(base_model=base_model, library_name="negspace", tags=["negspace", f"arxiv:{_PAPER}"])
        sentence, facts = self._card()
        name = type(self).__name__
        return "\n".join(
            [
                "---",
                head.to_yaml(),
                "---",
                "",
                f"# {name}",
                "",
                f"{sentence} Made by negspace after Kong et al. ([arXiv {_PAPER}](https://arxiv.org/abs/{_PAPER})).",
                "",
                "| | |",
                "| --- | --- |",
                *(f"| {label} | {_verbatim(value)} |" for label, value in facts.items()),
                "",
                "```python",
                "import negspace as ns",
                "",
                f'{name.lower()} = ns.{name}.from_pretrained("owner/name")  # or a folder',
                "```",
                "",
            ]
        )


def _verbatim(text: str) -> str:
    """Text from elsewhere as a code span, which Markdown does not read."""
    return f"`{_BREAKING.sub(' ', text).strip() or '-'}`"


@contextmanager
def _explained(asked: str, todo: str) -> Iterator[None]:
    """The hub's client raises errors of many unrelated kinds, offline or where a name is wrong."""
    try:
        yield
    except Exception as error:
        cause = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise RecordError(asked, f"{type(error).__name__}: {cause}", todo) from error

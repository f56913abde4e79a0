"""Checkpoints one after the other: one in memory, the files of the next read ahead meanwhile."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from negspace.models.model import Model
from negspace.models.series import SMALL, Contents, Place

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a series, as far as it is known without loading it."""

    place: Place
    """Its name, its step, and where it lies."""
    contents: Contents
    """Hashes of its files."""


class Checkpoints:
    """Opens checkpoints of a series, never two at a time.

    Loading is mostly waiting: for the network, or for a disk. That part is done ahead, in a thread, while the model at
    hand computes: the next checkpoint's files are downloaded, or a folder's are read through, after which the system
    has them in its page cache. Such memory is the system's to take back, so that nothing is ever short of it, and no
    second model is built. (It could not be beside a running one: transformers patches torch as a whole while it loads.)
    What remains to wait for is a copy from memory to the device.

    Args:
        load: makes the model of a checkpoint.
    """

    def __init__(self, load: Callable[[Checkpoint], Model]) -> None:
        self._load = load
        self._held: tuple[Checkpoint, Model] | None = None
        self._ahead: _Ahead | None = None
        self.loaded: list[str] = []
        """Names of the checkpoints loaded so far, in order."""

    @property
    def current(self) -> Checkpoint | None:
        """The checkpoint that is open."""
        return self._held[0] if self._held else None

    def open(self, checkpoint: Checkpoint, following: Checkpoint | None = None) -> Model:
        """The model of a checkpoint; the one that was open before is dropped first and must not be used any more.

        Args:
            checkpoint: which.
            following: the one that will be opened next, whose files to read ahead.

        Raises:
            ModelError, SiteError: as for `negspace.load`.
        """
        if self._held is not None and self._held[0] == checkpoint:
            return self._held[1]
        if self._ahead is not None and self._ahead.checkpoint == checkpoint:
            self._ahead.finish()
        self.close()
        model = self._load(checkpoint)
        self._held = (checkpoint, model)
        self.loaded.append(checkpoint.place.name)
        if following is not None and following != checkpoint:
            self._ahead = _Ahead(following)
        return model

    def close(self) -> None:
        """Drop the model and stop reading ahead."""
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None
        if self._held is not None:
            self._held = None
            # Modules hold themselves in cycles; without this the next model would be loaded beside the last.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


class _Ahead:
    """Reads a checkpoint's files in a thread. A failure costs time only: loading meets it again, and says it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"read ahead {checkpoint.place.name}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for a download, which loading would only wait for as well; reading a folder can be left to loading."""
        if self.checkpoint.contents.commit is None:
            self._stop.set()
        self._thread.join()

    def stop(self) -> None:
        """Read no further; a download that has begun goes on by itself, and is of use to a later run."""
        self._stop.set()

    def _run(self) -> None:
        place, contents = self.checkpoint.place, self.checkpoint.contents
        try:
            if contents.commit is None and Path(place.model).expanduser().is_file():
                return  # a GGUF file: what is read of it is a folder of the cache, once it is converted
            if contents.commit is None:
                self._read_through([Path(place.model).expanduser() / name for name in contents.weights])
            else:
                wanted = [*SMALL, *contents.weights]
                snapshot_download(place.repository, revision=contents.commit, allow_patterns=wanted)
        except Exception:
            return

    def _read_through(self, files: list[Path]) -> None:
        buffer = bytearray(_BLOCK)
        for path in files:
            with open(path, "rb", buffering=0) as file:
                while not self._stop.is_set() and file.readinto(buffer):
                    pass

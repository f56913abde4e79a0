"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from negspace.errors import RecordError
from negspace.files import write_whole


def test_it_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two"):
        assert write_whole(path, content).read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="No space left") as caught:
        write_whole(path, b"new")
    assert "space" in caught.value.todo
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_permission_is_one_clear_error(tmp_path, monkeypatch):
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(RecordError, match="Permission denied"):
        write_whole(tmp_path / "file", b"x")

"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
from functools import partial

import pytest

from negspace.errors import RecordError, StudyError
from negspace.files import check_folder, check_writable, lock, write_whole


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


def test_a_pipe_is_refused_and_left_as_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for refuse in (lambda: write_whole(pipe, b"x"), lambda: check_writable(pipe)):
        with pytest.raises(RecordError, match="device, pipe or socket"):
            refuse()
    assert pipe.is_fifo()


def test_a_link_keeps_leading_to_its_file(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_path_that_leads_nowhere_is_one_clear_error(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for path, found in ((tmp_path / "a", "symbolic link"), (tmp_path / ("n" * 300), "too long")):
        for refuse in (partial(write_whole, path, b"x"), partial(check_writable, path)):
            with pytest.raises(RecordError, match=found):
                refuse()
    (tmp_path / "file").write_bytes(b"")
    for path, found in ((tmp_path / "no" / "file", "No such file"), (tmp_path / "file" / "x", "Not a directory")):
        with pytest.raises(RecordError, match=found):
            check_writable(path)
    with pytest.raises(RecordError, match="too long"):
        check_folder(tmp_path / ("n" * 300), "run.json")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_with_what_to_do(tmp_path, monkeypatch, code):
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StudyError, match="a file system that gives no lock") as caught, lock(tmp_path):
        pass
    assert os.strerror(code) in caught.value.found
    assert "another file system with --out" in caught.value.todo


def test_a_lock_that_is_a_link_is_refused_and_its_file_kept(tmp_path):
    """A run folder may come from anybody."""
    (tmp_path / "mine").write_text("a letter")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(RecordError, match=r"(?s)\.lock: a link.*remove it"), lock(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "a letter"


def test_a_folder_behind_a_link_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for folder in (tmp_path / "link", tmp_path / "link" / "run"):
        with pytest.raises(RecordError, match="link: a link that leads nowhere"):
            check_folder(folder, "run.json")
    (tmp_path / "absent").mkdir()
    check_folder(tmp_path / "link" / "run", "run.json")

"""What a run's log says of its machine."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
from pathlib import Path

from negspace.runs.surroundings import git_state, surroundings


def test_the_machine_is_described_without_naming_it() -> None:
    found = surroundings()
    assert {"system", "machine", "python", "negspace"} <= set(found)
    text = json.dumps(list(found.values()))
    assert socket.gethostname() not in text
    assert f"/{getpass.getuser()}/" not in text


def test_the_commit_is_named_and_whether_files_are_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        ).stdout

    assert git_state(tmp_path) == ""
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    assert git_state(tmp_path) == ""
    git("add", "file")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").strip()[:12]
    assert git_state(tmp_path) == commit
    (tmp_path / "file").write_text("two")
    assert git_state(tmp_path) == f"{commit}, with changes"
    inside = tmp_path / "environment"
    inside.mkdir()
    assert git_state(inside) == ""

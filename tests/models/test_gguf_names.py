"""What a name stands for, when it may mean a GGUF file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

import ggufs
from negspace.errors import ModelError
from negspace.models import locate
from negspace.models.gguf import names
from negspace.models.gguf.names import HubFile, find
from negspace.models.load import load


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF")


def test_files_folders_and_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "one/model.gguf", tmp_path / "two/a.gguf", tmp_path / "two/b.GGUF", tmp_path / "odd:name.gguf")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/config.json").write_text("{}")
    touch(tmp_path / "plain/model.gguf")
    assert find(str(tmp_path / "one/model.gguf")) == tmp_path / "one/model.gguf"
    assert find(str(tmp_path / "one")) == tmp_path / "one/model.gguf"
    assert find(str(tmp_path / "two"), "b.GGUF") == tmp_path / "two/b.GGUF"
    assert find(f"{tmp_path}/two:a.gguf") == tmp_path / "two/a.gguf"
    assert find(f"{tmp_path}/odd:name.gguf") == tmp_path / "odd:name.gguf"
    assert find(str(tmp_path / "plain")) is None
    assert find(str(tmp_path / "plain"), "model.gguf") == tmp_path / "plain/model.gguf"
    assert find("owner/name:sub/model-q4_k_m.gguf") == HubFile("owner/name", "sub/model-q4_k_m.gguf")
    assert find("owner/name", "model.gguf") == HubFile("owner/name", "model.gguf")
    assert find("owner/name") is None
    assert find("gpt2") is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/one/model.gguf") == tmp_path / "one/model.gguf"


@pytest.mark.parametrize(
    ("name", "file", "found"),
    [
        ("two", None, r"a folder of 2 GGUF files: a\.gguf, b\.gguf\nto do: name one, as .*/two/a\.gguf"),
        ("two", "c.gguf", "a folder of 2 GGUF files"),
        ("two:c.gguf", None, "a folder of 2 GGUF files"),
        ("two/a.gguf", "a.gguf", "a file, not a folder"),
        ("two/absent.gguf", None, "no such file"),
        ("absent", "a.gguf", "no such folder"),
        ("part/tiny-00001-of-00003.gguf", None, "was split in 3, without tiny-00002-of-00003.gguf"),
        ("part", None, "was split in 3, without tiny-00002-of-00003.gguf"),
        ("parts", None, "was split in 2, which transformers cannot read in parts\nto do: join them: llama-gguf-split"),
    ],
)
def test_names_that_stand_for_no_file(tmp_path: Path, name: str, file: str | None, found: str) -> None:
    touch(tmp_path / "two/a.gguf", tmp_path / "two/b.gguf")
    touch(tmp_path / "part/tiny-00001-of-00003.gguf", tmp_path / "part/tiny-00003-of-00003.gguf")
    touch(tmp_path / "parts/tiny-00001-of-00002.gguf", tmp_path / "parts/tiny-00002-of-00002.gguf")
    with pytest.raises(ModelError, match=found):
        find(f"{tmp_path}/{name}", file)


def test_a_file_on_this_machine_has_no_revision(tmp_path: Path) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    with pytest.raises(ModelError, match="which has no revisions"):
        load(tmp_path / "tiny.gguf", revision="main")


def test_a_file_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Got once, of the revision that was asked for; its commit is recorded."""
    monkeypatch.setenv("NEGSPACE_CACHE", "off")
    commit = "0123456789abcdef0123456789abcdef01234567"
    held = tmp_path / "snapshots" / commit / "tiny.gguf"
    held.parent.mkdir(parents=True)
    ggufs.write(held)
    asked: list[Any] = []

    def cached_file(repository: str, file: str, revision: str | None = None) -> str:
        asked.append((repository, file, revision))
        return str(held)

    monkeypatch.setattr(locate, "cached_file", cached_file)
    model = load("owner/name:tiny.gguf", revision="step100", device="cpu")
    assert asked == [("owner/name", "tiny.gguf", "step100")]
    assert (model.source.name, model.source.revision, model.source.commit) == (
        "owner/name:tiny.gguf",
        "step100",
        commit,
    )
    other = load("owner/name", gguf_file="tiny.gguf", device="cpu")
    assert other.fingerprint == model.fingerprint


def test_a_repository_of_gguf_files_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    files = ["README.md", "tiny-q4_0.gguf", "tiny-q8_0.gguf"]
    monkeypatch.setattr(names, "HfApi", lambda: SimpleNamespace(list_repo_files=lambda *_, **__: files))
    with pytest.raises(
        ModelError, match=r"a repository of GGUF files: tiny-q4_0.gguf, tiny-q8_0.gguf\nto do: name one, as"
    ):
        load("owner/name", device="cpu")
    files[:] = ["README.md"]
    with pytest.raises(ModelError, match="the configuration of owner/name"):
        load("owner/name", device="cpu")

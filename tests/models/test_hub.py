"""A hub that cannot be reached is not asked again and again."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from negspace.errors import ModelError
from negspace.models import hub
from negspace.models.load import load


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Hosts whose address was asked for, none of which is known."""
    hosts: list[str] = []

    def unknown(host: str, *_: Any, **__: Any) -> None:
        hosts.append(host)
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return hosts


def test_a_mistyped_folder_is_refused_at_once(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="the configuration of mine/nomodel") as told:
        load("mine/nomodel")
    assert str(tmp_path / "mine" / "nomodel") in told.value.todo
    assert asked == ["huggingface.co"], "once, and no request after it"
    assert constants.HF_HUB_OFFLINE is False


def test_what_is_here_asks_for_no_host(asked: list[str], tmp_path: Path) -> None:
    with hub.cache_alone_where_unreachable([str(tmp_path)]):
        assert constants.HF_HUB_OFFLINE is False
    assert asked == []


def test_a_proxy_may_know_the_host(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    with hub.cache_alone_where_unreachable(["owner/name"]):
        assert constants.HF_HUB_OFFLINE is False
    assert asked == []


def test_who_is_offline_stays_so(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.cache_alone_where_unreachable(["owner/name"]):
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is True
    assert asked == []

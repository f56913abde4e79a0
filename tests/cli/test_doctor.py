"""`negspace doctor`: what works is said with versions, what is missing with how to get it; only broken things count."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import negspace as ns
from negspace.study.registry import OWN


@pytest.fixture
def examined(call: Any) -> Any:
    """examined() -> exit status, and the checks by (group, name)."""

    def ran() -> tuple[int, dict[tuple[str, str], dict[str, str]]]:
        shown = call("doctor", "--json")
        content = json.loads(shown.out)
        assert content["ok"] is (shown.status == 0)
        return shown.status, {(check["group"], check["name"]): check for check in content["checks"]}

    return ran


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """installed(ray=None) -> as if a package were not installed, or in another version."""
    really = metadata.version

    def pretend(**versions: str | None) -> None:
        def version(name: str) -> str:
            said = versions.get(name, really(name))
            if said is None:
                raise metadata.PackageNotFoundError(name)
            return said

        monkeypatch.setattr(metadata, "version", version)

    return pretend


def test_a_sound_installation(examined: Any, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEGSPACE_CACHE", str(tmp_path))
    (tmp_path / "weights").write_bytes(bytes(30_000_000))
    status, checks = examined()
    assert status == 0
    assert checks["versions", "negspace"]["found"] == ns.__version__
    assert checks["versions", "torch"]["found"] == torch.__version__
    assert checks["versions", "transformers"]["found"] == transformers.__version__
    assert {name for group, name in checks if group == "extras"} >= {"device-map", "gguf", "pos", "ray", "tasks"}
    assert not {"dev", "docs", "bench"} & {name for _, name in checks}
    assert f"{torch.get_num_threads()} threads" in checks["device", "cpu"]["found"]
    assert checks["folders", "converted GGUF files"]["found"] == f"{tmp_path}, 0.03 GB"
    assert {name for group, name in checks if group == "analyses"} >= set(OWN)
    assert "4,608 neurons scanned, perplexity" in checks["trial", "bundled model"]["found"]
    shown = call("doctor")
    assert shown.status == 0
    assert "negspace works here" in shown.out


def test_what_is_optional_and_missing_is_said_with_how_to_get_it(
    examined: Any, installed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    installed(ray=None, spacy=None, **{"lm-eval": "0.3.0"})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEGSPACE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    status, checks = examined()
    assert status == 0
    ray, tasks = checks["extras", "ray"], checks["extras", "tasks"]
    assert (ray["state"], ray["todo"]) == ("missing", "pip install 'negspace[ray]'")
    assert "lm-eval 0.3.0 is installed, >=0.4.13 is needed" in tasks["found"]
    assert checks["folders", "converted GGUF files"]["state"] == "note"
    assert "NEGSPACE_CACHE" in checks["folders", "converted GGUF files"]["todo"]
    assert "HF_HUB_OFFLINE=1" in checks["hub", constants.ENDPOINT]["found"]
    assert checks["extras", "gguf"]["state"] == "ok"
    for name in ("atlas", "differentiation", "parts_of_speech"):
        found = checks["analyses", name]
        assert (found["state"], found["todo"][:31]) == ("missing", "pip install 'negspace[pos]', or")
    assert checks["analyses", "dose"]["state"] == "ok"


def test_what_is_needed_and_broken_is_status_1(
    examined: Any, call: Any, installed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import negspace.reference

    installed(transformers="4.40.0", pandas=None)
    monkeypatch.setattr(negspace.reference, "model_path", lambda: tmp_path / "absent")
    status, checks = examined()
    assert status == 1
    assert {name for (_, name), check in checks.items() if check["state"] == "broken"} == {
        "transformers",
        "pandas",
        "trial",
    }
    assert checks["versions", "transformers"]["todo"] == "pip install 'transformers>=5.0'"
    assert "absent" in checks["trial", "trial"]["found"]
    shown = call("doctor")
    assert shown.status == 1
    assert "broken: pandas, transformers, trial" in shown.out

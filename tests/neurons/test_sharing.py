"""Scans and sets as folders with a card: on disk, and through the real client of the hub, against a server of ours."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import ModelCard

import zoo
from negspace.errors import NegspaceError, RecordError
from negspace.models.load import wrap
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, scan

WORDS = " ".join(f"w{3 + (7 * n * n + n) % 90}" for n in range(600))


@pytest.fixture(scope="module")
def made() -> Scan:
    return scan(wrap(zoo.build("gpt_neox"), zoo.tokenizer(), "tiny"), [WORDS], window=32, windows=10)


def test_a_folder_gives_back_the_same_scan_and_set(made, tmp_path):
    made.save_pretrained(tmp_path / "scan")
    again = Scan.from_pretrained(tmp_path / "scan")
    assert again.table.equals(made.table)
    assert again.info == made.info
    made.top(0.05).save_pretrained(tmp_path / "sets" / "top", base_model="owner/tiny")
    assert NeuronSet.from_pretrained(tmp_path / "sets", subfolder="top") == made.top(0.05)
    assert sorted(path.name for path in (tmp_path / "scan").iterdir()) == ["README.md", "scan.parquet"]


def test_the_card_names_model_and_text(made, tmp_path):
    card = ModelCard.load(made.save_pretrained(tmp_path, base_model="owner/tiny") / "README.md")
    assert card.data.to_dict() == {
        "base_model": "owner/tiny",
        "library_name": "negspace",
        "tags": ["negspace", "arxiv:2509.24198"],
    }
    assert "320 in 10 windows of 32" in card.text
    assert made.info.fingerprint in card.text
    assert "| model | `tiny` |" in card.text
    # A live module has no name on the hub: the card must not link to one of that name.
    assert "base_model" not in ModelCard.load(made.save_pretrained(tmp_path) / "README.md").data.to_dict()


def test_names_from_elsewhere_are_no_markup_in_a_card(made, tmp_path):
    top = made.top(0.05)
    evil = NeuronSet(top.indices, top.layout, "a` |\n# <img src=x onerror=alert(1)> [b](http://c)")
    text = (evil.save_pretrained(tmp_path) / "README.md").read_text()
    assert "| chosen as | `a # <img src=x onerror=alert(1)> [b](http://c)` |" in text


@pytest.mark.parametrize("name", ["nowhere", "no where/at all", "a/b/c"])
def test_what_is_neither_folder_nor_repository_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RecordError, match=r"neurons\.json of no|neurons\.json of a/b/c"):
        NeuronSet.from_pretrained(name)
    with pytest.raises(NegspaceError, match="No such file"):
        NeuronSet.from_pretrained(tmp_path)
    with pytest.raises(RecordError, match="a local folder"):
        NeuronSet.from_pretrained(tmp_path, revision="main")


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as its client needs to make a repository, commit to it, and read a file back."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - of the server as a whole
    commit = "a" * 40

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer hf_right":
            return self.answer(401, {"error": "Invalid credentials"})
        if self.path == "/api/repos/create":
            return self.answer(200, {"url": f"http://{self.headers['Host']}/owner/result"})
        if "/preupload/" in self.path:
            wanted = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": wanted})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        for line in map(json.loads, body.splitlines()):  # /commit/main
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        address = f"http://{self.headers['Host']}/owner/result/commit/{self.commit}"
        return self.answer(200, {"commitUrl": address, "commitOid": self.commit, "success": True})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path == "/api/models/owner/result":
            return self.answer(
                200, {"id": "owner/result", "sha": self.commit, "siblings": [], "private": False, "tags": []}
            )
        content = self.files.get(self.path.removeprefix("/owner/result/resolve/main/"))
        if content is None:
            return self.answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha1(content).hexdigest()
        return self.send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": self.commit})

    def answer(self, status: int, content: dict, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


USER = """
import sys
import negspace as ns
scan = ns.Scan.load(sys.argv[1])
print(scan.push_to_hub("owner/result", base_model="owner/tiny", token="hf_right"))
scan.top(0.05).push_to_hub("owner/result", subfolder="top", token="hf_right")
assert ns.Scan.from_pretrained("owner/result", token="hf_right").table.equals(scan.table)
assert ns.NeuronSet.from_pretrained("owner/result", subfolder="top") == scan.top(0.05)
for call in (scan.push_to_hub, ns.NeuronSet.from_pretrained):
    try:
        call("owner/result", token="hf_wrong")
    except ns.NegspaceError as error:
        print(error)
"""


def test_through_the_client_of_the_hub_and_back(made, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(
            [sys.executable, "-c", USER, made.save(tmp_path / "scan.parquet")],
            env={
                **os.environ,
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HOME": str(tmp_path / "home"),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    address, said = done.stdout.split("\n", 1)
    assert address.endswith(f"/owner/result/commit/{_Hub.commit}")
    assert sorted(_Hub.files) == ["README.md", "scan.parquet", "top/README.md", "top/neurons.json"]
    assert "to upload scan.parquet to owner/result" in said
    assert "hf auth login" in said
    assert "neurons.json of owner/result" in said
    assert "EntryNotFound" in said

"""The page on other tools: its code runs, on a small model, and every tool gives the logits of `intervene`."""

from __future__ import annotations

import linecache
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import negspace as ns
import zoo

pytest.importorskip("nnsight")
pytest.importorskip("transformer_lens")
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = Path(__file__).parents[2] / "docs/running/interop.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    zoo.build("gpt2").save_pretrained(tmp_path)
    zoo.tokenizer().save_pretrained(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    source = "\n".join(blocks)
    text = [" ".join(f"w{number % 90}" for number in range(600))]
    for there, here in (
        ('"openai-community/gpt2"', repr(str(tmp_path))),
        ('text="wikitext-2"', f"text={text!r}, window=32"),
        ("scan.top(0.01)", "scan.top(0.5)"),
        ("The dogs", "w3 w5 w7 w9"),
    ):
        assert there in source
        source = source.replace(there, here)
    # nnsight reads the source of a trace.
    name = str(tmp_path / "page.py")
    Path(name).write_text(source, encoding="utf-8")
    linecache.checkcache(name)
    page: dict[str, Any] = {"__name__": "page", "__file__": name}
    exec(compile(source, name, "exec"), page)
    model, ids = page["model"], page["ids"]
    with torch.no_grad():
        plain = model.module(ids).logits
        with ns.intervene(model, page["top"], zero="negative"):
            wanted = model.module(ids).logits
            with ns.intervene(model, page["low"], zero="negative"):
                tokens = model.module.generate(ids, max_new_tokens=5)
    assert not torch.equal(wanted, plain)
    assert torch.equal(page["changed"], wanted)
    assert torch.equal(page["traced"], wanted)
    assert torch.equal(page["tokens"], tokens)
    torch.testing.assert_close(page["lens"], wanted, atol=2e-5, rtol=1e-4)

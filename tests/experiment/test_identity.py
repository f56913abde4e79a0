"""What a tokenizer in Python is told apart by: merges, settings and what it puts around a text, not its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from transformers import ByT5Tokenizer, CTRLTokenizer

from negspace.experiment.identity import tokenizer_hash
from toy_tokenizers import with_bos


def _pairs(folder: Path, merges: list[str], **settings: Any) -> Any:
    """A slow tokenizer of merged letters."""
    folder.mkdir()
    vocabulary = {token: index for index, token in enumerate(("<unk>", "a@@", "b@@", "b</w>", "ab@@", "bb</w>"))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    made = CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), name_or_path=str(folder), **settings)
    assert not made.is_fast
    return made


def test_a_slow_tokenizer_is_its_merges_and_settings_wherever_it_lies(tmp_path: Path) -> None:
    one = _pairs(tmp_path / "one", ["a b", "b b</w>"])
    same = _pairs(tmp_path / "same", ["a b", "b b</w>"])
    turned = _pairs(tmp_path / "turned", ["b b</w>", "a b"])
    split = _pairs(tmp_path / "split", ["a b", "b b</w>"], split_special_tokens=True)
    assert one.get_vocab() == turned.get_vocab()
    assert one("abb")["input_ids"] != turned("abb")["input_ids"]
    assert tokenizer_hash(one) == tokenizer_hash(same)
    assert len({tokenizer_hash(made) for made in (one, turned, split)}) == 3


def test_a_slow_tokenizer_that_is_saved_and_read_again_is_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        ByT5Tokenizer().save_pretrained(tmp_path / name)
    read = [ByT5Tokenizer.from_pretrained(tmp_path / name) for name in ("one", "two")]
    assert tokenizer_hash(read[0]) == tokenizer_hash(read[1])


def test_what_a_slow_tokenizer_puts_around_a_text_is_seen(monkeypatch: Any) -> None:
    made = ByT5Tokenizer()
    before = tokenizer_hash(made)
    monkeypatch.setattr(made, "build_inputs_with_special_tokens", lambda ids, *_: [made.pad_token_id, *ids])
    assert tokenizer_hash(made) != before


def test_a_fast_tokenizer_is_what_its_library_writes_of_it() -> None:
    """Records of ordinary models are found by this hash: it must stay as it is."""
    made = with_bos()
    content = json.loads(made.backend_tokenizer.to_str())
    for state in ("padding", "truncation"):
        del content[state]
    text = json.dumps([content, {name: str(token) for name, token in made.special_tokens_map.items()}], sort_keys=True)
    assert tokenizer_hash(made) == hashlib.sha256(text.encode()).hexdigest()

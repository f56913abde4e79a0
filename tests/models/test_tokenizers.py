"""Tokenizers lose what was kept twice, and nothing else."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.models.gpt2.tokenization_gpt2 import GPT2Tokenizer
from transformers.models.whisper.tokenization_whisper import WhisperTokenizer

from negspace.models.tokenizers import load_tokenizer

TEXT = "The cats are here, they're not thére."


@pytest.fixture
def folder(tmp_path: Path) -> str:
    letters = sorted(set("".join(_spelled(TEXT))))
    words = [*letters, "<|endoftext|>", "ca", "re"]
    made = GPT2Tokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[("c", "a"), ("r", "e")])
    made.save_pretrained(tmp_path)
    return str(tmp_path)


def _spelled(text: str) -> list[str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return [bytes_to_unicode()[byte] for byte in text.encode()]


def test_it_reads_and_saves_as_before(folder: str, tmp_path: Path) -> None:
    whole: Any = GPT2Tokenizer.from_pretrained(folder)
    lean = load_tokenizer(folder)
    assert type(lean) is GPT2Tokenizer
    assert whole._merges
    assert not hasattr(lean, "_merges")
    assert not hasattr(lean, "_vocab")
    for made in (lean, copy.deepcopy(lean), pickle.loads(pickle.dumps(lean))):
        ids = made(TEXT).input_ids
        assert ids == whole(TEXT).input_ids
        assert made.decode(ids) == TEXT
        assert (len(made), made.get_vocab()) == (len(whole), whole.get_vocab())
    lean.save_pretrained(tmp_path / "again")
    assert load_tokenizer(str(tmp_path / "again"))(TEXT).input_ids == whole(TEXT).input_ids


def test_a_class_that_reads_them_later_keeps_them(folder: str, tmp_path: Path) -> None:
    read: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    made = WhisperTokenizer(vocab=read.get_vocab(), merges=[("c", "a"), ("r", "e")])
    made.save_pretrained(tmp_path / "whisper")
    kept = load_tokenizer(str(tmp_path / "whisper"))
    assert type(kept) is WhisperTokenizer
    assert kept._vocab
    assert kept._merges

"""Names of tokens: their text with its space, and no two alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from negspace.text.names import token_names


def test_byte_level(tiny_model_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_path)
    ids = tokenizer(" the cat\né<|endoftext|>").input_ids
    names = token_names(tokenizer, ids)
    shown = [names[one] for one in ids]
    assert shown[0].startswith(" ")
    assert "".join(shown[: shown.index("\n")]) == " the cat"
    assert shown[-1] == "<|endoftext|>"
    assert shown[-3:-1] == ["Ã", "©"]  # the two bytes of é, which are no text by themselves


def test_no_two_names_alike(tiny_model_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_path)
    names = token_names(tokenizer, range(len(tokenizer)))
    assert list(names) == list(range(len(tokenizer)))
    assert len(set(names.values())) == len(names)
    assert all(names.values())


@pytest.mark.shared
def test_sentencepiece(stories260k) -> None:
    tokenizer = stories260k.tokenizer
    ids = tokenizer("Once upon a time", add_special_tokens=False).input_ids
    names = token_names(tokenizer, [*ids, *range(len(tokenizer))])
    assert "".join(names[one] for one in ids) == " Once upon a time"
    assert len(set(names.values())) == len(names)

"""Long texts are encoded once, and anew where the tokenizer or the text is another."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from negspace.text import encoded as module
from negspace.text.encoded import encoded


@pytest.fixture
def tokenizer(tiny_model_path: Path):
    module._RECENT.clear()
    return AutoTokenizer.from_pretrained(tiny_model_path)


def test_a_long_text_is_encoded_once_and_as_the_tokenizer_does(tokenizer) -> None:
    text = "The cat sees two dogs.\n" * 1000
    made = encoded(text, tokenizer, special=False)
    assert made.ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(text[a:b] for a, b in made.offsets) == text
    assert encoded("".join(text), tokenizer, special=False) is made
    assert encoded(text + ".", tokenizer, special=False) is not made
    with pytest.raises(ValueError, match="read-only"):
        made.ids[0] = 1


def test_a_tokenizer_that_was_changed_encodes_anew(tokenizer) -> None:
    text = "The cat sees two dogs.\n" * 1000
    before = encoded(text, tokenizer, special=False)
    tokenizer.add_tokens(["cat sees two"])
    after = encoded(text, tokenizer, special=False)
    assert len(after.ids) < len(before.ids)
    assert after.ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_few_texts_are_kept_and_short_ones_are_not(tokenizer) -> None:
    for number in range(10):
        encoded(f"{number} cats. " * 4000, tokenizer, special=False)
    encoded("a cat", tokenizer, special=False)
    assert len(module._RECENT) == module._KEPT

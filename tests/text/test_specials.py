"""The special tokens around a text are found for every habit of tokenizers, and encoding never warns or cuts."""

from __future__ import annotations

import logging

import pytest

import toy_tokenizers as toys
from negspace.errors import TextError
from negspace.text.specials import Surround, encode, surround


@pytest.mark.parametrize(
    ("tokenizer", "before", "after"),
    [
        (toys.plain(), [], []),
        (toys.with_bos(), ["<s>"], []),
        (toys.with_both(), ["<s>"], ["</s>"]),
        (toys.with_two(), ["[gMASK]", "<sop>"], []),
        (toys.bare(), [], []),
    ],
)
def test_the_tokenizers_own_tokens_are_found(tokenizer, before, after):
    ids = tokenizer.convert_tokens_to_ids
    assert surround(tokenizer, "the dog barks") == Surround(tuple(ids(before)), tuple(ids(after)))


@pytest.mark.parametrize("make", [toys.plain, toys.with_bos, toys.with_both, toys.with_two])
def test_surround_and_encode_make_what_the_tokenizer_makes(make):
    tokenizer = make()
    around = surround(tokenizer, "the dog barks")
    for sentence in ("the dog barks .", "no", "<s> the cat", ""):
        whole = tokenizer(sentence).input_ids
        assert [*around.before, *encode(tokenizer, [sentence])[0], *around.after] == whole
        assert encode(tokenizer, [sentence], special=True)[0] == whole


def test_a_text_without_tokens_cannot_show_them():
    with pytest.raises(TextError, match="where they begin and end cannot be told"):
        surround(toys.with_bos(), "")


def test_long_texts_are_neither_cut_nor_warned_about(caplog):
    tokenizer = toys.with_bos()
    tokenizer.backend_tokenizer.enable_truncation(8)
    with caplog.at_level(logging.WARNING):
        assert len(encode(tokenizer, ["the dog " * 500])[0]) == 1000
    assert not caplog.records


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("make", [toys.plain, toys.with_bos, toys.with_both])
def test_many_texts_are_encoded_as_each_alone(make, special):
    tokenizer = make()
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.enable_padding()
    words = ("the", "dog", "cat", "barks", ".", "<s>")
    texts = [" ".join(words[(row * step) % 6] for step in range(1 + row % 12)) for row in range(700)]
    made = encode(tokenizer, texts, special=special)
    assert made == [tokenizer(text, add_special_tokens=special).input_ids for text in texts]


def test_a_tokenizer_that_is_more_than_its_core_is_asked_itself():
    class Reversed(type(toys.plain())):
        def __call__(self, texts, **options):
            return super().__call__([" ".join(reversed(text.split())) for text in texts], **options)

    tokenizer = toys.plain()
    tokenizer.__class__ = Reversed
    texts = [f"the {'dog' if row % 2 else 'cat'} barks" for row in range(600)]
    assert encode(tokenizer, texts) == tokenizer(texts).input_ids
    assert encode(tokenizer, texts) != encode(toys.plain(), texts)

"""Windows are slices of one stream; what is not text in them is marked; their size is never chosen in silence."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import toy_tokenizers as toys
from negspace.errors import TextError
from negspace.text import windows as room
from negspace.text.source import Text
from negspace.text.windows import STATISTICS_TOKENS, default_window, first_windows, make_windows

SENTENCE = "the dog that sees the cat barks . no bird has ever been sad today , and she sees a happy dog . "


def text(repeats: int = 40, role: str = "perplexity") -> Text:
    return Text("toy", SENTENCE * repeats, role)


@pytest.mark.parametrize("make", [toys.plain, toys.with_bos, toys.with_both, toys.with_two, toys.bare])
def test_windows_are_slices_of_the_tokenizers_own_stream(make):
    tokenizer = make()
    stream = tokenizer(text().text).input_ids
    made = make_windows(text(), tokenizer, window=32, stride=7)
    assert made.tokens.dtype == np.int64
    assert made.available == len(made) == (len(stream) - 32) // 7 + 1
    for number, row in enumerate(made.tokens):
        assert row.tolist() == stream[7 * number : 7 * number + 32]


def test_special_tokens_are_marked_wherever_they_stand():
    tokenizer = toys.with_both()
    source = Text("toy", "the dog <s> the cat </s> the bird barks")
    made = make_windows(source, tokenizer, window=10)
    assert made.tokens.shape == (1, 10)
    assert tokenizer.convert_ids_to_tokens(made.tokens[0][made.special[0]]) == ["<s>", "<s>", "</s>"]
    whole = make_windows(Text("toy", "the dog barks"), tokenizer, window=5)
    assert whole.special.tolist() == [[True, False, False, False, True]]


def test_all_of_a_longer_prefix_is_special():
    made = make_windows(text(), toys.with_two(), window=16)
    assert made.special[0].tolist() == [True, True] + [False] * 14
    assert not made.special[1:].any()


def test_an_unknown_word_is_text_even_where_its_token_pads():
    tokenizer = toys.word_tokenizer(bos="<s>", pad="<unk>")
    made = make_windows(Text("toy", "the zebra barks <s>"), tokenizer, window=4)
    assert made.special.tolist() == [[False, False, False, True]]


def test_bos_always_gives_one_to_each_window_and_never_two():
    for make in (toys.plain, toys.with_bos, toys.with_both):
        tokenizer = make()
        plain = tokenizer(text().text, add_special_tokens=False).input_ids
        made = make_windows(text(), tokenizer, window=32, bos="always")
        assert (made.stride, made.bos, made.available) == (31, "always", len(plain) // 31)
        assert (made.tokens[:, 0] == tokenizer.bos_token_id).all()
        assert made.special[:, 0].all()
        assert not made.special[:, 1:].any()
        assert made.tokens[:, 1:].ravel().tolist() == plain[: 31 * len(made)]


def test_a_text_that_begins_with_a_written_bos_gets_no_second():
    source = Text("toy", "<s> " + SENTENCE)
    made = make_windows(source, toys.with_bos(), window=8, bos="always")
    assert (made.tokens[0] == made.tokens[0, 0]).sum() == 1
    assert made.tokens[0].tolist() == make_windows(text(), toys.with_bos(), window=8, bos="always").tokens[0].tolist()


def test_defaults_of_the_two_roles():
    for role, stride in (("statistics", 8), ("perplexity", 16)):
        made = make_windows(text(40, role), toys.plain(), context=16)
        assert (made.window, made.stride, len(made)) == (16, stride, made.available)
    made = make_windows(text(8000, "statistics"), toys.plain(), context=1024)
    assert len(made) * made.window == STATISTICS_TOKENS == 131_072
    assert made.available > len(made)


def test_windows_count_from_the_start():
    few, all_ = (make_windows(text(), toys.plain(), window=32, windows=number) for number in (3, None))
    assert (few.tokens == all_.tokens[:3]).all()
    assert few.available == all_.available
    assert few.hash != all_.hash


def test_notes_name_what_was_taken():
    short = make_windows(text(4), toys.plain(), context=1024)
    assert short.window == 8 * 2
    assert short.notes == (f"windows of 16 tokens, since the text has {4 * len(SENTENCE.split())} tokens",)
    fixed = make_windows(text(), toys.plain(), context=64, windows=1000)
    assert fixed.notes[0] == "windows of 64 tokens, the model's context"
    assert fixed.notes[1] == f"{fixed.available} windows instead of 1000: the text has no more"
    assert "first window only" in make_windows(text(), toys.with_bos(), window=16).notes[0]
    assert make_windows(text(), toys.with_bos(), window=16, bos="always").notes == ()


@pytest.mark.parametrize(
    ("requested", "context", "tokens", "window"),
    [
        (None, None, 10**6, 2048),
        (None, 8192, 10**6, 2048),
        (None, 512, 10**6, 512),
        (None, 2048, 8 * 2048, 2048),
        (None, 2048, 8 * 2048 - 1, 1024),
        (None, 500, 3999, 256),
        (None, 500, 4000, 500),
        (None, 2048, 100, 16),
        (None, 2048, 16, 16),
        (None, 10, 1000, 10),
        (77, 2048, 80, 77),
        (2048, 2048, 2048, 2048),
    ],
)
def test_default_window(requested, context, tokens, window):
    assert default_window(requested, context, tokens) == window


def test_text_shorter_than_a_window_names_tokens_and_the_largest_window():
    with pytest.raises(TextError) as caught:
        make_windows(text(1), toys.plain(), window=64)
    assert "windows of 64 tokens from toy" in caught.value.asked
    assert "the whole text is 23 tokens" in caught.value.found
    assert "at most 23" in caught.value.todo
    make_windows(text(1), toys.plain(), window=23)
    with pytest.raises(TextError, match="the whole text is 2 tokens") as caught:
        make_windows(Text("toy", "the dog"), toys.plain())
    assert "at most 2" in caught.value.todo
    with pytest.raises(TextError, match="the whole text is 1 tokens"):
        make_windows(Text("toy", "dog"), toys.plain())


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"window": 64, "context": 32}, "at most 32 tokens"),
        ({"window": 1}, "at least 2"),
        ({"window": 8, "stride": 0}, "at least 1"),
        ({"windows": 0}, "at least 1"),
        ({"window": 8.0}, "not a whole number"),
        ({"windows": "3"}, "not a whole number"),
        ({"bos": "never"}, "no such policy"),
    ],
)
def test_numbers_out_of_range(options, found):
    with pytest.raises(TextError) as caught:
        make_windows(text(), toys.plain(), **options)
    assert found in caught.value.found


def test_bos_always_needs_a_bos():
    with pytest.raises(TextError) as caught:
        make_windows(text(), toys.without_bos(), window=8, bos="always")
    assert "no BOS token" in caught.value.found
    assert "bos='auto'" in caught.value.todo


@pytest.mark.parametrize("make", [toys.plain, toys.with_both, toys.with_two])
@pytest.mark.parametrize("words", ["", "zebra" * 40 + " "])
def test_first_windows_are_those_of_the_whole_text(make, words, monkeypatch):
    # Words of 200 characters are one unknown token each: the beginning of that text holds too few.
    source = Text("toy", (SENTENCE + words * 200) * 90)
    read = []

    def seen(text, tokenizer, **options):
        read.append(len(text.text))
        return make_windows(text, tokenizer, **options)

    monkeypatch.setattr(room, "make_windows", seen)
    made = first_windows(source, make(), 3, context=16)
    assert made.hash == make_windows(source, make(), windows=3, context=16).hash
    assert made.tokens.shape == (3, 16)
    assert (max(read) == len(source.text)) == bool(words)
    short = Text("toy", SENTENCE)
    assert first_windows(short, make(), 2, context=64).hash == make_windows(short, make(), windows=2, context=64).hash


def test_hash_is_of_shape_and_tokens():
    made = make_windows(text(), toys.plain(), window=16)
    raw = repr(made.tokens.shape).encode() + made.tokens.astype("<i8").tobytes()
    assert made.hash == hashlib.sha256(raw).hexdigest()
    assert made.text_hash == text().hash


@pytest.mark.shared
def test_a_real_text_in_a_real_tokenizer(shared_data, stories260k_path):
    from transformers import AutoTokenizer

    from negspace.text.source import read_text

    tokenizer = AutoTokenizer.from_pretrained(stories260k_path)
    source = read_text(shared_data / "wikitext2", role="perplexity")
    made = make_windows(source, tokenizer, windows=2, context=512)
    assert made.tokens.shape == (2, 512)
    # Tokens at the start of the stream do not depend on what follows far behind.
    assert made.tokens.ravel().tolist() == tokenizer(source.text[:6000]).input_ids[:1024]

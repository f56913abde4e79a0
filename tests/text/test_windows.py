"""Windows are slices of one stream; what is not text in them is marked; their size is never chosen in silence."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

import toy_tokenizers as toys
from negspace.errors import TextError
from negspace.text import windows as room
from negspace.text.source import Text
from negspace.text.windows import STATISTICS_TOKENS, default_window, first_windows, make_windows, specials_written

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


@pytest.mark.parametrize("make", [toys.with_bos, toys.with_both, toys.with_two])
def test_nor_where_the_tokenizer_adds_its_own(make):
    tokenizer = make()
    before = "".join(f"{token} " for token in tokenizer.convert_ids_to_tokens(tokenizer("the").input_ids[:-1]))
    before = before.replace("the ", "").replace("</s> ", "")
    written = make_windows(Text("toy", before + SENTENCE), tokenizer, window=8, stride=8)
    plain = make_windows(Text("toy", SENTENCE), tokenizer, window=8, stride=8)
    assert before
    assert (written.tokens == plain.tokens).all()
    assert (written.special == plain.special).all()
    assert written.hash == plain.hash
    # A tokenizer that adds none leaves what is written.
    assert make_windows(Text("toy", "<end> the dog"), toys.plain(), window=3).special.tolist() == [[True, False, False]]


def chat() -> PreTrainedTokenizerFast:
    """One with special tokens of its own: of a chat, a word, and a sign that people write."""
    tokenizer = toys.word_tokenizer(bos="<s>", eos="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "dog", "."], "sep_token": "<unk>"})
    tokenizer.add_tokens([AddedToken("<|eot|>", special=True), AddedToken("cat")])  # not listed, as in Llama 3
    return tokenizer


def test_other_special_tokens_that_are_written_out_are_no_text_either():
    source = Text("toy", "<|user|> the dog barks . zebra <|eot|>")
    made = make_windows(source, chat(), window=7)
    assert made.special.tolist() == [[True, False, False, False, False, False, True]]
    # The same tokens, of which others are text: what is measured on them is other data.
    raw = repr(made.tokens.shape).encode() + made.tokens.astype("<i8").tobytes()
    assert made.marked
    assert made.hash != hashlib.sha256(raw).hexdigest()


def test_what_special_tokens_are_by_themselves_does_not_change_a_hash():
    for make in (toys.with_two, toys.with_both, chat):
        made = make_windows(text(), make(), window=16)
        raw = repr(made.tokens.shape).encode() + made.tokens.astype("<i8").tobytes()
        assert not made.marked
        assert made.hash == hashlib.sha256(raw).hexdigest()


def test_arguments_that_are_no_text_and_no_tokenizer():
    with pytest.raises(TextError, match="a str instead of one"):
        make_windows("the dog", toys.plain())
    with pytest.raises(TextError, match=r"give model\.tokenizer"):
        make_windows(text(), object())
    made = make_windows(text(), toys.plain(), window=np.int64(16), stride=np.int64(4))
    assert (type(made.window), type(made.stride)) == (int, int)


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
    # bos='always' is refused where there is no BOS.
    assert make_windows(text(), toys.with_two(), window=16).notes == ()
    assert make_windows(Text("toy", "<end> " + SENTENCE), toys.without_bos(), window=4).notes == ()
    noted = Text("toy", SENTENCE * 40, notes=("b.csv: left aside",))
    assert make_windows(noted, toys.plain(), window=16).notes == noted.notes


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
        ({"window": 8, "context": 16.0}, "not a whole number"),
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


@pytest.mark.parametrize(
    ("written", "marked"),
    [("the dog runs", False), ("<|user|> the dog", True), ("a dog <|eot|>", True)],
)
def test_a_text_says_by_its_letters_whether_its_windows_are_marked(written: str, marked: bool) -> None:
    given, tokenizer = Text("toy", written), chat()
    assert specials_written(given, tokenizer) == make_windows(given, tokenizer, window=3).marked == marked
    assert specials_written(Text("toy", f"<s> {written}"), toys.with_bos())  # which puts it there itself

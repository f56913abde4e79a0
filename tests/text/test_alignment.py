"""Tokens get the tags of their words, whatever the tokenizer does with spaces, bytes and special tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import toy_tokenizers as toys
from negspace.errors import TextError
from negspace.text.alignment import align, token_offsets, words_of
from negspace.text.source import Text
from negspace.text.tagged import Tagged, make_tagged
from negspace.text.windows import make_windows

TEXT = "The dög doesn't  sleep 🙂 today.\n\nWell-known 中文 cats, see!"
WORDS = [
    "The",
    "dög",
    "does",
    "n't",
    "sleep",
    "🙂",
    "today",
    ".",
    "Well",
    "-",
    "known",
    "中文",
    "cats",
    ",",
    "see",
    "!",
]


def tagged(text: str = TEXT, words: list[str] = WORDS) -> Tagged:
    """Each word is its own part of speech, and its label is its index."""
    rows, at = [], 0
    for number, word in enumerate(words):
        at = text.index(word, at)
        rows.append((at, at + len(word), word, str(number), 0, 0))
        at += len(word)
    return make_tagged(Text("story", text), rows, "gold")


def fast(core: Tokenizer, **named: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=core, **named)


def byte_level(*, trim: bool = False, prefix: bool = False, merges: int = 60) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    core.decoder = decoders.ByteLevel()
    if trim:
        core.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=257 + merges, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([TEXT.replace("🙂", "").replace("文", "")] * 3, trainer)
    return fast(core, bos_token="<end>", eos_token="<end>")


def metaspace() -> PreTrainedTokenizerFast:
    """As Llama 2: a space marked before every word, unknown characters by their bytes, BOS before the text."""
    pieces = [
        "<unk>",
        "<s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *["▁The", "▁d", "g", "▁does", "n't", "▁sleep"],
    ]
    pieces += list("abcdefghijklmnopqrstuvwxyzTW.,-!'")
    core = Tokenizer(
        models.Unigram([(piece, -float(len(pieces) - n)) for n, piece in enumerate(pieces)], 0, byte_fallback=True)
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.post_processor = processors.TemplateProcessing(single=["<s>", "$A"], special_tokens=[("<s>", 1)])
    return fast(core, bos_token="<s>", unk_token="<unk>")


def word_pieces() -> PreTrainedTokenizerFast:
    """As BERT: lower-cased, accents stripped, pieces of words."""
    letters = list("abcdefghijklmnopqrstuvwxyz.,-!'中文")
    pieces = ["[UNK]", *letters, *(f"##{letter}" for letter in letters), "the", "do", "##es", "##ay", "tod"]
    core = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return fast(core, unk_token="[UNK]")


def characters() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>"], show_progress=False)
    core.train_from_iterator(list(TEXT), trainer)
    return fast(core, unk_token="<unk>")


TOKENIZERS = {
    "byte-level": lambda: byte_level(),
    "byte-level, trimmed offsets": lambda: byte_level(trim=True),
    "byte-level, prefix space": lambda: byte_level(prefix=True),
    "byte-level, no merges": lambda: byte_level(merges=0),
    "metaspace": metaspace,
    "word pieces": word_pieces,
    "characters": characters,
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_token_gets_the_word_that_holds_its_characters(name):
    """Brute force: count, for each word, the token's characters within it; white space belongs to no word."""
    tokenizer, words = TOKENIZERS[name](), tagged()
    encoding = tokenizer(TEXT, return_offsets_mapping=True)
    windows = make_windows(words.text, tokenizer, window=len(encoding.input_ids))
    made = align(words, windows, tokenizer)
    assert made.word.shape == made.upos.shape == windows.tokens.shape
    hit = set()
    for at, (start, end) in enumerate(encoding.offset_mapping):
        shared = [
            sum(a <= place < b and not TEXT[place].isspace() for place in range(start, end))
            for a, b in zip(words.start, words.end, strict=True)
        ]
        expected = int(np.argmax(shared)) if max(shared) else -1
        assert made.word[0, at] == expected
        assert made.upos[0, at] == (WORDS[expected] if expected >= 0 else "")
        assert made.dep[0, at] == (str(expected) if expected >= 0 else "")
        if expected >= 0:
            assert TEXT[made.start[0, at] : made.end[0, at]] == TEXT[start:end].strip()
            hit.add(expected)
    # No word is lost, but for those within a token that another word holds more of.
    assert len(hit) >= len(WORDS) - (3 if name == "metaspace" else 1)


def test_the_space_before_a_word_does_not_count():
    """`I` ends where the token ` a` begins; counted with its space, the token would belong to the longer span."""
    tokenizer = byte_level(merges=0)
    text = "I\u00a0 a"
    words = make_tagged(Text("t", text), [(0, 3, "WIDE", "x", 0, 0), (3, 4, "A", "y", 0, 0)], "gold")
    ids, start, end = token_offsets(text, tokenizer)
    assert len(ids) == 5  # one byte each, the no-break space two
    assert words_of(words, start, end).tolist() == [0, -1, -1, -1, 1]
    joined = replace_offsets(text, [(0, 1), (1, 4)])
    assert words_of(words, *joined).tolist() == [0, 1]


def replace_offsets(text: str, spans: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Trimmed as `token_offsets` does, for a tokenizer that gives these spans."""

    class Spans:
        is_fast = True

        def __call__(self, *_args, **_options):
            return {"input_ids": list(range(len(spans))), "offset_mapping": spans}

    return token_offsets(text, Spans())[1:]  # type: ignore[arg-type]


def test_parts_of_a_character_belong_to_its_word():
    tokenizer, words = byte_level(), tagged()
    made = align(words, make_windows(words.text, tokenizer, window=8), tokenizer)
    assert (made.upos == "🙂").sum() == 4  # four bytes, four tokens
    spelled = [tokenizer.convert_ids_to_tokens(int(token)) for token in np.unique(made.word[made.upos == "🙂"])]
    assert len(spelled) == 1


@pytest.mark.parametrize("bos", ["auto", "always"])
@pytest.mark.parametrize("stride", [None, 3])
def test_windows_keep_their_places(bos, stride):
    tokenizer, words = metaspace(), tagged()
    windows = make_windows(words.text, tokenizer, window=7, stride=stride, bos=bos)
    made = align(words, windows, tokenizer)
    assert windows.special.any()
    assert (made.word[windows.special] == -1).all()
    assert (made.upos[windows.special] == "").all()
    whole = make_windows(words.text, tokenizer, window=len(tokenizer(TEXT).input_ids))
    expected = align(words, whole, tokenizer).word[0]
    lead = int(bos == "always")
    for number in range(len(windows)):
        begin = number * windows.stride + lead  # with BOS before each window the text's own BOS is not there
        assert made.word[number, lead:].tolist() == expected[begin : begin + 7 - lead].tolist()


def test_bos_written_out_in_the_text():
    tokenizer = toys.plain()
    words = tagged("<end> the dog barks <end> a cat", ["the", "dog", "barks", "a", "cat"])
    windows = make_windows(words.text, tokenizer, window=3, bos="always")
    assert align(words, windows, tokenizer).upos.tolist() == [["", "the", "dog"], ["", "barks", ""], ["", "a", "cat"]]


def test_bos_written_out_under_a_tokenizer_that_adds_it():
    tokenizer = toys.with_bos()
    words = tagged("<s> the dog barks", ["the", "dog", "barks"])
    windows = make_windows(words.text, tokenizer, window=4)
    assert align(words, windows, tokenizer).upos.tolist() == [["", "the", "dog", "barks"]]


def test_most_characters_win_and_the_first_of_equals():
    words = make_tagged(
        Text("t", "abcdefgh"),
        [(0, 2, "A", "a", 0, 0), (2, 3, "B", "b", 0, 0), (3, 6, "C", "c", 0, 0), (7, 8, "D", "d", 0, 0)],
        "gold",
    )
    spans = [(0, 8), (0, 4), (1, 3), (2, 4), (6, 7), (5, 8), (3, 3), (7, 8)]
    start, end = (np.array(column) for column in zip(*spans, strict=True))
    assert words_of(words, start, end).tolist() == [2, 0, 0, 1, -1, 2, -1, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=8), st.data())
def test_overlap_equals_brute_force(steps, data):
    bounds, at = [], 0
    for gap, length in steps:
        bounds.append((at + gap, at + gap + length))
        at += gap + length
    words = make_tagged(Text("t", "x" * at), [(a, b, "X", "x", 0, 0) for a, b in bounds], "gold")
    begin = data.draw(st.integers(0, at))
    stop = data.draw(st.integers(begin, at))
    shared = [max(0, min(stop, b) - max(begin, a)) for a, b in bounds]
    expected = shared.index(max(shared)) if max(shared) else -1
    assert words_of(words, np.array([begin]), np.array([stop])).tolist() == [expected]


def test_a_slow_tokenizer_is_refused():
    tokenizer = toys.plain()
    windows = make_windows(Text("t", "the dog barks"), tokenizer, window=2)

    class Slow:
        is_fast = False

    with pytest.raises(TextError, match="Slow is a slow tokenizer"):
        align(tagged("the dog barks", ["the"]), windows, Slow())  # type: ignore[arg-type]


def test_windows_of_another_text_are_refused():
    tokenizer = toys.plain()
    words = tagged("the dog barks and the cat sleeps", ["the", "dog"])
    others = make_windows(Text("other", "the dog barks and the bird sleeps"), tokenizer, window=7)
    with pytest.raises(TextError, match="not those of story"):
        align(words, others, tokenizer)
    longer = make_windows(Text("other", "the dog barks and the cat sleeps today ."), tokenizer, window=9)
    with pytest.raises(TextError, match="make the windows from the tagged text itself"):
        align(words, longer, tokenizer)
    fine = make_windows(replace(words.text, name="renamed"), tokenizer, window=7)
    assert align(words, fine, tokenizer).word.tolist() == [[0, 1, -1, -1, -1, -1, -1]]


@pytest.mark.shared
def test_real_tokenizer_on_a_treebank(stories260k, shared_data):
    """Every word of gold text that no token straddles is covered, to its last character."""
    from negspace.text.conllu import read_conllu

    words = read_conllu(shared_data / "ud_english" / "en_ewt-ud-test.conllu")
    windows = make_windows(words.text, stories260k.tokenizer, window=256)
    made = align(words, windows, stories260k.tokenizer)
    text, solid = words.text.text, made.end > made.start
    with_word = made.word >= 0
    assert (with_word[solid]).mean() == 1.0  # gold words hold every character that is no white space
    assert not with_word[~solid].any()
    seen = np.unique(made.word[with_word])
    # Tokens of this small vocabulary are short: few words share one with a longer neighbour.
    assert len(seen) / (seen[-1] + 1) > 0.99
    first = int(np.flatnonzero(with_word[0])[0])
    assert text[made.start[0, first] :].startswith(text[words.start[0] : made.end[0, first]])

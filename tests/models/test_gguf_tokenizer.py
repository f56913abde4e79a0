"""A GGUF file's tokenizer is the one that the file describes, or an error says where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

import ggufs
from negspace.errors import ModelError
from negspace.models.gguf.header import read_header
from negspace.models.gguf.sentencepiece import SentencePiece
from negspace.models.gguf.tokenizer import _FAMILIES, _SPLITS, prove
from negspace.models.load import load

TEXTS = (
    "the  cats  2 by  12\n 3",
    "1998",
    "in 1998 there",
    "a\n\n\tb  c",
    "naïve 日本 ½",
    " x",
    "x ",
    "the cats are on",
)


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEGSPACE_CACHE", "off")


def built(path: Path) -> Any:
    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def test_digits_are_cut_as_the_kind_says_where_transformers_does_not(tmp_path: Path) -> None:
    """SmolLM2's kind: "  2" is two spaces and a digit."""
    ggufs.write(tmp_path / "tiny.gguf")
    tokens, merges = ggufs.byte_level()
    pairs = [tuple(merge.split(" ")) for merge in merges]
    reference = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, pairs))  # type: ignore[arg-type]
    reference.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model = load(tmp_path / "tiny.gguf", device="cpu")
    assert all(model.tokenizer(text).input_ids == reference.encode(text).ids for text in TEXTS)
    assert any(built(tmp_path / "tiny.gguf")(text).input_ids != reference.encode(text).ids for text in TEXTS)
    assert model.source.gguf is not None
    assert model.source.gguf.mended == ("pre-tokeniser smollm, for which transformers took another",)
    assert model.tokenizer.decode(model.tokenizer("<|im_start|>the").input_ids) == "<|im_start|>the"


def test_kinds_agree_with_transformers_where_it_knows_them() -> None:
    for kind, expression in GGUF_PRE_TOKENIZER_SPLITS.items():
        assert _SPLITS[_FAMILIES[kind]] == expression, kind


@pytest.mark.parametrize("kind", ["gpt-2", "smollm", "qwen2", "stablelm2", "llama-bpe", "tekken", "gpt-4o", "qwen35"])
def test_kinds_are_built(tmp_path: Path, kind: str) -> None:
    ggufs.write(tmp_path / "tiny.gguf", pre=kind)
    tokenizer = built(tmp_path / "tiny.gguf")
    prove(tokenizer, read_header(tmp_path / "tiny.gguf"))
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    assert state["model"]["ignore_merges"] == (kind in ("llama-bpe", "tekken"))
    assert all(tokenizer.decode(tokenizer(text).input_ids) == text for text in TEXTS)
    assert prove(tokenizer, read_header(tmp_path / "tiny.gguf")) == ()


@pytest.mark.parametrize(
    ("options", "begins", "ends"),
    [
        ({}, False, False),
        ({"metadata": {"tokenizer.ggml.add_bos_token": True}}, True, False),
        ({"metadata": {"tokenizer.ggml.add_bos_token": None}}, False, False),
        ({"metadata": {"tokenizer.ggml.add_bos_token": None}, "pre": "llama-bpe"}, True, False),
        ({"metadata": {"tokenizer.ggml.add_bos_token": False}, "pre": "llama-bpe"}, False, False),
        ({"metadata": {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}}, True, True),
        ({"tokenizer": "llama"}, True, False),
        ({"tokenizer": "llama", "metadata": {"tokenizer.ggml.add_bos_token": False}}, False, False),
    ],
)
def test_special_tokens_are_added_as_the_file_says(
    tmp_path: Path, options: dict[str, Any], begins: bool, ends: bool
) -> None:
    """And as llama.cpp does where it says nothing; the saved tokenizer does the same."""
    ggufs.write(tmp_path / "tiny.gguf", **options)
    model = load(tmp_path / "tiny.gguf", device="cpu")
    ids = model.tokenizer("the cats").input_ids
    assert (ids[0] == model.tokenizer.bos_token_id == 1) is begins
    assert (ids[-1] == model.tokenizer.eos_token_id == 2) is ends
    assert ids[begins : len(ids) - ends] == model.tokenizer("the cats", add_special_tokens=False).input_ids


def test_a_vocabulary_with_scores(tmp_path: Path) -> None:
    """Its merges are recovered by transformers; an encoder that goes by the scores gives the same tokens."""
    ggufs.write(tmp_path / "tiny.gguf", tokenizer="llama")
    tokenizer = load(tmp_path / "tiny.gguf", device="cpu").tokenizer
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("the cats  日", add_special_tokens=False).input_ids)
    assert tokens == ["▁the", "▁cats", "▁", "▁", "<0xE6>", "<0x97>", "<0xA5>"]
    assert tokenizer.convert_ids_to_tokens(tokenizer(" the", add_special_tokens=False).input_ids) == ["▁", "▁the"]


def test_no_space_before_a_text(tmp_path: Path) -> None:
    ggufs.write(tmp_path / "tiny.gguf", tokenizer="llama", metadata={"tokenizer.ggml.add_space_prefix": False})
    model = load(tmp_path / "tiny.gguf", device="cpu")
    ids = model.tokenizer("the cats", add_special_tokens=False).input_ids
    assert model.tokenizer.convert_ids_to_tokens(ids) == ["t", "he", "▁cats"]
    assert model.tokenizer.decode(ids) == "the cats"
    assert model.source.gguf is not None
    assert model.source.gguf.mended == ("no space is put before a text, also if it begins with one",)


def test_sentencepiece_joins_by_score() -> None:
    """The best union first, the leftmost of equal ones; tokens that are matched whole are cut out before."""
    tokens = ["<unk>", "a", "b", "c", "ab", "bc", "abc", "▁", "<x>", "aa"]
    types = [2, 1, 1, 1, 1, 1, 1, 1, 4, 1]
    scores = [0.0, -9, -9, -9, -2, -1, -3, -9, 0, -4]
    encoder = SentencePiece(tokens, scores, types, False, 0)
    shown = {text: [tokens[index] for index in encoder.encode(text)] for text in ("abc", "ab", "aaa", "a<x>bc", "a d")}
    assert shown == {
        "abc": ["abc"],
        "ab": ["ab"],
        "aaa": ["aa", "a"],
        "a<x>bc": ["a", "<x>", "bc"],
        "a d": ["a", "▁", "<unk>"],
    }
    assert [tokens[index] for index in SentencePiece(tokens, scores, types, True, 0).encode("ab")] == ["▁", "ab"]


def _swap(tokenizer: Any) -> None:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["x"], vocabulary["y"] = vocabulary["y"], vocabulary["x"]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))


def _fewer_merges(tokenizer: Any) -> None:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"].pop()
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))


def _other_order(tokenizer: Any) -> None:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"].reverse()
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))


def _lossy(tokenizer: Any) -> None:
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


@pytest.mark.parametrize(
    ("kind", "spoil", "found"),
    [
        ("gpt2", _swap, "the token 'y' at .*, where the file has 'x'"),
        ("gpt2", lambda t: t.add_tokens([AddedToken("new")]), "tokens, not the .* of the file"),
        ("gpt2", _fewer_merges, "merges, not the .* of the file"),
        ("gpt2", lambda t: setattr(t, "eos_token", "<|endoftext|>"), "EOS 0, where the file says 2"),
        ("gpt2", _lossy, "encoded and decoded"),
        ("llama", _other_order, "in a text, where the scores of the file give"),
    ],
)
def test_another_tokenizer_is_refused(tmp_path: Path, kind: str, spoil: Callable[[Any], None], found: str) -> None:
    ggufs.write(tmp_path / "tiny.gguf", tokenizer=kind)
    header = read_header(tmp_path / "tiny.gguf")
    tokenizer = built(tmp_path / "tiny.gguf")
    prove(tokenizer, header)
    spoil(tokenizer)
    with pytest.raises(ModelError, match=found):
        prove(tokenizer, header)

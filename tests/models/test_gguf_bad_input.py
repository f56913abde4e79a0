"""GGUF files that are damaged, of another kind, or beyond transformers: one clear error each, nothing in the cache."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import ggufs
from negspace.errors import ModelError
from negspace.models.gguf.header import read_header
from negspace.models.load import load


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEGSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refused(path: Path, found: str, cache: Path) -> None:
    with pytest.raises(ModelError, match=found):
        load(path, device="cpu")
    assert not [left for left in (cache / "gguf").glob("*") if left.name != "hashes" and left.suffix != ".lock"]
    assert not [left for left in (cache / "gguf").glob(".*") if left.suffix != ".lock"]


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.9, 0.9999])
def test_cut_short(tmp_path: Path, cache: Path, share: float) -> None:
    """Whether in its first bytes, its vocabulary, its table of tensors or its weights."""
    ggufs.write(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(whole[: max(30, int(len(whole) * share))])
    refused(tmp_path / "tiny.gguf", "a file cut short", cache)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    end = max(tensor.end for tensor in read_header(tmp_path / "tiny.gguf").tensors)
    for size in [*range(24, 600), *range(600, end, 997), end - 1]:
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(ModelError, match="cut short"):
            read_header(tmp_path / "cut.gguf")
    (tmp_path / "cut.gguf").write_bytes(whole[:end])
    assert len(read_header(tmp_path / "cut.gguf").tensors) == 20


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "a file of 0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "begins with b'version '.*Git LFS"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "not a GGUF file"),
        (b"PK\x03\x04" + bytes(100), "not a GGUF file"),
        (b"GGUF" + (3).to_bytes(4, "big") + bytes(100), "big-endian"),
        (b"GGUF" + (1).to_bytes(4, "little") + bytes(100), "version 1 of the format"),
        (b"GGUF" + (3).to_bytes(4, "little") + bytes(16), "does not say its architecture"),
    ],
)
def test_another_kind_of_file(tmp_path: Path, cache: Path, content: bytes, found: str) -> None:
    (tmp_path / "tiny.gguf").write_bytes(content)
    refused(tmp_path / "tiny.gguf", f"(?s){found}", cache)


def test_a_damaged_header(tmp_path: Path, cache: Path) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    for old, new, found in (
        (b"general.architecture\x08\0\0\0", b"general.architecture\x63\0\0\0", "a value of an unknown type"),
        (b"general.name", b"general.\xff\xff\xff\xff", "a text that is not UTF-8"),
        (b"token_embd.weight\x02\0\0\0", b"token_embd.weight\xff\xff\xff\xff", "cut short"),
    ):
        assert old in whole
        (tmp_path / "tiny.gguf").write_bytes(whole.replace(old, new))
        refused(tmp_path / "tiny.gguf", found, cache)
    unknown = whole.replace(b"token_embd.weight\x02\0\0\0", b"token_embd.weight\x02\0\0\0", 1)
    at = unknown.index(b"token_embd.weight") + len("token_embd.weight") + 4 + 16
    (tmp_path / "tiny.gguf").write_bytes(unknown[:at] + (999).to_bytes(4, "little") + unknown[at + 4 :])
    refused(tmp_path / "tiny.gguf", r"stored in a way \(number 999\)", cache)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"architecture": "clip"}, r"the vision part of a model \(mmproj\)"),
        ({"metadata": {"general.type": "mmproj"}}, r"the vision part of a model \(mmproj\)"),
        ({"metadata": {"general.type": "adapter"}}, "an adapter"),
        ({"architecture": "bert"}, r"embeddings of texts \(bert\)"),
        ({"architecture": "nomic-bert"}, "embeddings of texts"),
        ({"architecture": "qwen3", "metadata": {".pooling_type": 3}}, "embeddings of texts"),
        ({"metadata": {".attention.causal": False}}, "embeddings of texts"),
        ({"metadata": {"split.count": 3, "split.no": 1}}, "part 2 of a file that was split in 3"),
        ({"metadata": {"tokenizer.ggml.tokens": None}}, "a file without a vocabulary"),
        ({"metadata": {"split.count": "three"}}, "asked: split.count of .*\nfound: 'three', no whole number from 0 on"),
        ({"metadata": {"split.count": 3, "split.no": "one"}}, "asked: split.no .*\nfound: 'one', no whole number"),
        ({"metadata": {"split.count": [1, 2]}}, r"found: array\(\[1, 2\].*\), no whole number"),
        ({"metadata": {"general.alignment": 0}}, "asked: general.alignment of .*\nfound: 0, no whole number from 1 on"),
        ({"metadata": {"general.alignment": "wide"}}, "found: 'wide', no whole number from 1 on"),
        ({"metadata": {".pooling_type": [1, 2]}}, r"asked: llama.pooling_type of .*\nfound: array\(\[1, 2\]"),
        ({"metadata": {"general.type": [1, 2], "tokenizer.ggml.tokens": None}}, "a file without a vocabulary"),
        ({"architecture": "rwkv7"}, r"(?s)architecture 'rwkv7', which transformers .* cannot.*own repository"),
        ({"architecture": "t5"}, "transformers"),
        ({"tokenizer": "rwkv"}, r"(?s)the tokenizer of .*'rwkv'"),
        ({"pre": "deepseek-coder"}, "the pre-tokeniser 'deepseek-coder', which cannot be built exactly"),
        ({"pre": None}, "does not name its pre-tokeniser"),
        ({"metadata": {"tokenizer.ggml.token_type": [3] * 999}}, r"tokenizer cannot be compared \(IndexError"),
    ],
)
def test_models_of_another_kind(tmp_path: Path, cache: Path, options: dict[str, Any], found: str) -> None:
    ggufs.write(tmp_path / "tiny.gguf", **options)
    refused(tmp_path / "tiny.gguf", found, cache)


def test_a_folder_with_a_part_missing_through_load(tmp_path: Path, cache: Path) -> None:
    ggufs.write(tmp_path / "tiny-00002-of-00002.gguf")
    refused(tmp_path, "without tiny-00001-of-00002.gguf", cache)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ggufs.write(tmp_path / "tiny.gguf")
    there: Callable[[str], Any] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else there(name))
    with pytest.raises(ModelError, match=r"(?s)no package gguf.*pip install 'negspace\[gguf\]'"):
        load(tmp_path / "tiny.gguf", device="cpu")


def test_not_finite_weights(tmp_path: Path, cache: Path) -> None:
    ggufs.write(
        tmp_path / "tiny.gguf",
        leave_out=("output_norm.weight",),
        extra={"output_norm.weight": np.full(64, np.nan, np.float32)},
    )
    with pytest.raises(ModelError, match=r"values that are NaN or infinite in model\.norm\.weight"):
        load(tmp_path / "tiny.gguf", device="cpu")


def test_float16_kinds_are_read(tmp_path: Path, cache: Path) -> None:
    ggufs.write(tmp_path / "tiny.gguf", stored=gguf.GGMLQuantizationType.F16)
    source = load(tmp_path / "tiny.gguf", device="cpu").source.gguf
    assert source is not None
    assert source.tensors == {"F16": 15, "F32": 5}

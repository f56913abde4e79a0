"""Attention by other code than eager and sdpa: scored in plain passes, and never given a mask of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

import zoo
from negspace.errors import ModelError, ScoreError
from negspace.models.load import load, wrap
from negspace.reference import model_path
from negspace.score.logprobs import LogProbs

SEQUENCES = [[3, 5, 7], [3, 5, 9, 11], [3, 5, 7, 4, 6], [8, 9], [3, 5, 7, 4, 20], [8, 9, 30]]


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Masks that an implementation of the user's own, "mine", was given."""
    seen: list[Any] = []

    def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any) -> Any:
        seen.append(attention_mask)
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)

    monkeypatch.setitem(AttentionInterface._global_mapping, "mine", attend)
    monkeypatch.setitem(AttentionMaskInterface._global_mapping, "mine", sdpa_mask)
    return seen


def test_an_unknown_kernel_is_given_no_mask_of_ours(masks: list[Any]) -> None:
    plain, own = zoo.build("llama"), zoo.build("llama")
    own.set_attn_implementation("mine")
    scored = LogProbs(own).score(SEQUENCES)
    assert scored.method == "buckets"
    assert masks
    assert all(mask is None for mask in masks)
    known = LogProbs(plain).score(SEQUENCES)
    assert known.method == "tree"
    np.testing.assert_allclose(scored.total, known.total, atol=1e-4)


@pytest.mark.parametrize("how", ["mine", "flex_attention"])
def test_a_tree_that_was_asked_for_is_refused_before_a_pass(how: str, masks: list[Any]) -> None:
    module: Any = zoo.build("llama")
    module.config._attn_implementation_internal = how
    with pytest.raises(ScoreError, match=f"attention by {how}") as caught:
        LogProbs(module, method="tree").score(SEQUENCES)
    assert "'sdpa'" in caught.value.todo
    assert not masks


def test_one_without_causality_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def everywhere(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **_: Any) -> Any:
        weights = torch.softmax(query @ key.transpose(2, 3).repeat_interleave(query.shape[1] // key.shape[1], 1), -1)
        return (weights @ value.repeat_interleave(query.shape[1] // value.shape[1], 1)).transpose(1, 2), None

    monkeypatch.setitem(AttentionInterface._global_mapping, "mine", everywhere)
    module = zoo.build("llama")
    module.set_attn_implementation("mine")
    with pytest.raises(ModelError, match="later tokens, with attention by mine") as caught:
        wrap(module, zoo.tokenizer())
    assert "AttentionMaskInterface" in caught.value.todo


def test_an_implementation_that_does_not_exist() -> None:
    with pytest.raises(ModelError, match="nonsense") as caught:
        load(model_path(), device="cpu", attn_implementation="nonsense")
    assert "'sdpa' or 'eager'" in caught.value.todo

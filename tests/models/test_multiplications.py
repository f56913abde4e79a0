"""Multiplications per token, against torch's own count of a pass."""

from __future__ import annotations

import pytest
import torch
from tests.zoo import build
from torch.utils.flop_counter import FlopCounterMode

from negspace.models.multiplications import multiplications


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "gemma3_text", "opt"])
def test_it_is_what_torch_counts(name: str) -> None:
    module = build(name)
    tokens = torch.arange(12).reshape(2, 6)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(input_ids=tokens, use_cache=False)
    # Products with weights; those of attention have operators of their own.
    counted = {str(operator): flops for operator, flops in counter.get_flop_counts()["Global"].items()}
    products = sum(flops for operator, flops in counted.items() if operator in ("aten.mm", "aten.addmm"))
    assert products == 2 * tokens.numel() * sum(multiplications(module))
    head = module.get_output_embeddings().weight
    assert multiplications(module)[1] == head.shape[0] * head.shape[1]

"""From which length on logits depend on how long a sequence is."""

from __future__ import annotations

import math

import pytest
from transformers import Gemma3TextConfig, GPT2Config, LlamaConfig, Phi3Config

from negspace.models.lengths import steady_length


def _llama(**rope: object) -> LlamaConfig:
    return LlamaConfig(hidden_size=32, num_attention_heads=4, max_position_embeddings=64, rope_parameters=rope or None)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GPT2Config(), math.inf),
        (_llama(), math.inf),
        (_llama(rope_type="linear", factor=2.0, rope_theta=1e4), math.inf),
        (_llama(rope_type="dynamic", factor=2.0, rope_theta=1e4), 64),
        (Gemma3TextConfig(), math.inf),
        (
            Phi3Config(
                hidden_size=32,
                num_attention_heads=4,
                max_position_embeddings=64,
                original_max_position_embeddings=20,
                rope_parameters={
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                    "original_max_position_embeddings": 20,
                },
            ),
            20,
        ),
    ],
)
def test_only_stretched_rotary_embeddings_have_such_a_length(config: object, expected: float) -> None:
    assert steady_length(config) == expected


def test_one_type_of_layers_is_enough() -> None:
    config = _llama()
    config.rope_parameters = {
        "full_attention": {"rope_type": "dynamic", "factor": 2.0},
        "sliding_attention": {"rope_type": "default"},
    }
    assert steady_length(config) == 64

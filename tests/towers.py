"""Tiny models that read images or sounds beside text, with random weights: a table of configurations, no tests.

The tower of each that is not the language model is as deep as the language model and heavier, so that whoever goes by
depth or weight takes the wrong one.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForMultimodalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import tiny

_HEAVY = {"hidden_size": 64, "intermediate_size": 256}
_QWEN = {**_HEAVY, "spatial_merge_size": 2}

VISION: dict[str, dict[str, Any]] = {
    "gemma3": {"vision_config": _HEAVY, "mm_tokens_per_image": 4},
    "idefics3": {"vision_config": _HEAVY},
    "internvl": {"vision_config": {**_HEAVY, "image_size": [16, 16], "patch_size": [8, 8]}},
    "llama4": {"vision_config": {**_HEAVY, "vision_output_dim": 64}},
    "llava": {"vision_config": _HEAVY},
    "llava_next": {"vision_config": _HEAVY},
    "mistral3": {"vision_config": _HEAVY},
    "mllama": {
        "vision_config": {**_HEAVY, "num_hidden_layers": 3},
        "text_config": {"num_hidden_layers": 3, "cross_attention_layers": [1]},
    },
    "qwen2_5_vl": {"vision_config": {**_QWEN, "fullatt_block_indexes": [1]}},
    "qwen2_vl": {"vision_config": {"embed_dim": 64, "mlp_ratio": 4}},
    "qwen3_vl": {"vision_config": {**_QWEN, "deepstack_visual_indexes": [0]}},
    "smolvlm": {"vision_config": _HEAVY},
}
"""Model type -> what its configuration has beside small sizes."""
SOUND: dict[str, dict[str, Any]] = {
    "qwen2_audio": {"audio_config": {"d_model": 64, "encoder_ffn_dim": 256}},
    "voxtral": {"audio_config": _HEAVY},
}
"""The same of models that read sounds."""
ALL = {**VISION, **SOUND}


def build(name: str, seed: int = 0) -> PreTrainedModel:
    """A tiny model of the named type, in eval mode."""
    kind = CONFIG_MAPPING[name]
    made = tiny.arguments(kind)
    for field, value in ALL[name].items():
        made[field] = {**made[field], **value} if isinstance(value, dict) else value
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForMultimodalLM.from_config(kind(**made), dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0.0, 0.15)
    return model.eval()

"""Tiny configurations of every model type in transformers, made by shrinking the defaults of its configuration class.

`arguments(kind)` gives what to construct a configuration class with: fields that are sizes, by the names that most
architectures give them, small; special tokens at the start of a small vocabulary; the same in the parts of a composite
configuration. What a type needs beside that is in `GIVEN`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import PreTrainedConfig

VOCABULARY = 128
HIDDEN = 32
WIDTH = 48
LAYERS = 2

_NAMES: dict[int, str] = {
    VOCABULARY: "vocab_size vocab_size_per_layer_input",
    HIDDEN: "hidden_size d_model n_embd embedding_size dim word_embed_proj_dim emb_dim embedding_dim lru_width "
    "attention_hidden_size cross_attention_hidden_size input_embedding_size output_embedding_size text_hidden_size "
    "embed_dim projection_dim out_hidden_size",
    WIDTH: "intermediate_size ffn_dim n_inner dff dim_ff feed_forward_size d_inner ffn_hidden_size "
    "moe_intermediate_size encoder_ffn_dim decoder_ffn_dim shared_intermediate_size shared_expert_intermediate_size "
    "intermediate_size_mlp expert_ffn_hidden_size dense_intermediate_size prefix_dense_intermediate_size "
    "shared_experts_intermediate_size moe_shared_expert_intermediate_size",
    LAYERS: "num_hidden_layers n_layer n_layers num_layers num_blocks encoder_layers decoder_layers depth "
    "num_encoder_layers num_decoder_layers num_global_layers num_key_value_heads num_kv_heads "
    "swa_num_key_value_heads num_experts_per_tok moe_topk moe_k top_k_experts moe_top_k zero_expert_num",
    4: "num_attention_heads n_head n_heads num_heads attention_heads encoder_attention_heads decoder_attention_heads "
    "num_encoder_attention_heads num_decoder_attention_heads swa_num_attention_heads num_experts num_local_experts "
    "n_routed_experts moe_num_experts adapter_rank",
    8: "head_dim swa_head_dim v_head_dim d_head dim_head attention_head_dim attention_head_size qk_nope_head_dim "
    "qk_rope_head_dim patch_size mamba_d_state global_head_dim hidden_size_per_layer_input laurel_rank",
    16: "q_lora_rank kv_lora_rank image_size router_hidden_size",
    1: "n_group topk_group n_shared_experts first_k_dense_replace",
    64: "max_position_embeddings n_positions max_seq_len encoder_hash_byte_group_vocab",
}
_SIZES = {name: size for size, names in _NAMES.items() for name in names.split()}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

GIVEN: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8},
    "blt": {"encoder_hash_byte_group_size": [3]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
    },
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gemma4_text": {"global_head_dim": 8},
    "glm5_next": {
        "text_config": {
            "qk_rope_head_dim": 0,
            "mlp_layer_types": ["dense", "sparse"],
            "layer_types": ["linear_attention", "indexed_attention"],
            "linear_num_heads": 4,
            "linear_head_dim": 8,
        },
    },
    "glm4v_moe_text": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0]}},
    "granitemoehybrid": {"mamba_n_heads": 8, "layer_types": ["mamba", "attention"]},
    "inkling_text": {"n_shared_experts": 2},  # as it ships; one alone would look like an MLP that every token passes
    "mamba2": {"num_heads": 8, "state_size": 8, "n_groups": 1},
    "reformer": {
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [8, 24],
        "attn_layers": ["local", "local"],
        "local_attn_chunk_length": 8,
    },
    "voxtral": {"text_config": {"head_dim": 8, "num_key_value_heads": 2}},
    "xlm": {"causal": True},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_key_value_heads": 4,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "hybrid", "hybrid"],
        "intermediate_size": WIDTH,
        "use_mamba_kernels": False,
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""Model type -> what its configuration needs beside small sizes; of composite ones, field -> what that part needs."""


def arguments(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """Arguments of a configuration class that make it tiny, as plain dictionaries."""
    default = kind()
    fields = {field.name: field for field in dataclasses.fields(kind)}
    made: dict[str, Any] = {}
    for name, field in fields.items():
        # Not by getattr, which refuses what may differ between layers.
        value = default.__dict__.get(name)
        if isinstance(value, PreTrainedConfig):
            made[name] = {**arguments(type(value)), "model_type": value.model_type}
        elif name in _TOKENS:
            made[name] = _TOKENS[name]
        elif name in _SIZES and isinstance(field.default, int):
            made[name] = _SIZES[name]
        elif name.endswith(("_token_id", "_token_index")) and isinstance(field.default, int):
            made[name] = VOCABULARY - 1 - sum(key.endswith(("_token_id", "_token_index")) for key in made)
    if "kv_lora_rank" in made and "num_key_value_heads" in made:
        made["num_key_value_heads"] = made["num_attention_heads"]  # latent attention has no groups
    if "mrope_section" in (getattr(kind, "ignore_keys_at_rope_validation", None) or ()):
        made["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    for name, value in GIVEN.get(kind.model_type, {}).items():
        part = made.get(name)
        made[name] = {**part, **value} if isinstance(part, dict) and isinstance(value, dict) else value
    return made

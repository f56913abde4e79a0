"""A zoo of tiny causal language models with random weights, one an architecture: a table of configurations, no tests.

`build("llama")` makes a model in eval mode, two layers deep, from an explicit seed; `tokenizer()` makes a tokenizer
that fits all of them. Import it from any test with `from zoo import build`.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 96
HIDDEN = 32
WIDTH = 48
LAYERS = 2
EXPERTS = 4

_TOKENS: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LLAMA: dict[str, Any] = {
    **_TOKENS,
    "hidden_size": HIDDEN,
    "intermediate_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_HEADS: dict[str, Any] = {**_LLAMA, "head_dim": 8}
_MOE: dict[str, Any] = {**_HEADS, "num_experts_per_tok": 2}
_SMALL: dict[str, Any] = {**_TOKENS, "n_embd": HIDDEN, "n_layer": LAYERS, "n_head": 4, "n_positions": 64}
_GPT2: dict[str, Any] = {**_SMALL, "n_inner": WIDTH}
_LATENT: dict[str, Any] = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
_DEEPSEEK: dict[str, Any] = {
    **_LLAMA,
    **_LATENT,
    "num_key_value_heads": 4,
    "moe_intermediate_size": WIDTH,
    "n_routed_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}

DENSE: dict[str, dict[str, Any]] = {
    "apertus": _HEADS,
    "arcee": _HEADS,
    "biogpt": {**_LLAMA, "hidden_act": "gelu"},
    "bitnet": _LLAMA,
    "bloom": {**_TOKENS, "hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": 4},
    "codegen": {**_GPT2, "rotary_dim": 4},
    "cohere": _LLAMA,
    "cohere2": _HEADS,
    "ctrl": {**_SMALL, "dff": WIDTH},
    "cwm": _HEADS,
    "diffllama": _HEADS,
    "ernie4_5": _HEADS,
    "exaone4": _HEADS,
    "falcon": {
        **_TOKENS,
        "hidden_size": HIDDEN,
        "ffn_hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
    },
    "gemma": _HEADS,
    "gemma2": _HEADS,
    "gemma3_text": {**_HEADS, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma3n_text": {
        **_HEADS,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 8,
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "glm": _HEADS,
    "glm4": _HEADS,
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "gpt_neo": {
        **_TOKENS,
        "hidden_size": HIDDEN,
        "intermediate_size": WIDTH,
        "num_layers": LAYERS,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 64,
    },
    "gpt_neox": {**_LLAMA, "rotary_pct": 0.5},
    "gpt_neox_japanese": {**_LLAMA, "intermediate_multiple_size": 2},
    "gptj": {**_GPT2, "rotary_dim": 4},
    "granite": _LLAMA,
    "helium": _HEADS,
    "hunyuan_v1_dense": _HEADS,
    "hyperclovax": _HEADS,
    "jais2": _HEADS,
    "lfm2": {
        **_LLAMA,
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["full_attention", "conv"],
    },
    "llama": _HEADS,
    "ministral": _HEADS,
    "ministral3": _HEADS,
    "mistral": _HEADS,
    "modernbert-decoder": {**_LLAMA, "sep_token_id": 2, "cls_token_id": 1},
    "mpt": {**_TOKENS, "d_model": HIDDEN, "expansion_ratio": 2, "n_layers": LAYERS, "n_heads": 4, "max_seq_len": 64},
    "nanochat": _HEADS,
    "nemotron_h": {
        **_HEADS,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 2,
        "ssm_state_size": 8,
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "mlp", "attention"],
    },
    "nemotron": _HEADS,
    "olmo": _LLAMA,
    "olmo2": _LLAMA,
    "olmo3": _LLAMA,
    "openai-gpt": {**_SMALL, "n_positions": 64},
    "opt": {
        **_TOKENS,
        "hidden_size": HIDDEN,
        "word_embed_proj_dim": HIDDEN,
        "ffn_dim": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    },
    "persimmon": _LLAMA,
    "phi": _LLAMA,
    "phi3": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _HEADS,
    "seed_oss": _HEADS,
    "smollm3": _LLAMA,
    "stablelm": _LLAMA,
    "starcoder2": _LLAMA,
    "vaultgemma": _HEADS,
    "xglm": {
        **_TOKENS,
        "d_model": HIDDEN,
        "ffn_dim": WIDTH,
        "num_layers": LAYERS,
        "attention_heads": 4,
        "max_position_embeddings": 64,
    },
    "zamba2": {
        **_LLAMA,
        "num_key_value_heads": 4,
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "hybrid", "hybrid"],
        "use_mamba_kernels": False,
        "mamba_d_state": 8,
        "adapter_rank": 4,
    },
}
"""Architectures of which every layer has one MLP, or, in a hybrid, at most one."""

LOOPED: dict[str, dict[str, Any]] = {
    "hrm_text": {
        **_TOKENS,
        "hidden_size": HIDDEN,
        "intermediate_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "H_cycles": 2,
        "L_cycles": 3,
    },
}
"""Architectures whose layers are run several times in one forward pass."""

MIXTURES: dict[str, dict[str, Any]] = {
    "afmoe": {**_MOE, "num_experts": EXPERTS, "moe_intermediate_size": WIDTH, "num_dense_layers": 1},
    "axk2": {**_DEEPSEEK, "head_dim": 8, "gated_norm_rank": 4},
    "dbrx": {
        **_TOKENS,
        "d_model": HIDDEN,
        "n_layers": LAYERS,
        "n_heads": 4,
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {
            "hidden_size": HIDDEN,
            "ffn_hidden_size": WIDTH,
            "moe_num_experts": EXPERTS,
            "moe_top_k": 2,
        },
    },
    "deepseek_v2": {**_DEEPSEEK, "topk_method": "greedy"},
    "deepseek_v3": _DEEPSEEK,
    "dots1": {**_DEEPSEEK, "head_dim": 8},
    "ernie4_5_moe": {
        **_MOE,
        "moe_num_experts": EXPERTS,
        "moe_k": 2,
        "moe_intermediate_size": WIDTH,
        "moe_num_shared_experts": 1,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": 1,
    },
    "flex_olmo": {**_LLAMA, "num_experts": EXPERTS, "num_experts_per_tok": 2},
    "glm4_moe": {**_DEEPSEEK, "head_dim": 8},
    "gpt_oss": {**_MOE, "num_local_experts": EXPERTS, "layer_types": ["sliding_attention", "full_attention"]},
    "granitemoe": {**_LLAMA, "num_local_experts": EXPERTS, "num_experts_per_tok": 2},
    "granitemoeshared": {
        **_LLAMA,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": WIDTH,
    },
    "hunyuan_v1_moe": {**_HEADS, "num_experts": EXPERTS, "moe_topk": 2},
    "hy_v4": {**_DEEPSEEK, "head_dim": 8},
    "inkling2_text": {
        **_MOE,
        "n_routed_experts": EXPERTS,
        "moe_intermediate_size": WIDTH,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 8,
    },
    "jamba": {
        **_LLAMA,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "use_mamba_kernels": False,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "jetmoe": {**_LLAMA, "kv_channels": 8, "num_local_experts": EXPERTS, "num_experts_per_tok": 2},
    "lfm2_moe": {
        **_LLAMA,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": WIDTH,
        "num_dense_layers": 1,
        "layer_types": ["full_attention", "conv"],
    },
    "llama4_text": {**_MOE, "intermediate_size_mlp": WIDTH, "num_local_experts": EXPERTS, "moe_layers": [1]},
    "longcat_flash": {
        **_TOKENS,
        **_LATENT,
        "hidden_size": HIDDEN,
        "ffn_hidden_size": WIDTH,
        "expert_ffn_hidden_size": WIDTH,
        "num_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "n_routed_experts": EXPERTS,
        "zero_expert_num": 2,
        "moe_topk": 2,
    },
    "minimax_m2": {**_MOE, "num_local_experts": EXPERTS},
    "minimax_m3_vl_text": {
        **_MOE,
        "num_local_experts": EXPERTS,
        "dense_intermediate_size": WIDTH,
        "shared_intermediate_size": WIDTH // 2,
        "mlp_layer_types": ["dense", "sparse"],
        "rotary_dim": 8,
        "index_head_dim": 8,
    },
    "mixtral": {**_MOE, "num_local_experts": EXPERTS},
    "olmoe": {**_LLAMA, "num_experts": EXPERTS, "num_experts_per_tok": 2},
    "phimoe": {**_LLAMA, "num_local_experts": EXPERTS, "num_experts_per_tok": 2},
    "qwen2_moe": {
        **_LLAMA,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": WIDTH,
        "shared_expert_intermediate_size": WIDTH // 2,
    },
    "qwen3_moe": {**_MOE, "num_experts": EXPERTS, "moe_intermediate_size": WIDTH},
    "qwen3_next": {
        **_MOE,
        "num_experts": EXPERTS,
        "moe_intermediate_size": WIDTH,
        "shared_expert_intermediate_size": WIDTH // 2,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "zaya": {
        **_HEADS,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": WIDTH,
        "router_hidden_size": 16,
    },
}
"""Architectures with routed experts, in all layers or after dense ones."""

REFUSED: dict[str, dict[str, Any]] = {
    "mamba": {**_TOKENS, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "state_size": 4},
    "prophetnet": {
        **_TOKENS,
        "hidden_size": HIDDEN,
        "decoder_ffn_dim": WIDTH,
        "num_encoder_layers": LAYERS,
        "num_decoder_layers": LAYERS,
        "num_decoder_attention_heads": 4,
        "max_position_embeddings": 64,
        "is_encoder_decoder": False,
        "is_decoder": True,
    },
}
"""Architectures whose sites cannot be resolved; each must say why."""

RELU: tuple[str, ...] = ("opt", "ctrl")
"""Dense architectures whose activation is exactly max(a, 0)."""

ALL = {**DENSE, **LOOPED, **MIXTURES, **REFUSED}


def build(name: str, *, seed: int = 0, scale: float = 1.0, **changes: Any) -> PreTrainedModel:
    """A tiny model of the named architecture with random weights, in eval mode.

    Args:
        name: a key of `ALL`.
        seed: of the weights; the global random state is left as it was.
        scale: factor on all weight matrices; 1 keeps the architecture's own initialisation.
        changes: fields of the configuration to change, or `experts_implementation=`, `attn_implementation=`.
    """
    runtime = {k: changes.pop(k) for k in ("experts_implementation", "attn_implementation") if k in changes}
    config = AutoConfig.for_model(name, **{**ALL[name], **changes})
    for key, value in runtime.items():
        setattr(config, f"_{key}", value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    # Some parts are left empty or zero by from_config; a matrix of noise tests more than its absence.
                    parameter.normal_(0.0, 0.15 * scale)
    return model.eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer over words w3 ... w95 with <pad>, <bos> and <eos>, which fits every model of the zoo."""
    words = {"<pad>": 0, "<bos>": 1, "<eos>": 2, **{f"w{i}": i for i in range(3, VOCABULARY)}}
    inner = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<eos>"
    )


def ids(batch: int = 2, length: int = 9, seed: int = 0) -> torch.Tensor:
    """Random token ids [batch, length] without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (batch, length), generator=generator)

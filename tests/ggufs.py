"""Tiny GGUF files as llama.cpp's converter writes them, with random weights; no tests.

`write(path)` writes a Llama of two layers with a byte-level BPE of SmolLM2's kind; arguments change what a test needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

TEXT = [
    "The cats are on the mat.",
    "In 1998 there were 12 dogs  2 by  2\n 3",
    "No dog has ever barked at the cats.",
] * 5
HEADS, KV_HEADS = 4, 2
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


@cache
def byte_level() -> tuple[list[str], list[str]]:
    """Tokens and merges of a byte-level BPE that cuts digits one by one; three control tokens come first."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXT, trainer)
    merges = json.loads(core.to_str())["model"]["merges"]
    vocabulary = core.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__), [" ".join(pair) for pair in merges]


@cache
def pieces() -> tuple[list[str], list[float], list[int]]:
    """Tokens, scores and types of a SentencePiece vocabulary with bytes to fall back on."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [UNKNOWN, CONTROL, CONTROL, *([BYTE] * 256)]
    joined = ["▁t", "he", "▁the", "at", "▁c", "▁cat", "▁cats", "s▁", "on", "▁on", "▁m", "▁mat", "re", "are", "▁are"]
    joined.append("ca")  # which "at" comes before: the order of merges shows
    letters = sorted({letter for text in TEXT for letter in text.replace(" ", "▁")})
    tokens += joined + letters
    types += [NORMAL] * (len(joined) + len(letters))
    scores = [0.0] * 259 + [-float(rank) for rank in range(1, len(joined) + len(letters) + 1)]
    return tokens, scores, types


def model(vocabulary: int, layers: int = 2) -> LlamaForCausalLM:
    """The Llama whose weights a file gets."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=256,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def write(
    path: Path,
    *,
    architecture: str = "llama",
    tokenizer: str = "gpt2",
    pre: str | None = "smollm",
    stored: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    metadata: Mapping[str, Any] | None = None,
    leave_out: tuple[str, ...] = (),
    extra: Mapping[str, np.ndarray[Any, Any]] | None = None,
    seed: int = 0,
) -> LlamaForCausalLM:
    """Write a file; the model whose weights it has.

    Args:
        path: of the file.
        architecture: llama.cpp's name, which is also the prefix of the keys.
        tokenizer: "gpt2" (byte-level BPE) or "llama" (SentencePiece); of another name, the tokens of the first.
        pre: kind of pre-tokeniser; None to leave it out.
        stored: how the matrices are stored.
        metadata: more keys, whole ("tokenizer.ggml.add_bos_token") or of the architecture (".rope.scaling.type"); they
            replace those of the same name.
        leave_out: tensors to leave out.
        extra: more tensors.
        seed: changes the weights.
    """
    writer = gguf.GGUFWriter(path, architecture)
    tokens, merges = byte_level()
    keys: dict[str, Any] = {
        "general.name": "tiny",
        "general.file_type": int({"F32": 0, "Q8_0": 7}.get(stored.name, 3)),
        ".block_count": 2,
        ".context_length": 256,
        ".embedding_length": 64,
        ".feed_forward_length": 96,
        ".attention.head_count": HEADS,
        ".attention.head_count_kv": KV_HEADS,
        ".attention.layer_norm_rms_epsilon": 1e-6,
        ".rope.freq_base": 10000.0,
        ".rope.dimension_count": 64 // HEADS,
        "tokenizer.ggml.model": tokenizer,
    }
    if tokenizer == "llama":
        tokens, scores, types = pieces()
        keys |= {"tokenizer.ggml.scores": scores, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2}
        keys |= {"tokenizer.ggml.unknown_token_id": 0}
    else:
        types = [CONTROL] * 3 + [NORMAL] * (len(tokens) - 3)
        keys |= {"tokenizer.ggml.merges": merges, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2}
        keys |= {"tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.padding_token_id": 2}
        keys |= {"tokenizer.ggml.add_bos_token": False} | ({"tokenizer.ggml.pre": pre} if pre else {})
    keys |= {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types, ".vocab_size": len(tokens)}
    for key, value in {**keys, **(metadata or {})}.items():
        _put(writer, architecture + key if key.startswith(".") else key, value)
    whole = model(len(tokens))
    if seed:
        with torch.no_grad():
            whole.model.layers[0].mlp.gate_proj.weight += seed * 1e-3
    tensors = {name: tensor for name, tensor in _tensors(whole).items() if name not in leave_out} | dict(extra or {})
    for name, tensor in tensors.items():
        kind = stored if tensor.ndim == 2 else gguf.GGMLQuantizationType.F32
        data = tensor if kind == gguf.GGMLQuantizationType.F32 else gguf.quantize(tensor, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return whole


def _put(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _tensors(whole: LlamaForCausalLM) -> dict[str, np.ndarray[Any, Any]]:
    """llama.cpp's names, and its order of the rows of queries and keys."""
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    state = {name: tensor.numpy() for name, tensor in whole.state_dict().items()}
    found = {"token_embd.weight": state["model.embed_tokens.weight"], "output_norm.weight": state["model.norm.weight"]}
    for layer in range(len(whole.model.layers)):
        for theirs, ours in names.items():
            tensor = state[f"model.layers.{layer}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):
                heads = HEADS if ours == "attn_q" else KV_HEADS
                tensor = tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
            found[f"blk.{layer}.{ours}.weight"] = np.ascontiguousarray(tensor)
    return found

"""Proof that transformers' configuration says what a GGUF file says, key by key; what it leaves out is put in.

transformers reads some keys of a file and passes over the others, and over tensors that it has no name for. A model may
then compute something else than the file's, without an error. Here every key must have an equal in the configuration,
or be one that changes no value, and every weight a place in the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from negspace.errors import ModelError
from negspace.models.gguf.header import Header, Tensor

_READ = frozenset(
    [
        "vocab_size",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "block_count",
        "attention.head_count",
        "attention.head_count_kv",
        "expert_count",
        "expert_feed_forward_length",
        "expert_shared_feed_forward_length",
        "expert_shared_count",
        "tensor_data_layout",
        "rope.scaling.finetuned",
        "rope.scaling.original_context_length",
        "ssm.conv_kernel",
        "ssm.inner_size",
        "ssm.state_size",
        "ssm.time_step_rank",
        "ssm.group_count",
        "shortconv.l_cache",
        "full_attention_interval",
        "rope.dimension_sections",
    ]
)
"""Keys that change no value by themselves, or that transformers cannot make the architecture without."""
_EQUAL: dict[str, tuple[str, ...]] = {
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "expert_used_count": ("num_experts_per_tok",),
    "use_parallel_residual": ("use_parallel_residual",),
}
"""Key -> names that configurations have for it; the first that a configuration has must say the same."""
_SET: dict[str, str] = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "logit_scale": "logit_scale",
}
"""Key -> a configuration's name for it, which is set to what the file says."""
_SCALED_BY_HIDDEN = {"gemma2": 46, "gemma3": 62}
"""Architecture -> number of layers of its 27B model, whose attention is scaled by the hidden size over the heads, not
by the heads' width. No key says so: llama.cpp (llama-model.cpp) goes by the number of layers as well."""
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""Parameters of Llama 3's rotary embedding that its models share; the file has only the factors that come of them."""


def prove(config: Any, header: Header) -> tuple[str, ...]:
    """Compare a configuration with the file's metadata, and put in what is missing.

    Args:
        config: as transformers made it from the file; changed in place.
        header: of the file.

    Returns:
        What was put in, a sentence each.

    Raises:
        ModelError: the file says something that the configuration contradicts, or that it has no place for.
    """
    mended: list[str] = []
    prefix = f"{header.architecture}."
    for name, value in header.metadata.items():
        if name.startswith(prefix) and (key := name.removeprefix(prefix)) not in _READ:
            _compare(config, header, key, value, mended)
    _scale_attention(config, header, mended)
    _frequencies(config, header, mended)
    return tuple(mended)


def check_weights(module: torch.nn.Module, header: Header) -> None:
    """Make sure that every number of the file has found a place in the model.

    Raises:
        ModelError: some have not, or the model holds more than the file.
    """
    tensors = {t.name: t for t in header.tensors if t.name != "rope_freqs.weight"}
    ends = [tensors[name] for name in ("token_embd.weight", "output.weight") if name in tensors]
    if getattr(module.config, "tie_word_embeddings", False) and len({_bytes(header, end) for end in ends}) < len(ends):
        del tensors["output.weight"]  # written twice, held once
    in_file = sum(tensor.size for tensor in tensors.values())
    in_model = sum(parameter.numel() for parameter in module.parameters())
    saved = module.state_dict(keep_vars=True)
    in_model += sum(buffer.numel() for name, buffer in module.named_buffers() if name in saved)
    if in_file != in_model:
        raise ModelError(
            f"the weights of {header.path}",
            f"{in_file:,} numbers in the file, {in_model:,} in the {type(module).__name__} that is made of it",
            _todo(),
        )


def _compare(config: Any, header: Header, key: str, value: Any, mended: list[str]) -> None:
    """One key of the file with the configuration."""
    if key in _EQUAL:
        field = next((name for name in _EQUAL[key] if hasattr(config, name)), None)
        _equal(header, key, value, None if field is None else getattr(config, field))
    elif key in _SET and hasattr(config, field := _SET[key]):
        if not _close(value, getattr(config, field)):
            setattr(config, field, value)
            mended.append(f"{field} = {value}, which transformers left out")
    elif key in ("attention.key_length", "attention.value_length"):
        _equal(header, key, value, _head(config))
    elif key == "rope.dimension_count":
        part = _rope(config).get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
        _equal(header, key, value, int(_head(config) * part))
    elif key == "rope.freq_base":
        rope = _rope(config)
        if "rope_theta" in rope and not _close(value, rope["rope_theta"]):
            rope["rope_theta"] = value
            mended.append(f"rope_theta = {value:g}, which transformers left out")
        _equal(header, key, value, rope.get("rope_theta"))
    elif key == "rope.freq_base_swa":
        _equal(header, key, value, (config.rope_parameters.get("sliding_attention") or {}).get("rope_theta"))
    elif key == "attention.sliding_window_pattern":
        sliding = [kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or ()]
        if isinstance(value, list | tuple | np.ndarray):
            _equal(header, key, [bool(flag) for flag in value], sliding)
        else:
            _equal(header, key, [(layer + 1) % int(value) != 0 for layer in range(len(sliding))], sliding)
    elif key in ("rope.scaling.type", "rope.scaling.factor"):
        if header.own("rope.scaling.type", "linear") not in ("none", "linear"):
            _equal(header, key, value, None)
        if key == "rope.scaling.factor" and header.own("rope.scaling.type") != "none" and value != 1.0:
            _rope(config).update(rope_type="linear", factor=float(value))
            mended.append(f"positions divided by {value:g}, which transformers left out")
    elif key == "rope.scaling.attn_factor":
        _equal(header, key, value, 1.0)
    elif key == "attention.scale":
        _equal(header, key, value, _head(config) ** -0.5)
    else:
        _equal(header, key, value, None)


def _rope(config: Any) -> dict[str, Any]:
    """Parameters of the rotary embedding; of layers with full attention, where others slide."""
    held = getattr(config, "rope_parameters", None) or {}
    return held.get("full_attention", held)


def _head(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _scale_attention(config: Any, header: Header, mended: list[str]) -> None:
    if header.architecture in _SCALED_BY_HIDDEN:
        by_hidden = header.own("block_count") == _SCALED_BY_HIDDEN[header.architecture]
        scalar = config.hidden_size // config.num_attention_heads if by_hidden else config.head_dim
        if config.query_pre_attn_scalar != scalar:
            config.query_pre_attn_scalar = scalar
            mended.append(f"query_pre_attn_scalar = {scalar}, which transformers left out")


def _frequencies(config: Any, header: Header, mended: list[str]) -> None:
    """Llama 3's rotary embedding, of which a file has the resulting factors as a tensor."""
    tensor = next((t for t in header.tensors if t.name == "rope_freqs.weight"), None)
    if tensor is None:
        return
    said = np.frombuffer(_bytes(header, tensor), dtype="<f4")
    rope = _rope(config)
    low, high, before = _LLAMA3.values()
    wavelengths = 2 * np.pi * rope["rope_theta"] ** (2 * np.arange(said.size) / (2 * said.size))
    smooth = np.clip((before / wavelengths - low) / (high - low), 0, 1)
    factor = round(float(said.max()), 3)
    if not np.allclose(1 / ((1 - smooth) / factor + smooth), said, rtol=1e-4):
        raise ModelError(
            f"the rotary embedding of {header.path}", "factors of frequencies other than those of Llama 3", _todo()
        )
    if factor != 1.0:
        rope.update(rope_type="llama3", factor=factor, **_LLAMA3)
        mended.append(f"Llama 3's rotary embedding with factor {factor:g}, which transformers left out")


def _bytes(header: Header, tensor: Tensor) -> bytes:
    with open(header.path, "rb") as file:
        file.seek(tensor.begin)
        return file.read(tensor.end - tensor.begin)


def _close(value: Any, own: Any) -> bool:
    if isinstance(value, (list, str, bool)) or own is None:
        return value == own
    return abs(float(value) - float(own)) <= 1e-6 * abs(float(value))


def _equal(header: Header, key: str, value: Any, own: Any) -> None:
    if not _close(value, own):
        raise ModelError(
            f"the configuration of {header.path}",
            f"{header.architecture}.{key} = {value} in the file, "
            + ("which transformers leaves out" if own is None else f"{own} in what transformers makes of it"),
            _todo(),
        )


def _todo() -> str:
    return (
        "use the model's own repository (safetensors); or, if you know the difference to be harmless, load the file "
        "with transformers yourself and pass the model to negspace.wrap"
    )

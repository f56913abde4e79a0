"""A model's identity: what its outputs depend on, as one hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from negspace.errors import ModelError

# Configuration that changes no logit, or that the parameters' own types and names already say. Everything else counts.
_WITHOUT_EFFECT = frozenset(
    {
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "architectures",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "eos_token_id",
        "finetuning_task",
        "id2label",
        "label2id",
        "name_or_path",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "problem_type",
        "return_dict",
        "task_specific_params",
        "tokenizer_class",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


def fingerprint(module: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and saved buffers, and the configuration.

    The same weights give the same hash wherever they lie and on whatever devices; tied weights count once. Weights
    loaded in another dtype are other weights.

    Raises:
        ModelError: some weights are not in memory (offloaded by accelerate).
    """
    whole = hashlib.sha256(canonical_config(getattr(module, "config", None)).encode())
    tensors = sorted(_tensors(module))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        for (name, tensor), digest in zip(tensors, threads.map(_digest, (t for _, t in tensors)), strict=True):
            whole.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|{digest}\n".encode())
    return whole.hexdigest()


def canonical_config(config: Any) -> str:
    """The configuration as JSON with sorted keys, without the fields that cannot change a logit."""
    fields = config.to_dict() if config is not None else {}
    return json.dumps(_prune(fields), sort_keys=True, default=str)


def _prune(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _prune(v) for k, v in value.items() if k not in _WITHOUT_EFFECT}
    if isinstance(value, (list, tuple)):
        return [_prune(v) for v in value]
    return value


def _tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    saved = module.state_dict(keep_vars=True)
    # Buffers that are not saved (rotary tables, masks) follow from the configuration.
    yield from ((name, buffer) for name, buffer in module.named_buffers() if name in saved)


def _digest(tensor: torch.Tensor) -> str:
    if tensor.is_meta:
        raise ModelError(
            asked="a fingerprint of the model's weights",
            found="some weights are not in memory: they were offloaded to disk or CPU",
            todo="load the model onto devices that hold all of it (device_map without offloading, or device='cpu')",
        )
    plain = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(plain.numpy().data).hexdigest()

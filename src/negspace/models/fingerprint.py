"""A model's identity: what its outputs depend on, as one hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from negspace.models.alterations import Twin, alterations, digest

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


def fingerprint(module: torch.nn.Module, twin: Twin | None = None) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and saved buffers, the configuration, the padding
    tokens from which parts count positions, and whatever else sets the module apart from what its class makes of that
    configuration (`alterations`).

    The same weights give the same hash wherever they lie and on whatever devices; tied weights count once. Weights
    loaded in another dtype are other weights.

    Args:
        module: the model.
        twin: its twin, where that was made before.

    Raises:
        ModelError: some weights are not in memory (offloaded by accelerate).
    """
    altered = alterations(module, twin or Twin(module))
    whole = hashlib.sha256(canonical_config(getattr(module, "config", None)).encode())
    tensors = sorted(_tensors(module), key=lambda item: item[0])
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        for (name, tensor), own in zip(tensors, threads.map(digest, (t for _, t in tensors)), strict=True):
            whole.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|{own}\n".encode())
    # A plain model's hash ends here, unless its positions are counted from the padding token.
    for line in (*_paddings(module), *altered):
        whole.update(f"{line}\n".encode())
    return whole.hexdigest()


def canonical_config(config: Any) -> str:
    """The configuration as JSON with sorted keys, without the fields that cannot change a logit; `pad_token_id` can in
    few models, whose parts say so (`_paddings`)."""
    fields = config.to_dict() if config is not None else {}
    return json.dumps(_prune(fields), sort_keys=True, default=str)


def _prune(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _prune(v) for k, v in value.items() if k not in _WITHOUT_EFFECT}
    if isinstance(value, (list, tuple)):
        return [_prune(v) for v in value]
    return value


def _paddings(module: nn.Module) -> Iterator[str]:
    """One line for each part that computes with the padding token."""
    return (f"{path}.padding_idx|{part.padding_idx}" for path, part in padding_parts(module))


def padding_parts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Path and module of each part that computes with the padding token, its `padding_idx`: RoBERTa's kin count
    positions from its id on and leave it out, XGLM has no position at it. An embedding itself keeps the id for
    gradients only, and so does a model for its embeddings."""
    for path, part in module.named_modules():
        if part.__dict__.get("padding_idx") is not None and not isinstance(part, nn.Embedding | PreTrainedModel):
            yield path, part


def _tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    saved = module.state_dict(keep_vars=True)
    # Buffers that are not saved (rotary tables, masks) follow from the configuration, or are among the alterations.
    yield from ((name, buffer) for name, buffer in module.named_buffers() if name in saved)
    # What quantised layers save beside them: scales, tables of codes.
    known = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    for name, value in saved.items():
        if isinstance(value, torch.Tensor) and id(value) not in known:
            yield name, value

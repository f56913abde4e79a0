"""Internal: a model is checked before anything is measured in it: whole, finite, causal, its tokenizer fits."""

from __future__ import annotations

from typing import Any

import torch

from negspace.errors import ModelError
from negspace.models.kernels import unmasked
from negspace.models.probe import dropping_parts, is_causal
from negspace.models.quantised import leaves

# Entries of old checkpoints that are no weights: masks and rotary tables, which follow from the configuration.
_NO_WEIGHTS = (".attn.bias", ".attention.bias", ".masked_bias", "rotary_emb.inv_freq", "rotary_emb.cos_cached")


def check_report(name: str, report: Any) -> None:
    """Refuse a model of which some weights are random or some of the checkpoint's were left out.

    Args:
        name: the model's.
        report: transformers' loading info.

    Raises:
        ModelError: names the weights.
    """
    found = []
    for key, label in (("missing_keys", "not in the checkpoint"), ("mismatched_keys", "of another shape")):
        keys = sorted(k if isinstance(k, str) else k[0] for k in report.get(key) or ())
        if keys:
            found.append(f"{len(keys)} weights {label}, so random: {some_of(keys)}")
    unexpected = sorted(k for k in report.get("unexpected_keys") or () if not k.endswith(_NO_WEIGHTS))
    if unexpected:
        found.append(f"{len(unexpected)} weights of the checkpoint without a place in the model: {some_of(unexpected)}")
    if report.get("error_msgs"):
        found.append("; ".join(map(str, report["error_msgs"])))
    if found:
        raise ModelError(
            asked=f"the weights of {name}",
            found="; ".join(found),
            todo="get a whole checkpoint of this architecture; if the difference is meant, load the model with "
            "transformers yourself and pass it to negspace.wrap",
        )


def check_tokenizer(name: str, module: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that is none, or that has more tokens than the model has embeddings.

    Raises:
        ModelError: says which.
    """
    rows = module.get_input_embeddings().weight.shape[0]
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is not None and not hasattr(tokenizer, "get_vocab"):
        raise ModelError(
            asked=f"a tokenizer for {name}",
            found=f"a processor ({type(tokenizer).__name__}), which makes inputs of text and images",
            todo="pass its tokenizer (processor.tokenizer)",
        )
    if not callable(tokenizer):
        raise ModelError(
            asked=f"a tokenizer for {name}",
            found=f"an object of class {type(tokenizer).__name__}",
            todo="pass the tokenizer of the model (transformers.AutoTokenizer.from_pretrained)",
        )
    tokens = len(tokenizer) if hasattr(tokenizer, "__len__") else 0  # type: ignore[arg-type]
    # A few tokens without an embedding are harmless markers (Gemma 3's image token in its text-only models).
    if tokens > 1.01 * rows:
        raise ModelError(
            asked=f"{name} with its tokenizer",
            found=f"a tokenizer of {tokens} tokens for a model with {rows} embeddings",
            todo="use the tokenizer that the model was trained with",
        )


def check_eval(asked: str, module: torch.nn.Module) -> None:
    """Refuse a module in training mode, or with a part that drops values at random: no two of its passes agree.

    Raises:
        ModelError: says which.
    """
    if module.training:
        raise ModelError(asked=asked, found="a module in training mode, with dropout", todo="call module.eval() first")
    if dropping := dropping_parts(module):
        raise ModelError(
            asked=asked,
            found=f"parts in training mode that drop values at random, in a module in eval mode: {some_of(dropping)}",
            todo="call module.eval() once more: adapters and parts that were added since came in training mode",
        )


def check_whole(asked: str, module: torch.nn.Module) -> None:
    """Refuse weights of which this process holds only a part.

    Raises:
        ModelError: names them.
    """
    # By name, since torch need not have been built with torch.distributed.
    if shared := [key for key, parameter in module.named_parameters() if type(parameter).__name__ == "DTensor"]:
        raise ModelError(
            asked=asked,
            found=f"weights shared out among processes (tensor parallelism, FSDP): {some_of(shared)}",
            todo="load it in one process; device_map='auto' spreads its layers over several GPUs",
        )


def check_present(name: str, module: torch.nn.Module) -> None:
    """Refuse weights and buffers without values, on the meta device, which nothing will fill before a forward pass.

    Raises:
        ModelError: names them.
    """
    if any(hasattr(part, "_hf_hook") for part in module.modules()):
        return  # accelerate fetches weights from memory or disk when they are needed
    if absent := [key for key, held in (*module.named_parameters(), *module.named_buffers()) if held.is_meta]:
        raise ModelError(
            asked=f"the weights of {name}",
            found=f"no values (device 'meta') in {some_of(absent)}",
            todo="load them: from_pretrained outside of torch.device('meta'), or with device_map",
        )


def check_finite(name: str, module: torch.nn.Module) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        ModelError: names them.
    """
    bad = []
    for key, parameter in module.named_parameters():
        for held in leaves(parameter.detach()):
            # Types of less than two bytes are codes, or scales for which torch has no sum.
            if held.is_meta or not held.is_floating_point() or held.element_size() < 2:
                continue
            # The sum is one cheap pass without a mask; only where it is not finite do we look closer.
            if not torch.isfinite(held.sum(dtype=torch.float32)):
                wrong = int((~torch.isfinite(held)).sum())
                if wrong:
                    bad.append(f"{key} ({wrong} of {held.numel()})")
    if bad:
        raise ModelError(
            asked=f"the weights of {name}",
            found=f"values that are NaN or infinite in {some_of(bad)}",
            todo="get the checkpoint again, or load it in a wider dtype (float16 overflows above 65,504)",
        )


def check_causal(name: str, module: Any) -> None:
    """Refuse a model whose logits depend on later tokens.

    Raises:
        ModelError: they do.
    """
    if not is_causal(module):
        kernel = unmasked(module)
        raise ModelError(
            asked=f"the causal language model {name}",
            found=f"a {type(module).__name__} whose logits depend on later tokens"
            + (f", with attention by {kernel}" if kernel else ""),
            todo="load it with attn_implementation='sdpa'; one of your own needs a mask registered for it "
            "(transformers.AttentionMaskInterface)"
            if kernel
            else "use a left-to-right model (a BERT needs is_decoder=True in its configuration, and training as one)",
        )


def some_of(names: list[str], most: int = 4) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

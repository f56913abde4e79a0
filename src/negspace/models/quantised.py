"""Quantised weights: what they are made of, and the kinds of arithmetic with them that no result can rest on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from negspace.errors import ModelError
from negspace.models import probe

_PACKAGES = ("bitsandbytes", "optimum", "torchao", "gptqmodel", "compressed_tensors", "hqq", "fbgemm_gpu", "auto_round")
"""Packages whose layers and tensors hold quantised weights."""
_REPEATED = "MatMul8bitLt: inputs will be cast"
"""Start of what bitsandbytes logs for every layer in every pass where the other weights are float32."""
_ROWS, _TOKENS = 4, 24
"""Size of the batch in which a text's company is changed."""
_ROUNDING = 0.15
"""Relative change of logits up to which rounding explains it; above, one that is not causal is refused as such."""

_DEQUANTISED = {
    "Mxfp4GptOssExperts": "Mxfp4Config(dequantize=True)",
    "FP8Experts": "FineGrainedFP8Config(dequantize=True)",
}
"""Class of experts -> the configuration with which transformers loads their weights as plain numbers."""
_INSTALL = {
    "gptq": "optimum gptqmodel",
    "awq": "gptqmodel accelerate",
    "bitsandbytes": "bitsandbytes accelerate",
    "quanto": "optimum-quanto accelerate",
    "torchao": "torchao",
    "compressed-tensors": "compressed-tensors",
    "hqq": "hqq",
    "aqlm": "'aqlm[cpu,gpu]'",
    "auto-round": "auto-round",
    "vptq": "vptq",
    "quark": "amd-quark",
}
"""Method of quantisation -> the packages with which transformers reads it."""


def leaves(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The plain tensors that a tensor is made of: itself, or codes and scales of one of quantised weights."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield tensor
    else:
        for name in flatten()[0]:
            yield from leaves(getattr(tensor, name))


def is_quantised(module: torch.nn.Module) -> bool:
    """Return True if some of a model's weights are quantised and have stayed so."""
    if any(_package(part) in _PACKAGES for part in module.modules()):
        return True
    return any(
        hasattr(p, "__tensor_flatten__") or not p.is_floating_point() or p.dtype.itemsize == 1  # FP8
        for p in module.parameters()
    )


def unread(name: str, config: Any, error: ModelError) -> ModelError:
    """The error of weights that could not be loaded, with the true cause where they are quantised."""
    method = _method(config)
    if method is None:
        return error
    todo = "read on the kind of machine that the message asks for, or take a checkpoint of plain weights"
    if isinstance(error.__cause__, ImportError):
        packages = _INSTALL.get(method)
        todo = f"pip install {packages}" if packages else "install what the message names"
        todo += "; or take a checkpoint of plain weights"
    return ModelError(
        asked=f"the weights of {name}, quantised by {method!r}",
        found=f"transformers cannot read them here: {error.found}",
        todo=todo,
    )


def check_experts(name: str, module: torch.nn.Module) -> None:
    """Refuse experts whose weights are codes, of which no pre-activation can be had by hand.

    Raises:
        ModelError: names them, and how to load them dequantised.
    """
    for path, part in module.named_modules():
        codes = [p for p in part.parameters(recurse=False) if p.dim() == 3 and p.element_size() == 1]
        if codes and hasattr(part, "num_experts"):
            how = _DEQUANTISED.get(type(part).__name__, "a configuration with dequantize=True")
            raise ModelError(
                asked=f"the pre-activations of {name}",
                found=f"experts' weights that are codes ({codes[0].dtype}) at {path}, which a fused kernel multiplies",
                todo=f"from_pretrained(..., quantization_config={how}) of transformers, and pass it to negspace.wrap",
            )


def check_apart(name: str, module: Any) -> None:
    """Refuse quantised weights with which the logits at a token follow other texts of the batch or later tokens.

    Raises:
        ModelError: bitsandbytes' columns of outliers; or logits that depend on their company.
        SiteError: the model cannot run on plain tokens.
    """
    if not is_quantised(module):
        return
    asked = f"the scores of {name}, whose weights are quantised"
    for path, part in module.named_modules():
        if _package(part) != "bitsandbytes":
            continue
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_quietly)
        _as_stored(part)
        threshold = getattr(getattr(part, "state", None), "threshold", 0)
        if threshold:
            raise ModelError(
                asked=asked,
                found=f"bitsandbytes' threshold of outliers, {threshold:g} ({path}): a value above it in any token of "
                "a batch changes how its column is rounded in all others: a token's logits depend on later tokens "
                "and on the other texts of its batch",
                todo="load it without one: BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0), or "
                '"llm_int8_threshold": 0.0 in the config.json of a checkpoint saved in 8 bits; or use 4 bits',
            )
    moved = crosstalk(module)
    tolerance = probe.tolerance(module.get_input_embeddings().weight.dtype)
    if moved > tolerance and (moved < _ROUNDING or probe.is_causal(module)):
        raise ModelError(
            asked=asked,
            found=f"logits that move by {moved:.2g} of their size with the other texts of their batch and with later "
            "tokens, as where layers round their inputs in steps that are chosen for a whole batch",
            todo="quantise the weights alone, or the inputs of each token by themselves (dynamic, per token)",
        )


def _as_stored(part: Any) -> None:
    """Let a layer of 4 bits compute with its weights as they are stored, on every CPU.

    On CPUs with AVX512-BF16 bitsandbytes 0.50 packs them anew in the first pass and rounds their scales to bfloat16:
    the pass would change the weights, and scores would depend on the processor.
    """
    if getattr(part, "support_avx512bf16_for_cpu", False):
        part.support_avx512bf16_for_cpu = False
        part.state_dict()  # unpacks what an earlier pass has packed


def crosstalk(module: Any) -> float:
    """Return the relative change of logits when the other texts of the batch and the later tokens change.

    The batch keeps its shape, so that the same kernels run and rounding that treats each token alone moves nothing.
    """
    start = probe.sequence(module, _TOKENS).cpu()
    half = _TOKENS // 2
    batch = torch.cat([start.roll(row, dims=1) for row in range(_ROWS)])
    other = torch.cat([start.flip(1).roll(3 * row, dims=1) for row in range(_ROWS)])
    other[0, :half] = batch[0, :half]
    one, two = (probe.forward(module, ids)[0, :half].float() for ids in (batch, other))
    return float((one - two).abs().mean() / one.abs().mean().clamp_min(torch.finfo(torch.float32).tiny))


def _quietly(record: logging.LogRecord) -> bool:
    return not record.msg.startswith(_REPEATED)


def _package(part: torch.nn.Module) -> str:
    return type(part).__module__.split(".")[0]


def _method(config: Any) -> str | None:
    """Return the quantisation method that a checkpoint's configuration names; None for plain weights."""
    held = getattr(config, "quantization_config", None)
    fields = held if isinstance(held, Mapping) else getattr(held, "__dict__", {})
    method = fields.get("quant_method")
    return None if method is None else str(getattr(method, "value", method))

"""Models that another tool holds: the transformers module inside a TransformerLens bridge or an nnsight model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from negspace.errors import ModelError
from negspace.memory import is_out_of_memory, shortage
from negspace.models import probe
from negspace.models.quiet import quiet


def unwrapped(held: Any, asked: str) -> tuple[Any, Any]:
    """The transformers module inside, and the tokenizer that comes with it; anything else as it is, without one.

    Raises:
        ModelError: it holds no transformers module, or one that is no longer the checkpoint's.
    """
    packages = {kind.__module__.partition(".")[0] for kind in type(held).__mro__}
    if "transformer_lens" in packages:
        return _of_bridge(held, asked), getattr(held, "tokenizer", None)
    if "nnsight" in packages and not isinstance(held, nn.Module):
        return _of_nnsight(held, asked), getattr(held, "tokenizer", None)
    return held, None


def _of_nnsight(held: Any, asked: str) -> Any:
    if getattr(held, "_edits", None):
        raise ModelError(
            asked=asked,
            found="an nnsight model with stored edits, which nnsight applies in its traces alone",
            todo="wrap the model without them (model.clear_edits())",
        )
    if not getattr(held, "dispatched", True):
        raise ModelError(
            asked=asked,
            found="an nnsight model that is not dispatched: it has no weights until its first trace",
            todo="call model.dispatch() first, or make it with dispatch=True",
        )
    return held._module


def _of_bridge(bridge: Any, asked: str) -> Any:
    todo = "boot a bridge without weight processing (TransformerBridge.boot_transformers), or use negspace.load"
    bridged = getattr(bridge, "original_model", None)
    if not isinstance(bridged, PreTrainedModel):
        raise ModelError(
            asked=asked,
            found=f"a {type(bridge).__name__} of TransformerLens that holds no transformers model: its weights are in "
            "TransformerLens's own layout, or elsewhere",
            todo=todo,
        )
    if getattr(bridge, "_weights_processed", False):
        raise ModelError(
            asked=asked,
            found="a bridge whose weights TransformerLens has processed (layer norms folded in, weights centred): they "
            "are no longer the checkpoint's",
            todo=f"{todo}; enable_compatibility_mode(no_processing=True) keeps the weights",
        )
    if len(set(getattr(bridged, "hf_device_map", {}).values())) > 1:
        raise ModelError(
            asked=asked,
            found="a bridge over a model that accelerate has split over devices",
            todo="boot it on one device, or use negspace.load(device_map=...)",
        )
    module = _plain(bridged, asked)
    if not module.training:  # which is refused for what it is
        _check_logits(bridge, module, asked)
    return module


def _plain(bridged: PreTrainedModel, asked: str) -> PreTrainedModel:
    """A module of the bridged one's class and configuration that shares its weights.

    A bridge puts modules of its own into the transformers module, which change the paths and names of all others.
    """
    with quiet(), torch.device("meta"), no_init_weights():
        module = type(bridged)._from_config(copy.deepcopy(bridged.config), dtype=bridged.dtype)
    for path, part in module.named_modules():
        original = _below(bridged, path)
        # What a bridge adds (a bias of zeros for the unembedding) is left out; the logits tell whether it matters.
        if original is None or type(original) is not type(part) or not _share(original, part):
            raise ModelError(
                asked=asked,
                found=f"a bridge whose {path or 'model'} ({type(original).__name__}) is not the "
                f"{type(part).__name__} that transformers makes of the configuration",
                todo="use negspace.load, or negspace.wrap on the model without a bridge",
            )
    module.generation_config = bridged.generation_config
    return module.train(bridged.training)


def _share(original: nn.Module, part: nn.Module) -> bool:
    """Give a part the tensors of the original; False where that lacks one."""
    held: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (part._parameters, original._parameters),
        (part._buffers, original._buffers),
    ]
    for mine, theirs in held:
        for name, own in mine.items():
            if own is not None:
                if theirs.get(name) is None:
                    return False
                mine[name] = theirs[name]
    return True


def _below(bridged: nn.Module, path: str) -> nn.Module | None:
    """Return the module at a path of the plain model, without the bridge's parts around it."""
    part: Any = _original(bridged)
    for name in path.split(".") if path else ():
        part = _original(getattr(part, name, None))
    return part


def _original(part: Any) -> Any:
    while type(part).__module__.startswith("transformer_lens.") and part.original_component is not None:
        part = part.original_component
    return part


def _check_logits(bridge: Any, module: Any, asked: str) -> None:
    """Refuse a bridge that computes something else than the module.

    Weights that were edited in place are shared, so both compute with them; they show in the fingerprint.
    """
    ids = probe.sequence(module)
    with torch.no_grad(), true_cause(bridge, asked):
        lens = bridge(ids, return_type="logits")
    plain = probe.forward(module, ids)
    allowed = probe.tolerance(plain.dtype) * plain.abs().max()
    # Written so that a NaN is refused.
    if lens.shape != plain.shape or not bool((lens - plain).abs().max() <= allowed):
        raise ModelError(
            asked=asked,
            found="a bridge whose logits are not those of the transformers model inside: it has hooks, or weights that "
            "it does not share with that model",
            todo="remove its hooks (bridge.reset_hooks()), or boot it anew",
        )


@contextmanager
def true_cause(bridge: Any, asked: str) -> Iterator[None]:
    """Errors of a bridge's own forward pass, as ModelErrors that name them."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(asked, *shortage(error)) from error
        raise ModelError(
            asked=asked,
            found=f"a {type(bridge).__name__} whose forward pass fails: {type(error).__name__}: {error}",
            todo="mend the bridge until bridge(tokens) runs, or use negspace.load",
        ) from error

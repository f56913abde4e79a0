"""Changes to a module since its class built it from its configuration.

The measure of "changed" is a twin: a module of the same class, made from a copy of the same configuration, without
memory for its weights. A plain model is its own twin, so that nothing here has to know all the ways in which adapters,
quantisation, patches and hands can change what a module computes.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from negspace.errors import ModelError
from negspace.models.kernels import configurations
from negspace.models.overrides import attributes
from negspace.models.quiet import quiet

_NOT_FOUND = object()
_INTERNALS = frozenset(nn.Module().__dict__) | {"_hf_hook", "_old_forward", "_is_hf_initialized", "forward"}
"""Attributes that torch, accelerate and transformers keep for themselves; patched forwards are looked at apart."""
_HERE = ("negspace", "accelerate", "nnsight")
"""Packages whose hooks change no value: this one's, open for as long as it measures; those that move tensors; and those
that do nothing outside of a trace."""
_LAYERS = ("peft", "compressed_tensors", "optimum", "bitsandbytes", "torchao", "gptqmodel", "hqq")
"""Packages of adapters and quantised weights, whose layers keep what they compute with where it is saved."""
_MACHINERY = ("transformers", "torch", *_LAYERS)
"""Packages whose hooks and patches belong to a kind of weights: their names and the weights say what they do."""
_OF_PASSES = frozenset(
    {"is_training", "has_accumulated_gradients", "compute_type_is_set", "support_avx512bf16_for_cpu"}
)
"""Attributes in which bitsandbytes' layers keep what the last pass was like, or what this processor can do."""
_PATCHERS = ("liger_kernel", "unsloth", "unsloth_zoo", "__main__")
"""Packages that replace functions and classes inside the modules of others."""
_REPLACED_LATER = ("dynamic", "longrope")
"""Rotary embeddings whose table of frequencies follows the last input; the one that they start from does not."""
_ROUNDING = 1e-5
"""Relative difference that another device's arithmetic makes in a table that follows from the configuration."""


class Twin:
    """The state in which a module's class builds it from its configuration.

    Args:
        module: any module; one that is not a transformers model, or whose class cannot be made from a configuration
            alone, has a twin that knows nothing.
    """

    def __init__(self, module: nn.Module) -> None:
        made = _build(module) if isinstance(module, PreTrainedModel) else None
        self.known = made is not None
        self.config: Any = None if made is None else made.config
        self.parts: dict[str, nn.Module] = {} if made is None else dict(made.named_modules())
        self.buffers = {} if made is None else _tables(made)
        """Name -> buffer that is not saved, where the class fills it; on the CPU."""


def alterations(module: nn.Module, twin: Twin) -> tuple[str, ...]:
    """One line for each thing that sets a module apart from its twin, in a fixed order; none for a plain model.

    Args:
        module: the module.
        twin: its twin.

    Hooks and patches of others are not among them (`foreign`): what they do cannot be told from their names.
    """
    lines = [*_machinery(module), *_patched_modules(module)]
    if twin.known:
        lines += [*_implementations(module, twin), *_parts(module, twin), *_buffers(module, twin)]
    return tuple(sorted(set(lines)))


def digest(tensor: torch.Tensor) -> str:
    """sha256 (hex) of a tensor's values; of a tensor subclass (quantised weights) of all tensors that it is made of.

    Raises:
        ModelError: the tensor is not in memory.
    """
    if tensor.is_meta:
        raise ModelError(
            asked="a fingerprint of the model's weights",
            found="some weights are not in memory: they were offloaded to disk or CPU",
            todo="load the model onto devices that hold all of it (device_map without offloading, or device='cpu')",
        )
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is not None:
        names, about = flatten()
        whole = hashlib.sha256(f"{type(tensor).__name__}|{_told(about)}".encode())
        for name in names:
            inner = getattr(tensor, name)
            whole.update(f"{name}|{inner.dtype}|{tuple(inner.shape)}|{digest(inner)}\n".encode())
        return whole.hexdigest()
    plain = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(plain.numpy().data).hexdigest()


# -- the twin ----------------------------------------------------------------------------------------------------------


def _build(module: PreTrainedModel) -> PreTrainedModel | None:
    config = copy.deepcopy(module.config)
    for part in configurations(config).values():
        # Left open, transformers fills in what it takes by itself.
        part._attn_implementation_internal = part._experts_implementation_internal = None
    try:
        with quiet(), torch.device("meta"), no_init_weights():
            return type(module)._from_config(config, dtype=module.dtype).eval()
    except Exception:
        # A class of the user's own may want other arguments, or read its weights: what it does is left to its logits.
        return None


def _tables(made: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Buffers that are not saved, where the model's own initialisation fills them; filled as transformers does."""
    names = [name for name, _ in _unsaved(made)]
    filled: list[dict[str, torch.Tensor]] = []
    for parameter in made.parameters():
        parameter._is_hf_initialized = True  # pyright: ignore[reportAttributeAccessIssue]
    for start in (0, 1):
        for name in names:
            owner, own = _owner(made, name)
            # One that was made with values is a constant of the class; one on the meta device waits for them.
            old = owner._buffers[own]
            assert old is not None
            if old.is_meta or filled:
                owner._buffers[own] = torch.full_like(old, start, device="cpu")
        for part in made.modules():
            part.__dict__.pop("_is_hf_initialized", None)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            try:
                made.initialize_weights()
            except Exception:
                return {}
        filled.append({name: value.clone() for name, value in _unsaved(made)})
    first, second = filled
    return {name: first[name] for name in first if torch.equal(first[name], second[name])}


def _unsaved(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for path, part in module.named_modules():
        for name in sorted(part._non_persistent_buffers_set):
            value = part._buffers.get(name)
            if value is not None:
                yield (f"{path}.{name}" if path else name), value


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, own = name.rpartition(".")
    return module.get_submodule(path), own


# -- hooks and patches -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patch:
    """A function that runs beside, or instead of, a forward method."""

    path: str
    """Path of the module."""
    kind: str
    """"hook", or "patched NAME" for a method of the class that something on the instance hides."""
    home: str
    """Place where the function is defined: "package.module.name"."""
    held: dict[Any, Any]
    """The dictionary that holds it."""
    key: Any
    """Its key there."""

    @property
    def package(self) -> str:
        """The package that the function is of."""
        return self.home.split(".")[0]

    def __str__(self) -> str:
        return f"{self.path or 'the model'} ({self.kind}: {self.home})"


def foreign(module: nn.Module) -> list[Patch]:
    """Hooks and patched methods whose effect cannot be told: those of nobody that is known to leave values alone, or to
    say by its weights what it does."""
    known = (*_HERE, *_MACHINERY)
    return [
        patch for patch in _patches(module) if patch.package not in known or patch.home.startswith("negspace.interop.")
    ]  # hooks that were handed out stay for as long as their owner likes


@contextmanager
def lifted(patches: Sequence[Patch]) -> Iterator[None]:
    """Take hooks and patches off while open; they are back, in their order, on leaving."""
    kept = {id(patch.held): (patch.held, dict(patch.held)) for patch in patches}
    try:
        for patch in patches:
            patch.held.pop(patch.key, None)
        yield
    finally:
        for held, before in kept.values():
            held.clear()
            held.update(before)


def _patches(module: nn.Module) -> Iterator[Patch]:
    for hooks in (torch_module._global_forward_pre_hooks, torch_module._global_forward_hooks):
        yield from (Patch("every module", "hook", _home(hook), hooks, key) for key, hook in hooks.items())
    for path, part in module.named_modules():
        for hooks in (part._forward_pre_hooks, part._forward_hooks):
            yield from (Patch(path, "hook", _home(hook), hooks, key) for key, hook in hooks.items())
        for name, value in part.__dict__.items():
            method = getattr(type(part), name, None)
            moves = name != "forward" and hasattr(nn.Module, name)  # to, cuda, train: no part of a forward pass
            if callable(value) and callable(method) and not isinstance(value, nn.Module) and not moves:
                yield Patch(path, f"patched {name}", _home(value), part.__dict__, name)


def _machinery(module: nn.Module) -> Iterator[str]:
    for patch in _patches(module):
        # One is set by gradient checkpointing with adapters and only asks for gradients; the other, by the first pass
        # that was asked for hidden states or attentions, only collects them.
        idle = "make_inputs_require_grads" in patch.home or "output_capturing" in patch.home
        if patch.package in _MACHINERY and not idle:
            yield f"{patch.path}|{patch.kind}|{patch.home}"


def _patched_modules(module: nn.Module) -> Iterator[str]:
    """Functions and classes that a package put in place of those of the Python modules that a model is written in."""
    import sys

    for name in {type(part).__module__ for part in module.modules()}:
        held = vars(sys.modules[name]) if name in sys.modules and not name.startswith(_PATCHERS) else {}
        for own, value in list(held.items()):
            if isinstance(value, types.FunctionType | type):
                yield from (f"{name}.{own}|{home}" for home in _from_patchers(value))
            if isinstance(value, type):
                for method, inner in list(vars(value).items()):
                    yield from (f"{name}.{own}.{method}|{home}" for home in _from_patchers(inner))


def _from_patchers(value: Any) -> Iterator[str]:
    if isinstance(value, types.FunctionType | type) and str(value.__module__).split(".")[0] in _PATCHERS:
        yield _home(value)


def _home(what: Any) -> str:
    """Return the place where a callable is defined: "package.module.name"."""
    while isinstance(what, functools.partial):
        what = what.func
    what = getattr(what, "__func__", what)
    if isinstance(what, types.FunctionType):
        # A decorator copies the name of what it decorates, but not where its own code is from.
        return f"{what.__globals__.get('__name__', what.__module__)}.{what.__code__.co_qualname}"
    if not isinstance(what, types.BuiltinFunctionType | type):
        what = type(what)
    return f"{what.__module__}.{what.__qualname__}"


# -- differences from the twin -----------------------------------------------------------------------------------------


def _implementations(module: Any, twin: Twin) -> Iterator[str]:
    plain = configurations(twin.config)
    for path, config in configurations(module.config).items():
        for name in ("_attn_implementation", "_experts_implementation"):
            # None is taken by parts of a model that were never asked, and by eager code.
            mine, default = getattr(config, name, None), getattr(plain.get(path), name, None)
            if mine is not None and default is not None and mine != default:
                yield f"{path}{name}|{mine}"


def _parts(module: nn.Module, twin: Twin) -> Iterator[str]:
    own = {id(config) for config in configurations(getattr(module, "config", None)).values()}
    seen = set()
    for path, part in module.named_modules():
        seen.add(path)
        plain = twin.parts.get(path)
        if plain is not None and type(plain) is type(part):
            yield from (f"{path}.{name}|{value}" for name, value in _changed(part, plain, own))
        else:
            yield f"{path}|{_home(type(part))}"
            yield from (f"{path}.{name}|{value}" for name, value in _attributes(part, own))
    yield from (f"{path}|absent" for path in twin.parts if path not in seen)


def _changed(part: nn.Module, plain: nn.Module, own: set[int]) -> Iterator[tuple[str, str]]:
    """Attributes that the class sets and that now hold something else."""
    held = attributes(part)
    for name, before in plain.__dict__.items():
        now = held.get(name, _NOT_FOUND)
        if name.startswith("_") or name in _INTERNALS or "cache" in name or now is before or id(now) in own:
            continue
        if isinstance(part, PreTrainedModel) and not isinstance(before, int | float):
            continue  # names, plans and settings of generation, which loading fills in
        if name == "padding_idx" and isinstance(part, nn.Embedding | PreTrainedModel):
            continue  # of interest to gradients only
        told, told_before = _told(now), _told(before)
        if told != told_before and told is not None:
            yield name, told


def _attributes(part: nn.Module, own: set[int]) -> Iterator[tuple[str, str]]:
    """All attributes of a part that the plain model does not have; a class's own defaults follow from its name.

    Of layers of adapters and quantised weights only settings count: what they compute with is among their parameters
    and buffers or saved beside them, and other tensors are what a pass left (bitsandbytes' columns of outliers).
    """
    kept = type(part).__module__.split(".")[0] not in _LAYERS
    for name, value in attributes(part).items():
        if name in _INTERNALS or "cache" in name or id(value) in own or (not kept and name in _OF_PASSES):
            continue
        told = _told(value, tensors=kept)
        if told is not None:
            yield name, told


def _told(value: Any, tensors: bool = True) -> str | None:
    """A value that can decide a computation, as text that is the same wherever it is run; None for any other.

    Args:
        value: any value.
        tensors: whether tensors count, and fields that a pass sets.
    """
    plain = _simple(value, 4, tensors)
    return None if plain is _NOT_FOUND else json.dumps(plain, sort_keys=True)


def _simple(value: Any, depth: int, tensors: bool) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.dtype | torch.Size):
        return str(value)
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}|{tuple(value.shape)}|{digest(value)}" if tensors and not value.is_meta else _NOT_FOUND
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | functools.partial | type):
        return _home(value)
    if depth == 0 or isinstance(value, nn.Module):
        return _NOT_FOUND
    if isinstance(value, PreTrainedConfig):
        return _simple(value.to_dict(), depth, tensors)
    if is_dataclass(value) and not isinstance(value, type):
        if tensors:
            value = {field.name: getattr(value, field.name, None) for field in fields(value)}
        else:
            # bitsandbytes' settings are no fields of its dataclass; None stands for what a pass has yet to make.
            value = {key: held for key, held in vars(value).items() if held is not None and key not in _OF_PASSES}
    if isinstance(value, Mapping):
        inner = {str(key): _simple(element, depth - 1, tensors) for key, element in value.items()}
        return {key: element for key, element in inner.items() if element is not _NOT_FOUND}
    if isinstance(value, list | tuple | set | frozenset):
        listed = [_simple(element, depth - 1, tensors) for element in value]
        kept = [element for element in listed if element is not _NOT_FOUND]
        return sorted(kept, key=str) if isinstance(value, set | frozenset) else kept
    return _NOT_FOUND


def _buffers(module: nn.Module, twin: Twin) -> Iterator[str]:
    """Buffers that are not saved with the weights and do not follow from the configuration."""
    for name, value in _unsaved(module):
        owner, own = _owner(module, name)
        if own == "inv_freq" and str(getattr(owner, "rope_type", "")).startswith(_REPLACED_LATER):
            continue
        plain = twin.buffers.get(name)
        if plain is None and name.rpartition(".")[0] in twin.parts and _has(twin.parts[name.rpartition(".")[0]], own):
            continue  # the class has it, but fills it only as it goes
        if plain is None or not _same(value, plain):
            yield f"{name}|{value.dtype}|{tuple(value.shape)}|{digest(value)}"


def _has(part: nn.Module, name: str) -> bool:
    return name in part._buffers


def _same(value: torch.Tensor, plain: torch.Tensor) -> bool:
    if value.is_meta or value.dtype != plain.dtype or value.shape != plain.shape:
        return False
    here = value.detach().cpu()
    return torch.equal(here, plain) or (
        here.is_floating_point() and torch.allclose(here.double(), plain.double(), rtol=_ROUNDING, atol=0)
    )

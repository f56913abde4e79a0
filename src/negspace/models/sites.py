"""Finding the sites of a model: which activation module is the MLP's, in every decoder layer, and proving it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2CLS

from negspace.errors import ModelError, SiteError
from negspace.models import probe
from negspace.models.experts import experts_ancestor
from negspace.models.overrides import activation, override_of
from negspace.models.site import Site

_NAMES: dict[type, str] = {
    **{(c[0] if isinstance(c, tuple) else c): n for n, c in reversed(ACT2CLS.items())},
    nn.SiLU: "silu",
    nn.GELU: "gelu",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.Softplus: "softplus",
    nn.Mish: "mish",
}
_OWN_NAMES = {"BloomGelu": "gelu_pytorch_tanh"}
_UNSUPPORTED = "this architecture is not supported yet; please report it with its configuration"
_KERNELS = (
    "load it without the replacement: without Liger (apply_liger_kernel_to_...(swiglu=False, geglu=False)), with "
    "use_kernels=False, or with experts_implementation='grouped_mm'"
)


@dataclass(frozen=True)
class _Candidate:
    """An activation module of a decoder layer that may be the MLP's."""

    layer: int
    path: str
    act: nn.Module
    block: str | None
    """Path of the outermost module inside the layer that was called and holds it; None when the layer itself does."""
    calls: tuple[probe.Call, ...]


def resolve(module: Any) -> tuple[Site, ...]:
    """The sites of a causal language model, in order of layers; within a layer "experts" come before "shared".

    A layer that only mixes tokens (attention or a state-space layer of a hybrid model) has no site.

    Activation modules are found by structure, then proved in one forward pass over a few tokens: each is called once
    per layer, on as many rows as there are tokens (or routed rows), in a block that treats every token alone and whose
    whole output passes through it. Nothing is left on the model.

    Raises:
        SiteError: a layer has no such module, or one that does not behave as a site must; the message says which.
        ModelError: the model's logits are not finite.
    """
    where, layers = decoder_layers(module)
    with ExitStack() as stack:
        acts: dict[str, tuple[int, nn.Module]] = {}
        overridden = False
        for number, layer in enumerate(layers):
            for inner, part in layer.named_modules():
                path = f"{where}.{number}.{inner}" if inner else f"{where}.{number}"
                if override_of(part) is not None:
                    overridden = True
                    acts[path] = (number, part)
                elif _is_activation(part):
                    acts[path] = (number, part)
        _refuse_shared(module, acts)
        plain = probe.run(module) if overridden else None
        hooked = {path: (number, stack.enter_context(activation(part))) for path, (number, part) in acts.items()}
        watched = {f"{where}.{inner}": part for inner, part in layers.named_modules() if inner}
        watched.update({f"{path}()": act for path, (_, act) in hooked.items()})
        seen = probe.observe(module, watched)
        _check_logits(module, seen.logits, plain)
        memory: dict[tuple[str, ...], bool] = {}
        found: list[Site] = []
        for number in range(len(layers)):
            candidates = [
                _candidate(number, path, act is acts[path][1], act, f"{where}.{number}", seen)
                for path, (layer, act) in hooked.items()
                if layer == number
            ]
            found += _layer_sites(module, f"{where}.{number}", number, candidates, seen, memory)
        if not found:
            raise SiteError(
                asked=f"the sites of {type(module).__name__}",
                found=f"{len(layers)} layers that only mix tokens: the model has no MLP",
                todo="use a model with MLPs (a transformer, or a hybrid of one)",
            )
        return tuple(found)


def decoder_layers(module: Any) -> tuple[str, nn.ModuleList]:
    """Path and list of the decoder layers: the heaviest list of modules that is as long as the model is deep."""
    config = module.config.get_text_config(decoder=True)
    # The decoder halves of encoder-decoder families (BART's) count their layers under a name of their own.
    depth = getattr(config, "decoder_layers", None) or getattr(config, "num_hidden_layers", None)
    lists = [(p, m) for p, m in module.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        raise SiteError(
            asked=f"the decoder layers of {type(module).__name__}",
            found=f"no list of {depth} modules",
            todo=_UNSUPPORTED,
        )
    return max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))


def _is_activation(module: nn.Module) -> bool:
    """Whether a module applies one non-linear function to every element."""
    if next(module.children(), None) is not None or type(module).__name__ == "LinearActivation":
        return False
    if type(module) in _NAMES:
        return True
    if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
        return False
    # Classes of a model's own (Bloom's, remote code): recognised by what they do to a few numbers.
    x = torch.linspace(-3, 3, 16)
    try:
        with torch.no_grad():
            y, turned = module(x), module(x.flip(0))
    except Exception:
        return False
    if not isinstance(y, torch.Tensor) or y.shape != x.shape or not torch.isfinite(y).all():
        return False
    slopes = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
    return torch.allclose(y.flip(0), turned) and bool((slopes.max() - slopes.min()).abs() > 1e-3)


def _activation_name(module: nn.Module, act: nn.Module) -> str:
    override = override_of(module)
    if override is not None:
        return override.activation
    if isinstance(act, nn.GELU):
        return "gelu_pytorch_tanh" if act.approximate == "tanh" else "gelu"
    own = type(act).__name__
    return _NAMES.get(type(act), _OWN_NAMES.get(own, own.lower()))


def _refuse_shared(module: Any, acts: dict[str, tuple[int, nn.Module]]) -> None:
    first: dict[int, str] = {}
    for path, (_, act) in acts.items():
        other = first.setdefault(id(act), path)
        if other != path:
            raise SiteError(
                asked=f"the sites of {type(module).__name__}",
                found=f"one activation module in two places, {other} and {path}: its calls cannot be told apart",
                todo="give each layer an activation module of its own (for example copy.deepcopy of it)",
            )


def _check_logits(module: Any, logits: torch.Tensor, plain: torch.Tensor | None) -> None:
    if not torch.isfinite(logits).all():
        raise ModelError(
            asked=f"a forward pass of {type(module).__name__} in {logits.dtype}",
            found="logits that are not finite",
            todo="load the model in float32 (dtype='float32'); if that gives the same, its weights are damaged",
        )
    if plain is not None and not torch.equal(plain, logits):
        raise SiteError(
            asked=f"the sites of {type(module).__name__}",
            found="its activation is a function, and this project's replacement for it gives other logits",
            todo="this version of transformers computes the activation differently; please report it",
        )


def _candidate(layer: int, path: str, own: bool, act: nn.Module, at: str, seen: probe.Observation) -> _Candidate:
    parts = path[len(at) + 1 :].split(".")
    # Where an override stands in for the activation, the path is that of the module that applies it: a block itself.
    depth = len(parts) - 1 if own else len(parts)
    above = [f"{at}.{'.'.join(parts[:n])}" for n in range(1, depth + 1)]
    block = next((p for p in above if p in seen.calls), None)
    return _Candidate(layer, path, act, block, tuple(seen.calls.get(f"{path}()", ())))


def _layer_sites(
    module: Any,
    at: str,
    number: int,
    candidates: list[_Candidate],
    seen: probe.Observation,
    memory: dict[tuple[str, ...], bool],
) -> list[Site]:
    """The sites of one decoder layer, proved."""
    blocks: dict[str, list[_Candidate]] = {}
    for candidate in candidates:
        if candidate.block is not None and not _mixes(module, candidate.block, seen, memory):
            blocks.setdefault(candidate.block, []).append(candidate)
    # An activation held by the layer itself is its MLP's only where no block has one (OPT, not Gemma 3n's second).
    loose = [] if blocks else [c for c in candidates if c.block is None and c.calls]
    sites: list[Site] = []
    for block, members in blocks.items():
        for member in members:
            if _in_a_list(module, block, member.path):
                raise SiteError(
                    asked=f"the site of layer {number}",
                    found=f"experts in separate modules ({member.path}), which are called apart from one another",
                    todo="use the implementation of this architecture in transformers 5 (trust_remote_code=False), "
                    "which keeps its experts together",
                )
            if not member.calls:
                raise SiteError(
                    asked=f"the site of layer {number}",
                    found=f"its activation module {member.path} is never called, although {block} runs: a fused kernel "
                    "computes it",
                    todo=_KERNELS,
                )
        members = _without_routers(module, members)
        own = [_prove(module, at, m, seen) for m in members]
        _check_block(module, block, members, own, seen, memory)
        sites += own
    for member in loose:
        site = _prove(module, at, member, seen)
        call = member.calls[0]
        if site.projection is None or probe.consumer_of(call.out, call.order, _within(seen, at)) is None:
            raise _not_a_site(member.path, "no projection makes its input, or none takes its output")
        sites.append(site)
    if not sites and _only_mixes(module, at, seen, memory):
        return []
    return _name_branches(at, number, sites)


def _in_a_list(module: Any, block: str, path: str) -> bool:
    """Whether a list of modules lies between a block and an activation inside it."""
    inner = path[len(block) + 1 :].split(".") if path != block else []
    above = [f"{block}.{'.'.join(inner[:n])}" for n in range(1, len(inner))]
    return any(isinstance(module.get_submodule(p), nn.ModuleList) for p in above)


def _without_routers(module: Any, members: list[_Candidate]) -> list[_Candidate]:
    """Without routers' activations, where a block holds several: they score experts, and no matrix follows them."""

    def between_two(member: _Candidate) -> bool:
        parent = module.get_submodule(member.path.rsplit(".", 1)[0])
        width = member.calls[0].args[0].shape[-1]
        return sum(w.dim() > 1 and any(n % width == 0 for n in w.shape) for w in parent.parameters()) > 1

    return members if len(members) == 1 else [m for m in members if override_of(m.act) or between_two(m)]


def _mixes(module: Any, block: str, seen: probe.Observation, memory: dict[tuple[str, ...], bool]) -> bool:
    target = module.get_submodule(block)
    key = ("mixes", _kind(block, target))
    if key not in memory:
        memory[key] = len(seen.calls[block]) != 1 or probe.mixes_tokens(target, seen.calls[block][0])
    return memory[key]


def _only_mixes(module: Any, at: str, seen: probe.Observation, memory: dict[tuple[str, ...], bool]) -> bool:
    """Whether all parts of a layer that hold matrices mix tokens, so that it has no MLP to look for."""
    children = [f"{at}.{name}" for name, _ in module.get_submodule(at).named_children()]
    parts = [p for p in children if any(w.dim() > 1 for w in module.get_submodule(p).parameters())]
    return bool(parts) and all(p in seen.calls and _mixes(module, p, seen, memory) for p in parts)


def _kind(block: str, target: nn.Module) -> str:
    """Blocks of one kind (name, class and parts) need the costly checks once."""
    inner = ",".join(f"{name}:{type(part).__name__}" for name, part in target.named_modules())
    return f"{block.rsplit('.', 1)[-1]}|{inner}"


def _check_block(
    module: Any,
    block: str,
    members: list[_Candidate],
    own: list[Site],
    seen: probe.Observation,
    memory: dict[tuple[str, ...], bool],
) -> None:
    target = module.get_submodule(block)
    key = ("carries", _kind(block, target))
    if key not in memory:
        holders = [experts_ancestor(module, s.path) for s in own if s.experts]
        biased = any(getattr(holder[1], "has_bias", False) for holder in holders if holder)
        memory[key] = probe.carries_block(target, [m.act for m in members], seen.calls[block][0], biased=biased)
    if not memory[key]:
        paths = ", ".join(m.path for m in members)
        raise _not_a_site(paths, f"the output of {block} does not pass through it alone")


def _prove(module: Any, at: str, candidate: _Candidate, seen: probe.Observation) -> Site:
    """The candidate as a site, after the checks on its calls, its shape, its values and where its input comes from."""
    path, calls = candidate.path, candidate.calls
    inputs = [call.args[0] if call.args and isinstance(call.args[0], torch.Tensor) else None for call in calls]
    holder = experts_ancestor(module, path)
    if holder is None and len(calls) != 1:
        raise _not_a_site(path, f"it is called {len(calls)} times in one forward pass, where once was expected")
    for call, a in zip(calls, inputs, strict=True):
        if a is None or call.out is None or call.out.shape != a.shape:
            raise _not_a_site(path, "it does not map one tensor to another of the same shape")
        if not torch.isfinite(a).all() or not torch.isfinite(call.out).all():
            raise _not_a_site(path, "its input or output is not finite")
    if getattr(candidate.act, "inplace", False):
        raise SiteError(
            asked=f"a site at {path}",
            found="an activation that overwrites its input (inplace=True)",
            todo="set inplace=False on it before wrapping the model",
        )
    first = calls[0].args[0]
    width, name = first.shape[-1], _activation_name(module.get_submodule(path), candidate.act)
    if holder is not None:
        probe.check_rows(holder[0], holder[1], candidate.act, seen.calls[holder[0]][0])
        experts: Any = holder[1]
        return Site(candidate.layer, path, width, name, int(experts.num_experts), None, "experts")
    if first.numel() // width != seen.tokens:
        rows = f"{first.numel() // width} rows for {seen.tokens} tokens"
        raise _not_a_site(path, f"its input has {rows}: experts routed in a way of the model's own")
    projection = probe.source_of(first, calls[0].order, _within(seen, at))
    if projection is not None and any(p.dim() > 2 for p in module.get_submodule(projection).parameters()):
        raise _not_a_site(path, f"its input comes from experts of an unknown kind ({projection})")
    return Site(candidate.layer, path, width, name, 0, projection, "mlp")


def _within(seen: probe.Observation, at: str) -> dict[str, list[probe.Call]]:
    """The calls of a layer's modules, without the activations themselves."""
    acts = {path[:-2] for path in seen.calls if path.endswith("()")}
    return {p: c for p, c in seen.calls.items() if p.startswith(f"{at}.") and not p.endswith("()") and p not in acts}


def _name_branches(at: str, number: int, sites: list[Site]) -> list[Site]:
    routed = [site for site in sites if site.experts]
    dense = [site for site in sites if not site.experts]
    if not sites:
        raise SiteError(
            asked=f"the site of layer {number} ({at})",
            found="no activation module whose block treats each token alone: the layer has no MLP, applies its "
            "activation by a function, or has it computed by a fused kernel",
            todo=f"{_UNSUPPORTED}; if a kernel replaced the MLP, {_KERNELS}",
        )
    if len(routed) > 1 or len(dense) > 1:
        raise SiteError(
            asked=f"the site of layer {number} ({at})",
            found=f"several that could be it: {', '.join(site.path for site in sites)}",
            todo=_UNSUPPORTED,
        )
    if routed:
        dense = [Site(s.layer, s.path, s.width, s.activation, 0, s.projection, "shared") for s in dense]
    return routed + dense


def _not_a_site(path: str, why: str) -> SiteError:
    return SiteError(asked=f"a site at {path}", found=why, todo=_UNSUPPORTED)

"""Finding the sites of a model: which activation module is the MLP's, in every decoder layer, and proving it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from negspace.errors import ModelError, SiteError
from negspace.models import probe
from negspace.models.activations import activation_name, is_activation
from negspace.models.experts import experts_ancestor, kind_of
from negspace.models.layers import UNSUPPORTED, decoder_layers
from negspace.models.overrides import Alone, activation, override_of
from negspace.models.site import Branch, Site

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
    above: tuple[str, ...]
    """Paths of the modules inside the layer that were called and hold it, the outermost first."""
    calls: tuple[probe.Call, ...]
    alone: bool
    """True if no other place in the model holds the same module."""


def resolve(module: Any) -> tuple[Site, ...]:
    """The sites of a causal language model, in order of layers; within a layer "experts" come before "shared".

    A layer that only mixes tokens (attention or a state-space layer of a hybrid model) has no site, and neither has one
    that text does not reach (in a model that looks at images as well).

    Activation modules are found by structure, then proved in one forward pass over a few tokens: each is called once
    per layer, on as many rows as there are tokens (or routed rows), in a block that treats every token alone and whose
    whole output passes through it. Nothing is left on the model.

    Raises:
        SiteError: a layer has no such module, or one that does not behave as a site must; the message says which.
        ModelError: the model's logits are not finite.
    """
    layers = decoder_layers(module)
    with ExitStack() as stack:
        acts: dict[str, tuple[int, nn.Module]] = {}
        for number, (at, layer) in enumerate(layers):
            acts.update((path, (number, part)) for path, part in _activations(at, layer))
        places = Counter(id(part) for _, part in acts.values())
        plain = None
        if any(override_of(part) for _, part in acts.values()) or max(places.values(), default=1) > 1:
            plain = probe.run(module)
        hooked = {
            path: (number, stack.enter_context(activation(module, path, places[id(part)] == 1)))
            for path, (number, part) in acts.items()
        }
        _refuse_repeated(module, {path: act for path, (_, act) in hooked.items()})
        watched = {path: part for at, layer in layers for path, part in layer.named_modules(prefix=at)}
        watched.update({f"{path}()": act for path, (_, act) in hooked.items()})
        seen = probe.observe(module, watched)
        _check_logits(module, seen.logits, plain)
        memory: dict[tuple[str, ...], bool] = {}
        found: list[Site] = []
        for number, (at, _) in enumerate(layers):
            if at not in seen.calls:
                continue  # it looks at images alone (mllama's cross-attention)
            candidates = [
                _candidate(
                    number, path, override_of(acts[path][1]) is None, act, at, seen, places[id(acts[path][1])] == 1
                )
                for path, (layer, act) in hooked.items()
                if layer == number
            ]
            found += _layer_sites(module, at, number, candidates, seen, memory)
        if not found:
            ran = sum(at in seen.calls for at, _ in layers)
            raise SiteError(
                asked=f"the sites of {type(module).__name__}",
                found=f"{ran} layers that only mix tokens: no MLP that treats each token alone"
                if ran
                else f"{len(layers)} layers, {layers[0][0]} the first, none of which runs on text",
                todo="use a model with MLPs (a transformer, or a hybrid of one)" if ran else UNSUPPORTED,
            )
        return tuple(found)


def _activations(at: str, layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Paths and modules of a layer that apply an activation, or are given one by an override."""
    own: list[str] = []
    for path, part in layer.named_modules(prefix=at, remove_duplicate=False):
        if any(path.startswith(f"{above}.") for above in own):
            continue
        if override_of(part) is not None:
            own.append(path)
            yield path, part
        elif is_activation(part):
            yield path, part


def _refuse_repeated(module: Any, acts: Mapping[str, nn.Module]) -> None:
    first: dict[int, str] = {}
    for path, act in acts.items():
        other = first.setdefault(id(act), path)
        if other != path:
            raise SiteError(
                asked=f"the sites of {type(module).__name__}",
                found=f"one module in two places, {other} and {path}: its calls cannot be told apart",
                todo="give each layer modules of its own (for example copy.deepcopy of them)",
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


def _candidate(
    layer: int, path: str, own: bool, act: nn.Module, at: str, seen: probe.Observation, alone: bool
) -> _Candidate:
    parts = path[len(at) + 1 :].split(".")
    # Where an override stands in for the activation, the path is that of the module that applies it: a block itself.
    depth = len(parts) - 1 if own else len(parts)
    above = (f"{at}.{'.'.join(parts[:n])}" for n in range(1, depth + 1))
    return _Candidate(
        layer, path, act, tuple(p for p in above if p in seen.calls), tuple(seen.calls.get(f"{path}()", ())), alone
    )


def _layer_sites(
    module: Any,
    at: str,
    number: int,
    candidates: list[_Candidate],
    seen: probe.Observation,
    memory: dict[tuple[str, ...], bool],
) -> list[Site]:
    """The sites of one decoder layer, proved."""
    blocks = _blocks(module, at, candidates, seen, memory)
    # An activation held by the layer itself is its MLP's only where no block has one (OPT, not Gemma 3n's second).
    loose = [] if blocks else [c for c in candidates if not c.above and c.calls]
    sites: list[tuple[type, Site]] = []
    for block, members in blocks.items():
        for member in members:
            if _in_a_list(module, block, member.path):
                raise SiteError(
                    asked=f"the site of layer {number}",
                    found=f"experts in separate modules ({member.path}), which are called apart from one another",
                    todo="use the implementation of this architecture in transformers 5 (trust_remote_code=False), "
                    "which keeps its experts together",
                )
            if not member.calls and not _apart(module, block, member, members, seen):
                raise SiteError(
                    asked=f"the site of layer {number}",
                    found=f"its activation module {member.path} is never called, although {block} runs: a fused kernel "
                    "computes it",
                    todo=_KERNELS,
                )
        members = _without_routers(module, block, [m for m in members if m.calls], seen)
        own = [_prove(module, at, m, seen) for m in members]
        if _carries(module, block, members, own, seen, memory):
            sites += [(type(module.get_submodule(block)), site) for site in own]
        elif not _prepares(module, at, block, candidates, seen, memory):
            paths = ", ".join(m.path for m in members)
            raise _not_a_site(paths, f"the output of {block} does not pass through it alone")
    for member in loose:
        site = _prove(module, at, member, seen)
        call = member.calls[0]
        if site.projection is None or probe.consumer_of(call.out, call.order, _within(seen, at)) is None:
            raise _not_a_site(member.path, "no projection makes its input, or none takes its output")
        sites.append((type(module.get_submodule(at)), site))
    if not sites and _only_mixes(module, at, seen, memory):
        return []
    return _name_branches(at, number, sites, seen)


def _blocks(
    module: Any,
    at: str,
    candidates: list[_Candidate],
    seen: probe.Observation,
    memory: dict[tuple[str, ...], bool],
) -> dict[str, list[_Candidate]]:
    """Blocks of a layer that treat each token alone, the outermost ones, with the activations inside them.

    Where there is none, the MLPs with which blocks that mix tokens end (Zamba 2's shared attention and MLP).
    """
    outer: dict[str, list[_Candidate]] = {}
    inner: dict[str, list[_Candidate]] = {}
    for candidate in candidates:
        block = next((p for p in candidate.above if not _mixes(module, at, p, seen, memory)), None)
        if block is None:
            continue
        if block == candidate.above[0]:
            outer.setdefault(block, []).append(candidate)
        else:
            last, whole = seen.calls[block][0].out, seen.calls[candidate.above[0]][0].out
            if last is not None and whole is not None and last.shape == whole.shape and torch.equal(last, whole):
                inner.setdefault(block, []).append(candidate)
    return outer or inner


def _in_a_list(module: Any, block: str, path: str) -> bool:
    """Return True if a list of modules lies between a block and an activation inside it."""
    inner = path[len(block) + 1 :].split(".") if path != block else []
    above = [f"{block}.{'.'.join(inner[:n])}" for n in range(1, len(inner))]
    return any(isinstance(module.get_submodule(p), nn.ModuleList) for p in above)


def _apart(module: Any, block: str, member: _Candidate, members: list[_Candidate], seen: probe.Observation) -> bool:
    """Return True if a part of a block beside those that run is not run on text: Ernie's experts for images.

    Were it run by a kernel instead, the block's output would not pass through the others alone, which is checked.
    """
    path = member.path if override_of(module.get_submodule(member.path)) else member.path.rpartition(".")[0]
    return path != block and path not in seen.calls and any(other.calls for other in members)


def _without_routers(module: Any, block: str, members: list[_Candidate], seen: probe.Observation) -> list[_Candidate]:
    """Without routers' activations, where a block holds several: they score experts instead of making an output.

    No second matrix follows them, or the experts are called otherwise without them.
    """
    holders = {h[0]: h[1] for h in (experts_ancestor(module, member.path) for member in members) if h is not None}

    def routes(member: _Candidate) -> bool:
        if override_of(module.get_submodule(member.path)):
            return False
        parent = module.get_submodule(member.path.rsplit(".", 1)[0])
        width = member.calls[0].args[0].shape[-1]
        if sum(w.dim() > 1 and any(n % width == 0 for n in w.shape) for w in parent.parameters()) < 2:
            return True
        if any(member.path.startswith(f"{path}.") for path in holders):
            return False
        target, call = module.get_submodule(block), seen.calls[block][0]
        return any(probe.steers(target, member.act, holder, call) for holder in holders.values())

    kept = members if len(members) == 1 else [m for m in members if not routes(m)]
    if not kept:
        raise _not_a_site(", ".join(m.path for m in members), f"nothing in {block} follows it that makes an output")
    return kept


def _mixes(module: Any, at: str, block: str, seen: probe.Observation, memory: dict[tuple[str, ...], bool]) -> bool:
    target = module.get_submodule(block)
    key = ("mixes", _kind(block, target))
    if key not in memory:
        once = len(seen.calls[block]) == len(seen.calls[at])
        memory[key] = not once or probe.mixes_tokens(target, seen.calls[block][0])
    return memory[key]


def _only_mixes(module: Any, at: str, seen: probe.Observation, memory: dict[tuple[str, ...], bool]) -> bool:
    """Return True if all parts of a layer that hold matrices mix tokens, so that it has no MLP to look for."""
    children = [f"{at}.{name}" for name, _ in module.get_submodule(at).named_children()]
    parts = [p for p in children if any(w.dim() > 1 for w in module.get_submodule(p).parameters())]
    return bool(parts) and all(p in seen.calls and _mixes(module, at, p, seen, memory) for p in parts)


def _kind(block: str, target: nn.Module) -> str:
    """Blocks of one kind (name, class and parts) need the costly checks once."""
    inner = ",".join(f"{name}:{type(part).__name__}" for name, part in target.named_modules())
    return f"{block.rsplit('.', 1)[-1]}|{inner}"


def _carries(
    module: Any,
    block: str,
    members: list[_Candidate],
    own: list[Site],
    seen: probe.Observation,
    memory: dict[tuple[str, ...], bool],
) -> bool:
    """Return True if a block's output depends on its input only through its members' outputs."""
    target = module.get_submodule(block)
    key = ("carries", _kind(block, target))
    if key not in memory:
        holders = [h[1] for h in (experts_ancestor(module, s.path) for s in own if s.experts) if h is not None]
        leaks = any(getattr(holder, "has_bias", False) or kind_of(holder).leaks for holder in holders)
        memory[key] = probe.carries_block(target, [m.act for m in members], seen.calls[block][0], leaks=leaks)
    return memory[key]


def _prepares(
    module: Any,
    at: str,
    block: str,
    candidates: list[_Candidate],
    seen: probe.Observation,
    memory: dict[tuple[str, ...], bool],
) -> bool:
    """Return True if a block only makes the input of another that mixes tokens or holds an activation: a gated norm."""
    children = [f"{at}.{name}" for name, _ in module.get_submodule(at).named_children()]
    others = {
        path: seen.calls[path]
        for path in children
        if path in seen.calls
        and path != block
        and (any(c.path.startswith(f"{path}.") for c in candidates) or _mixes(module, at, path, seen, memory))
    }
    call = seen.calls[block][0]
    return call.out is not None and probe.consumer_of(call.out, call.order, others) is not None


def _prove(module: Any, at: str, candidate: _Candidate, seen: probe.Observation) -> Site:
    """The candidate as a site, after the checks on its calls, its shape, its values and where its input comes from."""
    path, calls, passes = candidate.path, candidate.calls, len(seen.calls[at])
    inputs = [call.args[0] if call.args and isinstance(call.args[0], torch.Tensor) else None for call in calls]
    holder = experts_ancestor(module, path)
    if holder is None and len(calls) != passes:
        times = f"{len(calls)} times in one forward pass, where {'once' if passes == 1 else passes} was expected"
        raise _not_a_site(path, f"it is called {times}")
    if holder is not None and passes > 1:
        raise _not_a_site(path, f"it belongs to experts in a layer that is run {passes} times")
    for call, a in zip(calls, inputs, strict=True):
        if a is None or call.out is None or call.out.shape != a.shape:
            raise _not_a_site(path, "it does not map one tensor to another of the same shape")
        if not torch.isfinite(a).all() or not torch.isfinite(call.out).all():
            raise _not_a_site(path, "its input or output is not finite")
    act = candidate.act.act if isinstance(candidate.act, Alone) else candidate.act
    if getattr(act, "inplace", False):
        raise SiteError(
            asked=f"a site at {path}",
            found="an activation that overwrites its input (inplace=True)",
            todo="set inplace=False on it before wrapping the model",
        )
    first = calls[0].args[0]
    width, name = first.shape[-1], activation_name(module.get_submodule(path), candidate.act)
    if holder is not None:
        probe.check_rows(holder[0], holder[1], candidate.act, seen.calls[holder[0]][0])
        count = kind_of(holder[1]).count(holder[1])
        return Site(candidate.layer, path, width, name, count, None, "experts", alone=candidate.alone)
    if first.numel() // width != seen.tokens:
        rows = f"{first.numel() // width} rows for {seen.tokens} tokens"
        raise _not_a_site(path, f"its input has {rows}: the model routes experts in its own way, or adds tokens")
    projection = probe.source_of(first, calls[0].order, _within(seen, at))
    if projection is not None and any(p.dim() > 2 for p in module.get_submodule(projection).parameters()):
        raise _not_a_site(path, f"its input comes from experts of an unknown kind ({projection})")
    return Site(candidate.layer, path, width, name, 0, projection, "mlp", passes, candidate.alone)


def _within(seen: probe.Observation, at: str) -> dict[str, list[probe.Call]]:
    """The calls of a layer's modules, without the activations themselves."""
    acts = {path[:-2] for path in seen.calls if path.endswith("()")}
    return {p: c for p, c in seen.calls.items() if p.startswith(f"{at}.") and not p.endswith("()") and p not in acts}


def _name_branches(at: str, number: int, found: list[tuple[type, Site]], seen: probe.Observation) -> list[Site]:
    """A layer's sites with their branches, in order; `found` has the class of each one's block."""
    sites = [site for _, site in found]
    routed = [site for site in sites if site.experts]
    dense = sorted((site for site in sites if not site.experts), key=lambda s: seen.calls[f"{s.path}()"][0].order)
    if not sites:
        raise SiteError(
            asked=f"the site of layer {number} ({at})",
            found="no activation module whose block treats each token alone: the layer has no MLP, applies its "
            "activation by a function, or has it computed by a fused kernel",
            todo=f"{UNSUPPORTED}; if a kernel replaced the MLP, {_KERNELS}",
        )
    # Two blocks of one class and width are MLPs that follow one another; of others one may be something else.
    alike = {(kind, site.width) for kind, site in found if not site.experts}
    if len(routed) > 1 or len(dense) > 2 or len(alike) > 1:
        raise SiteError(
            asked=f"the site of layer {number} ({at})",
            found=f"several that could be it: {', '.join(site.path for site in sites)}",
            todo=UNSUPPORTED,
        )
    branches: tuple[Branch, ...] = ("shared" if routed else "mlp", "second")
    return routed + [replace(site, branch=branch) for site, branch in zip(dense, branches, strict=False)]


def _not_a_site(path: str, why: str) -> SiteError:
    return SiteError(asked=f"a site at {path}", found=why, todo=UNSUPPORTED)

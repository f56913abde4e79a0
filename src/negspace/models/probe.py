"""Watching a model in one tiny forward pass, and the checks that a wrongly chosen site cannot pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.hooks import RemovableHandle
from transformers.utils.generic import ModelOutput

from negspace.errors import ModelError, SiteError
from negspace.memory import is_out_of_memory, shortage
from negspace.models.experts import gate_rows, kind_of

AGREED = 0.9
"""Share of pre-activations that must be those by hand: a model may clamp some, and TF32 rounds small ones coarsely."""
TOKENS = 6
"""Length of the probing sequence: enough for token mixing and several experts to show."""


@dataclass
class Call:
    """One call of a module: copies of its tensors, since models change some in place."""

    order: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any = None


@dataclass
class Observation:
    """Observations of the watched modules in the probing forward pass."""

    tokens: int
    logits: torch.Tensor
    calls: dict[str, list[Call]] = field(default_factory=dict)


def sequence(module: Any, tokens: int = TOKENS) -> torch.Tensor:
    """Token ids [1, tokens] spread over the vocabulary, none of which stands for an image or a sound."""
    embedding = module.get_input_embeddings().weight
    text = module.config.get_text_config(decoder=True)
    fields = {} if text is module.config else module.config.__dict__
    # Such placeholders ask for features; a model of text alone has none, and its fields name only special tokens.
    taken = {value for name, value in fields.items() if "token" in name and isinstance(value, int)}
    rows = embedding.shape[0]
    ids = torch.linspace(1, rows - 1, tokens, device="cpu").long().tolist()
    free = [
        next(i for i in itertools.chain(range(first, 0, -1), range(first, rows)) if i not in taken) for first in ids
    ]
    return torch.tensor(free, device=embedding.device)[None]


def run(module: Any) -> torch.Tensor:
    """Logits [1, TOKENS, vocabulary] of the probing sequence."""
    return forward(module, sequence(module))


def forward(module: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits [rows, tokens, vocabulary] of token ids [rows, tokens].

    Raises:
        SiteError: the forward pass fails.
        ModelError: the model scores something else than the tokens of its vocabulary.
    """
    ids = ids.to(module.get_input_embeddings().weight.device)
    try:
        with torch.no_grad():
            out = module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        logits = out.get("logits") if isinstance(out, ModelOutput) else out.logits
    except Exception as error:
        if is_out_of_memory(error):
            found, todo = shortage(error)
            raise SiteError(
                f"a forward pass of {type(module).__name__} over {ids.shape[1]} tokens", found, todo
            ) from error
        triton = "active drivers" in str(error)  # how Triton says that it has no device
        raise SiteError(
            asked=f"a forward pass of {type(module).__name__} over {ids.shape[1]} tokens",
            found=f"{type(error).__name__}: {error}"
            + (" (a kernel of Triton, which needs a GPU; Liger's patches bring such kernels)" if triton else ""),
            todo="load the model in a process without the patch (apply_liger_kernel_to_...), or on a GPU"
            if triton
            else "check that the model runs by itself on text alone, on this device and in this dtype",
        ) from error
    rows = module.get_input_embeddings().weight.shape[0]
    vocabulary = min(rows, getattr(module.config.get_text_config(decoder=True), "vocab_size", rows))
    # A few embeddings may have no logit (Moshi, Mllama); classes are far fewer.
    if logits is None or logits.dim() != 3 or 2 * logits.shape[-1] < vocabulary:
        raise ModelError(
            asked=f"the logits of {type(module).__name__}",
            found=f"a {type(module).__name__}, which has no output layer over its vocabulary",
            todo="load it with AutoModelForCausalLM",
        )
    return logits


def is_causal(module: Any) -> bool:
    """Return True if no logit depends on a later token, as a left-to-right language model promises."""
    ids = sequence(module).repeat(2, 1)
    ids[1, -1] = ids[0, 1]
    # One pass: to read a large model's weights takes longer than a few tokens do.
    one, other = forward(module, ids)[:, :-1].float()
    scale = one.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    dtype = module.get_input_embeddings().weight.dtype
    # Written so that logits that are not finite pass: they are refused where that can be said clearly.
    return not bool((one - other).abs().max() > tolerance(dtype) * scale)


def dropping_parts(module: nn.Module) -> list[str]:
    """Paths of parts that drop values at random: those in training mode, with a rate above zero."""

    def rates(part: nn.Module) -> Iterable[float]:
        yield from (value for key, value in vars(part).items() if "dropout" in key and isinstance(value, float))
        yield part.p if isinstance(part, _DropoutNd) else 0.0

    return [path for path, part in module.named_modules() if part.training and max(rates(part)) > 0]


def observe(module: Any, watched: Mapping[str, nn.Module]) -> Observation:
    """Run the probing forward pass and record every call of the watched modules, in order of completion."""
    seen: dict[str, list[Call]] = {}
    count = 0

    def watch(path: str, target: nn.Module, stack: ExitStack) -> None:
        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.setdefault(path, []).append(
                Call(-1, tuple(_copy(a) for a in args), {k: _copy(v) for k, v in kwargs.items()})
            )

        def leave(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            nonlocal count
            call = next(c for c in reversed(seen[path]) if c.order < 0)
            call.order, call.out = count, _copy(first_tensor((out,)))
            count += 1

        stack.callback(target.register_forward_pre_hook(enter, with_kwargs=True).remove)
        stack.callback(target.register_forward_hook(leave, with_kwargs=True).remove)

    with ExitStack() as stack:
        for path, target in watched.items():
            watch(path, target, stack)
        logits = run(module)
    return Observation(TOKENS, logits, seen)


def first_tensor(values: Iterable[Any]) -> torch.Tensor | None:
    """The first floating-point tensor among values, looking into tuples, lists and dicts."""
    for value in values:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value
        if isinstance(value, (tuple, list)):
            inner = first_tensor(value)
        elif isinstance(value, Mapping):
            inner = first_tensor(value.values())
        else:
            inner = None
        if inner is not None:
            return inner
    return None


def mixes_tokens(block: nn.Module, call: Call) -> bool:
    """Return True if a block's output at one token depends on another token, as attention and state-space layers do."""
    plain = _replay(block, call, None)
    moved = _replay(block, call, _move_first)
    scale = plain.abs().max().clamp_min(torch.finfo(plain.dtype).tiny)
    others = (plain - moved).reshape(-1, plain.shape[-1])[plain.numel() // plain.shape[-1] // TOKENS :]
    return bool((others.abs().max() / scale) > tolerance(plain.dtype))


def carries_block(block: nn.Module, acts: Iterable[nn.Module], call: Call, *, leaks: bool) -> bool:
    """Return True if all that a block makes of its input passes through the given activations' outputs.

    With the outputs set to zero the block must give the same for two different inputs, and without, different ones.
    Experts with a bias behind the activation, or some of which hand on what they get (`leaks`), keep a dependence on
    the input; there it is only checked that setting the outputs to zero changes what the block gives.
    """
    plain = _replay(block, call, None)
    moved = _replay(block, call, _move_all)
    with ExitStack() as stack:
        for act in acts:
            stack.callback(act.register_forward_hook(_silence).remove)
        silent = _replay(block, call, None)
        silent_moved = _replay(block, call, _move_all)
    alive = (plain - moved).abs().max()
    if leaks:
        return bool((plain - silent).abs().max() > 0)
    # Zero times anything is exact in every dtype, where an allowance for rounding would let a bypass through.
    return bool(alive > 0 and torch.equal(silent, silent_moved))


def source_of(a: torch.Tensor, before: int, calls: Mapping[str, list[Call]]) -> str | None:
    """Path of the first module whose output is, or contains as a slice, the tensor a bit for bit."""
    width = a.shape[-1]
    rows = a.reshape(-1, width)
    finished = sorted((c.order, path, c.out) for path, made in calls.items() for c in made if 0 <= c.order < before)
    for _, path, out in finished:
        if out is None or out.shape[-1] % width or out.numel() // out.shape[-1] != rows.shape[0]:
            continue
        flat = out.reshape(-1, out.shape[-1])
        if any(torch.equal(flat[:, part], rows) for part in parts(out.shape[-1], width)):
            return path
    return None


def parts(outputs: int, width: int) -> list[slice]:
    """The ways in which `width` of a fused projection's outputs may be one of its parts: in a block, or interleaved."""
    times = outputs // width
    return [slice(k * width, (k + 1) * width) for k in range(times)] + [slice(k, None, times) for k in range(times)]


def consumer_of(out: torch.Tensor, after: int, calls: Mapping[str, list[Call]]) -> str | None:
    """Path of a module that is given the tensor out bit for bit after it was made."""
    for path, made in calls.items():
        for call in made:
            given = (v for v in (*call.args, *call.kwargs.values()) if isinstance(v, torch.Tensor))
            if call.order > after and any(g.shape == out.shape and torch.equal(g, out) for g in given):
                return path
    return None


def check_rows(path: str, experts: Any, act: nn.Module, call: Call) -> None:
    """Prove on one experts module that each row of the activation's input belongs to the expert we say.

    Replays the module and compares its rows with the pre-activations computed by hand from the parameters of those
    experts. Nine in ten must agree (`AGREED`); rows of a wrong expert agree nowhere.
    """
    kind = kind_of(experts)
    routing = kind.routing(path, kind)
    agreed: list[float] = []

    def on_input(_: nn.Module, args: tuple[Any, ...]) -> None:
        rows = routing.rows(args[0])
        if not rows.experts.numel():
            return
        by_hand, a = gate_rows(experts, rows), args[0].reshape(-1, args[0].shape[-1])
        a = a if rows.places is None else a[rows.places]
        if by_hand is None or by_hand.shape != a.shape:
            agreed.append(0.0)
            return
        agreed.append(agreement(a, by_hand, a.dtype))

    with ExitStack() as stack:

        def keep(handle: RemovableHandle) -> None:
            stack.callback(handle.remove)

        routing.follow(experts, keep)
        keep(act.register_forward_pre_hook(on_input))
        with torch.no_grad():
            experts(*call.args, **call.kwargs)
    if not agreed or min(agreed) < AGREED:
        raise SiteError(
            asked=f"the expert of each row at {path}",
            found=f"only {min(agreed, default=0.0):.0%} of its inputs equal x @ gate of the expert that routing names",
            todo='try experts_implementation="eager"; if that fails too, the architecture is not supported',
        )


def agreement(a: torch.Tensor, by_hand: torch.Tensor, dtype: torch.dtype) -> float:
    """Share of pre-activations [rows, width] that are those by hand, up to the rounding of `dtype`.

    Each is measured by its own size and its neuron's: one large neuron must not excuse all others.
    """
    by_hand = by_hand.to(torch.promote_types(by_hand.dtype, torch.float32))
    scale = (by_hand.abs() + by_hand.square().mean(0).sqrt()).clamp_min(torch.finfo(torch.float32).tiny)
    return float(((a - by_hand).abs() <= 10 * tolerance(dtype) * scale).float().mean())


def steers(block: nn.Module, act: nn.Module, experts: nn.Module, call: Call) -> bool:
    """Return True if an activation of a block takes part in routing: without its output, other experts are called."""
    given: list[list[torch.Tensor]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        given.append([_copy(tensor) for tensor in tensors])

    with ExitStack() as stack:
        stack.callback(experts.register_forward_pre_hook(note, with_kwargs=True).remove)
        _replay(block, call, None)
        stack.callback(act.register_forward_hook(_silence).remove)
        _replay(block, call, None)
    if len(given) != 2:
        raise SiteError(
            asked=f"whether an activation of {type(block).__name__} takes part in routing",
            found=f"experts that are called {len(given)} times in two passes",
            todo="this mixture of experts is not supported; please report the architecture",
        )
    plain, silent = given
    return not all(map(torch.equal, plain, silent))


def _silence(_: nn.Module, __: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(out)


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def tolerance(dtype: torch.dtype) -> float:
    """Relative error that rounding alone can cause in a sum over a layer's width."""
    return {torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 2e-2)


def _move_all(x: torch.Tensor) -> torch.Tensor:
    return x.roll(1, dims=-1)


def _move_first(x: torch.Tensor) -> torch.Tensor:
    moved = x.clone()
    flat = moved.view(-1, moved.shape[-1])
    count = max(1, flat.shape[0] // TOKENS)
    flat[:count] = flat[:count].roll(1, dims=-1)
    return moved


def _replay(block: nn.Module, call: Call, change: Callable[[torch.Tensor], torch.Tensor] | None) -> torch.Tensor:
    """The first tensor that a block returns for the recorded call, its first tensor argument changed."""
    args: Any = [_copy(value) for value in call.args]
    kwargs: Any = {key: _copy(value) for key, value in call.kwargs.items()}
    if change is not None:
        places = [(args, k, v) for k, v in enumerate(args)] + [(kwargs, k, v) for k, v in kwargs.items()]
        for place, key, value in places:
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                place[key] = change(value)
                break
    with torch.no_grad():
        out = first_tensor((block(*args, **kwargs),))
    if out is None:
        raise SiteError(
            asked=f"the output of {type(block).__name__}",
            found="no floating-point tensor",
            todo="this architecture is not supported; please report it",
        )
    return out

"""A forward pass under intervention against the plain one, and against nnsight's and TransformerLens's.

All clamp the same neurons at zero, at the activation's input, and must give the same logits. Each peer has a copy of
the model to itself, since it changes what it is given.
"""

from __future__ import annotations

import copy
import gc
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch

import negspace as ns
from benchmarks.memory import Peak, peak
from benchmarks.place import HERE, Place
from benchmarks.row import Row, failed, row
from benchmarks.shapes import about, random_ids, random_model
from benchmarks.timing import in_turn
from negspace.models.model import Model
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet

SETTINGS = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
"""glibc then keeps what is freed. Else a third of a small model's pass goes into taking the same pages from the kernel
again and again, more in one thread than in another, and hides differences of a few percent."""
SHARES = (0.01, 0.20)
"""Of each layer's neurons, at random."""
HALF = 0.5
"""Share on which results are compared in half precision, where the effect of fewer drowns in rounding."""

Run = Callable[[], torch.Tensor]


def measure(place: Place = HERE) -> list[Row]:
    """Medians of ratios of interleaved passes, then peaks of memory; a peer that fails says why in its row."""
    model, ids = random_model(place), random_ids(place)
    rows = [_against_plain(place, model, ids, share) for share in SHARES]
    rows += [_against_peer(place, model, ids, peer, share) for peer in PEERS for share in SHARES]
    return rows + _memory(place)


def _against_plain(place: Place, model: Model, ids: torch.Tensor, share: float) -> Row:
    rounds = place.rounds(30)
    times = in_turn(
        {"plain": plain(model, ids), "ours": ours(model, ids, chosen(model, share))},
        rounds,
        warm=3,
        device=place.device,
    )
    return row(
        f"forward under intervention ({share:.0%} of neurons) / plain forward",
        times.ratio("ours", "plain"),
        ("<=", 1.03),
        f"{times.range('ours', 'plain')} of {ids.numel():,} tokens; plain {_ms(times.median('plain'))}; {about(place)}",
        readme=True,
    )


def _against_peer(place: Place, model: Model, ids: torch.Tensor, peer: str, share: float) -> Row:
    name = f"forward under intervention ({share:.0%} of neurons): {peer} / ours"
    shown = share == SHARES[0]
    gc.collect()  # an earlier peer's copy hangs in cycles, and may be of 16 GB
    try:
        checked = chosen(model, share if model.module.dtype == torch.float32 else HALF)
        off = compare(
            PEERS[peer](copy.deepcopy(model.module), model, ids, checked)(),
            ours(model, ids, checked)(),
            plain(model, ids)(),
        )
        gc.collect()
        neurons = chosen(model, share)
        theirs, mine = PEERS[peer](copy.deepcopy(model.module), model, ids, neurons), ours(model, ids, neurons)
        times = in_turn({"theirs": theirs, "ours": mine}, place.rounds(20), warm=3, device=place.device)
    except Exception as error:  # not installed, or not up to this model: the other rows stand
        return failed(name, error, (">", 1), readme=shown)
    return row(
        name,
        times.ratio("theirs", "ours"),
        (">", 1),
        f"{times.range('theirs', 'ours')} of {ids.numel():,} tokens; ours {_ms(times.median('ours'))}, {peer} "
        f"{_ms(times.median('theirs'))}; logits differ by {off:.1e} of what the intervention does to them"
        f"{NOTES[peer]}; {about(place)}",
        readme=shown,
    )


def _memory(place: Place) -> list[Row]:
    """Peak memory of one pass above the loaded model."""
    name = "forward under intervention, peak memory: {} / {}"
    found: dict[str, Peak | Exception] = {}
    for what in ("plain forward", "ours", *PEERS):
        try:
            found[what] = peak("benchmarks.bench_intervene:prepare", place, what)
        except Exception as error:
            found[what] = error
    rows = []
    for top, bottom in (("ours", "plain forward"), *((peer, "ours") for peer in PEERS)):
        above, below = found[top], found[bottom]
        if isinstance(above, Exception) or isinstance(below, Exception):
            rows.append(failed(name.format(top, bottom), above if isinstance(above, Exception) else str(below)))
            continue
        detail = f"above the loaded model: {top} {above}, {bottom} {below}; {about(place)}"
        rows.append(row(name.format(top, bottom), above.bytes / max(1, below.bytes), detail=detail))
    return rows


def chosen(model: Model, share: float) -> NeuronSet:
    """Neurons at random, a share of each layer."""
    return select.random(Layout.of(model.sites), share, seed=0)


def plain(model: Model, ids: torch.Tensor) -> Run:
    """The plain forward; returns logits."""

    def run() -> torch.Tensor:
        with torch.no_grad():
            return model.module(input_ids=ids, use_cache=False).logits

    return run


def ours(model: Model, ids: torch.Tensor, neurons: NeuronSet) -> Run:
    """The forward under our intervention, its context opened and left each time."""
    forward = plain(model, ids)

    def run() -> torch.Tensor:
        with ns.intervene(model, neurons, zero="negative"):
            return forward()

    return run


def nnsight(module: Any, model: Model, ids: torch.Tensor, neurons: NeuronSet) -> Run:
    """A trace of nnsight's, which writes the chosen neurons of each activation's input in place."""
    from nnsight import NNsight

    wrapped = NNsight(module)
    places = []
    for site in model.sites:
        envoy: Any = wrapped
        for part in site.path.split("."):
            envoy = envoy[int(part)] if part.isdigit() else getattr(envoy, part)
        places.append((envoy, indices(neurons, site.path, ids)))

    def run() -> torch.Tensor:
        with torch.no_grad(), wrapped.trace(input_ids=ids, use_cache=False):
            for envoy, which in places:
                a = envoy.input
                a[..., which] = a[..., which].clamp(min=0)
            logits = wrapped.output.logits.save()
        return logits  # noqa: RET504 - a trace's value exists only once the trace is left

    return run


def transformer_lens(module: Any, model: Model, ids: torch.Tensor, neurons: NeuronSet) -> Run:
    """TransformerLens's bridge over the module, with a hook on the pre-activations of each layer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the module is at hand; nothing is to be looked up
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.bos_token = None  # the bridge would load one with a BOS again, from a folder that there is not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens.model_bridge import TransformerBridge

        bridge: Any = TransformerBridge.boot_transformers(model.source.name, hf_model=module, tokenizer=tokenizer)

    def clamp(which: torch.Tensor) -> Callable[..., torch.Tensor]:
        def hook(a: torch.Tensor, hook: Any) -> torch.Tensor:
            a[..., which] = a[..., which].clamp(min=0)
            return a

        return hook

    hooks = [(f"blocks.{site.layer}.mlp.hook_pre", clamp(indices(neurons, site.path, ids))) for site in model.sites]

    def run() -> torch.Tensor:
        with torch.no_grad():
            return bridge.run_with_hooks(ids, fwd_hooks=hooks, return_type="logits")

    return run


PEERS = {"nnsight": nnsight, "TransformerLens": transformer_lens}
"""Name -> maker of its run from (its own copy of the module, our model, ids, neurons)."""
NOTES = {"nnsight": "", "TransformerLens": "; with eager attention, which its bridge sets"}
"""What else a row says of a peer."""


def indices(neurons: NeuronSet, path: str, ids: torch.Tensor) -> torch.Tensor:
    """Chosen neurons of a site, int64 on the device."""
    return torch.tensor(list(neurons.at(path)), dtype=torch.int64, device=ids.device)


def prepare(place: Place, what: str) -> Callable[[], object]:
    """One pass of "plain forward", "ours" or a peer, ready to run; it has run once."""
    model, ids = random_model(place), random_ids(place)
    neurons = chosen(model, SHARES[0])
    if what in PEERS:
        # The peer takes the module itself: a copy would count as memory on hand that it does not need.
        run = PEERS[what](model.module, model, ids, neurons)
    else:
        run = plain(model, ids) if what == "plain forward" else ours(model, ids, neurons)
    run()
    return run


def compare(theirs: torch.Tensor, mine: torch.Tensor, untouched: torch.Tensor) -> float:
    """Largest difference of two results, in units of the largest change that the intervention makes.

    Another order of operations rounds differently, by far less than the change in float32, and by a good part of it in
    half precision.
    """
    change = float((mine.float() - untouched.float()).abs().max())
    off = float((theirs.float() - mine.float()).abs().max()) / change
    limit = 1e-3 if mine.dtype == torch.float32 else 0.3
    assert off <= limit, f"logits differ by {off:.2g} of what the intervention changes, more than {limit:g}"
    return off


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms"
